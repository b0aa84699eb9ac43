"""The infrastructure in Bicep: what it would change, making it, and what Azure keeps of an earlier one."""

from contextlib import suppress
from pathlib import Path

from ..errors import UsageError
from .az import Az, Forbidden
from .environments import Environment


def used(root: Path) -> bool:
    """Tell whether the project has its infrastructure in Bicep; else it is in Terraform.

    Raises:
        UsageError: it has none.
    """
    if (root / "infra" / "bicep").is_dir():
        return True
    if (root / "infra" / "terraform").is_dir():
        return False
    raise UsageError(f"{root / 'infra'} has neither bicep nor terraform.")


def plan(az: Az, environment: Environment, root: Path, delivers: bool) -> str:
    """Say what would change, a line for each resource; the resource group exists."""
    words = ("--resource-group", environment.resource_group, *_template(az, environment, root, delivers))
    told = az.read("deployment", "group", "what-if", *words, "--no-pretty-print", assume={}, seconds=1800)
    changes = [
        f"{one['changeType']}: {one['resourceId'].split('/providers/')[-1]}"
        for one in (told or {}).get("changes", [])
        if one.get("changeType") not in ("NoChange", "Ignore")
    ]
    return "\n".join(changes) or "Nothing would change."


def up(az: Az, environment: Environment, root: Path, delivers: bool) -> None:
    """Make it as the files say, in the resource group that exists."""
    _recover(az, environment)
    name, group = f"{environment.name}-infra", ("--resource-group", environment.resource_group)
    words = _template(az, environment, root, delivers)
    az.write("deployment", "group", "create", "--name", name, *group, *words)


def _recover(az: Az, environment: Environment) -> None:
    """Bring back a key vault of an earlier time: it was only marked as deleted, and nobody can have its name."""
    deleted = None
    with suppress(Forbidden):  # who owns one resource group may not look; the deployment says it then
        deleted = az.read("keyvault", "list-deleted", "--resource-type", "vault", assume=None)
    if any(one.get("name") == environment.key_vault for one in deleted or []):
        words = ("--location", environment.location, "--resource-group", environment.resource_group)
        az.write("keyvault", "recover", "--name", environment.key_vault, *words)


def _template(az: Az, environment: Environment, root: Path, delivers: bool) -> tuple[str, ...]:
    told = [f"environment={environment.name}", f"deliverEvents={str(delivers).lower()}"]
    found = az.read("consumption", "budget", "list", "--resource-group", environment.resource_group, assume=None) or []
    began = [str(one["timePeriod"]["startDate"]) for one in found if one.get("name") == environment.budget_name]
    if began:  # Azure refuses another month than the one it began in
        told.append(f"budgetStart={began[0][:10]}")
    return ("--template-file", str(root / "infra" / "bicep" / "main.bicep"), "--parameters", *told)
