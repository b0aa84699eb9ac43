"""Expressions of GitHub Actions: `${{ ... }}`, as its documentation says they are read and computed.

A context, a function or a property of a closed context that is not known is an error, where GitHub would go on with
nothing: a name that is misspelt must not pass for one that is empty.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.played import PipelineError

Value = Any  # None, bool, float, str, list or Mapping
Function = Callable[..., Value]

TOKEN = re.compile(
    r"\s*(?:(?P<number>0x[0-9a-fA-F]+|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<text>'(?:[^']|'')*')"
    r"|(?P<name>[A-Za-z_][\w-]*)|(?P<sign>&&|\|\||==|!=|<=|>=|[<>!()\[\].,*]))"
)
LITERALS: dict[str, Value] = {"true": True, "false": False, "null": None}
EMBEDDED = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)
# What stands for the status of a job or step, so that `success() &&` is not put before the condition.
STATUS = re.compile(r"\b(success|failure|always|cancelled)\s*\(", re.IGNORECASE)


class Closed(dict[str, Value]):
    """A context whose names are all known: any other name is an error."""


def substitute(text: Value, contexts: Mapping[str, Value], functions: Mapping[str, Function] | None = None) -> Value:
    """Compute every expression in a text, or in each text of a list or mapping.

    Returns:
        The value itself where the text is one expression and nothing else, otherwise the text.
    """
    if isinstance(text, Mapping):
        return {key: substitute(value, contexts, functions) for key, value in text.items()}
    if isinstance(text, list):
        return [substitute(value, contexts, functions) for value in text]
    if not isinstance(text, str):
        return text
    whole = EMBEDDED.fullmatch(text.strip())
    if whole and "${{" not in whole[1]:
        return evaluate(whole[1], contexts, functions)
    return EMBEDDED.sub(lambda found: as_text(evaluate(found[1], contexts, functions)), text)


def condition(text: Value, contexts: Mapping[str, Value], functions: Mapping[str, Function]) -> bool:
    """Tell whether an `if` holds; without a status function it holds only after success."""
    written = str(text).strip() if text is not None else "success()"
    if not isinstance(text, str) and text is not None:
        written = as_text(text)
    found = EMBEDDED.fullmatch(written)
    if not found and "${{" in written:
        raise PipelineError(f"if: {written!r} is always true, for it is a text: write one expression")
    inner = found[1] if found else written
    before = STATUS.search(re.sub(r"'(?:[^']|'')*'", "''", inner)) or functions["success"]()
    return bool(before) and truth(evaluate(inner, contexts, functions))


def evaluate(text: str, contexts: Mapping[str, Value], functions: Mapping[str, Function] | None = None) -> Value:
    """Compute one expression, without its `${{ }}`.

    Raises:
        PipelineError: it cannot be read, or names what is not known.
    """
    return _Reader(text, contexts, {**FUNCTIONS, **(functions or {})}).read()


class _Reader:
    """A recursive descent over the tokens that computes as it reads; both sides of && and || are read."""

    def __init__(self, text: str, contexts: Mapping[str, Value], functions: Mapping[str, Function]) -> None:
        self.text, self.contexts = text.strip(), contexts
        self.functions = {name.lower(): function for name, function in functions.items()}
        self.tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(self.text):
            found = TOKEN.match(self.text, at)
            if not found:
                raise self.wrong(f"is not understood from {self.text[at:]!r} on")
            self.tokens.append((str(found.lastgroup), found[found.lastgroup or 0]))
            at = found.end()
        self.tokens.append(("end", ""))

    def wrong(self, what: str) -> PipelineError:
        return PipelineError(f"${{{{ {self.text} }}}} {what}")

    def take(self, *signs: str) -> str:
        """Take the next token if it is one of these signs."""
        kind, word = self.tokens[0]
        if kind == "sign" and word in signs:
            self.tokens.pop(0)
            return word
        return ""

    def expect(self, sign: str) -> None:
        if not self.take(sign):
            raise self.wrong(f"has {self.tokens[0][1]!r} where {sign!r} belongs")

    def read(self) -> Value:
        value = self.either()
        if self.tokens[0][0] != "end":
            raise self.wrong(f"has {self.tokens[0][1]!r} too much")
        return value

    def either(self) -> Value:
        value = self.both()
        while self.take("||"):
            other = self.both()
            value = value if truth(value) else other
        return value

    def both(self) -> Value:
        value = self.compare()
        while self.take("&&"):
            other = self.compare()
            value = other if truth(value) else value
        return value

    def compare(self) -> Value:
        value = self.negate()
        while sign := self.take("==", "!=", "<", "<=", ">", ">="):
            value = _compare(sign, value, self.negate())
        return value

    def negate(self) -> Value:
        return not truth(self.negate()) if self.take("!") else self.path()

    def path(self) -> Value:
        value, spread = self.first(), False
        while sign := self.take(".", "["):
            if self.take("*"):
                items = value.values() if isinstance(value, Mapping) else value
                value, spread = list(items or []), True
            else:
                name = self.name() if sign == "." else self.either()
                value = [self.look(one, name, lax=True) for one in value] if spread else self.look(value, name)
            if sign == "[":
                self.expect("]")
        return value

    def name(self) -> str:
        kind, word = self.tokens.pop(0)
        if kind != "name":
            raise self.wrong(f"has {word!r} where a name belongs")
        return word

    def first(self) -> Value:
        if self.take("("):
            value = self.either()
            self.expect(")")
            return value
        kind, word = self.tokens.pop(0)
        if kind == "number":
            return float(int(word, 16)) if word.startswith("0x") else float(word)
        if kind == "text":
            return word[1:-1].replace("''", "'")
        if kind != "name":
            raise self.wrong(f"has {word or 'an end'!r} where a value belongs")
        if self.take("("):
            return self.call(word)
        if word in LITERALS:
            return LITERALS[word]
        if word.lower() not in self.contexts:
            raise self.wrong(f"names the context {word}, which is not known here")
        return self.contexts[word.lower()]

    def call(self, name: str) -> Value:
        if name.lower() not in self.functions:
            raise self.wrong(f"calls {name}(), which is not known here")
        given: list[Value] = []
        while not self.take(")"):
            if given:
                self.expect(",")
            given.append(self.either())
        try:
            return self.functions[name.lower()](*given)
        except (TypeError, ValueError, IndexError) as error:
            raise self.wrong(f"calls {name}() wrongly: {error}") from error

    def look(self, value: Value, name: Value, lax: bool = False) -> Value:
        """Return a property, in any case, or an item of a list."""
        if isinstance(value, list):
            at = int(number(name)) if not math.isnan(number(name)) else -1
            return value[at] if 0 <= at < len(value) else None
        if not isinstance(value, Mapping):
            return None
        for key, one in value.items():
            if key.lower() == as_text(name).lower():
                return one
        if isinstance(value, Closed) and not lax:
            raise self.wrong(f"asks for {name}, but there is only {', '.join(value) or 'nothing'}")
        return None


def truth(value: Value) -> bool:
    """Tell whether a value counts as true: any list or object does."""
    if isinstance(value, float | int) and not isinstance(value, bool):
        return value != 0 and not math.isnan(value)
    return isinstance(value, list | Mapping) or bool(value)


def as_text(value: Value) -> str:
    """Return the text that stands in place of an expression."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | int):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    if isinstance(value, list):
        return "Array"
    return "Object" if isinstance(value, Mapping) else str(value)


def number(value: Value) -> float:
    """Return the number that a value stands for in a comparison: not-a-number where it stands for none."""
    if value is None or value == "":
        return 0.0
    if isinstance(value, bool | int | float):
        return float(value)
    try:
        return float(int(value, 16) if str(value).startswith("0x") else value)
    except (TypeError, ValueError):
        return math.nan


def _compare(sign: str, one: Value, other: Value) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        left: Any = one.lower()
        right: Any = other.lower()
    elif isinstance(one, list | Mapping) or isinstance(other, list | Mapping):
        left, right = id(one), id(other) if sign in ("==", "!=") else math.nan
    elif one is None and other is None:
        left = right = 0.0
    else:
        left, right = number(one), number(other)
    results = {"==": left == right, "!=": left != right}
    if sign in results:
        return bool(results[sign])
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign])


def _contains(where: Value, what: Value) -> bool:
    if isinstance(where, list):
        return any(_compare("==", one, what) for one in where)
    return as_text(what).lower() in as_text(where).lower()


def _format(text: str, *values: Value) -> str:
    def fill(found: re.Match[str]) -> str:
        return {"{{": "{", "}}": "}"}.get(found[0]) or as_text(values[int(found[1])])

    return re.sub(r"\{\{|\}\}|\{(\d+)\}", fill, text)


def _join(values: Value, between: str = ",") -> str:
    return between.join(as_text(one) for one in values) if isinstance(values, Sequence) else as_text(values)


FUNCTIONS: dict[str, Function] = {
    "contains": _contains,
    "startsWith": lambda text, start: as_text(text).lower().startswith(as_text(start).lower()),
    "endsWith": lambda text, end: as_text(text).lower().endswith(as_text(end).lower()),
    "format": _format,
    "join": _join,
    "toJSON": lambda value: json.dumps(value, indent=2),
    "fromJSON": lambda text: json.loads(as_text(text)),
}
