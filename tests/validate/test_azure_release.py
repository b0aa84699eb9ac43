"""The real train and release pipelines of Azure DevOps, played with a stand-in for every command: what is run when.

What the commands themselves do is played elsewhere. Here: conditions, gates, and values that go from stage to stage.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake, Git
from pipelines.azure_devops import play
from pipelines.played import Played

# Notes its words and its environment, and tells the agent the outputs that the project's commands have.
COMMAND = r"""#!/bin/bash
words="$(basename "$0") $*"
echo "$TARGET_ENVIRONMENT: $words" >> "$NOTES"
mkdir -p reports
echo '<testsuite><testcase name="answers"/></testsuite>' > reports/smoke.xml
echo "# Evaluation" > reports/evaluation.md
tell() { echo "##vso[task.setvariable variable=$1;isOutput=true]$2" >&2; }
case "$words" in
  *" submit "*) tell job sweet_apple; tell data v1 ;;
  *" decision "*) tell decision "$DECISION" ;;
  *" register "*) tell model_version 12 ;;
esac
[ -z "$BREAKS" ] || [[ "$TARGET_ENVIRONMENT: $words" != *$BREAKS* ]]
"""
REPORTS = " --summary reports/evaluation.md --report reports/report.html --json"
Run = Callable[..., tuple[Played, list[str]]]


@pytest.fixture
def run(bake: Bake, tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return `run(pipeline, ...)`: what was played, and the project's commands in order."""
    monkeypatch.delenv("PIPELINES_MEMORY", raising=False)
    project, tools = tmp_path / "porto-seguro", tmp_path / "bin"
    answers = {"use_case": "porto-seguro", "project_slug": "porto-seguro", "ci": "azure-devops"}
    shutil.copytree(bake(engine="copier", **answers), project)
    git(project, "init", "--quiet", "--initial-branch", "main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "born")
    tools.mkdir()
    for name in ("porto-seguro", "python", "nox", "az"):
        (tools / name).write_text(COMMAND, "utf-8")
        (tools / name).chmod(0o755)

    def _run(pipeline: str, event: str = "workflow_dispatch", **more: Any) -> tuple[Played, list[str]]:
        given: Mapping[str, str] = more.pop("environ", {})
        environ = {"NOTES": str(tmp_path / "notes"), "DECISION": "passed", "BREAKS": "", **given}
        played = play(project, pipeline, event=event, folder=tmp_path / "run", bin=tools, environ=environ, **more)
        notes = (tmp_path / "notes").read_text("utf-8").splitlines() if (tmp_path / "notes").exists() else []
        commands = [line.split(" --wait ")[0] for line in notes if "porto-seguro" in line]
        return played, [line.removesuffix(REPORTS) for line in commands]

    return _run


def test_a_training_that_the_gate_passes_goes_to_production(run: Run) -> None:
    played, commands = run("train", event="push")

    assert commands == [
        "dev: porto-seguro azure submit --json --purpose retraining",
        "dev: porto-seguro azure wait sweet_apple",
        "dev: porto-seguro azure decision sweet_apple",
        "dev: porto-seguro azure register sweet_apple --required --json",
        "dev: porto-seguro azure share 12",
        "test: porto-seguro azure image --json",
        "test: porto-seguro azure promote 12 --json",
        "test: porto-seguro azure smoke --junit reports/smoke.xml",
        "prod: porto-seguro azure image --json",
        "prod: porto-seguro azure release start 12",
        "prod: porto-seguro azure smoke --junit reports/smoke.xml --rollback",
        "prod: porto-seguro azure plan",
        "prod: porto-seguro azure schedule",
        "dev: porto-seguro azure image --json",
        "dev: porto-seguro azure promote 12 --json",
        "dev: porto-seguro azure plan",
        "dev: porto-seguro azure schedule",
    ]
    assert played.asked == ["models", "test", "prod"]
    assert played.red == []
    assert "# Evaluation" in played.summary
    assert "evaluation" in played.artifacts


@pytest.mark.parametrize("decision", ["kept_champion", "rejected"])
def test_no_other_decision_is_released(run: Run, decision: str) -> None:
    played, commands = run("train", event="schedule", environ={"DECISION": decision})

    assert played.ran == ["submit", "wait", "evaluate"]
    assert played.asked == []
    assert len(commands) == 3


def test_an_exploration_has_no_release(run: Run) -> None:
    played, commands = run("train", inputs={"purpose": "exploration", "data": "v3"})

    assert list(played.jobs) == ["submit", "wait", "evaluate"]
    assert commands[0] == "dev: porto-seguro azure submit --json --data v3 --purpose exploration"


@pytest.mark.parametrize(
    ("refuses", "asked", "ran"),
    [
        ("models", ["models"], []),
        ("test", ["models", "test"], ["approve", "register"]),
        ("prod", ["models", "test", "prod"], ["approve", "register", "staging"]),
    ],
)
def test_nothing_follows_a_refusal(run: Run, refuses: str, asked: list[str], ran: list[str]) -> None:
    played, _ = run("release", inputs={"job": "sweet_apple"}, approve=lambda name: name != refuses)

    assert played.asked == asked
    assert played.ran == ran


@pytest.mark.parametrize(
    ("breaks", "red", "ran"),
    [
        ("azure register", ["register/register"], ["approve", "register"]),
        ("azure share", ["register/share"], ["approve", "register"]),
        ("test: porto-seguro azure promote", ["staging/deploy"], ["approve", "register", "staging"]),
        ("test: porto-seguro azure smoke", ["staging/smoke-test"], ["approve", "register", "staging"]),
        ("azure release", ["production/shift-traffic"], ["approve", "register", "staging", "production"]),
        ("prod: porto-seguro azure smoke", ["production/smoke-test"], ["approve", "register", "staging", "production"]),
    ],
)
def test_nothing_follows_a_failure(run: Run, breaks: str, red: list[str], ran: list[str]) -> None:
    played, commands = run("release", inputs={"job": "sweet_apple"}, environ={"BREAKS": breaks})

    assert sorted(set(played.red)) == red
    assert played.ran == ran
    assert breaks in commands[-1], "the last command is the one that failed"


def test_a_version_is_deployed_again_without_registering_it(run: Run) -> None:
    played, commands = run("release", inputs={"version": "7"})

    assert list(played.jobs) == ["staging", "production", "development"]
    assert played.asked == ["test", "prod"]
    assert "test: porto-seguro azure promote 7 --json" in commands
    assert "prod: porto-seguro azure release start 7" in commands


@pytest.mark.parametrize("inputs", [{}, {"job": "sweet_apple", "version": "7"}])
def test_a_release_needs_a_job_or_a_version(run: Run, inputs: dict[str, str]) -> None:
    played, commands = run("release", inputs=inputs)

    assert commands == []
    assert len(played.red) == 1


def test_without_the_command_line_of_azure_nothing_is_deployed(run: Run) -> None:
    played, commands = run("release", inputs={"version": "7"}, environ={"BREAKS": "az extension"})

    assert set(played.red) == {"staging/login"}
    assert commands == []
