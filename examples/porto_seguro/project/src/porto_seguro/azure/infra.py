"""The infrastructure of an environment, by whichever language the project has it in: plan, up, down."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import Fault, UsageError
from .az import Az
from .environments import Environment


def plan(az: Az, environment: Environment, root: Path) -> str:
    """Say what would change, and change nothing."""
    if _bicep(root):
        group = ("--resource-group", environment.resource_group)
        if az.read("group", "exists", *group, assume=True) is not True:
            return f"The resource group {environment.resource_group} does not exist yet: all of it would be made."
        told = az.read(
            "deployment",
            "group",
            "what-if",
            *group,
            *_template(az, environment, root),
            "--no-pretty-print",
            assume={},
            seconds=1800,
        )
        changes = [
            f"{one['changeType']}: {one['resourceId'].split('/providers/')[-1]}"
            for one in (told or {}).get("changes", [])
            if one.get("changeType") not in ("NoChange", "Ignore")
        ]
        return "\n".join(changes) or "Nothing would change."
    _terraform(az, root, environment, "plan")
    return "Terraform has shown the plan."


def up(az: Az, environment: Environment, root: Path) -> str:
    """Make it as the files say; events are delivered once there is a function to deliver them to."""
    group = ("--resource-group", environment.resource_group)
    tags = [f"{key}={text}" for key, text in environment.tags.items()]
    az.write("group", "create", *group, "--location", environment.location, "--tags", *tags)
    if _bicep(root):
        name = f"{environment.name}-infra"
        az.write("deployment", "group", "create", "--name", name, *group, *_template(az, environment, root))
    else:
        _terraform(az, root, environment, "apply", "-auto-approve")
    return f"{environment.name} is as its files say."


def down(az: Az, environment: Environment, root: Path, confirmed: str) -> str:
    """Remove all of it, with every model, log and data set in it.

    Raises:
        UsageError: `confirmed` is not the environment's name.
    """
    if confirmed != environment.name:
        raise UsageError(f"Nothing was removed: what was typed is not {environment.name}.")
    if _bicep(root):
        az.write("group", "delete", "--resource-group", environment.resource_group, "--yes")
    else:
        _terraform(az, root, environment, "destroy", "-auto-approve")
    return f"{environment.name} was removed. Its key vault keeps its name until it is purged."


def _bicep(root: Path) -> bool:
    if (root / "infra" / "bicep").is_dir():
        return True
    if (root / "infra" / "terraform").is_dir():
        return False
    raise UsageError(f"{root / 'infra'} has neither bicep nor terraform.")


def _delivers(az: Az, environment: Environment) -> str:
    """Whether the functions for events are there, as a parameter: Event Grid refuses one that is not."""
    app = ("--name", environment.function_app, "--resource-group", environment.resource_group)
    return "true" if az.find("functionapp", "function", "list", *app) else "false"


def _template(az: Az, environment: Environment, root: Path) -> tuple[str, ...]:
    told = (f"environment={environment.name}", f"deliverEvents={_delivers(az, environment)}")
    return ("--template-file", str(root / "infra" / "bicep" / "main.bicep"), "--parameters", *told)


def _terraform(az: Az, root: Path, environment: Environment, action: str, *options: str) -> None:
    """Run terraform, in a workspace of its own for each environment; what it says goes to standard error."""
    found = shutil.which("terraform")
    where = f"-chdir={root / 'infra' / 'terraform'}"
    backend = f"{environment.name}.tfbackend"  # where the state is kept, if a file says so; else TF_CLI_ARGS_init does
    more = [f"-backend-config={backend}"] if (root / "infra" / "terraform" / backend).is_file() else []
    told = (f"-var=environment={environment.name}", f"-var=deliver_events={_delivers(az, environment)}")
    commands = [
        ("init", "-input=false", *more),
        ("workspace", "select", "-or-create", environment.name),
        (action, "-input=false", *options, *told),
    ]
    for command in commands:
        print(shlex.join(["terraform", where, *command]), file=sys.stderr)
        if az.dry:
            continue
        if found is None:
            raise UsageError("Terraform is missing: install it, then try again.")
        if subprocess.run(
            [found, where, *command], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False
        ).returncode:
            raise Fault(f"terraform {command[0]} failed; what it said stands above.")
