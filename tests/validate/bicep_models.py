"""Resources of Bicep held against the models of the Azure SDK: properties, nesting, required ones, types, enums.

The models are generated from the same descriptions of the API as the types of the Bicep compiler. Their API version is
the newest of the package, and need not be the one that a template pins: a property that came later is not found out.
"""

import datetime
import decimal
import enum
import functools
import importlib
import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from validate.bicep_resources import Estate, Resource
from validate.bicep_values import Runtime

ML = "azure.ai.ml._restclient.arm_ml_service.models"
# Every type that a template may use: its API version (reference page azure_ml.md, 5.1), the package of the SDK
# that models it, and the model. `ml` is the part of azure-ai-ml that talks to Azure.
PINNED = {
    "Microsoft.Authorization/roleAssignments": (
        "2022-04-01",
        "authorization.v2022_04_01",
        "RoleAssignmentCreateParameters",
    ),
    "Microsoft.Authorization/roleDefinitions": ("2022-04-01", "authorization.v2022_04_01", "RoleDefinition"),
    "Microsoft.Consumption/budgets": ("2023-11-01", "consumption", "Budget"),
    "Microsoft.ContainerRegistry/registries": ("2025-04-01", "containerregistry", "Registry"),
    "Microsoft.ContainerService/managedClusters": ("2025-05-01", "containerservice", "ManagedCluster"),
    "Microsoft.DataFactory/factories": ("2018-06-01", "datafactory", "Factory"),
    "Microsoft.DataFactory/factories/pipelines": ("2018-06-01", "datafactory", "PipelineResource"),
    "Microsoft.DataFactory/factories/triggers": ("2018-06-01", "datafactory", "TriggerResource"),
    "Microsoft.EventGrid/systemTopics": ("2025-02-15", "eventgrid", "SystemTopic"),
    "Microsoft.EventGrid/systemTopics/eventSubscriptions": ("2025-02-15", "eventgrid", "EventSubscription"),
    "Microsoft.Insights/actionGroups": ("2023-01-01", "monitor", "ActionGroupResource"),
    "Microsoft.Insights/components": ("2020-02-02", "applicationinsights.v2020_02_02", "ApplicationInsightsComponent"),
    "Microsoft.Insights/diagnosticSettings": ("2021-05-01-preview", "", ""),  # see DIAGNOSTICS
    "Microsoft.Insights/metricAlerts": ("2018-03-01", "monitor", "MetricAlertResource"),
    "Microsoft.Insights/scheduledQueryRules": ("2022-06-15", "monitor", "ScheduledQueryRuleResource"),
    "Microsoft.Insights/webtests": ("2022-06-15", "applicationinsights.v2022_06_15", "WebTest"),
    "Microsoft.KeyVault/vaults": ("2024-11-01", "keyvault", "Vault"),
    "Microsoft.KubernetesConfiguration/extensions": ("2023-05-01", "kubernetesconfiguration.extensions", "Extension"),
    "Microsoft.MachineLearningServices/workspaces": ("2025-12-01", "ml", "Workspace"),
    "Microsoft.MachineLearningServices/workspaces/computes": ("2025-12-01", "ml", "ComputeResource"),
    "Microsoft.ManagedIdentity/userAssignedIdentities": ("2024-11-30", "msi.v2024_11_30", "Identity"),
    "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials": (
        "2024-11-30",
        "msi.v2024_11_30",
        "FederatedIdentityCredential",
    ),
    "Microsoft.Network/networkSecurityGroups": ("2025-05-01", "network", "NetworkSecurityGroup"),
    "Microsoft.Network/privateDnsZones": ("2024-06-01", "privatedns", "PrivateZone"),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": ("2024-06-01", "privatedns", "VirtualNetworkLink"),
    "Microsoft.Network/privateEndpoints": ("2025-05-01", "network", "PrivateEndpoint"),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": ("2025-05-01", "network", "PrivateDnsZoneGroup"),
    "Microsoft.Network/virtualNetworks": ("2025-05-01", "network", "VirtualNetwork"),
    "Microsoft.Network/virtualNetworks/subnets": ("2025-05-01", "network", "Subnet"),
    "Microsoft.OperationalInsights/workspaces": ("2025-07-01", "loganalytics", "Workspace"),
    "Microsoft.Portal/dashboards": ("2020-09-01-preview", "portal", "Dashboard"),
    "Microsoft.Storage/storageAccounts": ("2025-06-01", "storage", "StorageAccountCreateParameters"),
    "Microsoft.Storage/storageAccounts/blobServices": ("2025-06-01", "storage", "BlobServiceProperties"),
    "Microsoft.Storage/storageAccounts/blobServices/containers": ("2025-06-01", "storage", "BlobContainer"),
    "Microsoft.Web/serverfarms": ("2024-04-01", "web", "AppServicePlan"),
    "Microsoft.Web/sites": ("2024-04-01", "web", "Site"),
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": (
        "2024-04-01",
        "web",
        "CsmPublishingCredentialsPoliciesEntity",
    ),
}
# What is told of a resource, where that is another model.
TOLD = {"Microsoft.Storage/storageAccounts": "StorageAccount"}
# What Bicep itself reads.
OF_BICEP = {"name", "parent", "scope", "dependsOn"}
# A discriminating property that may be more than the SDK knows: the portal has many kinds of tiles.
OPEN = {"DashboardPartMetadata"}
SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "decimal": (int, float),
    "iso-8601": (str,), "rfc-1123": (str,), "date": (str,), "duration": (str,), "bytearray": (str,),
}  # fmt: skip
NAMES = {str: "a text", int: "a number", bool: "true or false", list: "a list", dict: "an object", float: "a number"}
DURATION = re.compile(r"P(?=\d|T\d)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(\d+H)?(\d+M)?(\d+S)?)?")


@dataclass(frozen=True)
class Shape:
    """What a value must be.

    Attributes:
        kind: any, scalar, enum, list, map, model, or nested (properties of a model that it keeps flat).
        of: the scalar's name, the enum's values, the shape inside a list or map, the model, the nested properties.
    """

    kind: str
    of: Any = None
    required: bool = False
    read_only: bool = False


ANY = Shape("any")
TEXT, SWITCH = Shape("scalar", "str"), Shape("scalar", "bool", required=True)
# The one type that the SDK has no model of (any more): written after its reference page.
DIAGNOSTICS = {
    "properties": Shape(
        "nested",
        {
            "workspaceId": TEXT,
            "storageAccountId": TEXT,
            "logAnalyticsDestinationType": TEXT,
            "logs": Shape("list", Shape("nested", {"category": TEXT, "categoryGroup": TEXT, "enabled": SWITCH})),
            "metrics": Shape("list", Shape("nested", {"category": TEXT, "timeGrain": TEXT, "enabled": SWITCH})),
        },
    )
}


def model_of(kind: str, told: bool = False) -> type:
    """Return the model of a type of resource: of what can be set, or of what is told."""
    _, package, name = PINNED[kind]
    module = ML if package == "ml" else f"azure.mgmt.{package}.models"
    found: type = getattr(importlib.import_module(module), TOLD.get(kind, name) if told else name)
    return found


@functools.cache
def fields(model: type) -> dict[str, Shape]:
    """Return what a model knows, by the names that the API has for it."""
    if hasattr(model, "_attribute_map"):
        return _fields_of_old(model)
    return _fields_of_new(model)


def _fields_of_old(model: Any) -> dict[str, Shape]:
    """Models that keep a table of their attributes."""
    found: dict[str, Any] = {}
    package = sys.modules[model.__module__.rpartition(".")[0]]
    # Their tables call an enum a text; which one it is stands only in the description.
    enums = dict(re.findall(r":(?:var)?type (\w+): str\s+or\s+~[\w.]+\.(\w+)", model.__doc__ or ""))
    for attribute, about in model._attribute_map.items():
        rules = model._validation.get(attribute, {}) if hasattr(model, "_validation") else {}
        *way, last = [step.replace("\\.", ".") for step in re.split(r"(?<!\\)\.", about["key"])]
        table = found
        for step in way:
            table = table.setdefault(step, {})
        if last:
            shape = _shape_of_old(enums.get(attribute, about["type"]), package)
            table[last] = Shape(shape.kind, shape.of, bool(rules.get("required")), bool(rules.get("readonly")))
    return _nested(found)


def _nested(table: Mapping[str, Any]) -> dict[str, Shape]:
    return {key: inner if isinstance(inner, Shape) else Shape("nested", _nested(inner)) for key, inner in table.items()}


def _shape_of_old(said: str, package: types.ModuleType) -> Shape:
    if said[:1] in "[{":
        return Shape("list" if said[0] == "[" else "map", _shape_of_old(said[1:-1], package))
    if said in SCALARS:
        return Shape("scalar", said)
    found = getattr(package, said, None)
    return _shape_of_class(found) if isinstance(found, type) else ANY


def _fields_of_new(model: Any) -> dict[str, Shape]:
    """Models that are annotated."""
    if not model.__dict__.get("_attr_to_rest_field"):
        model.__new__(model)  # their table is made with the first of them
    found = {}
    for attribute, about in model._attr_to_rest_field.items():
        owner = next(one for one in model.__mro__ if attribute in inspect.get_annotations(one))
        module = sys.modules[owner.__module__]
        package = sys.modules[owner.__module__.rpartition(".")[0]]
        holder = type("Holder", (), {"__annotations__": {"it": inspect.get_annotations(owner)[attribute]}})
        hints = typing.get_type_hints(holder, {**vars(module), "_models": package, "_types": package})
        shape, optional = _shape_of_new(hints["it"])
        read_only = list(about._visibility or ()) == ["read"]
        fixed = about._is_discriminator
        found[about._rest_name] = Shape(shape.kind, shape.of, not (optional or read_only or fixed), read_only)
    return found


def _shape_of_new(hint: Any) -> tuple[Shape, bool]:
    """Return the shape of an annotation, and whether it is optional."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        optional = type(None) in inner
        kinds = [_shape_of_new(one)[0] for one in inner if one is not type(None)]
        enums = [one for one in kinds if one.kind == "enum"]
        return (enums or kinds)[0] if len(kinds) == 1 or enums else ANY, optional
    if origin is typing.Literal:
        values = tuple(one.value if isinstance(one, enum.Enum) else one for one in inner)
        return Shape("enum", values), False
    if origin is list:
        return Shape("list", _shape_of_new(inner[0])[0]), False
    if origin is dict:
        return Shape("map", _shape_of_new(inner[1])[0]), False
    return _shape_of_class(hint) if isinstance(hint, type) else ANY, False


def _shape_of_class(found: type) -> Shape:
    if issubclass(found, enum.Enum):
        return Shape("enum", tuple(one.value for one in found))
    names = {
        str: "str", bool: "bool", int: "int", float: "float", decimal.Decimal: "decimal", bytes: "bytearray",
        datetime.datetime: "iso-8601", datetime.date: "date", datetime.timedelta: "duration",
    }  # fmt: skip
    if found in names:
        return Shape("scalar", names[found])
    if hasattr(found, "_attribute_map") or any(one.__name__ == "Model" for one in found.__mro__):
        return Shape("model", found)
    return ANY


def _subtypes(model: Any) -> tuple[str, dict[str, Any]]:
    """Return the discriminating property of a model, and all models that it selects, those of models below too."""
    key, direct = "", {}
    if hasattr(model, "_attribute_map"):
        package = sys.modules[model.__module__.rpartition(".")[0]]
        for attribute, names in model.__dict__.get("_subtype_map", {}).items():
            key = model._attribute_map[attribute]["key"].replace("\\.", ".")
            direct = {said: getattr(package, name) for said, name in names.items()}
    elif table := model.__dict__.get("__mapping__"):
        fields(model)  # so that the table of attributes is made
        key = next((about._rest_name for about in model._attr_to_rest_field.values() if about._is_discriminator), "")
        direct = {said: other for said, other in table.items() if other is not model}
    found = dict(direct)
    for other in direct.values():
        found = {**_subtypes(other)[1], **found}
    return key, found


def _variant(model: Any, value: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the model that a discriminating property selects, and what is wrong with it."""
    key, models = _subtypes(model)
    said = value.get(key)
    if not key or isinstance(said, Runtime) or model.__name__ in OPEN:
        return model, ""
    if said not in models:
        return model, f"{key} is {said!r}, but there are {', '.join(sorted(models))}"
    return models[said], ""


def check(shape: Shape, value: Any, where: str) -> Iterator[str]:
    """Tell how a value differs from what it must be."""
    if value is None or shape.kind == "any":
        return
    if isinstance(value, Runtime):
        known = value.kind == "string"
        if known and (shape.kind in ("list", "map", "model", "nested") or _scalar(shape) not in ("", str)):
            yield f"{where} is a text, but must be {_wanted(shape)}"
    elif shape.kind == "enum":
        if value not in shape.of:
            yield f"{where} is {value!r}, but there are {', '.join(map(str, shape.of))}"
    elif shape.kind == "scalar":
        fits = isinstance(value, SCALARS[shape.of]) and not (isinstance(value, bool) and shape.of != "bool")
        if not fits:
            yield f"{where} is {value!r}, but must be {_wanted(shape)}"
        elif shape.of == "duration" and not DURATION.fullmatch(value):
            yield f"{where} is {value!r}, but must be a duration such as PT5M"
    elif shape.kind == "list":
        if isinstance(value, list):
            for index, one in enumerate(value):
                yield from check(shape.of, one, f"{where}[{index}]")
        else:
            yield f"{where} is {value!r}, but must be a list"
    elif not isinstance(value, dict):
        yield f"{where} is {value!r}, but must be an object"
    elif shape.kind == "map":
        for key, one in value.items():
            yield from check(shape.of, one, f"{where}.{key}")
    elif shape.kind == "nested":
        yield from _object(shape.of, value, where)
    else:
        model, problem = _variant(shape.of, value)
        if problem:
            yield f"{where}: {problem}"
        elif model.__name__ not in OPEN:
            yield from _object(fields(model), value, where)


def _object(
    known: Mapping[str, Shape], value: Mapping[str, Any], where: str, without: frozenset[str] = frozenset()
) -> Iterator[str]:
    for key, one in value.items():
        if key in without:
            continue
        if key not in known:
            yield f"{where}.{key} is not known; there are {', '.join(sorted(known))}"
        elif known[key].read_only:
            yield f"{where}.{key} is told by Azure, and cannot be set"
        else:
            yield from check(known[key], one, f"{where}.{key}")
    for key, shape in known.items():
        if shape.required and key not in value and key not in without:
            yield f"{where}.{key} is missing"


def _scalar(shape: Shape) -> type | str:
    return SCALARS[shape.of][0] if shape.kind == "scalar" else ""


def _wanted(shape: Shape) -> str:
    kinds = {"list": list, "map": dict, "model": dict, "nested": dict}
    return NAMES[kinds.get(shape.kind) or SCALARS[shape.of][0]]


def differences(resource: Resource) -> list[str]:
    """Tell how a resource differs from the model of its type."""
    where = f"{resource.where}: {resource.symbol}"
    if resource.kind not in PINNED:
        return [f"{where}: no model is known for {resource.kind}"]
    wanted = PINNED[resource.kind][0]
    found = [] if resource.version == wanted else [f"{where}: API version {resource.version}, but {wanted} is pinned"]
    if resource.existing:
        strange = sorted(set(resource.properties) - OF_BICEP)
        return found + [f"{where}.{key} cannot be said of a resource that exists" for key in strange]
    known, problem = DIAGNOSTICS, ""
    if PINNED[resource.kind][1]:
        model, problem = _variant(model_of(resource.kind), resource.properties)
        known = fields(model)
    if problem:
        return [*found, f"{where}: {problem}"]
    return found + list(_object(known, resource.properties, where, frozenset(OF_BICEP)))


def unknown(estate: Estate) -> list[str]:
    """Tell which properties an expression asks for, though no resource has them."""
    found = []
    for where, kind, way in estate.asked:
        shape = Shape("model", model_of(kind, told=True)) if PINNED.get(kind, ("", ""))[1] else ANY
        for step in way:
            if shape.kind in ("any", "map", "list"):
                break
            known = fields(shape.of) if shape.kind == "model" else shape.of if shape.kind == "nested" else {}
            if step not in known:
                found.append(f"{where}: {kind} has no {'.'.join(way)}")
                break
            shape = known[step]
    return found
