"""What Bicep files would send to Azure, with every id, principal and condition worked out.

`bicep_values` leaves open what only Azure knows. For a comparison with another language it is filled in, in the form in
which the stand-ins for Terraform's providers foretell it.
"""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tree_sitter import Node
from validate.bicep_syntax import Source, body, members, read, text
from validate.bicep_values import Reference, Scope, Values
from validate.terraform_names import SUBSCRIPTION, assignment_id, part_of

Resource = dict[str, Any]
TENANT = SUBSCRIPTION.rpartition("/")[2]
# What says where and when, not what.
NOT_SENT = ("name", "parent", "scope", "dependsOn")


def resources(folder: Path, environment: str, **params: Any) -> list[Resource]:
    """Return the resources that `main.bicep` makes: type, id and all that is said of them."""
    file = main(folder, environment, **params)
    made = file.resources()
    assert not file.problems, file.problems
    # A role of the project's own has a random id; its name says more.
    own = [one for one in made if one["type"].endswith("/roleDefinitions")]
    roles = {one["name"]: f"role {one['properties']['roleName']}" for one in own}
    for one in made:
        one["id"] = roles.get(one["name"], one["id"])
        if one["type"].endswith("/roleAssignments"):
            said = one["properties"]
            said["roleDefinitionId"] = roles.get(said["roleDefinitionId"].rpartition("/")[2], said["roleDefinitionId"])
            scope = one["id"].partition("/providers/Microsoft.Authorization/")[0]
            one["id"] = assignment_id(scope, said["roleDefinitionId"], said["principalId"])
    return made


def outputs(folder: Path, environment: str, **params: Any) -> dict[str, Any]:
    """Return what `main.bicep` gives back."""
    file = main(folder, environment, **params)
    return {one.name: file.of(one.value, {}) for one in file.source.outputs.values() if one.value}


def main(folder: Path, environment: str, **params: Any) -> "Resolved":
    """Return `main.bicep`, to be worked out for an environment."""
    conf = yaml.safe_load((folder / f"../../conf/environments/{environment}.yaml").read_text("utf-8"))
    return Resolved(read(folder / "main.bicep"), {"environment": environment, **params}, group=conf["resource_group"])


class Resolved(Values):
    """Evaluates one file and the modules that it calls."""

    def __init__(self, source: Source, given: Mapping[str, Any], group: str) -> None:
        """Take a file, its params and the name of the resource group."""
        super().__init__(source, given)
        self.group = group
        self._modules: dict[str, Resolved] = {}

    def resources(self) -> list[Resource]:
        """Return what the file and its modules make."""
        found: list[Resource] = []
        for one in self.source.declared.values():
            if one.kind == "module":
                found += self._module(one.name).resources()
            elif one.kind == "resource" and not one.existing:
                for index, (scope, node, wanted) in enumerate(self._turns(one.value)):
                    if wanted:
                        told = {key: value for key, value in self.of(node, scope).items() if key not in NOT_SENT}
                        id_ = self._id(one.name, index)
                        found.append(
                            {**told, "type": one.target.partition("@")[0], "id": id_, "name": id_.rpartition("/")[2]}
                        )
        for inner in self._modules.values():
            self.problems += [said for said in inner.problems if said not in self.problems]
        return found

    def _module(self, symbol: str) -> "Resolved":
        if symbol not in self._modules:
            one = self.source.declared[symbol]
            ((scope, node, _),) = self._turns(one.value)
            params = self.of(node, scope).get("params", {})
            self._modules[symbol] = Resolved(read(self.source.path.parent / one.target), params, self.group)
        return self._modules[symbol]

    def _turns(self, node: Node | None) -> list[tuple[Scope, Node, bool]]:
        """Return, for each turn of a loop, the loop's names, the description, and whether the condition holds."""
        assert node
        loop = node if node.type == "for_statement" else None
        if node.type == "array":
            loop = next(child for child in node.named_children if child.type == "for_statement")
        last = loop.named_children[-1] if loop else node
        described = body(node)
        assert described
        condition = last.named_children[0] if last.type == "if_statement" else None
        scopes = self.loop(loop, {}) if loop else [{}]
        return [(scope, described, condition is None or bool(self.of(condition, scope))) for scope in scopes]

    def _id(self, symbol: str, index: int) -> str:
        one = self.source.declared[symbol]
        kind = one.target.partition("@")[0]
        scope, node, _ = self._turns(one.value)[index]
        said = members(node)
        name = str(self.of(said["name"], scope))
        upon = said.get("parent") or said.get("scope")
        if upon:
            return part_of(str(self.of(upon, scope)), kind, name)
        group, (space, *types), names = f"{SUBSCRIPTION}/resourceGroups/{self.group}", kind.split("/"), name.split("/")
        return f"{group}/providers/{space}/" + "/".join(f"{a}/{b}" for a, b in zip(types, names, strict=True))

    def _get(self, node: Node, value: Any, key: Any) -> Any:
        if isinstance(value, Reference):
            return Reference(value.symbol, value.target, value.module, (*value.path, key))
        return super()._get(node, value, key)

    def _settled(self, node: Node, ref: Reference) -> Any:
        if not ref.path and self.source.declared[ref.symbol].kind == "module":
            return ref.symbol
        if self.source.declared[ref.symbol].kind == "module":
            inner = self._module(ref.symbol)
            output = inner.source.outputs.get(ref.path[-1])
            return (
                inner.of(output.value, {}) if output and output.value else self.problem(node, "there is no such output")
            )
        path: tuple[Any, ...] = ref.path
        index, path = (path[0], path[1:]) if path and isinstance(path[0], int) else (0, path)
        id_ = self._id(ref.symbol, index)
        name, last = id_.rpartition("/")[2], path[-1] if path else "id"
        known = {"id": id_, "name": name, "principalId": f"principal of {name}", "clientId": f"client of {name}"}
        return known.get(last, f"{id_}#{last}")

    def _call_expression(self, node: Node, scope: Scope) -> Any:
        name = text(node.named_children[0])
        group = f"{SUBSCRIPTION}/resourceGroups/{self.group}"
        known = {
            "resourceGroup": {"id": group, "name": self.group},
            "subscription": {"id": SUBSCRIPTION, "subscriptionId": TENANT, "tenantId": TENANT},
        }
        given = [self.of(child, scope) for child in node.named_children[1].named_children if child.type != "comment"]
        match name:
            case "resourceGroup" | "subscription":
                return known[name]
            case "guid":
                return str(uuid.uuid5(uuid.NAMESPACE_URL, " ".join(map(str, given))))
            case "subscriptionResourceId":
                return f"{SUBSCRIPTION}/providers/{given[0]}/{given[1]}"
            case "resourceId":
                return f"{group}/providers/{given[0]}/{given[1]}"
            case _:
                return super()._call_expression(node, scope)
