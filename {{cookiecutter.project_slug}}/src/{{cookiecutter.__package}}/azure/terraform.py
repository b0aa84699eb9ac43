"""The infrastructure in Terraform: running it for an environment, and the storage account that keeps its state."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from ..errors import Fault, UsageError
from ..table import replacing
from .access import BLOB_CONTRIBUTOR, allow
from .az import Az
from .environments import Environment

CONTAINER = "tfstate"
STDERR = 2
INIT = "TF_CLI_ARGS_init"  # Terraform's own variable: what `init` is told besides


def ready(az: Az, environment: Environment, root: Path) -> list[str]:
    """Return how `terraform init` is told where the state is.

    Raises:
        UsageError: nothing says so, or Terraform is not installed.
    """
    if not az.dry and shutil.which("terraform") is None:
        raise UsageError("Terraform is missing: install it, then try again.")
    file = f"{environment.name}.tfbackend"
    if (root / "infra" / "terraform" / file).is_file() or (az.dry and not os.environ.get(INIT)):
        return [f"-backend-config={file}"]
    if os.environ.get(INIT):
        return []
    raise UsageError(
        f"Nothing says where Terraform keeps its state: azure infra state --env {environment.name} makes a place and writes "
        f"infra/terraform/{file}; or write that file yourself (infra/terraform/README.md), or set {INIT}."
    )


def run(az: Az, environment: Environment, root: Path, action: str, *options: str) -> None:
    """Run terraform, in a workspace of its own for each environment; what it says goes to standard error.

    Raises:
        UsageError: it is not installed, or nothing says where its state is.
        Fault: it failed.
    """
    where = f"-chdir={root / 'infra' / 'terraform'}"
    commands = [
        ("init", "-input=false", *ready(az, environment, root)),
        ("workspace", "select", "-or-create", environment.name),
        (action, "-input=false", *options),
    ]
    told = dict(os.environ)
    if not told.get("ARM_SUBSCRIPTION_ID"):  # azurerm 4 does not ask `az` for it
        told["ARM_SUBSCRIPTION_ID"] = az.subscription
    for command in commands:  # what they say goes to standard error: --json has the other one for itself
        print(shlex.join(["terraform", where, *command]), file=sys.stderr)
        if az.dry:
            continue
        words = [str(shutil.which("terraform")), where, *command]
        if subprocess.run(words, stdin=subprocess.DEVNULL, stdout=STDERR, env=told, check=False).returncode:
            raise Fault(f"terraform {command[0]} failed; what it said stands above.")


def state(az: Az, environment: Environment, root: Path, name: str) -> Path:
    """Make the storage account that keeps the state of an environment, and write down where it is; again changes nothing.

    Nobody holds a key to it: who is logged in gets a role on it.

    Args:
        az: the command line.
        environment: whose state.
        root: the project's folder.
        name: of the project.

    Returns:
        The file that says where the state is; it holds no secret.
    """
    group, account = ("--resource-group", environment.state_group), environment.state_account
    tags = [f"{key}={text}" for key, text in environment.tags.items()]
    az.write("group", "create", *group, "--location", environment.location, "--tags", *tags)
    made = az.write(
        "storage", "account", "create", "--name", account, *group, "--location", environment.location,
        "--sku", "Standard_ZRS", "--kind", "StorageV2", "--allow-shared-key-access", "false",
        "--allow-blob-public-access", "false", "--min-tls-version", "TLS1_2", "--https-only", "true", "--tags", *tags,
    )  # fmt: skip
    words = ("--account-name", account, *group, "--enable-versioning", "true")  # the way back to an earlier state
    az.write("storage", "account", "blob-service-properties", "update", *words)
    # By the front door of Azure: the role below takes minutes until it opens the one of the data.
    az.write("storage", "container-rm", "create", "--name", CONTAINER, "--storage-account", account, *group)
    me = az.read("ad", "signed-in-user", "show", assume={"id": "WHO_IS_LOGGED_IN"})["id"]
    scope = str((made or {}).get("id") or account)
    allow(az, me, "User", BLOB_CONTRIBUTOR, scope)
    path = root / "infra" / "terraform" / f"{environment.name}.tfbackend"
    told = {
        "resource_group_name": environment.state_group, "storage_account_name": account, "container_name": CONTAINER,
        "key": f"{name}.tfstate",
    }  # fmt: skip
    if not az.dry:
        with replacing(path) as part:
            lines = [f'{key:<20} = "{text}"\n' for key, text in told.items()]
            part.write_text("".join(lines), "utf-8", newline="\n")
    return path
