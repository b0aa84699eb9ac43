"""The infrastructure as a user plans, makes and removes it: over a stand-in for `az`, and one for `terraform`."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure_stand_in import FORBIDDEN, Cloud
from conftest import ROOT, Command, decoded, new_project

from porto_seguro.azure import az as az_module
from porto_seguro.azure.environments import Environment, load

Typed = Callable[..., tuple[int, str]]
GROUP = "12345678-1234-1234-1234-123456789abc"


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """Azure, with nothing in it."""
    made = Cloud()
    monkeypatch.setattr(az_module, "process", made)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return made


def project_in(language: str, folder: Path) -> Path:
    """A project whose infrastructure is in a language, whichever this one's is in."""
    root = new_project(folder / "project")
    (root / "infra" / language).mkdir(parents=True)
    shutil.copytree(ROOT / "azureml", root / "azureml")
    return root


@pytest.fixture
def bicep(tmp_path: Path, cloud: Cloud, command: Command) -> Typed:
    """Run a command of `azure` in a project with Bicep."""
    root = project_in("bicep", tmp_path)
    return lambda *words: command(root, "azure", *words)


@pytest.fixture
def dev(tmp_path: Path) -> Environment:
    """The environment dev."""
    return load(ROOT, "dev")


class Terraform:
    """A project with Terraform, and a `terraform` that only notes what it was told."""

    def __init__(self, folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.log = project_in("terraform", folder), folder / "log"
        self.backend = self.root / "infra" / "terraform" / "dev.tfbackend"
        self._run = command
        tool = folder / "terraform.py"
        tool.write_text(
            "import json, os, sys\n"
            f"with open({str(self.log)!r}, 'a') as log:\n"
            "    log.write(json.dumps([sys.argv[2:], os.environ.get('ARM_SUBSCRIPTION_ID')]) + '\\n')\n"
            "sys.exit('fail' in sys.argv[2:])\n"
        )
        script = folder / "bin" / ("terraform.cmd" if os.name == "nt" else "terraform")
        script.parent.mkdir()
        body = f'"{sys.executable}" "{tool}"'
        script.write_text(f"@{body} %*\n" if os.name == "nt" else f'#!/bin/sh\nexec {body} "$@"\n', "utf-8")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
        for name in ("ARM_SUBSCRIPTION_ID", "TF_CLI_ARGS_init"):
            monkeypatch.delenv(name, raising=False)

    def __call__(self, *words: str) -> tuple[int, str]:
        return self._run(self.root, "azure", *words)

    def told(self) -> list[list[Any]]:
        """What terraform was told, and the subscription."""
        found = [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return found


@pytest.fixture
def terraform(tmp_path: Path, cloud: Cloud, command: Command, monkeypatch: pytest.MonkeyPatch) -> Terraform:
    return Terraform(tmp_path, command, monkeypatch)


def test_infrastructure_is_planned_made_and_removed_only_by_name(bicep: Typed, cloud: Cloud) -> None:
    assert "does not exist yet" in bicep("infra", "plan")[1]
    assert "nothing to remove" in bicep("infra", "down", "--yes", "dev")[1]
    code, said = bicep("infra", "up")
    assert (code, "environment=dev deliverEvents=false" in said) == (0, True), said
    cloud.state["functions"] = True
    assert "deliverEvents=true" in bicep("infra", "up")[1], "Event Grid takes a function only once it is there"
    found = decoded(bicep("infra", "plan", "--json")[1])
    assert found == {"infra": ["Create: Microsoft.Storage/storageAccounts/st"]}
    code, said = bicep("infra", "down", "--yes", "prod")
    assert (code, "Nothing was removed" in said, len(cloud.state["groups"])) == (2, True, 1)
    code, said = bicep("infra", "down", "--yes", "dev")
    assert (code, "for 90 days" in said) == (0, True), said
    assert (cloud.state["groups"], cloud.state["workspace"]) == ([], "gone")


def test_the_vault_of_an_earlier_time_is_recovered_and_the_budget_keeps_its_start(
    bicep: Typed, cloud: Cloud, dev: Environment
) -> None:
    cloud.state["deleted_vaults"] = [{"name": dev.key_vault}]
    cloud.state["budgets"] = [
        {"name": f"budget-{dev.workspace}", "timePeriod": {"startDate": "2026-03-01T00:00:00Z"}},
    ]
    code, said = bicep("infra", "up")
    assert (code, "az keyvault recover" in said) == (0, True), said
    assert "az keyvault recover" not in bicep("infra", "up")[1]
    assert "budgetStart=2026-03-01" in bicep("infra", "plan")[1]
    cloud.fail("keyvault list-deleted", FORBIDDEN)
    assert bicep("infra", "up")[0] == 0, "an Owner of one resource group may not look"
    cloud.state |= {"budgets": [{"name": "another's", "timePeriod": {"startDate": "2026-03-01T00:00:00Z"}}]}
    assert "budgetStart" not in bicep("infra", "plan")[1]


def test_the_shared_registry_is_made_once_and_lets_the_users_of_each_environment_in(
    bicep: Typed, cloud: Cloud, tmp_path: Path
) -> None:
    code, said = bicep("infra", "registry", "--env", "prod")
    assert (code, "azure infra up --env prod" in said, cloud.state["registries"]) == (2, True, {}), said
    path = tmp_path / "project" / "conf" / "environments" / "dev.yaml"
    given = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(yaml.safe_dump(given | {"groups": {"ml_engineer": GROUP}}), "utf-8")
    for name in ("prod", "dev", "dev"):
        assert bicep("infra", "up", "--env", name)[0] == 0
        code, said = bicep("infra", "registry", "--env", name)
        assert code == 0, said
    assert sum("ml registry create" in line for line in cloud.commands) == 1
    dev, prod = (load(path.parents[2], name) for name in ("dev", "prod"))
    who = [(role[0], role[1]) for role in cloud.state["roles"]]
    services = [(f"principal of {name}", "ServicePrincipal") for one in (prod, dev) for name in (
        one.identities.pipeline, one.identities.jobs, one.identities.endpoint
    )]  # fmt: skip
    assert who == [*services[:3], (GROUP, "Group"), *services[3:]]
    assert {role[2] for role in cloud.state["roles"]} == {"1823dd4f-9b8c-4ab6-ab4e-7397a3684615"}
    assert all(role[3].endswith(dev.registry) for role in cloud.state["roles"])


def test_the_environment_with_the_shared_registry_is_not_removed(bicep: Typed, cloud: Cloud, dev: Environment) -> None:
    for name in ("dev", "prod"):
        bicep("infra", "up", "--env", name)
    bicep("infra", "registry", "--env", "prod")
    assert bicep("infra", "down", "--yes", "dev")[0] == 0
    code, said = bicep("infra", "down", "--yes", "prod", "--env", "prod")
    assert (code, f"az ml registry delete --name {dev.registry}" in said, len(cloud.state["groups"])) == (2, True, 1)


def test_terraform_is_told_subscription_and_state_and_the_group_goes_last(
    terraform: Terraform, cloud: Cloud, dev: Environment
) -> None:
    assert "does not exist yet" in terraform("infra", "plan")[1]
    code, said = terraform("infra", "up")
    assert (code, "azure infra state --env dev" in said, cloud.state["groups"]) == (2, True, []), said
    cloud.state["groups"] = [dev.resource_group]
    code, said = terraform("infra", "down", "--yes", "dev")
    assert (code, "workspace" in cloud.state, cloud.state["groups"]) == (2, False, [dev.resource_group]), said
    terraform.backend.write_text("")
    assert terraform("infra", "up")[0] == 0
    subscription = "11111111-2222-3333-4444-555555555555"
    assert terraform.told() == [
        [["init", "-input=false", "-backend-config=dev.tfbackend"], subscription],
        [["workspace", "select", "-or-create", "dev"], subscription],
        [["apply", "-input=false", "-auto-approve", "-var=environment=dev", "-var=deliver_events=false"], subscription],
    ]
    cloud.state["functions"] = True
    assert terraform("infra", "plan")[0] == 0
    assert terraform.told()[2][0][-1] == "-var=deliver_events=true"
    code, said = terraform("infra", "down", "--yes", "dev")
    assert (code, terraform.told()[2][0][0], cloud.state["groups"]) == (0, "destroy", []), said
    assert cloud.state["workspace"] == "gone"


def test_a_subscription_and_a_state_that_ci_chose_stay(
    terraform: Terraform, cloud: Cloud, dev: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARM_SUBSCRIPTION_ID", "mine")
    monkeypatch.setenv("TF_CLI_ARGS_init", "-backend-config=elsewhere")
    assert terraform("infra", "up")[0] == 0
    assert terraform.told()[0] == [["init", "-input=false"], "mine"]


def test_the_state_has_an_account_without_keys_and_a_file_that_says_where(
    terraform: Terraform, cloud: Cloud, dev: Environment
) -> None:
    for _ in range(2):  # again does no harm
        code, said = terraform("infra", "state")
        assert code == 0, said
    account = cloud.state["accounts"][f"{dev.storage_account[:22]}tf"]
    wanted = {
        "--allow-shared-key-access": "false", "--allow-blob-public-access": "false", "--min-tls-version": "TLS1_2",
        "container": "tfstate", "versioning": "true",
    }  # fmt: skip
    assert account.items() >= wanted.items()
    assert cloud.state["groups"] == [f"{dev.resource_group}-state"]
    assert [role[0] for role in cloud.state["roles"]] == ["somebody"]
    lines = dict(line.replace(" ", "").split("=") for line in terraform.backend.read_text("utf-8").splitlines())
    assert lines["storage_account_name"] == f'"{dev.storage_account[:22]}tf"'
    assert lines["container_name"] == '"tfstate"'
    assert terraform("infra", "up")[0] == 0


def test_bicep_needs_no_state(bicep: Typed) -> None:
    code, said = bicep("infra", "state")
    assert (code, "keeps no state" in said) == (2, True)


def test_terraform_is_only_shown_where_nothing_is_run(terraform: Terraform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    code, said = terraform("infra", "up", "--dry-run")
    assert (code, "apply -input=false" in said) == (0, True), said
    assert said.index("az group create") < said.index("terraform -chdir"), "terraform only looks it up"
    assert terraform("infra", "state", "--dry-run")[0] == 0
    assert terraform("infra", "down", "--yes", "prod", "--dry-run")[0] == 2
    assert (terraform.told(), terraform.backend.exists()) == ([], False)
