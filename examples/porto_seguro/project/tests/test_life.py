"""The life of a model on this machine, by the commands that a user types."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import filelock
import polars as pl
import pytest
from conftest import Command, decoded, settings, table

from porto_seguro import clock, evaluate
from porto_seguro.config import METRICS
from porto_seguro.pipeline import Project
from porto_seguro.split import HOLDOUT

SOURCE = Path(evaluate.__file__).resolve().parents[1]


@pytest.fixture
def living(lived: Path, tmp_path: Path) -> Path:
    """A project with a champion, to be changed at will (a copy in another place: projects can be moved)."""
    return shutil.copytree(lived, tmp_path / "moved")


def scores_of(root: Path, command: Command) -> bytes:
    code, said = command(root, "score", root / "rows.csv", root / "out.csv")
    assert code == 0, said
    return (root / "out.csv").read_bytes()


def test_run_prints_one_object_with_all_that_a_program_needs(living: Path, command: Command) -> None:
    code, printed = command(living, "run", "--json")
    told = decoded(printed)
    assert code == 0
    assert told["decision"] == "kept_champion"  # the same data and settings give the same model
    assert set(told) >= {
        "data_version", "model_version", "decision", "reasons", "metrics", "champion", "baselines", "seconds"
    }  # fmt: skip
    assert set(told["metrics"]) <= set(METRICS)
    assert told["champion"]["metrics"] == told["metrics"]
    assert "constant" in told["baselines"]
    assert len(told["baselines"]) == 2
    assert Path(told["report"]).read_text("utf-8").startswith("<!doctype html>")
    assert command(living, "models")[1].count("champion") >= 1


def test_worse_is_refused_better_is_promoted_and_rollback_restores_the_scores(living: Path, command: Command) -> None:
    settings(living, model={"estimator": "constant", "parameters": {}})
    worse = decoded(command(living, "run", "--json")[1])
    assert (worse["decision"], worse["model_version"]) == ("rejected", None)
    # The present champion may be as good as it gets: begin anew, with a weak one.
    living = shutil.copytree(living, living.with_name("anew"), ignore=shutil.ignore_patterns("runs", "mlflow.db*"))
    weak = {"estimator": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 3, "min_samples_leaf": 200}}
    settings(living, model=weak, goal={"floor": None})
    first = decoded(command(living, "run", "--json")[1])
    assert (first["decision"], first["model_version"]) == ("promoted", 1), first["reasons"]
    weak_scores = scores_of(living, command)
    settings(living, model={"estimator": "lightgbm", "parameters": {}})
    better = decoded(command(living, "run", "--json")[1])
    assert (better["decision"], better["model_version"]) == ("promoted", 2), better["reasons"]
    assert scores_of(living, command) != weak_scores
    assert command(living, "rollback")[0] == 0
    assert scores_of(living, command) == weak_scores
    code, said = command(living, "rollback")
    assert code == 2
    assert "no previous champion" in said
    assert command(living, "promote", 2)[0] == 0
    assert scores_of(living, command) != weak_scores


@pytest.mark.life
def test_train_evaluate_register_promote_one_by_one(project: Path, command: Command) -> None:
    table(project, 20_000, 1, project / "rows.csv")
    assert command(project, "score", project / "rows.csv", project / "out.csv")[0] == 2
    assert command(project, "evaluate")[0] == 2
    run = decoded(command(project, "train", "--data", project / "rows.csv", "--json")[1])["run"]
    assert command(project, "register", run)[0] == 2  # not judged yet
    assert decoded(command(project, "evaluate", run[:8], "--json")[1])["decision"] == "passed"
    assert command(project, "score", project / "rows.csv", project / "out.csv")[0] == 2  # registered is not promoted
    for _ in range(2):
        assert decoded(command(project, "register", "--json")[1])["model_version"] == 1
    assert command(project, "promote", 7)[0] == 2
    assert command(project, "promote", 1)[0] == 0
    assert command(project, "score", project / "rows.csv", project / "out.csv")[0] == 0
    assert run[:8] in command(project, "runs")[1]


def test_lineage_is_complete(living: Path) -> None:
    import json

    registry = Project(living).registry
    champion = registry.champion()
    assert champion
    lineage = json.loads((registry.model(champion) / "data" / "native" / "lineage.json").read_text())
    assert set(lineage) >= {
        "commit", "dirty", "data_version", "contract", "settings", "lock", "parameters", "seeds", "libraries",
        "trained_at", "line", "split", "run",
    }  # fmt: skip
    assert lineage["data_version"] == champion.tags["data_version"]
    assert lineage["contract"]
    assert lineage["lock"]


def test_appended_rows_never_bring_a_trained_row_into_the_holdout(living: Path, command: Command) -> None:
    old = Project(living)
    first = old.store.latest().version
    table(living, 3000, 2, living / "more.csv")
    # Identifiers of synthetic rows start anew: shift them, as real new rows would have new ones.
    contract = old.contract
    more = pl.read_csv(living / "more.csv", infer_schema_length=None)
    ids = [c.name for c in contract.of("identifier") if more.schema[c.name].is_integer()]
    more.with_columns(pl.col(name) + 10_000_000 for name in ids).write_csv(living / "more.csv")
    assert command(living, "ingest", living / "more.csv", "--append")[0] == 0
    told = decoded(command(living, "run", "--json")[1])
    project = Project(living)
    runs = {r["tags"]["data_version"]: r["run"] for r in project.registry.runs()}
    assert told["data_version"] != first
    parts = {}
    for version in (first, told["data_version"]):
        rows = pl.read_parquet(project.store.path(version))
        part = pl.read_parquet(project.registry.folder(runs[version]) / "split.parquet")["part"]
        assert rows.height == part.len()
        parts[version] = rows.with_columns(part=part)
    trained = parts[first].filter(pl.col("part") != HOLDOUT).drop("part")
    held = parts[told["data_version"]].filter(pl.col("part") == HOLDOUT).drop("part")
    assert trained.join(held, on=ids or trained.columns, how="semi", nulls_equal=True).height == 0
    assert parts[told["data_version"]].height == parts[first].height + 3000


def test_another_question_begins_a_new_line(living: Path, command: Command) -> None:
    settings(living, split={"seed": 1})
    told = decoded(command(living, "run", "--json")[1])
    assert told["model_version"] == 2
    assert told["decision"] == "promoted"
    assert any("new model line" in note for note in told["notes"])
    code, said = command(living, "rollback")
    assert code == 2
    assert "another question" in said


def test_a_champion_of_synthetic_rows_makes_way_for_real_ones_only(project: Path, command: Command) -> None:
    drawn = ("data", "sample", "--rows", 20_000, "--seed", 1, "--output", project / "drawn.parquet")
    assert command(project, *drawn)[0] == 0
    first = decoded(command(project, "run", "--data", "drawn.parquet", "--json")[1])
    assert first["decision"] == "promoted"
    # Nothing but the checksum tells these rows from real ones.
    pl.read_parquet(project / "drawn.parquet").head(19_990).write_parquet(project / "real.parquet")
    real = decoded(command(project, "run", "--data", "real.parquet", "--json")[1])
    assert (real["decision"], real["model_version"]) == ("promoted", 2)
    assert "synthetic" in real["notes"][0]
    assert real["champion"]["metrics"] is None
    again = decoded(command(project, "run", "--data", first["data_version"], "--json")[1])
    assert again["champion"]["metrics"], "synthetic rows must not take a real champion's place without being compared"


def test_versions_are_those_that_mlflow_lists(living: Path) -> None:
    """They are read from its database without it, which saves seconds at each start."""
    from mlflow.tracking import MlflowClient

    here = Project(living)
    client = MlflowClient(f"sqlite:///{(living / 'mlflow.db').as_posix()}")
    found = client.search_model_versions(f"name = '{here.settings.name}'")
    assert {int(v.version): dict(v.tags) for v in found} == {v.version: v.tags for v in here.registry.versions()}
    champion = client.get_model_version_by_alias(here.settings.name, "champion")
    assert here.registry.champion() == here.registry.get(int(champion.version))


def test_an_error_promotes_nothing_and_the_next_run_works(
    living: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from porto_seguro import pipeline

    before = scores_of(living, command)

    def broken(*_: Any) -> None:
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "evaluate", broken)
        code, said = command(living, "run")
    assert code == 3
    assert "out of luck" in said
    assert "Traceback" not in said
    assert scores_of(living, command) == before
    assert command(living, "run")[0] == 0


def test_a_sample_is_never_registered(living: Path, command: Command) -> None:
    told = decoded(command(living, "run", "--sample", 2000, "--json")[1])
    assert told["model_version"] is None
    assert any("sample" in note for note in told["notes"])
    assert Project(living).registry.runs()[0]["parameters"]["sample"] == "2000"


def test_what_cannot_be_scored_gives_no_output(living: Path, command: Command) -> None:
    contract = Project(living).contract
    rows = pl.read_csv(living / "rows.csv", infer_schema_length=None).cast(pl.String)
    number = next(c.name for c in contract.of("feature") if c.type in ("integer", "number"))
    bad = {
        "type": rows.with_columns(
            pl.when(pl.int_range(pl.len()) == 5000).then(pl.lit("many")).otherwise(number).alias(number)
        ),
        "column": rows.drop(number),
        "empty": rows.head(0),
    }
    for name, frame in bad.items():
        frame.write_csv(living / "bad.csv")
        code, said = command(living, "score", living / "bad.csv", living / "out.csv")
        assert code == 1, name
        assert "bad.csv" in said
        assert not (living / "out.csv").exists()
    assert command(living, "score", living / "rows.csv", living / "rows.csv")[0] == 2
    rows.drop(contract.target.name).write_parquet(living / "good.parquet")
    assert command(living, "score", living / "good.parquet", living / "out.parquet")[0] == 0
    assert pl.read_parquet(living / "out.parquet").height == rows.height


def test_two_at_once_are_told_apart(living: Path, command: Command) -> None:
    with filelock.FileLock(living / ".lock"):
        code, said = command(living, "run")
    assert code == 3
    assert "Try again" in said
    assert command(living, "run", "--sample", 1000)[0] == 0


def test_no_permission_and_no_space_are_sentences(
    living: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from porto_seguro import score

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(score.Writer, "write", full)
        code, said = command(living, "score", living / "rows.csv", living / "out.csv")
    assert code == 3
    assert "No space left" in said
    assert not (living / "out.csv").exists()
    assert command(living, "score", living / "rows.csv", living / "rows.csv" / "below" / "file.csv")[0] == 3


@pytest.mark.life
@pytest.mark.skipif(os.name == "nt", reason="limits on file sizes are POSIX")
def test_a_full_disk_loses_nothing(living: Path, command: Command) -> None:
    """The system itself refuses to write more than a few kilobytes into a file."""
    import resource

    table(living, 20_000, 5, living / "big.csv")
    before = [m.version for m in Project(living).store.versions()]
    for words in (("run", "--data", "big.csv"), ("ingest", "big.csv"), ("score", "rows.csv", "out.csv")):
        done = subprocess.run(
            [sys.executable, "-m", Path(evaluate.__file__).parent.name, *words],
            # Python itself would leave bytecode that is cut off, and every later process would stumble over it.
            env={**os.environ, "PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=living, capture_output=True, text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        )  # fmt: skip
        assert done.returncode == 3, words
        assert "cannot be" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (living / "out.csv").exists()
        assert [m.version for m in Project(living).store.versions()] == before
    assert command(living, "run", "--data", living / "big.csv")[0] == 0


@pytest.mark.life
@pytest.mark.skipif(os.name == "nt", reason="kill -9 is POSIX")
def test_killed_at_any_moment_nothing_is_half_done(living: Path, command: Command) -> None:
    table(living, 20_000, 5, living / "big.csv")
    before = {m.version for m in Project(living).store.versions()}
    package = Path(evaluate.__file__).parent.name
    for wait in (0.3, 0.8, 1.2, 1.6, 2.0, 3.0):
        child = subprocess.Popen(
            [sys.executable, "-m", package, "run", "--data", str(living / "big.csv")],
            cwd=living, env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
        for version in Project(living).store.versions():
            assert pl.read_parquet(Project(living).store.path(version.version)).height == version.rows
        champion = Project(living).registry.champion()
        assert champion
        assert command(living, "score", living / "rows.csv", living / "out.csv")[0] == 0
    assert command(living, "run", "--data", living / "big.csv")[0] == 0
    after = {m.version for m in Project(living).store.versions()}
    assert len(after - before) == 1
    assert not list((living / "data" / "versions").glob(".part-*"))
    assert [r["status"] for r in Project(living).registry.runs()].count("RUNNING") == 0


def test_help_teaches_and_usage_errors_exit_with_2(living: Path, command: Command) -> None:
    for words in (("--help",), ("contract", "infer", "--help"), ("run", "--help")):
        code, said = command(living, *words)
        assert code == 0
        assert "Usage" in said
    assert command(living, "nonsense")[0] == 2
    assert command(living, "run", "--data", "no-such-version")[0] == 2
    assert command(living.parent, "run")[0] == 2
    assert decoded(command(living, "run", "--data", "nope", "--json")[1])["exit_code"] == 2


def test_doctor_says_what_comes_next(living: Path, command: Command) -> None:
    assert "Next: score" in command(living, "doctor")[1]
    (living / "conf" / "contract.yaml").unlink()
    code, said = command(living, "doctor")
    assert code == 0
    assert "Next: contract infer" in said
    code, said = command(living, "run")
    assert code == 2
    assert "contract infer" in said


def test_time_comes_from_the_clock_only() -> None:
    package = Path(evaluate.__file__).parent
    banned = (
        "datetime.now",
        "datetime.today",
        "datetime.utcnow",
        "date.today",
        "time.time",
        "time.perf_counter",
        "time.monotonic",
        "Timestamp.now",
    )
    for path in package.glob("*.py"):
        if path.name != Path(clock.__file__).name:
            assert [word for word in banned if word in path.read_text("utf-8")] == [], path.name
