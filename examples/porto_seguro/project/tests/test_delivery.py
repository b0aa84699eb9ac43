"""What pipelines ask of a project: outputs of steps, the check of the contract, and a training beside an earlier one."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import msgspec
import pytest
from conftest import ROOT, Command, decoded, new_project, settings

from porto_seguro import show
from porto_seguro.contract import load_contract, save_contract
from porto_seguro.delivery import data_check
from porto_seguro.errors import UsageError
from porto_seguro.pipeline import Project

PACKAGE = "porto_seguro"
ROWS = 3_000
WEAK = {"estimator": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 1, "min_samples_leaf": 200}}


# Outputs of a step


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """GitHub's file of outputs; return what stands in it."""
    file = tmp_path / "outputs"
    file.write_text("before=1\n", "utf-8")
    monkeypatch.setenv("GITHUB_OUTPUT", str(file))
    monkeypatch.delenv("TF_BUILD", raising=False)
    return lambda: file.read_text("utf-8").removeprefix("before=1\n")


def test_plain_values_become_outputs_of_a_step(told: Callable[[], str]) -> None:
    show.as_json({"job": "a b", "new": True, "version": 3, "none": None, "many": [1], "more": {"x": 1}})
    assert told() == "job=a b\nnew=true\nversion=3\nnone=\n"


def test_azure_pipelines_are_told_on_standard_error(
    told: Callable[[], str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TF_BUILD", "True")
    monkeypatch.delenv("GITHUB_OUTPUT")
    show.as_json({"job": "50%", "many": []})
    out, errors = capsys.readouterr()
    assert (decoded(out), told()) == ({"job": "50%", "many": []}, "")
    assert errors == "##vso[task.setvariable variable=job;isOutput=true]50%AZP25\n"


@pytest.mark.parametrize("value", ["a\nb=c", "a\r", "a\u2028b"])
def test_a_value_that_could_pass_itself_off_as_another_output_is_refused(told: Callable[[], str], value: str) -> None:
    with pytest.raises(UsageError, match="cannot be handed to the next step"):
        show.as_json({"good": "1", "job": value})
    assert told() == ""


def test_an_error_and_a_command_without_json_have_no_outputs(
    told: Callable[[], str], project: Path, command: Command
) -> None:
    assert command(project, "promote", 7, "--json")[0] == 2
    assert command(project, "data", "versions")[0] == 0
    assert told() == ""


# The contract


def test_the_contract_keeps_out_every_fault_that_is_planted(project: Path, command: Command, tmp_path: Path) -> None:
    code, said = command(project, "check", "data", "--junit", tmp_path / "reports" / "data.xml", "--json")
    assert (code, decoded(said)["passed"]) == (0, True), said
    suite = xml.parse(tmp_path / "reports" / "data.xml").getroot()
    columns = {case.get("name", "").split(":")[0] for case in suite}
    contract = Project(project).contract
    assert {c.name for c in contract.of("feature", "target")} < columns
    assert (int(suite.get("tests", 0)), suite.get("failures")) == (len(suite), "0")


def test_a_contract_that_its_own_rows_break_is_found(project: Path, command: Command, tmp_path: Path) -> None:
    path = project / "conf" / "contract.yaml"
    contract = load_contract(path)
    column = contract.of("feature")[0]
    wrong = msgspec.structs.replace(column, type="string", categories=["nothing that is ever drawn"], tolerance=0.0)
    columns = [wrong if c.name == column.name else c for c in contract.columns]
    if column.type != "string":
        wrong = msgspec.structs.replace(column, categories=[], minimum=1e12, maximum=None)
        columns = [wrong if c.name == column.name else c for c in contract.columns]
    save_contract(msgspec.structs.replace(contract, columns=columns, rules=[]), path)
    code, said = command(project, "check", "data", "--junit", tmp_path / "data.xml")
    assert (code, "synthetic rows keep the contract" in said) == (1, True), said
    failures = xml.parse(tmp_path / "data.xml").getroot().iter("failure")
    assert any(column.name in one.get("message", "") for one in failures)


def test_a_check_that_lets_faults_pass_is_found(
    project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_check, "check_file", lambda path, contract: (None, [], []))
    code, said = command(project, "check", "data", "--json")
    told = decoded(said)
    assert (code, told["passed"], len(told["failed"])) == (1, False, told["tried"] - 1)
    assert "was not found" in told["failed"][0]["failure"]


def test_without_a_contract_there_is_nothing_to_check_yet(project: Path, command: Command, tmp_path: Path) -> None:
    (project / "conf" / "contract.yaml").unlink()
    for words in (("data", "--junit"), ("training", "--against", "HEAD", "--summary")):
        code, said = command(project, "check", *words, tmp_path / words[0])
        assert (code, "There is no contract yet" in said) == (0, True), said
        assert "There is no contract yet" in (tmp_path / words[0]).read_text("utf-8")
    assert decoded(command(project, "check", "training", "--json")[1])["decision"] == "none"


# A training


def git(root: Path, *words: str) -> str:
    about = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *about, *words], cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the project in a folder of it."""
    root = new_project(tmp_path / "repository" / "project")
    shutil.copytree(ROOT / "src", root / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    settings(root, goal={"floor": None})
    git(root.parent, "init", "--quiet")
    return root


def commit(root: Path) -> str:
    git(root.parent, "add", "--all")
    git(root.parent, "commit", "--quiet", "--message", "a change")
    return git(root.parent, "rev-parse", "HEAD")


def judged(root: Path, command: Command, *words: Any) -> tuple[int, dict[str, Any], str]:
    """Run the check; return exit code, what it told and its page."""
    page = root / "reports" / "evaluation.md"
    code, said = command(root, "check", "training", "--rows", ROWS, "--summary", page, "--json", *words)
    assert page.exists(), said
    return code, decoded(said), page.read_text("utf-8")


def test_a_better_model_is_told_from_that_of_the_base_revision(repository: Path, command: Command) -> None:
    good = Project(repository).settings.model
    settings(repository, model=WEAK)
    base = commit(repository)
    settings(repository, model={"estimator": good.estimator, "parameters": good.parameters})
    commit(repository)
    before = sorted(path.name for path in repository.iterdir())

    code, told, page = judged(repository, command, "--against", base[:12], "--rows", 20_000)

    assert (code, told["decision"], told["against"]) == (0, "passed", base), told
    assert "better than the champion" in told["reasons"][0]
    assert set(told["metrics"]) >= {"model", "champion", "constant"}
    assert all(
        word in page for word in ("| challenger |", f"| champion ({base[:8]}) |", "| constant |", told["reasons"][0])
    )
    assert sorted(path.name for path in repository.iterdir()) == sorted([*before, "reports"]), "nothing else is kept"
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_what_the_gate_rejects_is_red(project: Path, command: Command) -> None:
    settings(project, model={"estimator": "constant", "parameters": {}})
    code, told, page = judged(project, command)
    assert (code, told["decision"]) == (1, "rejected")
    assert "rejected" in page.splitlines()[0]
    assert "no git repository" not in page, "none was asked for"


@pytest.mark.parametrize("revision", ["0" * 40, "--output=x", "no-such-branch"])
def test_without_a_revision_to_reach_there_is_no_champion(repository: Path, command: Command, revision: str) -> None:
    settings(repository, model={"estimator": "constant", "parameters": {}})
    commit(repository)
    _, told, page = judged(repository, command, f"--against={revision}")
    assert (told["against"], "champion" in told["metrics"]) == ("", False)
    assert "There is no champion: The revision to compare with cannot be reached" in page


def test_the_champion_is_trained_by_its_own_code(repository: Path, command: Command) -> None:
    """Where that code is broken, its sentence is told, and the new model is judged without it."""
    settings(repository, model={"estimator": "constant", "parameters": {}})
    cli = repository / "src" / PACKAGE / "cli.py"
    whole = cli.read_text("utf-8")
    cli.write_text("raise SystemExit('this is the code of the base')\n", "utf-8")
    base = commit(repository)
    cli.write_text(whole, "utf-8")
    _, told, _ = judged(repository, command, "--against", base)
    assert (told["against"], "this is the code of the base" in told["notes"][0]) == ("", True)


def test_without_git_and_before_the_project_there_is_no_champion(
    project: Path, repository: Path, command: Command
) -> None:
    for root in (project, repository):
        settings(root, model={"estimator": "constant", "parameters": {}})
    assert "no git repository" in judged(project, command, "--against", "HEAD")[2]
    git(repository.parent, "commit", "--quiet", "--allow-empty", "--message", "empty")
    base = git(repository, "rev-parse", "HEAD")
    commit(repository)
    assert "did not exist" in judged(repository, command, "--against", base)[2]
