"""Bicep files as trees: what is declared in them, what is used, and what of that does not fit together.

There is no compiler to be had here. The grammar of tree-sitter finds syntax errors; the rest is ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

PARSER = Parser(Language(tree_sitter_bicep.language()))
# What a declaration is called in the grammar, and what its author calls it.
KINDS = {
    "parameter_declaration": "param",
    "variable_declaration": "var",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
}
NAMESPACES = ("az", "sys")


@dataclass
class Declaration:
    """A param, var, resource, module or output.

    Attributes:
        target: of a resource its type and version, of a module its path; else empty.
        value: its expression; of a resource or module all that follows the equals sign.
    """

    kind: str
    name: str
    line: int
    node: Node
    target: str = ""
    value: Node | None = None
    existing: bool = False


@dataclass
class Source:
    """A file."""

    path: Path
    root: Node
    declared: dict[str, Declaration] = field(default_factory=dict)
    outputs: dict[str, Declaration] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def required(self) -> set[str]:
        """Return the params that must be given."""
        params = [one for one in self.declared.values() if one.kind == "param"]
        return {one.name for one in params if one.value is None and not _nullable(one.node)}

    def params(self) -> set[str]:
        """Return all params."""
        return {one.name for one in self.declared.values() if one.kind == "param"}


def text(node: Node) -> str:
    """Return what a node stands for in the file."""
    return (node.text or b"").decode()


def line(node: Node) -> int:
    """Return the number of its line, from 1."""
    return int(node.start_point[0]) + 1


def walk(node: Node) -> Iterator[Node]:
    """Go through a node and all below it."""
    yield node
    for child in node.children:
        yield from walk(child)


def read(path: Path) -> Source:
    """Read a file; what is wrong with its syntax, or declared twice, is noted in `problems`."""
    root = PARSER.parse(path.read_bytes()).root_node
    source = Source(path, root)
    for node in walk(root):
        if node.type == "ERROR" or node.is_missing:
            source.problems.append(f"{path.name}:{line(node)}: syntax error")
    for node in root.named_children:
        if node.type not in KINDS:
            continue
        one = _declaration(node)
        table = source.outputs if one.kind == "output" else source.declared
        if one.name in table:
            source.problems.append(f"{path.name}:{one.line}: {one.name} is declared twice")
        table[one.name] = one
    return source


def _declaration(node: Node) -> Declaration:
    kind = KINDS[node.type]
    inner = [child for child in node.named_children if child.type not in ("comment", "decorators")]
    name, rest = text(inner[0]), inner[1:]
    target = ""
    if kind in ("resource", "module"):
        target = text(rest[0]).strip("'")
        rest = rest[1:]
    elif kind in ("param", "output") and rest and rest[0].type == "type":
        rest = rest[1:]
    existing = any(child.type == "existing" or text(child) == "existing" for child in node.children)
    return Declaration(kind, name, line(node), node, target, rest[-1] if rest else None, existing)


def _nullable(node: Node) -> bool:
    return any(child.type == "nullable_type" for child in walk(node))


def elements(node: Node) -> list[Node]:
    """Return the elements of a list.

    The grammar takes `[f().id]` and `[table[key]]` for two elements each: what touches is read again as one expression.
    """
    groups: list[list[Node]] = []
    for child in node.named_children:
        if child.type == "comment":
            continue
        if groups and groups[-1][-1].end_byte == child.start_byte:
            groups[-1].append(child)
        else:
            groups.append([child])
    return [_again(group) if len(group) > 1 else group[0] for group in groups]


def _again(nodes: list[Node]) -> Node:
    # As many lines before it as in the file, so that its line is right.
    said = b"\n" * nodes[0].start_point[0] + b"var it = " + b"".join(node.text or b"" for node in nodes)
    return PARSER.parse(said).root_node.named_children[0].named_children[-1]


def property_name(node: Node) -> str:
    """Return the key of a property of an object."""
    return text(node.named_children[0]).strip("'")


def members(node: Node) -> dict[str, Node]:
    """Return the properties of an object whose keys are plain, by key."""
    pairs = [child for child in node.named_children if child.type == "object_property"]
    return {property_name(pair): pair.named_children[-1] for pair in pairs}


def body(node: Node) -> Node | None:
    """Return the object that describes a resource or module: behind a condition, or in a loop."""
    if node.type == "object":
        return node
    for child in reversed(node.named_children):
        if found := body(child) if child.type in ("object", "if_statement", "for_statement") else None:
            return found
    return None


def symbols(source: Source) -> list[str]:
    """Return what is wrong with names: undefined, never used, or not what a module takes."""
    found: list[str] = list(source.problems)
    used: set[str] = set()
    _uses(source, source.root, frozenset(), used, found)
    for one in source.declared.values():
        idle = one.name not in used and (one.kind in ("param", "var") or one.existing)
        if idle:
            found.append(f"{source.path.name}:{one.line}: {one.kind} {one.name} is never used")
        if one.kind == "module":
            found += _module(source, one)
    return found


def _uses(source: Source, node: Node, scope: frozenset[str], used: set[str], found: list[str]) -> None:
    """Note the names that an expression uses; `scope` has those of loops and lambdas around it."""
    if node.type == "identifier":
        name = text(node)
        used.add(name)
        if name not in source.declared and name not in scope and name not in NAMESPACES:
            found.append(f"{source.path.name}:{line(node)}: {name} is not defined")
        return
    children = list(node.named_children)
    if node.type in KINDS:
        children = [child for child in children[1:] if child.type != "type"]
        children = children[1:] if node.type in ("resource_declaration", "module_declaration") else children
    elif node.type == "object_property" and children[0].type == "identifier":
        children = children[1:]
    elif node.type == "call_expression":
        called = node.child_by_field_name("function")
        children = [child for child in children if child != called]
    elif node.type == "array":
        children = elements(node)
    elif node.type == "decorator":
        return
    elif node.type == "for_statement":
        scope |= {
            text(one) for one in walk(children[0]) if one.type in ("loop_variable", "loop_enumerator", "identifier")
        }
        children = children[1:]
    elif node.type == "lambda_expression":
        scope |= {text(one) for one in walk(children[0]) if one.type == "identifier"}
        children = children[1:]
    for child in children:
        _uses(source, child, scope, used, found)


def _module(source: Source, one: Declaration) -> list[str]:
    where = f"{source.path.name}:{one.line}: module {one.name}"
    path = source.path.parent / one.target
    if not path.is_file():
        return [f"{where}: {one.target} is not there"]
    inner, described = read(path), body(one.value) if one.value else None
    properties = members(described) if described else {}
    given = properties.get("params")
    names = set(members(given)) if given else set()
    return [
        *(
            f"{where}: a module has no {key}"
            for key in sorted(set(properties) - {"name", "params", "scope", "dependsOn"})
        ),
        *(f"{where}: {path.name} takes no {name}" for name in sorted(names - inner.params())),
        *(f"{where}: {path.name} needs {name}" for name in sorted(inner.required() - names)),
    ]
