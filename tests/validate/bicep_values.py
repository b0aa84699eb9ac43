"""What expressions of Bicep are worth before a deployment: the files that they load are read, loops are unrolled.

What only Azure knows (the id of a resource, what a module gives back) stays a `Runtime`. Only the functions that the
templates use are known here: another one is reported, and is to be added.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from tree_sitter import Node
from validate.bicep_syntax import Source, elements, line, property_name, text

Scope = Mapping[str, Any]


class Runtime(str):
    """A value that only Azure knows, with the expression that stands for it; `kind` is its type, if that is known."""

    kind: str

    def __new__(cls, said: str, kind: str = "") -> "Runtime":
        """Wrap an expression."""
        self = super().__new__(cls, f"<{said}>")
        self.kind = kind
        return self


@dataclass(frozen=True)
class Reference:
    """A resource or module, or a property of one that a deployment will tell: `path` is the way to it."""

    symbol: str
    target: str
    module: Source | None = None
    path: tuple[str, ...] = ()


@dataclass
class Values:
    """Evaluates the expressions of one file.

    Attributes:
        source: the file.
        given: the params that it is given.
        problems: what is wrong; evaluation goes on with a `Runtime`.
        asked: properties of resources that an expression asks for: (line, type of the resource, path).
    """

    source: Source
    given: Mapping[str, Any]
    modules: Mapping[str, Source] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    asked: list[tuple[int, str, tuple[str, ...]]] = field(default_factory=list)
    _known: dict[str, Any] = field(default_factory=dict)

    def problem(self, node: Node, what: str) -> Runtime:
        """Note a problem."""
        said = f"{self.source.path.name}:{line(node)}: {what}"
        if said not in self.problems:
            self.problems.append(said)
        return Runtime(text(node))

    def of(self, node: Node, scope: Scope) -> Any:
        """Return what an expression is worth."""
        value = self._raw(node, scope)
        return self._settled(node, value) if isinstance(value, Reference) else value

    def _raw(self, node: Node, scope: Scope) -> Any:
        evaluate: Callable[[Node, Scope], Any] | None = getattr(self, f"_{node.type}", None)
        if evaluate is None:
            return self.problem(node, f"this check does not know {node.type}: {text(node)[:40]}")
        return evaluate(node, scope)

    def _settled(self, node: Node, ref: Reference) -> Any:
        """Turn what is known of a resource into a value, and note the property that is asked for."""
        said = ".".join((ref.symbol, *ref.path))
        if ref.module is not None:
            if ref.path and ref.path[0] not in ("outputs", "name"):
                return self.problem(node, f"a module has no {ref.path[0]}")
            if ref.path[:1] == ("outputs",) and ref.path[1:2] and ref.path[1] not in ref.module.outputs:
                return self.problem(node, f"{ref.module.path.name} has no output {ref.path[1]}")
            return Runtime(said)
        if ref.path and ref.path[0] not in ("id", "name", "type", "apiVersion"):
            self.asked.append((line(node), ref.target, ref.path))
        return Runtime(said, "string" if ref.path[:1] in (("id",), ("name",)) else "")

    # Expressions, by what the grammar calls them.

    def _string(self, node: Node, scope: Scope) -> Any:
        pieces: list[str] = []
        open_ = False
        for child in node.named_children:
            if child.type == "interpolation":
                value = self.of(child.named_children[0], scope)
                open_ |= isinstance(value, Runtime)
                pieces.append(str(value))
            elif child.type == "escape_sequence":
                pieces.append({"\\n": "\n", "\\t": "\t", "\\r": "\r"}.get(text(child), text(child)[1:]))
            else:
                pieces.append(text(child))
        joined = "".join(pieces)
        return Runtime(joined, "string") if open_ else joined

    def _number(self, node: Node, _: Scope) -> int:
        return int(text(node))

    def _boolean(self, node: Node, _: Scope) -> bool:
        return text(node) == "true"

    def _null(self, _node: Node, _: Scope) -> None:
        return None

    def _array(self, node: Node, scope: Scope) -> list[Any]:
        if any(child.type == "for_statement" for child in node.named_children):
            self.problem(node, "this check does not know a loop in here; use map()")
            return []
        return [self.of(child, scope) for child in elements(node)]

    def _object(self, node: Node, scope: Scope) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for pair in node.named_children:
            if pair.type != "object_property":
                continue
            key_node, value = pair.named_children[0], pair.named_children[-1]
            key = str(self.of(key_node, scope)) if key_node.type == "string" else property_name(pair)
            if key in found:
                self.problem(pair, f"{key} stands here twice")
            found[key] = self.of(value, scope)
        return found

    def _parenthesized_expression(self, node: Node, scope: Scope) -> Any:
        return self._raw(node.named_children[0], scope)

    def _unary_expression(self, node: Node, scope: Scope) -> Any:
        value = self.of(node.named_children[0], scope)
        if isinstance(value, Runtime):
            return value
        return not value if text(node).startswith("!") else -value

    def _ternary_expression(self, node: Node, scope: Scope) -> Any:
        condition, yes, no = (self.of(child, scope) for child in node.named_children)
        return yes if isinstance(condition, Runtime) or condition else no

    def _binary_expression(self, node: Node, scope: Scope) -> Any:
        left, right = (self.of(child, scope) for child in node.named_children)
        operator = next(text(child) for child in node.children if not child.is_named)
        if operator in ("==", "!="):
            same = bool(left == right)
            return same if operator == "==" else not same
        if operator in ("&&", "||"):
            return (left and right) if operator == "&&" else (left or right)
        return self.problem(node, f"this check does not know the operator {operator}")

    def _identifier(self, node: Node, scope: Scope) -> Any:
        name = text(node)
        if name in scope:
            return scope[name]
        if name in self._known:
            return self._known[name]
        one = self.source.declared.get(name)
        if one is None:
            return Runtime(name)  # `symbols` reports it
        if one.kind in ("resource", "module"):
            return Reference(name, one.target.partition("@")[0], self.modules.get(name))
        self._known[name] = Runtime(name)  # for what asks for itself
        if one.kind == "param" and name in self.given:
            value = self.given[name]
        else:
            value = self.of(one.value, {}) if one.value else self.problem(one.node, f"{name} is not given")
        self._known[name] = value
        return value

    def _member_expression(self, node: Node, scope: Scope) -> Any:
        steps: list[Node] = []
        inner = node
        while inner.type in ("member_expression", "subscript_expression"):
            steps.insert(0, inner)
            inner = inner.named_children[0]
        if inner.type == "ternary_expression":
            # The grammar takes `a ? b : c.d` for `(a ? b : c).d`.
            condition, yes = (self.of(child, scope) for child in inner.named_children[:2])
            no = self._along(steps, self._raw(inner.named_children[2], scope), scope)
            no = self._settled(node, no) if isinstance(no, Reference) else no
            return yes if isinstance(condition, Runtime) or condition else no
        return self._along(steps, self._raw(inner, scope), scope)

    _subscript_expression = _member_expression

    def _along(self, steps: list[Node], value: Any, scope: Scope) -> Any:
        for step in steps:
            last = step.named_children[1]
            value = self._get(step, value, text(last) if step.type == "member_expression" else self.of(last, scope))
        return value

    def _get(self, node: Node, value: Any, key: Any) -> Any:
        if isinstance(value, Reference):
            if isinstance(key, int):
                return Reference(f"{value.symbol}[{key}]", value.target, value.module, value.path)
            return Reference(value.symbol, value.target, value.module, (*value.path, key))
        if isinstance(value, Runtime) or isinstance(key, Runtime):
            return Runtime(text(node))
        if isinstance(value, dict):
            there = key in value
        else:
            there = isinstance(value, list) and isinstance(key, int) and key < len(value)
        if there:
            return value[key]
        return self.problem(node, f"{text(node)}: there is no {key}")

    def _lambda_expression(self, node: Node, scope: Scope) -> Callable[..., Any]:
        name = text(node.named_children[0])
        return lambda value: self.of(node.named_children[-1], {**scope, name: value})

    def _call_expression(self, node: Node, scope: Scope) -> Any:
        called, listed = node.named_children[0], node.named_children[1]
        name = text(called)
        given = [self.of(child, scope) for child in listed.named_children if child.type != "comment"]
        if name.startswith("load"):
            return self._load(node, name, str(given[0]))
        function = FUNCTIONS.get(name)
        if function is None:
            return self.problem(node, f"there is no function {name}, or this check does not know it")
        try:
            return function(*given)
        except (TypeError, KeyError, ValueError, AttributeError, IndexError) as error:
            return self.problem(node, f"{name} does not take this: {error}")

    def _load(self, node: Node, name: str, given: str) -> Any:
        readers: dict[str, Callable[[str], Any]] = {
            "loadYamlContent": yaml.safe_load,
            "loadJsonContent": json.loads,
            "loadTextContent": str,
        }
        path = self.source.path.parent / given
        if name not in readers:
            return self.problem(node, f"this check does not know the function {name}")
        if not path.is_file():
            return self.problem(node, f"{given} is not there")
        try:
            return readers[name](path.read_text("utf-8"))
        except (ValueError, yaml.YAMLError) as error:
            return self.problem(node, f"{given} cannot be read: {error}")

    def loop(self, node: Node, scope: Scope) -> list[dict[str, Any]]:
        """Return a scope for each turn of a loop."""
        names = [text(one) for one in _loop_names(node.named_children[0])]
        turns = self.of(node.named_children[1], scope)
        if not isinstance(turns, list):
            self.problem(node, f"a loop goes over a list, not over {text(node.named_children[1])[:60]}")
            return []
        return [{**scope, **dict(zip(names, (turn, index), strict=False))} for index, turn in enumerate(turns)]


def _loop_names(node: Node) -> list[Node]:
    return [node] if node.type == "identifier" else list(node.named_children)


def _runtime(name: str) -> Callable[..., Runtime]:
    return lambda *given: Runtime(f"{name}({', '.join(map(str, given))})", "string")


def _items(value: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value[key]} for key in sorted(value)]


def _union(*values: dict[str, Any]) -> dict[str, Any]:
    return {key: inner for value in values for key, inner in value.items()}


def _replace(value: str, old: str, new: str) -> str:
    # The placeholder stays inside the text, for a text that is to be read as JSON.
    return value.replace(old, str(new))


def _utc_now(pattern: str) -> str:
    return re.sub("MM", "07", re.sub("yyyy", "2026", pattern))


GROUP = {"id": Runtime("resourceGroup().id", "string"), "name": "rg", "location": "westeurope", "tags": {}}
SUBSCRIPTION = {
    "id": Runtime("subscription().id", "string"),
    "subscriptionId": Runtime("subscription().subscriptionId", "string"),
    "tenantId": Runtime("subscription().tenantId", "string"),
    "displayName": "subscription",
}
CLOUD = {
    "name": "AzureCloud",
    "resourceManager": "https://management.azure.com/",
    "suffixes": {"storage": "core.windows.net", "acrLoginServer": ".azurecr.io", "keyvaultDns": ".vault.azure.net"},
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concat": lambda *lists: [one for each in lists for one in each],
    "contains": lambda value, one: one in value,
    "empty": lambda value: False if isinstance(value, Runtime) else not value,
    "environment": lambda: CLOUD,
    "filter": lambda value, keep: [one for one in value if keep(one)],
    "guid": _runtime("guid"),
    "items": _items,
    "json": json.loads,
    "length": len,
    "map": lambda value, change: [change(one) for one in value],
    "replace": _replace,
    "resourceGroup": lambda: GROUP,
    "resourceId": _runtime("resourceId"),
    "string": str,
    "subscription": lambda: SUBSCRIPTION,
    "subscriptionResourceId": _runtime("subscriptionResourceId"),
    "toLower": lambda value: value.lower(),
    "union": _union,
    "utcNow": _utc_now,
}
