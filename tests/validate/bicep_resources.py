"""The resources that Bicep files make, with their modules, for one environment."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tree_sitter import Node
from validate.bicep_syntax import Source, body, read
from validate.bicep_values import Values

ENVIRONMENTS = ("dev", "test", "prod")
# So that everything is there that may be there.
ALL = {"deliverEvents": True, "budgetStart": "2026-07-01"}


@dataclass(frozen=True)
class Resource:
    """A resource as it would be sent to Azure; what only Azure knows is a `Runtime` in it.

    Attributes:
        kind, version: its type and API version.
        symbol: what it is called in the file; where: file and line.
        properties: all that was said of it, with its name.
        existing: it is only looked up.
    """

    kind: str
    version: str
    symbol: str
    where: str
    properties: dict[str, Any]
    existing: bool = False

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.properties.get("name", ""))


@dataclass
class Estate:
    """All resources of an environment.

    Attributes:
        asked: properties of resources that expressions ask for: (where, type, path).
        problems: what could not be evaluated.
    """

    resources: list[Resource] = field(default_factory=list)
    existing: list[Resource] = field(default_factory=list)
    asked: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def estate(folder: Path, environment: str = "dev", **params: Any) -> Estate:
    """Return what the files of a folder make, main.bicep first; what is made only under a condition is there too."""
    found = Estate()
    _file(folder / "main.bicep", {**ALL, "environment": environment, **params}, found)
    return found


def bicep_resources(folder: Path, environment: str = "dev", **params: Any) -> Counter[str]:
    """Return how many resources of each type the files of a folder make, those under a condition too."""
    return Counter(one.kind for one in estate(folder, environment, **params).resources)


def _file(path: Path, given: dict[str, Any], found: Estate) -> None:
    source = read(path)
    modules = {
        one.name: read(path.parent / one.target)
        for one in source.declared.values()
        if one.kind == "module" and (path.parent / one.target).is_file()
    }
    values = Values(source, given, modules)
    for one in source.declared.values():
        if one.kind in ("param", "var"):
            values.of(one.node.named_children[0], {})
        elif one.value is not None:
            for described in _turns(values, one.value):
                if one.kind == "resource":
                    kind, _, version = one.target.partition("@")
                    resource = Resource(kind, version, one.name, f"{path.name}:{one.line}", described, one.existing)
                    (found.existing if one.existing else found.resources).append(resource)
                elif one.name in modules:
                    _file(modules[one.name].path, described.get("params", {}), found)
    for one in source.outputs.values():
        if one.value is not None:
            values.of(one.value, {})
    found.problems += values.problems
    found.asked += [(f"{path.name}:{number}", kind, way) for number, kind, way in values.asked]


def _turns(values: Values, node: Node) -> list[dict[str, Any]]:
    """Return the properties of a resource or module, once for each turn of its loop."""
    loop = node if node.type == "for_statement" else None
    if node.type == "array":
        loop = next((child for child in node.named_children if child.type == "for_statement"), None)
    scopes = values.loop(loop, {}) if loop else [{}]
    if node.type == "if_statement":
        values.of(node.named_children[0], {})
    described = body(node)
    return [values.of(described, scope) for scope in scopes] if described else []


def sources(folder: Path) -> list[Source]:
    """Read all files of a folder."""
    return [read(path) for path in sorted(folder.glob("*.bicep"))]
