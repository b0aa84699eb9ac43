"""The real terraform reads, plans and tests a project's files, with no account: its providers are stand-ins.

A stand-in knows the schema of azurerm, derived from the package that HashiCorp generated from it (terraform_schema.py),
so that terraform itself refuses what azurerm would refuse: an argument that there is not, a missing one, another type,
a reference to nothing. Which words a property takes, only Azure knows: what a plan would send is translated into
Azure's words (terraform_arm.py) and held against the models of the Azure SDK.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hcl2
import pytest
import yaml
from conftest import EVERY_PART, Bake
from validate import bicep_models, checkov_scan, parity, terraform_arm, terraform_run, terraform_schema
from validate.bicep_resources import Resource

HERE = Path(__file__).parent
# Each pair of answers that change a file is here at least once.
ESTATES = {
    "plain": ("copier", "both", "none"),
    "everything": ("copier", "both", EVERY_PART),
    "online-private": ("cookiecutter", "online", "kubernetes private-network"),
    "online-factory": ("copier", "online", "data-factory"),
    "batch-kubernetes": ("cookiecutter", "batch", "kubernetes data-factory"),
    "batch-private": ("copier", "batch", "private-network"),
}
Fault = dict[str, str]
FAULTS: dict[str, list[Fault]] = yaml.safe_load((HERE / "terraform_faults.yaml").read_text("utf-8"))
Made = Callable[[str], Path]


@pytest.fixture(scope="module")
def estate(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Return `estate(name)`: the folder of a project's Terraform files, initialised, to be read only."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in made:
            engine, serving, extras = ESTATES[name]
            project = bake(engine, iac="terraform", serving=serving, extras=extras)
            made[name] = copy(project, tmp_path_factory.mktemp(name))
            if name == "everything":
                watched(made[name].parents[1])
            terraform_run.begin(made[name])
        return made[name]

    return make


def copy(project: Path, into: Path) -> Path:
    """Copy what a project says of its infrastructure, and return the folder of its Terraform files."""
    for name in ("infra", "conf"):
        shutil.copytree(project / name, into / name, symlinks=True)
    return into / "infra" / "terraform"


def watched(project: Path) -> None:
    """Name a page for the availability test in every environment: without one, none is made."""
    for path in (project / "conf" / "environments").glob("*.yaml"):
        text = path.read_text("utf-8")
        assert 'health_url: ""' in text
        path.write_text(text.replace('health_url: ""', "health_url: https://service.example.com/health"), "utf-8")


@pytest.mark.parametrize("name", ESTATES)
def test_terraform_takes_the_files(estate: Made, name: str) -> None:
    folder = estate(name)

    form = terraform_run.terraform(folder, "fmt", "-check", "-diff", "-recursive")

    assert form.returncode == 0, form.stdout + form.stderr
    assert terraform_run.diagnose(folder) == []


def test_terraform_starts_the_providers_itself(estate: Made) -> None:
    """As on any other machine: with providers that it installed from the mirror and starts for each command."""
    folder = estate("everything")

    assert terraform_run.diagnose(folder, start=True) == []
    locked = (folder / ".terraform.lock.hcl").read_text("utf-8")
    assert {f"registry.terraform.io/{path.rpartition('/')[0]}" for path in terraform_run.PROVIDERS} == set(
        re.findall(r'provider "(.*)"', locked)
    )


@pytest.mark.parametrize(
    ("name", "environment"),
    [*(("plain", one) for one in ("test", "prod")), *((name, "dev") for name in ESTATES)],
)
def test_everything_can_be_planned_at_once(estate: Made, name: str, environment: str) -> None:
    """What is not known before the first resource exists is not known here either: nothing may be counted by it."""
    done = terraform_run.plan(estate(name), f"environment={environment}", "deliver_events=true")

    assert done.returncode == 0, done.stderr
    assert "0 to change, 0 to destroy" in done.stdout
    assert f"-{environment}" in done.stdout
    assert "Warning" not in done.stdout


@pytest.mark.parametrize(("name", "only"), [("plain", "estate"), ("everything", "network")])
def test_the_projects_own_tests_pass(estate: Made, name: str, only: str) -> None:
    found = list((estate(name) / "tests").glob("*.tftest.hcl"))
    assert ("network" in {path.name.partition(".")[0] for path in found}) == (name == "everything")

    done = run_tests(estate(name), only)

    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", done.stdout)


def run_tests(folder: Path, only: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of one file, as a user does."""
    words = ("test", "-no-color", f"-filter=tests/{only}.tftest.hcl")
    return terraform_run.terraform(folder, *words, **terraform_run.attached())


@pytest.mark.parametrize(("name", "only"), [("plain", "estate"), ("everything", "network")])
def test_each_of_the_projects_own_tests_can_fail(estate: Made, tmp_path: Path, name: str, only: str) -> None:
    """Everything is broken at once, and each assertion says so."""
    folder = copy(estate(name).parents[1], tmp_path)
    for fault in FAULTS[f"promises of {only}"]:
        plant(folder, fault)

    done = run_tests(folder, only)

    said = " ".join(re.sub(r"[│╷╵]", " ", done.stdout + done.stderr).split())
    asserted = re.findall(r'error_message = "(.*)"', (folder / "tests" / f"{only}.tftest.hcl").read_text("utf-8"))
    assert [message for message in asserted if message not in said] == []
    assert said.count("Missing expected failure") == (1 if only == "estate" else 0)
    assert done.returncode == 1


def plant(folder: Path, fault: Fault) -> None:
    """Plant a fault in a file, which must still say what the fault changes."""
    path = folder / fault["file"]
    text = path.read_text("utf-8")
    assert fault["says"] in text, f"{path.name} does not say {fault['says']} any more"
    path.write_text(text.replace(fault["says"], fault["then"]), "utf-8")


@pytest.mark.parametrize(
    ("check", "fault"),
    [
        pytest.param(check, fault, id=f"{check}-{Path(fault['file']).name}-{fault['found']}")
        for check in ("fmt", "validate", "plan")
        for fault in FAULTS[check]
    ],
)
def test_a_fault_is_found(estate: Made, tmp_path: Path, check: str, fault: Fault) -> None:
    folder = copy(estate("plain").parents[1], tmp_path)
    plant(folder, fault)

    if check == "validate":
        found = "\n".join(terraform_run.diagnose(folder))
    elif check == "fmt":
        done = terraform_run.terraform(folder, "fmt", "-check", "-diff", "-no-color")
        found = done.stdout + done.stderr
        assert done.returncode
    else:
        done = terraform_run.plan(folder, "environment=dev", "deliver_events=true")
        found = " ".join(re.sub(r"[│╷╵]", " ", done.stderr).split())
        assert done.returncode
    assert fault["found"] in found


def words_of(folder: Path, environment: str) -> list[str]:
    """Return what the models of the Azure SDK say of what a plan would send."""
    given = [f"environment={environment}", "deliver_events=true"]
    found = []
    for planned in terraform_run.foretold(folder, *given)["root_module"]["resources"]:
        for made in terraform_arm.resources(planned, parity.settable(planned["type"])):
            kind = made["type"]
            _, _, version = str(planned["values"].get("type")).partition("@")
            said = {key: value for key, value in made.items() if key not in ("id", "type") and value is not None}
            pinned = version if planned["type"].startswith("azapi") else bicep_models.PINNED[kind][0]
            found += bicep_models.differences(
                Resource(kind, pinned, planned["address"], "terraform", without_nothing(said))
            )
    return found


def without_nothing(value: Any) -> Any:
    """Leave out what was not said: a translation has a place for it all the same."""
    if isinstance(value, dict):
        return {key: without_nothing(one) for key, one in value.items() if one is not None}
    return [without_nothing(one) for one in value] if isinstance(value, list) else value


def test_azure_knows_every_word(estate: Made) -> None:
    assert "\n".join(words_of(estate("everything"), "prod")) == ""


def test_a_word_that_azure_does_not_know_is_found(estate: Made, tmp_path: Path) -> None:
    folder = copy(estate("everything").parents[1], tmp_path)
    for fault in FAULTS["words"]:
        plant(folder, fault)

    found = "\n".join(words_of(folder, "prod"))

    assert [fault["found"] for fault in FAULTS["words"] if fault["found"] not in found] == []


# Names of azurerm 4 that 5 does not know any more, and that have another name already in the version that is pinned.
DROPPED = (
    "enable_rbac_authorization", "source_arm_resource_id", "storage_account_name", "skip_provider_registration",
    "enable_https_traffic_only", "azurerm_machine_learning_inference_cluster", "static_website", "queue_properties",
)  # fmt: skip


@pytest.mark.parametrize("name", ["plain", "everything"])
def test_nothing_is_used_that_is_on_its_way_out(estate: Made, name: str) -> None:
    text = "\n".join(path.read_text("utf-8") for path in estate(name).glob("*.tf"))

    assert [one for one in DROPPED if re.search(rf"\b{one}\b", text)] == []
    assert not re.search(r"^  metric \{", text, re.M), "it is called enabled_metric"
    assert 'version = "~> 4.55"' in text


def test_no_secret_can_be_asked_for(estate: Made) -> None:
    """What a provider gives back as a key or password is read by nothing."""
    text = "\n".join(path.read_text("utf-8") for path in estate("everything").glob("*.tf"))

    assert re.findall(r"\.(?:\w*(?:access_key|shared_key|password|secret)\w*|kube_config\w*)\b", text) == []
    # This one tells only where logs go: without an identity they are not taken.
    assert re.findall(r"(\S+)\.\w*connection_string\b", text) == ["azurerm_application_insights.this"]


def test_the_state_is_reached_without_a_key(estate: Made) -> None:
    """Of a backend's settings, terraform without one checks nothing."""
    said = hcl2.loads((estate("plain") / "versions.tf").read_text("utf-8"))
    (settings,) = (block["backend"][0] for block in said["terraform"] if "backend" in block)
    (azurerm,) = (block['"azurerm"'] for block in said["provider"] if '"azurerm"' in block)

    assert {key: value for key, value in settings['"azurerm"'].items() if not key.startswith("__")} == {
        "use_oidc": True,
        "use_azuread_auth": True,
    }
    assert azurerm["storage_use_azuread"] is True
    assert azurerm["resource_provider_registrations"] == '"none"'


def test_checkov_finds_nothing_without_a_reason(estate: Made, tmp_path: Path) -> None:
    for name in ("plain", "everything"):
        # Its parser of HCL is older than the language of tests.
        shutil.copytree(
            estate(name), tmp_path / name, ignore=shutil.ignore_patterns("tests", ".terraform*", "offline*")
        )
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "main.tf").write_text(
        'resource "azurerm_storage_account" "this" {\n  min_tls_version = "TLS1_0"\n}\n'
    )
    reasons = yaml.safe_load((HERE / "checkov.yaml").read_text("utf-8"))
    always, public = reasons["terraform"], reasons["terraform_public"]

    report = checkov_scan.scan(tmp_path, "terraform")

    assert checkov_scan.judge(report, always, "/everything/") == []
    found = checkov_scan.judge(report, always | public, "/plain/")
    assert [line for line in found if line.partition(" ")[0] not in always] == []
    assert any(line.startswith("CKV_AZURE_44 ") for line in checkov_scan.judge(report, always, "/open/"))


def test_the_schema_is_that_of_azurerm() -> None:
    schema = terraform_schema.azurerm(terraform_run.kept())
    account = schema.resource_schemas["azurerm_storage_account"].block
    flags = {one.name: (one.required, one.optional, one.computed) for one in account.attributes}
    blocks = {one.type_name: (one.min_items, one.max_items) for one in account.block_types}
    alert = {one.type_name: one for one in schema.resource_schemas["azurerm_monitor_metric_alert"].block.block_types}

    assert len(schema.resource_schemas) == 1127
    assert len(schema.data_source_schemas) == 399
    assert flags["account_tier"] == (True, False, False)
    assert flags["shared_access_key_enabled"] == (False, True, False)
    assert flags["access_tier"] == (False, True, True)
    assert flags["primary_blob_endpoint"] == (False, False, True)
    assert flags["id"] == (False, False, True)
    assert blocks["network_rules"] == (0, 1)
    assert (alert["action"].nesting, alert["action"].max_items) == (terraform_schema.Nested.SET, 0)
    # When a later package has it, azurerm may make the workspace: see main.tf.
    workspace = schema.resource_schemas["azurerm_machine_learning_workspace"].block
    assert "storage_account_access_type" not in {one.name for one in workspace.attributes}


def test_another_package_than_the_pinned_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text("#!/bin/sh\necho other > package.tgz\necho package.tgz\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent), prepend=os.pathsep)

    with pytest.raises(RuntimeError, match="is not what was pinned"):
        terraform_schema.azurerm(tmp_path / "kept")
    assert not (tmp_path / "kept" / "azurerm.schema").exists()

    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    with pytest.raises(RuntimeError, match=r"npm does not bring .*no network"):
        terraform_schema.azurerm(tmp_path / "kept")
