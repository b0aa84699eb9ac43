"""The infrastructure of an environment, by whichever language the project has it in: plan, up, down."""

from contextlib import suppress
from pathlib import Path

from ..errors import UsageError
from . import bicep, shared_registry, terraform
from .az import Az, NotFound, NoWorkspace
from .environments import Environment


def plan(az: Az, environment: Environment, root: Path) -> str:
    """Say what would change, and change nothing."""
    by_bicep = bicep.used(root)
    if not _there(az, environment):
        return (
            f"The resource group {environment.resource_group} does not exist yet: azure infra up makes it, and all that "
            "its files say."
        )
    if by_bicep:
        return bicep.plan(az, environment, root, delivers(az, environment))
    terraform.run(az, environment, root, "plan", *_told(az, environment))
    return "Terraform has shown the plan."


def up(az: Az, environment: Environment, root: Path) -> str:
    """Make it as the files say; events are delivered once there is a function to deliver them to."""
    by_bicep = bicep.used(root)
    if not by_bicep:
        terraform.ready(az, environment, root)  # or say what is missing, before anything is made
    group = ("--resource-group", environment.resource_group)
    tags = [f"{key}={text}" for key, text in environment.tags.items()]
    az.write("group", "create", *group, "--location", environment.location, "--tags", *tags)
    if by_bicep:
        bicep.up(az, environment, root, delivers(az, environment))
    else:
        terraform.run(az, environment, root, "apply", "-auto-approve", *_told(az, environment))
    return f"{environment.name} is as its files say."


def down(az: Az, environment: Environment, root: Path, confirmed: str) -> str:
    """Remove all of it, with every model, log and data set in it.

    Raises:
        UsageError: `confirmed` is not the environment's name, or the registry that all environments share is in it.
    """
    if confirmed != environment.name:
        raise UsageError(f"Nothing was removed: what was typed is not {environment.name}.")
    by_bicep, group = bicep.used(root), ("--resource-group", environment.resource_group)
    if not _there(az, environment):
        return f"The resource group {environment.resource_group} does not exist: there is nothing to remove."
    if shared_registry.within(az, environment):
        raise UsageError(
            f"Nothing was removed: the registry {environment.registry}, which all environments share, is in "
            f"{environment.resource_group}. If none of them needs its models any more, remove it first: az ml registry "
            f"delete --name {environment.registry} --resource-group {environment.resource_group}"
        )
    if not by_bicep:
        terraform.ready(az, environment, root)
    with suppress(NotFound, NoWorkspace):  # else its name would be taken for two weeks
        words = ("--name", environment.workspace, *group, "--permanently-delete", "--yes")
        az.write("ml", "workspace", "delete", *words)
    if not by_bicep:
        terraform.run(az, environment, root, "destroy", "-auto-approve", *_told(az, environment))
    az.write("group", "delete", *group, "--yes")
    return (
        f"{environment.name} was removed. Its key vault keeps the name {environment.key_vault} for 90 days; until then, "
        "azure infra up recovers it."
    )


def delivers(az: Az, environment: Environment) -> bool:
    """Tell whether the functions for events are there: Event Grid refuses one that is not."""
    app = ("--name", environment.function_app, "--resource-group", environment.resource_group)
    with suppress(NoWorkspace):
        return bool(az.find("functionapp", "function", "list", *app))
    return False


def _there(az: Az, environment: Environment) -> bool:
    return az.read("group", "exists", "--resource-group", environment.resource_group, assume=True) is True


def _told(az: Az, environment: Environment) -> tuple[str, ...]:
    told = str(delivers(az, environment)).lower()
    return (f"-var=environment={environment.name}", f"-var=deliver_events={told}")
