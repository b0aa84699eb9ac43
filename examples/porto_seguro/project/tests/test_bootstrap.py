"""Bootstrap as a user runs it, over stand-ins for GitHub and Azure DevOps: what every project has."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from bootstrap_helpers import TRAINED, Drift, Typed, mended, named, outcome
from bootstrap_stand_in import Service
from conftest import ROOT, Command

from porto_seguro.bootstrap import origin, people, tool
from porto_seguro.errors import UsageError

pytest_plugins = ["bootstrap_fixtures"]


def test_github_is_made_from_nothing_and_a_second_run_changes_nothing(
    github: Typed, service: Service, root: Path
) -> None:
    code, said = github()
    assert code == 0, said
    rules = {rule["type"]: rule.get("parameters", {}) for rule in service.state["rulesets"]["1"]["rules"]}
    assert rules["required_status_checks"]["required_status_checks"] == [{"context": "ci", "integration_id": 15368}]
    assert service.state["rulesets"]["1"]["bypass_actors"] == [], "nobody passes by"
    review = rules["pull_request"]
    assert (review["required_approving_review_count"], review["require_code_owner_review"]) == (1, True)
    assert {"non_fast_forward", "deletion"} <= rules.keys()
    assert service.state["token"]["default_workflow_permissions"] == "read"
    owners = (root / ".github" / "CODEOWNERS").read_text("utf-8").splitlines()
    assert "/conf/ @acme/ml" in owners
    assert "/.github/ @grace @ada" in owners
    service.writes.clear()
    service.state["owners"] = [{"line": 7, "message": "Unknown owner on line 7: make sure @acme/ml exists\n  /conf/"}]
    code, said = github()
    assert (code, service.writes) == (0, []), said
    assert "nothing to do" in said
    assert "line 7: Unknown owner" in said


DRIFTS: dict[str, Drift] = {
    "a weaker rule": (
        lambda s: next(r for r in s["rulesets"]["1"]["rules"] if r["type"] == "pull_request")["parameters"].update(
            require_code_owner_review=False
        ),
        "rules of main: mended",
    ),
    "somebody may pass by": (
        lambda s: s["rulesets"]["1"].update(bypass_actors=[{"actor_id": 5}]),
        "rules of main: mended",
    ),
    "merge commits": (
        lambda s: s["repository"].update(allow_merge_commit=True),
        "settings of the repository: mended",
    ),
    "a label": (lambda s: s["labels"].pop(), "label model: made"),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_github_what_drifted_is_mended_and_nothing_else(
    github: Typed, service: Service, drift: str, root: Path
) -> None:
    if drift == "a label" and not (root / ".github" / "ISSUE_TEMPLATE").is_dir():
        form = root / ".github" / "ISSUE_TEMPLATE" / "model.yml"
        form.parent.mkdir()
        form.write_text("{description: a model, labels: [model]}", "utf-8")
    mended(github, service, DRIFTS[drift])


def renamed(service: Service) -> None:
    service.state["repository"]["default_branch"] = "master"


FAILURES: dict[str, tuple[Any, str]] = {
    "no login": (
        lambda s: s.faults.update({"gh": "To get started with GitHub CLI, please run:  gh auth login"}),
        "gh auth login",
    ),
    "no rights": (
        lambda s: s.state["repository"].update(permissions={"admin": False}),
        "no administrator of acme/porto",
    ),
    "no repository": (lambda s: s.faults.update({"gh api repos": "gh: Not Found (HTTP 404)"}), "you may not see it"),
    "no network": (lambda s: s.faults.update({"gh": "error connecting to api.github.com"}), "come back later"),
    "another default branch": (renamed, "rename"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_github_what_cannot_be_done_is_a_sentence_and_changes_nothing(
    github: Typed, service: Service, failure: str
) -> None:
    change, expected = FAILURES[failure]
    change(service)
    code, said = github()
    assert (code in (2, 3), expected in said, service.writes, "Traceback" in said) == (True, True, [], False), said


def test_without_people_there_are_no_silent_approvals(github: Typed, service: Service, root: Path) -> None:
    named(root, ml_engineer={"github": []})
    code, said = github()
    assert (code, "ml_engineer.github" in said, "--without-reviewers" in said, service.writes) == (2, True, True, []), (
        said
    )
    code, said = github("--without-reviewers")
    assert code == 0, said
    named(root, ml_engineer={"github": ["ada@acme.com"]})
    code, said = github()
    assert (code, "ml_engineer.github has 'ada@acme.com'" in said) == (2, True), said


def test_dry_run_asks_nobody_and_names_the_variables_that_workflows_read(
    github: Typed, service: Service, root: Path
) -> None:
    named(root, ml_engineer={"github": []}, model_validator={"github": []})
    before = (
        (root / ".github" / "CODEOWNERS").read_text("utf-8") if (root / ".github" / "CODEOWNERS").exists() else None
    )
    code, said = github("--dry-run", "--json")
    found = outcome(said)
    assert (code, service.commands, found["dry_run"]) == (0, [], True)
    assert "gh api --method POST repos/acme/porto/rulesets" in said
    if before is not None:
        assert (root / ".github" / "CODEOWNERS").read_text("utf-8") == before
    files = [path.read_text("utf-8") for path in (ROOT / ".github").rglob("*.yml")]
    read = {name for text in files for name in re.findall(r"\$[{]{2}[^}]*?vars\.(\w+)", text)}
    told = {name for values in found["variables"].values() for name in values}
    if files:
        assert told == read
    assert not any(re.search(r"\bsecrets\.(?!GITHUB_TOKEN)", text) for text in files), "there are no secrets to make"


def test_azure_devops_is_made_from_nothing_and_a_second_run_changes_nothing(devops: Typed, service: Service) -> None:
    code, said = devops()
    assert code == 0, said
    state = service.state
    assert sorted(file for _, file in state["pipelines"].values()) == [
        f".azuredevops/{n}.yml" for n in ("ci", *TRAINED)
    ]
    settings = [policy["settings"] for policy in state["policies"]]
    ci = next(number for number, file in state["pipelines"].values() if file.endswith("ci.yml"))
    assert [one["buildDefinitionId"] for one in settings if "buildDefinitionId" in one] == [ci]
    owned = {
        tuple(one["requiredReviewerIds"]): one["filenamePatterns"] for one in settings if "requiredReviewerIds" in one
    }
    assert "/conf/*" in owned["v-3",]
    assert "/.azuredevops/*" in owned["a-1", "g-2"]
    assert all(policy["isBlocking"] and policy["isEnabled"] for policy in state["policies"])
    assert state["rights"] & 16_384, "pipelines comment on pull requests"
    service.writes.clear()
    code, said = devops()
    assert (code, service.writes) == (0, []), said


DEVOPS_DRIFTS: dict[str, Drift] = {
    "a policy is off": (lambda s: s["policies"][0].update(isEnabled=False), "policy approver-count of main: mended"),
    "a build is optional": (
        lambda s: next(p for p in s["policies"] if "buildDefinitionId" in p["settings"]).update(isBlocking=False),
        "policy build of main: mended",
    ),
    "another file": (lambda s: s["pipelines"]["porto-seguro-ci"].__setitem__(1, "x.yml"), "-ci: mended"),
    "no comments": (lambda s: s.update(rights=0), "to comment on pull requests: made"),
}


@pytest.mark.parametrize("drift", DEVOPS_DRIFTS)
def test_azure_devops_what_drifted_is_mended_and_nothing_else(devops: Typed, service: Service, drift: str) -> None:
    mended(devops, service, DEVOPS_DRIFTS[drift])


def test_azure_devops_what_cannot_be_done_is_a_sentence(
    root: Path, devops: Typed, service: Service, command: Command
) -> None:
    code, said = command(root, "bootstrap", "azure-devops", "--repository", "acme/other/porto")
    assert (code, "you may not see it" in said, service.writes) == (2, True, []), said
    service.faults["az devops"] = "ERROR: Please run 'az login' to setup account."
    code, said = devops()
    assert (code, "az login" in said, service.writes) == (2, True, []), said
    service.faults = {"az devops": "ERROR: 'invoke' is misspelled or not recognized by the system."}
    assert "az extension add --upgrade --name azure-devops" in devops()[1]
    named(root, model_validator={"azure_devops": []})
    code, said = devops()
    assert (code, "model_validator.azure_devops" in said) == (2, True), said


def test_azure_devops_dry_run_asks_nobody(devops: Typed, service: Service) -> None:
    code, said = devops("--dry-run")
    assert (code, service.commands, "az repos policy build create" in said) == (0, [], True), said


def test_pipelines_that_start_by_hand_only_are_not_queued_by_the_policy(
    devops: Typed, service: Service, root: Path
) -> None:
    (root / ".azuredevops" / "ci.yml").write_text("trigger: none\n", "utf-8")
    assert devops()[0] == 0
    assert [
        p["settings"]["manualQueueOnly"] for p in service.state["policies"] if "manualQueueOnly" in p["settings"]
    ] == [True]


def test_a_token_is_never_shown_and_a_program_that_is_missing_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "ghp_" + "a" * 36  # pragma: allowlist secret
    monkeypatch.setattr(tool, "process", lambda words, seconds: (1, "", f"gh: odd {secret} (HTTP 422)"))
    with pytest.raises(Exception, match="odd") as caught:
        tool.Tool("gh").read("api", "user")
    assert secret not in str(caught.value) + capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(UsageError, match="`gh` is missing"):
        tool.Tool("gh").read("api", "user")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("git@github.com:acme/porto.git", "acme/porto"),
        ("https://github.com/acme/porto", "acme/porto"),
        ("https://acme@dev.azure.com/acme/Our%20risk/_git/porto", ("https://dev.azure.com/acme", "Our risk", "porto")),
        ("git@ssh.dev.azure.com:v3/acme/risk/porto", ("https://dev.azure.com/acme", "risk", "porto")),
        ("https://gitlab.com/acme/porto", None),
    ],
)
def test_the_repository_is_read_from_the_remote(root: Path, address: str, expected: Any) -> None:
    subprocess.run(["git", "-C", str(root), "remote", "add", "origin", address], check=True)
    for function in (origin.github, origin.devops):
        if isinstance(expected, str) == (function is origin.github) and expected:
            assert function(root, None, False) == expected
        else:
            with pytest.raises(UsageError, match="no remote at"):
                function(root, None, False)


def test_owners_forms_and_work_items_fit_together() -> None:
    if (ROOT / ".github").is_dir():
        assert (ROOT / ".github" / "CODEOWNERS").read_text("utf-8") == people.codeowners(people.load(ROOT))
    kinds = {"ask", "data", "explore", "experiment", "model"}
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = {
        path.stem: yaml.safe_load(path.read_text("utf-8")) for path in folder.glob("*.yml") if path.stem != "config"
    }
    assert set(forms) in (kinds, set())
    for name, form in forms.items():
        assert form.keys() == {"name", "description", "title", "labels", "body"}, name
        assert form["labels"] == [name]
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids)) > 1
        assert all(field["type"] == "textarea" and field["attributes"]["label"] for field in form["body"]), name
    path = ROOT / ".azuredevops" / "work_items.json"
    if path.is_file():
        assert {one["fields"]["System.Tags"] for one in json.loads(path.read_text("utf-8"))} == kinds
    for role in people.load(ROOT).roles.values():
        for owned in role.paths:
            if not owned.startswith(("/.github", "/.azuredevops")):
                assert (ROOT / owned.strip("/")).exists(), f"conf/people.yaml names {owned}, which is nowhere"
