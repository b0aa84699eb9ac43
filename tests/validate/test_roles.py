"""Each role may do what the documentation sends it to: every `az` command is held against the actions that it needs."""

import fnmatch
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Bake
from validate.role_rules import allows, matches

TABLE = yaml.safe_load(Path(__file__).with_name("az_actions.yaml").read_text("utf-8"))
ANSWERS = {
    serving: {"platform": "azure-ml", "iac": "bicep", "serving": serving, "project_slug": "porto-seguro"}
    for serving in ("both", "batch")
}
SHORT = {
    "ml/": "Microsoft.MachineLearningServices/workspaces/",
    "blobs/": "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/",
}
Roles = dict[str, dict[str, Any]]


def flat(value: Any) -> Iterator[str]:
    """Go through a list of lists."""
    for one in value:
        yield from [one] if isinstance(one, str) else flat(one)


def spelled(action: str) -> str:
    """Return an action of the table as Azure writes it."""
    start = next((short for short in SHORT if action.startswith(short)), "")
    return SHORT.get(start, "Microsoft.") + action.removeprefix(start)


def may(who: str, action: str, roles: Roles, grants: dict[str, Any]) -> bool:
    """Whether somebody may do what an `az` command asks for."""
    place, _, deed = action.rpartition(":")
    given = [
        one["role"]
        for key, one in ((key, one) for key, value in grants.items() if isinstance(value, list) for one in value)
        if isinstance(one, dict) and one["who"] == who
        if (one.get("container") == place if place else key not in ("containers", "storage"))
    ]
    beside = given if place else given + TABLE["beside"][who]
    if any(matches(spelled(one), spelled(deed)) for name in beside for one in TABLE["built_in"].get(name, [])):
        return True
    return not place and allows(roles[who], spelled(deed), data=deed.startswith("blobs/"))


def documented(project: Path, roles: Roles) -> set[tuple[str, str]]:
    """Return which role the tables of docs/azure.md send to which `azure` command, where they write it in full."""
    found = set()
    for line in (project / "docs" / "azure.md").read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3:
            who = next((key for key in roles if cells[2].lower().startswith(key.replace("_", " ").lower())), None)
            said = re.findall(r"`porto-seguro azure ((?:release )?[a-z]+)", cells[1])
            found |= {(who, command) for command in said} if who else set()
    return found


def lacking(project: Path, roles: Roles, grants: dict[str, Any]) -> list[str]:
    """Tell which role may not do what its command asks for."""
    return sorted(
        f"{who} may not {action}, which {az!r} of `azure {command}` needs"
        for who, command in documented(project, roles)
        for az in flat(TABLE["azure"][command])
        if project_has(project) or not re.search("online|autoscale|diagnostic", az)
        for action in flat(TABLE["az"][az])
        if not may(who, action, roles, grants)
    )


def project_has(project: Path) -> bool:
    """Whether a project serves online."""
    return (project / "azureml" / "online").is_dir()


def read(project: Path) -> tuple[Roles, dict[str, Any]]:
    """Return the roles and the grants of a project."""
    roles, grants = (json.loads((project / "infra" / f"{one}.json").read_text("utf-8")) for one in ("roles", "grants"))
    return roles, grants


@pytest.mark.parametrize("serving", ANSWERS)
def test_each_role_may_do_what_the_documentation_sends_it_to(bake: Bake, serving: str) -> None:
    project = bake(**ANSWERS[serving])
    roles, grants = read(project)

    assert lacking(project, roles, grants) == []
    assert {who for who, _ in documented(project, roles)} >= {
        "data_scientist", "ml_engineer", "model_validator", "pipeline",
    }  # fmt: skip


TAKEN = [
    ("pipeline", "Microsoft.ContainerRegistry/registries/scheduleRun/action"),
    ("pipeline", "Microsoft.ContainerRegistry/registries/runs/listLogSasUrl/action"),
    ("pipeline", "Microsoft.MachineLearningServices/workspaces/datastores/write"),
    ("pipeline", "Microsoft.Web/serverfarms/read"),
    ("ml_engineer", "Microsoft.Insights/autoscalesettings/delete"),
    ("ml_engineer", "Microsoft.Insights/diagnosticSettings/write"),
    ("ml_engineer", "Microsoft.OperationalInsights/workspaces/sharedKeys/action"),
    ("ml_engineer", "Microsoft.OperationalInsights/workspaces/query/*"),
    ("data_scientist", "Microsoft.MachineLearningServices/workspaces/codes/*/action"),
    ("data_scientist", "Microsoft.MachineLearningServices/workspaces/jobs/*"),
    ("operator", "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/write"),
]


@pytest.mark.parametrize(("who", "action"), TAKEN)
def test_a_role_without_one_of_its_actions_is_found(bake: Bake, who: str, action: str) -> None:
    project = bake(**ANSWERS["both"])
    roles, grants = read(project)
    roles[who]["actions"].remove(action)

    assert any(one.startswith(f"{who} may not ") for one in lacking(project, roles, grants))


@pytest.mark.parametrize(("key", "role"), [("registry", "AcrPush"), ("function_app", "Website Contributor"),
                                           ("containers", "Storage Blob Data Contributor")])  # fmt: skip
def test_a_missing_grant_of_the_pipeline_is_found(bake: Bake, key: str, role: str) -> None:
    """What its own role may on blobs, the condition takes back in the container of the function app."""
    project = bake(**ANSWERS["both"])
    roles, grants = read(project)
    grants[key].remove(next(one for one in grants[key] if one["who"] == "pipeline" and one["role"] == role))

    assert any(one.startswith("pipeline may not ") for one in lacking(project, roles, grants))


def test_the_table_has_every_command_and_no_other(bake: Bake) -> None:
    """A command that is new in the stand-in needs a line."""
    path = bake(**ANSWERS["both"]) / "tests" / "azure_stand_in.py"
    spec = importlib.util.spec_from_file_location("stand_in_of_roles", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    known = {one for one in module.OPTIONS if not any(fnmatch.fnmatch(one, name) for name in TABLE["persons"])}

    assert known == set(TABLE["az"])
    assert {one for value in TABLE["azure"].values() for one in flat(value)} <= set(TABLE["az"])


@pytest.mark.parametrize("command", TABLE["dry_run"])
def test_a_dry_run_shows_nothing_that_the_table_does_not_know(bake: Bake, command: str) -> None:
    project = bake(**ANSWERS["both"])
    words = ["azure", command, *TABLE["dry_run"][command], "--env", "dev", "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-m", "porto_seguro", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": "src", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    lines = re.findall(r"^az (.*?) --|^az (account show)$", done.stdout + done.stderr, re.M)

    assert done.returncode == 0, done.stdout + done.stderr
    shown = {one or other for one, other in lines}
    assert shown
    assert shown <= set(flat(TABLE["azure"][command]))
