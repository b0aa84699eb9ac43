"""What pipelines ask of Azure: the gate's decision about a job, and a version only where it passed."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from azure_stand_in import Cloud
from conftest import ROOT, Command, decoded, new_project

from porto_seguro.azure import az
from porto_seguro.gate import Decision, Difference

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def cloud() -> Cloud:
    """Azure, with nothing in it."""
    return Cloud()


@pytest.fixture
def typed(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command) -> Typed:
    """Run a command of `azure` as a user types it, over the stand-in."""
    root = new_project(tmp_path / "project")
    for folder in ("azureml", "events", "infra", "src"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(az, "process", cloud)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return lambda *words: command(root, "azure", *words)


def judged(cloud: Cloud, job: str, decision: str) -> None:
    """A job that has completed, and what the gate left."""
    cloud.state["jobs"][job] = {"name": job, "statuses": ["Completed"]}
    told = Decision(
        decision, "model", "auc", ["it is what it is"], {"constant": Difference(0.1, 0.05, 0.15)},
        checks=[{"name": "size_mb", "value": 1.0, "limit": 50.0, "kept": True}],
    )  # fmt: skip
    measured = {"rows": 40, "metrics": {"model": {"auc": 0.6}, "constant": {"auc": 0.5}, "champion": {"auc": 0.55}}}
    files = {
        "decision.json": msgspec.json.encode(told).decode(), "evaluation.json": json.dumps(measured),
        "run.json": json.dumps({"data_version": "d1", "notes": ["a note"]}), "report.html": "<p>all of it</p>",
    }  # fmt: skip
    if decision == "passed":
        about = {"run": "step", "line": "one", "digest": "d" * 64, "judged_against": None}
        files["version.json"] = json.dumps(about | {"tags": {"data_version": "d1", "run": "step", "folder": "model"}})
    cloud.state["outputs"][f"{job}/decision"] = files


@pytest.mark.parametrize(("decision", "code"), [("passed", 0), ("kept_champion", 0), ("rejected", 1)])
def test_reviewers_are_told_what_the_gate_decided(
    typed: Typed, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decision: str, code: int
) -> None:
    judged(cloud, "job1", decision)
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    page, report = tmp_path / "reports" / "evaluation.md", tmp_path / "reports" / "report.html"
    ended, said = typed("decision", "job1", "--summary", page, "--report", report, "--json")
    assert (ended, decoded(said)["decision"]) == (code, decision), said
    assert f"decision={decision}\n" in (tmp_path / "outputs").read_text("utf-8")
    assert report.read_text("utf-8") == "<p>all of it</p>"
    text = page.read_text("utf-8")
    assert all(
        word in text for word in ("| challenger | 0.6 |", "| champion | 0.55 |", "it is what it is", "a note", "d1")
    )


def test_a_job_that_is_under_way_or_something_else_has_no_decision(typed: Typed, cloud: Cloud) -> None:
    cloud.state["jobs"]["early"] = {"name": "early", "statuses": ["Running"]}
    code, said = typed("decision", "early")
    assert (code, "azure wait early" in said) == (2, True)
    judged(cloud, "other", "passed")
    del cloud.state["outputs"]["other/decision"]["evaluation.json"]
    code, said = typed("decision", "other")
    assert (code, "was it the training pipeline?" in said) == (1, True)


@pytest.mark.parametrize(("decision", "code"), [("passed", 0), ("kept_champion", 1), ("rejected", 1)])
def test_a_required_version_is_one_or_the_step_is_red(typed: Typed, cloud: Cloud, decision: str, code: int) -> None:
    judged(cloud, "job1", decision)
    assert typed("register", "job1")[0] == 0, "by hand, it is only told"
    assert typed("register", "job1", "--required")[0] == code
    assert bool(cloud.state["models"]) is (decision == "passed")


def test_the_endpoint_that_remembers_the_champion_is_made_with_the_first_one(typed: Typed, cloud: Cloud) -> None:
    assert typed("promote", 2)[0] == 2, "there is no such version"
    assert not cloud.state["batch"]
    assert not cloud.state["endpoints"]
    judged(cloud, "job1", "passed")
    assert typed("register", "job1")[0] == 0
    code, said = typed("promote", 1)
    if find_spec("porto_seguro.azure.online"):  # test_azure_smoke.py goes on from here
        assert (code, "azure image" in said) == (2, True), said
    else:
        assert (code, decoded(typed("models", "--json")[1])["champion"]) == (0, 1), said


def test_what_is_only_shown_has_no_outputs(typed: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    assert typed("register", "job1", "--dry-run", "--json")[0] in (0, 1, 2)
    assert not (tmp_path / "outputs").exists()
