"""Expressions of Azure Pipelines: `${{ }}` when templates are expanded, `$[ ]` and conditions while a run goes on.

The rules are the documented ones: names and texts compare without case, the right side is converted to the kind of the
left one, and any text but the empty one is true. What the service would take for an empty value because it does not
exist (a name, a function) is an error here.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.played import PipelineError

Node = tuple[Any, ...]
TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>[-+]?\d+(?:\.\d+)*)|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>[()\[\],.*]))"
)
# The least and the most arguments of each function; None: as many as one likes.
FUNCTIONS: dict[str, tuple[int, int | None]] = {
    "and": (2, None), "coalesce": (2, None), "contains": (2, 2), "containsvalue": (2, 2), "converttojson": (1, 1),
    "endswith": (2, 2), "eq": (2, 2), "format": (1, None), "ge": (2, 2), "gt": (2, 2), "iif": (3, 3), "in": (2, None),
    "join": (2, 2), "le": (2, 2), "length": (1, 1), "lower": (1, 1), "lt": (2, 2), "ne": (2, 2), "not": (1, 1),
    "notin": (2, None), "or": (2, None), "replace": (3, 3), "split": (2, 2), "startswith": (2, 2), "trim": (1, 1),
    "upper": (1, 1), "xor": (2, 2),
}  # fmt: skip
STATUS = {"always": (0, 0), "canceled": (0, 0), "failed": (0, None), "succeeded": (0, None)}
STATUS["succeededorfailed"] = (0, None)
COMPILE = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
RUNTIME = re.compile(r"\$\[(.*)\]", re.DOTALL)


@dataclass(frozen=True)
class Scope:
    """What an expression may use.

    Attributes:
        names: The values of its contexts (`parameters`, `variables`, `dependencies`, ...).
        status: Tells whether a status function holds, given its name in lower case and its arguments;
            None where there is no run yet whose status one could ask for.
        strict: Contexts in which a name that does not exist is an error.
    """

    names: Mapping[str, Any]
    status: Callable[[str, Sequence[str]], bool] | None = None
    strict: Sequence[str] = ("parameters",)


def evaluate(text: str, scope: Scope) -> Any:
    """Return the value of an expression, without its brackets.

    Raises:
        PipelineError: it is no expression, or uses a function or a name that there is not.
    """
    return _value(parse(text, status=scope.status is not None), scope, text)


def parse(text: str, status: bool = False) -> Node:
    """Return the tree of an expression: ("value", it), ("name", it), ("call", name, arguments), ("at", node, key).

    Args:
        text: the expression without its brackets.
        status: whether status functions (`succeeded()`) are allowed.

    Raises:
        PipelineError: it is no expression, or calls a function that there is not.
    """
    return _Parser(text, status).whole()


class _Parser:
    def __init__(self, text: str, status: bool) -> None:
        self.text, self.known = text, FUNCTIONS | (STATUS if status else {})
        self.tokens: list[tuple[str, str]] = []
        at, end = 0, len(text.rstrip())
        while at < end:
            if not (found := TOKEN.match(text, at)):
                raise PipelineError(f"{text.strip()!r} is no expression: what is {text[at:].strip()!r}?")
            self.tokens.append((str(found.lastgroup), found[str(found.lastgroup)]))
            at = found.end()
        self.tokens.append(("end", "its end"))
        self.at = 0

    def take(self, sign: str = "") -> tuple[str, str]:
        kind, word = self.tokens[self.at]
        if sign and (kind, word) != ("sign", sign):
            raise PipelineError(f"{self.text.strip()!r} is no expression: {sign!r} is expected, not {word!r}")
        self.at += 1
        return kind, word

    def next_is(self, sign: str) -> bool:
        return self.tokens[self.at] == ("sign", sign)

    def whole(self) -> Node:
        node = self.node()
        if self.tokens[self.at][0] != "end":
            raise PipelineError(f"{self.text.strip()!r} is no expression: unexpected {self.tokens[self.at][1]!r}")
        return node

    def node(self) -> Node:
        kind, word = self.take()
        if kind == "text":
            node: Node = ("value", word[1:-1].replace("''", "'"))
        elif kind == "number":
            node = ("value", _number(word) if word.count(".") < 2 else word)
        elif kind == "name" and self.next_is("("):
            node = self.call(word)
        elif kind == "name" and word.lower() in ("true", "false", "null"):
            node = ("value", {"true": True, "false": False, "null": None}[word.lower()])
        elif kind == "name":
            node = ("name", word)
        else:
            raise PipelineError(f"{self.text.strip()!r} is no expression: unexpected {word!r}")
        while self.next_is(".") or self.next_is("["):
            if self.take()[1] == ".":
                kind, word = self.take()
                if kind != "name" and word != "*":
                    raise PipelineError(f"{self.text.strip()!r} is no expression: unexpected {word!r}")
                node = ("at", node, ("value", word))
            else:
                node = ("at", node, self.node())
                self.take("]")
        return node

    def call(self, word: str) -> Node:
        name = word.lower()
        if name not in self.known:
            where = " here" if name in STATUS else ""
            raise PipelineError(f"{self.text.strip()!r}: there is no function {word!r}{where}")
        self.take("(")
        arguments: list[Node] = []
        while not self.next_is(")"):
            if arguments:
                self.take(",")
            arguments.append(self.node())
        self.take(")")
        least, most = self.known[name]
        if len(arguments) < least or (most is not None and len(arguments) > most):
            raise PipelineError(f"{self.text.strip()!r}: {word} does not take {len(arguments)} arguments")
        return ("call", name, arguments)


def _value(node: Node, scope: Scope, text: str) -> Any:
    kind = node[0]
    if kind == "value":
        return node[1]
    if kind == "name":
        if node[1] in scope.names:
            return scope.names[node[1]]
        raise PipelineError(f"{text.strip()!r}: there is no {node[1]!r} here")
    if kind == "at":
        inside, key = _value(node[1], scope, text), _value(node[2], scope, text)
        strict = node[1][0] == "name" and node[1][1] in scope.strict
        return _at(inside, key, f"{text.strip()!r}: no {node[1][1]} {key!r}" if strict else "")
    name, arguments = node[1], node[2]
    if name in STATUS:
        assert scope.status is not None  # the parser let it through
        return scope.status(name, [plain(_value(one, scope, text)) for one in arguments])
    if name in ("and", "or"):  # stops where the answer is known
        return (all if name == "and" else any)(truth(_value(one, scope, text)) for one in arguments)
    try:
        return _call(name, [_value(one, scope, text) for one in arguments])
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise PipelineError(f"{text.strip()!r}: {name}: {error}") from None


def _at(inside: Any, key: Any, missing: str) -> Any:
    if key == "*" and isinstance(inside, Mapping | list):
        return list(inside.values()) if isinstance(inside, Mapping) else inside
    if isinstance(inside, Mapping):
        if key in inside:
            return inside[key]
        for name in inside:
            if str(name).lower() == plain(key).lower():
                return inside[name]
        if missing:
            raise PipelineError(missing)
        return None
    if isinstance(inside, list):
        if isinstance(key, int | float) or str(key).isdigit():
            return inside[int(key)] if int(key) < len(inside) else None
        return [_at(one, key, "") for one in inside]  # what `list.*.key` says
    return None


def _call(name: str, arguments: list[Any]) -> Any:
    first, second = ([*arguments, None, None])[:2]
    match name:
        case "eq" | "ne":
            return same(first, second) == (name == "eq")
        case "in" | "notin":
            return any(same(first, one) for one in arguments[1:]) == (name == "in")
        case "gt" | "ge" | "lt" | "le":
            order = _order(first, second)
            return {"gt": order > 0, "ge": order >= 0, "lt": order < 0, "le": order <= 0}[name]
        case "not":
            return not truth(first)
        case "xor":
            return truth(first) != truth(second)
        case "iif":
            return second if truth(first) else arguments[2]
        case "coalesce":
            return next((one for one in arguments if one not in (None, "")), None)
        case "containsvalue":
            values = first.values() if isinstance(first, Mapping) else first
            return any(same(one, second) for one in values)
        case "join":
            return plain(first).join(plain(one) for one in second) if isinstance(second, list) else plain(second)
        case "split":
            return re.split("|".join(map(re.escape, plain(second))), plain(first)) if second else [plain(first)]
        case "length":
            return len(first)
        case "converttojson":
            return json.dumps(first, indent=2)
        case "format":
            filled = plain(first).replace("{{", "\0").replace("}}", "\1")
            filled = re.sub(r"\{(\d+)\}", lambda found: plain(arguments[1 + int(found[1])]), filled)
            return filled.replace("\0", "{").replace("\1", "}")
    return _on_texts(name, *[plain(one) for one in arguments])


def _on_texts(name: str, one: str, two: str = "", three: str = "") -> Any:
    match name:
        case "contains":
            return two.lower() in one.lower()
        case "startswith":
            return one.lower().startswith(two.lower())
        case "endswith":
            return one.lower().endswith(two.lower())
        case "lower":
            return one.lower()
        case "upper":
            return one.upper()
        case "trim":
            return one.strip()
        case "replace":
            return one.replace(two, three) if two else one
    raise PipelineError(f"the interpreter does not know the function {name!r}")


def truth(value: Any) -> bool:
    """Return whether a value counts as true: any text but the empty one does, "false" too."""
    return value != "" if isinstance(value, str) else True if isinstance(value, Mapping | list) else bool(value)


def plain(value: Any) -> str:
    """Return a value as text.

    Raises:
        PipelineError: it is a list or a mapping.
    """
    if isinstance(value, Mapping | list):
        raise PipelineError(f"a text is expected, not {json.dumps(value)[:100]}")
    if value is None or isinstance(value, bool):
        return {None: "", True: "True", False: "False"}[value]
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _number(value: Any) -> int | float:
    text = "0" if value in (None, "") else str(int(value)) if isinstance(value, bool) else str(value).strip()
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)


def same(left: Any, right: Any) -> bool:
    """Return whether two values are equal, the right one converted to the kind of the left one."""
    if isinstance(left, Mapping | list) or isinstance(right, Mapping | list):
        return bool(left == right)
    try:
        return _order(left, right) == 0
    except (ValueError, TypeError):
        return False


def _order(left: Any, right: Any) -> int:
    if isinstance(left, bool):
        one, other = int(left), int(truth(right))
    elif isinstance(left, int | float):
        one, other = left, _number(right)  # type: ignore[assignment]
    else:
        words = plain(left).lower(), plain(right).lower()
        return (words[0] > words[1]) - (words[0] < words[1])
    return (one > other) - (one < other)
