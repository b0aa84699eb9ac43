"""The steps of the cloud's pipeline, as commands over folders: what they write, what they log, how they fail."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import new_project, settings, table
from mlflow.tracking import MlflowClient

from porto_seguro import cli
from porto_seguro.artifact import NATIVE, ONNX, load_model
from porto_seguro.azure.step_io import RUN_ID, TRACKING
from porto_seguro.azure.steps import LOSS, app
from porto_seguro.pipeline import Project
from porto_seguro.seal import digest

Step = Callable[..., tuple[int, str]]
SMALL = {"estimator": "lightgbm", "parameters": {"n_estimators": 40, "num_leaves": 7, "verbose": -1}}


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Step:
    """Run a step in a project; return its exit code and what it printed."""

    def run(root: Path, *words: Any) -> tuple[int, str]:
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, "argv", ["steps", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main(app)
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    return run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a small model; steps change nothing in it."""
    made = new_project(tmp_path_factory.mktemp("steps") / "project")
    settings(made, model=SMALL, goal={"floor": None}, gate={"resamples": 100})
    return made


@pytest.fixture(scope="module")
def made(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of all steps up to the evaluation; the training is logged to an MLflow run."""
    out = tmp_path_factory.mktemp("made")
    client = MlflowClient(f"sqlite:///{out / 'track.db'}")
    run = client.create_run(client.create_experiment("steps", (out / "track").as_uri())).info.run_id
    raw = table(root, 8_000, 1, out / "rows.csv")
    steps = (
        ("ingest", "--raw", raw, "--synthetic", "yes", "--out", out / "data"),
        ("split", "--data", out / "data", "--out", out / "parts"),
        ("train", "--data", out / "data", "--parts", out / "parts", "--set", "num_leaves=5", "--log-every", "10",
         "--commit", "abc-dirty", "--out", out / "models"),
        ("evaluate", "--data", out / "data", "--parts", out / "parts", "--models", out / "models",
         "--out", out / "evaluation"),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv(TRACKING, f"sqlite:///{out / 'track.db'}")
        patch.setenv(RUN_ID, run)
        for words in steps:
            patch.setattr(sys, "argv", ["steps", *map(str, words)])
            with pytest.raises(SystemExit) as ended:
                cli.main(app)
            assert not ended.value.code, words
    return out


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_what_passed_is_ready_to_be_registered(root: Path, made: Path, step: Step, tmp_path: Path) -> None:
    words = ("--models", made / "models", "--evaluation", made / "evaluation", "--out", tmp_path / "out")
    (tmp_path / "model").mkdir()  # a mounted output is there already
    code, said = step(root, "gate", *words, "--model", tmp_path / "model")
    assert (code, told(tmp_path / "out" / "decision.json")["decision"]) == (0, "passed"), said
    version = told(tmp_path / "out" / "version.json")
    model = load_model(tmp_path / "model", version["digest"])
    assert version["tags"]["data_version"] == told(made / "data" / "manifest.json")["version"]
    assert version["tags"]["synthetic"] == "yes"
    assert version["line"] == model.lineage["line"]
    assert (model.lineage["commit"], model.lineage["dirty"]) == ("abc", True)
    assert model.lineage["parameters"]["num_leaves"] == 5
    assert (tmp_path / "out" / "report.html").read_text("utf-8").startswith("<!doctype html>")


def test_the_run_of_the_job_gets_the_metrics_and_the_rounds(made: Path) -> None:
    client = MlflowClient(f"sqlite:///{made / 'track.db'}")
    (run,) = client.search_runs(["1"])
    losses = client.get_metric_history(run.info.run_id, LOSS)
    assert [one.step for one in losses] == [1, 11, 21, 31]
    assert losses[-1].value < losses[0].value
    assert run.data.params["num_leaves"] == "5"
    assert "auc" in run.data.metrics or "rmse" in run.data.metrics or "log_loss" in run.data.metrics


def test_an_onnx_form_that_was_found_wanting_is_left_out(root: Path, made: Path, step: Step, tmp_path: Path) -> None:
    evaluation = shutil.copytree(made / "evaluation", tmp_path / "evaluation")
    measured = told(evaluation / "evaluation.json")
    measured["model"]["onnx"] |= {"engine": "native", "reason": "it is off"}
    (evaluation / "evaluation.json").write_text(json.dumps(measured), "utf-8")
    words = ("--models", made / "models", "--evaluation", evaluation, "--out", tmp_path / "out")
    assert step(root, "gate", *words, "--model", tmp_path / "model")[0] == 0
    version = told(tmp_path / "out" / "version.json")
    assert version["tags"]["engine"] == "native"
    assert version["digest"] == digest(tmp_path / "model")
    assert not (tmp_path / "model" / NATIVE / ONNX).exists()
    assert (made / "models" / "model" / NATIVE / ONNX).exists()  # an input stays as it is


def test_what_did_not_pass_leaves_no_model(root: Path, made: Path, step: Step, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "project")
    settings(tmp_path / "project", gate={"guards": {"size_mb": 1e-6}})
    words = ("--models", made / "models", "--evaluation", made / "evaluation", "--out", tmp_path / "out")
    code, said = step(tmp_path / "project", "gate", *words, "--model", tmp_path / "model")
    assert (code, told(tmp_path / "out" / "decision.json")["decision"]) == (0, "rejected"), said
    assert not (tmp_path / "out" / "version.json").exists()
    assert list((tmp_path / "model").iterdir()) == []


def test_the_champion_is_compared_where_it_answers_the_same_question(
    lived: Path, root: Path, made: Path, step: Step, tmp_path: Path
) -> None:
    version = Project(lived).registry.champion()
    assert version
    models = Project(lived).registry.model(version)
    words = ("--data", made / "data", "--parts", made / "parts", "--models", made / "models")
    champion = ("--champion", models, "--champion-digest", version.digest)
    assert step(root, "evaluate", *words, *champion, "--out", tmp_path / "same")[0] == 0
    about = told(tmp_path / "same" / "run.json")
    assert (about["judged_against"], about["notes"]) == (version.digest, [])
    assert (tmp_path / "same" / "champion.parquet").exists()

    other = shutil.copytree(made / "models", tmp_path / "models")
    line = told(other / "run.json") | {"line": "another"}
    (other / "run.json").write_text(json.dumps(line), "utf-8")
    assert step(root, "evaluate", *words[:4], "--models", other, *champion, "--out", tmp_path / "other")[0] == 0
    about = told(tmp_path / "other" / "run.json")
    assert about["judged_against"] is None
    assert "new model line" in about["notes"][0]
    assert "version 0" not in about["notes"][0]

    wrong = ("--champion", models, "--champion-digest", "0" * 64)
    code, said = step(root, "evaluate", *words, *wrong, "--out", tmp_path / "wrong")
    assert (code, "exchanged" in said) == (3, True)
    assert not (tmp_path / "wrong").exists()


def test_rows_are_added_as_the_store_adds_them(root: Path, step: Step, tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    first, second = (table(project, 500, seed, tmp_path / f"{seed}.csv") for seed in (1, 2))
    store, contract = Project(project).store, Project(project).contract
    old, new = store.add(first, contract)[0], store.add(second, contract, append=True)[0]
    assert step(root, "ingest", "--raw", first, "--out", tmp_path / "old")[0] == 0
    words = ("--raw", tmp_path, "--file", "2.csv", "--base", tmp_path / "old")
    code, said = step(root, "ingest", *words, "--synthetic", "yes", "--out", tmp_path / "new")
    assert code == 0, said
    made = told(tmp_path / "new" / "manifest.json")
    assert (made["version"], made["based_on"], made["rows"]) == (new.version, old.version, new.rows)
    assert made["known_as"] == ""  # some rows are real
    assert step(root, "ingest", "--raw", tmp_path / "new", "--out", tmp_path / "again")[0] == 0
    assert told(tmp_path / "again" / "manifest.json")["version"] == new.version


def test_an_alarm_ends_the_step_only_if_asked(lived: Path, step: Step, tmp_path: Path) -> None:
    project = Project(lived)
    version, model = project.model()
    folder = project.registry.model(version)
    words = ("monitor", "--model", folder, "--digest", version.digest, "--evaluation", folder.parent, "--version", 1)
    table(lived, 3_000, 9, tmp_path / "same.csv")
    code, said = step(lived, *words, "--table", tmp_path / "same.csv", "--out", tmp_path / "same", "--fail-on-alarm")
    assert (code, "Status: alarm" in said) == (0, False), said
    moved = pl.read_csv(tmp_path / "same.csv", infer_schema_length=None)
    moved = moved.with_columns(pl.lit(moved[name][0]).alias(name) for name in model.needs[: len(model.needs) // 2 + 1])
    moved.write_csv(tmp_path / "moved.csv")
    for flags, wanted in (((), 0), (("--fail-on-alarm",), 1)):
        out = tmp_path / f"moved{wanted}"
        code, said = step(lived, *words, "--table", tmp_path / "moved.csv", "--out", out, *flags)
        assert (code, "Status: alarm" in said) == (wanted, True), said
        (report,) = out.glob("*-v1.json")
        assert told(report)["status"] == "alarm"
        assert report.with_suffix(".html").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["ingest", "--raw", "bad.csv", "--out", "out"], 1, "bad.csv"),
        (["split", "--data", "nowhere", "--out", "out"], 2, "the step before"),
        (["train", "--data", "nowhere", "--parts", "nowhere", "--out", "out"], 2, "the step before"),
        (["train", "--data", "data", "--parts", "parts", "--out", "out", "--set", "num_leaves"], 2, "NAME=VALUE"),
        (["train", "--data", "data", "--parts", "parts", "--out", "out", "--set", "num_leaves=-3"], 2, "cannot learn"),
        (["monitor", "--model", "models/model", "--evaluation", "evaluation", "--out", "out"], 2, "--table or --log"),
        (["score", "--model", "data", "--data", "rows.csv", "--out", "out"], 3, "no model folder"),
        (["score", "--model", "models/model", "--data", "bad.csv", "--out", "out"], 1, "bad.csv"),
        (["gate", "--models", "models"], 2, "Missing option"),
    ],
)
def test_errors_are_sentences_and_leave_nothing(
    root: Path, made: Path, step: Step, tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    for name in ("data", "parts", "models", "evaluation", "rows.csv"):
        (tmp_path / name).symlink_to(made / name)
    (tmp_path / "bad.csv").write_text("nothing\nof it\n", "utf-8")
    places = ("nowhere", "out", "data", "parts", "models", "evaluation", "rows.csv", "bad.csv", "models/model")
    told = step(root, *(str(tmp_path / word) if word in places else word for word in words))
    assert told[0] == code, told
    assert says in told[1]
    assert "Traceback" not in told[1]
    assert not (tmp_path / "out").exists()
