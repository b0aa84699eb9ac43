"""The registry of models that all environments share: where it is, making it, and who may use it."""

from pathlib import Path
from typing import Any

from .access import REGISTRY_USER, allow, users
from .az import Az
from .environments import Environment
from .fill import filled

KIND = "Microsoft.MachineLearningServices/registries"


def find(az: Az, environment: Environment) -> dict[str, Any] | None:
    """Return the registry as Azure lists it, in whichever resource group it is; None if there is none."""
    words = ("--name", environment.registry, "--resource-type", KIND)
    found: list[dict[str, Any]] = az.read("resource", "list", *words, assume=[]) or []
    return found[0] if found else None


def within(az: Az, environment: Environment) -> bool:
    """Tell whether it is in the resource group of this environment."""
    found = find(az, environment)
    return found is not None and str(found["resourceGroup"]).lower() == environment.resource_group.lower()


def make(az: Az, environment: Environment, root: Path) -> bool:
    """Make it in the resource group of an environment, unless it is somewhere, and let the environment's users in.

    Returns:
        Whether it is new.

    Raises:
        UsageError: the environment has no identities yet, or whoever is logged in is no Owner.
    """
    people = users(az, environment)
    found = find(az, environment)
    if found is None:
        one, group = environment, ("--resource-group", environment.resource_group)
        place = {"location": one.location}
        values = {"name": one.registry, "tags": one.tags, **place, "replication_locations": [place]}
        path = filled(root / "azureml" / "registry.yml", one.sent(root) / "registry.yml", values)
        az.write("ml", "registry", "create", "--file", str(path), *group)
        scope = f"{az.providers(one.resource_group)}/{KIND}/{one.registry}"
    else:
        scope = str(found["id"])
    for principal, kind in people:
        allow(az, principal, kind, REGISTRY_USER, scope)
    return found is None
