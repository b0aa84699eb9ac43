"""Two estates, one written in Bicep and one in Terraform, held against each other property by property."""

import json
from pathlib import Path
from typing import Any

from validate import parity_bicep, terraform_arm, terraform_run, terraform_schema
from validate.terraform_names import SUBSCRIPTION

Resource = dict[str, Any]
# So that everything is there that may be there.
ASKED = {"deliver_events": True, "budget_start": "2026-07-01"}
# Differences that there may be: the type, the property, and why.
ALLOWED = {
    ("Microsoft.Insights/metricAlerts", "properties.criteria.allOf[].name"): "azurerm calls every criterion Metric1",
    (
        "Microsoft.Network/privateEndpoints/privateDnsZoneGroups",
        "properties.privateDnsZoneConfigs[].name",
    ): "azurerm calls it after the zone",
    ("Microsoft.Network/privateDnsZones", "location"): "azurerm knows that zones are global",
}


def of_bicep(project: Path, environment: str) -> list[Resource]:
    """Return what a project's Bicep files make, with all that may be asked for."""
    return parity_bicep.resources(
        project / "infra" / "bicep", environment, **{camel(key): value for key, value in ASKED.items()}
    )


def of_terraform(project: Path, environment: str) -> list[Resource]:
    """Return what a plan of a project's Terraform files makes, with all that may be asked for."""
    given = [f"{key}={json.dumps(value).strip(chr(34))}" for key, value in ASKED.items()]
    planned = terraform_run.foretold(project / "infra" / "terraform", f"environment={environment}", *given)
    return [
        made
        for one in planned["root_module"]["resources"]
        for made in terraform_arm.resources(one, settable(one["type"]))
    ]


def camel(name: str) -> str:
    """Return a name as Bicep writes it."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def settable(kind: str) -> set[str]:
    """Return the arguments and blocks of a resource that its author may write."""
    whole = terraform_schema.azapi() if kind.startswith("azapi") else terraform_schema.azurerm(terraform_run.kept())
    block = whole.resource_schemas[kind].block
    arguments = {one.name for one in block.attributes if one.optional or one.required}
    return arguments | {one.type_name for one in block.block_types}


def differences(bicep: list[Resource], terraform: list[Resource]) -> list[str]:
    """Return what one estate has and the other has not, or has otherwise: a line each, Bicep's value first."""
    found = []
    left, right = ({short(one): one for one in estate} for estate in (bicep, terraform))
    for name, estate, unique in (("bicep", bicep, left), ("terraform", terraform, right)):
        if len(estate) != len(unique):
            found.append(f"{name} makes something twice")
    for id_ in sorted(left.keys() | right.keys()):
        if id_ not in left or id_ not in right:
            found.append(f"{id_}: only in {'bicep' if id_ in left else 'terraform'}")
            continue
        kind = left[id_]["type"]
        a, b = (plain({k: v for k, v in one[id_].items() if k not in ("id", "name")}, kind) for one in (left, right))
        found += [f"{id_}: {line}" for line in unequal(a, b)]
    return found


def short(resource: Resource) -> str:
    """Return the type and the id of a resource, without what is the same for all."""
    return f"{resource['type']} {resource['id'].replace(SUBSCRIPTION, '')}"


def plain(value: Any, kind: str, path: str = "") -> Any:
    """Return a value without what is empty, allowed to differ, or only an order."""
    if isinstance(value, dict):
        if path.endswith(".userAssignedIdentities"):
            return sorted(value)
        inner = {key: plain(one, kind, f"{path}.{key}" if path else key) for key, one in value.items()}
        kept = {key: one for key, one in inner.items() if one not in (None, "", [], {})}
        kept = {key: one for key, one in kept.items() if (kind, f"{path}.{key}" if path else key) not in ALLOWED}
        # Their keys are names that nobody reads.
        return sorted(kept.values(), key=json.dumps) if path.endswith(".notifications") else kept
    if isinstance(value, list):
        return sorted((plain(one, kind, f"{path}[]") for one in value), key=lambda one: json.dumps(one, sort_keys=True))
    return value


def unequal(a: Any, b: Any, path: str = "") -> list[str]:
    """Return the places in which two values differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        return [
            line
            for key in sorted(a.keys() | b.keys())
            for line in unequal(a.get(key), b.get(key), f"{path}.{key}".strip("."))
        ]
    if isinstance(a, list) and isinstance(b, list):
        # What both have says nothing.
        a, b = [one for one in a if one not in b], [one for one in b if one not in a]
    return [] if a == b else [f"{path}: {json.dumps(a)} | {json.dumps(b)}"]
