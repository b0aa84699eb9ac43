"""The pipelines for Azure ML are executed here: training gives the model and the decision of the local `run`.

Retraining, scoring and monitoring go on with what the ones before wrote.
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
import yaml
from azure_executor import Failed, execute, snapshot
from conftest import Bake
from polars.testing import assert_frame_equal

EQUAL = 1e-9


class Case(NamedTuple):
    """A use case: its rows, parameters of the first and of the second model, and what the gate says of the second."""

    rows: int
    first: dict[str, Any]
    second: dict[str, Any]
    decision: str


CASES = {
    "porto-seguro": Case(12_000, {"n_estimators": 20}, {"n_estimators": 100}, "promoted"),
    "german-credit": Case(2_000, {}, {}, "kept_champion"),
}


def module(project: Path, *words: Any) -> Any:
    """Run a command of the project, and return the JSON that it prints."""
    done = subprocess.run(
        [sys.executable, "-m", next((project / "src").iterdir()).name, *map(str, words), "--json"],
        cwd=project,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "src", "HOME": str(project)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[0])


def parameters(project: Path, **changes: Any) -> None:
    """Change parameters of the estimator."""
    path = project / "conf" / "project.yaml"
    conf = yaml.safe_load(path.read_text("utf-8"))
    conf["model"]["parameters"] |= changes
    conf["gate"]["resamples"] = 100
    path.write_text(yaml.safe_dump(conf), "utf-8")


def told(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text("utf-8"))


def same(ours: Any, theirs: Any, where: str = "") -> None:
    """Hold values against each other: numbers to 1e-9, but for those that are times or follow from them."""
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours.keys() - {"latency_ms", "size_mb"}:
            same(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for one, other in zip(ours, theirs, strict=True):
            if not (isinstance(one, dict) and one.get("name") in ("latency_ms", "size_mb")):
                same(one, other, where)
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=EQUAL, abs=EQUAL), where
    else:
        assert ours == theirs, where


def compare(project: Path, local: dict[str, Any], cloud: dict[str, Path]) -> dict[str, Any]:
    """Hold a local run against the outputs of the pipeline; return its version.json, if there is one."""
    run = project / "runs" / local["run"] / "artifacts"
    same(told(run / "decision.json"), told(cloud["decision"] / "decision.json"))
    same(told(run / "evaluation.json"), told(cloud["decision"] / "evaluation.json"))
    assert told(cloud["data"] / "manifest.json")["version"] == local["data_version"]
    assert local["notes"] == told(cloud["decision"] / "run.json")["notes"]
    for name in ("scores.parquet", *(["champion.parquet"] if (run / "champion.parquet").exists() else [])):
        assert_frame_equal(pl.read_parquet(run / name), pl.read_parquet(cloud["decision"] / name), abs_tol=EQUAL)
    assert (cloud["decision"] / "report.html").read_text("utf-8").startswith("<!doctype html>")
    version = cloud["decision"] / "version.json"
    assert version.exists() == (local["model_version"] is not None) == any(cloud["model"].iterdir())
    if not version.exists():
        return {}
    found: dict[str, Any] = told(version)
    assert found["line"] == told(run / "run.json")["line"]
    return found


@pytest.mark.parametrize("use_case", CASES)
def test_the_pipeline_gives_what_the_local_run_gives(bake: Bake, tmp_path: Path, use_case: str) -> None:
    case = CASES[use_case]
    project = shutil.copytree(bake(use_case=use_case, project_slug=use_case), tmp_path / "project")
    pipeline = project / "azureml" / "pipelines" / "train.yml"
    raw = tmp_path / "raw"
    raw.mkdir()
    module(project, "data", "sample", "--rows", case.rows, "--output", raw / "rows.csv")
    given = {"raw": str(raw), "synthetic": "yes", "commit": "1" * 40}

    parameters(project, **case.first)
    local = module(project, "run", "--data", raw / "rows.csv")
    first = execute(pipeline, tmp_path / "first", given)
    version = compare(project, local, first)
    assert local["decision"] == "promoted", local["reasons"]
    assert version["judged_against"] is None
    assert (version["tags"]["synthetic"], version["tags"]["engine"]) == ("yes", "onnx")

    # The model folder scores as the registered one does.
    module(project, "score", raw / "rows.csv", tmp_path / "local.parquet")
    code = snapshot(project, tmp_path / "code")
    command = [
        "score",
        "--model",
        first["model"],
        "--digest",
        version["digest"],
        "--data",
        raw,
        "--out",
        tmp_path / "s",
    ]
    package = next((project / "src").iterdir()).name
    subprocess.run(
        [sys.executable, "-m", f"{package}.azure.steps", *map(str, command)],
        cwd=code, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": "src"}, check=True, capture_output=True,
    )  # fmt: skip
    scored = pl.read_parquet(tmp_path / "s" / "rows.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "local.parquet"), scored, abs_tol=EQUAL)

    # With a champion, whose folder the job mounts.
    parameters(project, **case.second)
    local = module(project, "run")
    champion = {"champion": str(first["model"]), "champion_digest": version["digest"]}
    second = execute(pipeline, tmp_path / "second", given | champion)
    judged = compare(project, local, second)
    assert local["champion"]["metrics"] is not None
    assert local["decision"] == case.decision, local["reasons"]
    assert judged.get("judged_against") == (version["digest"] if case.decision == "promoted" else None)


def collect(folder: Path, moment: datetime, rows: list[dict[str, Any]], scores: list[Any], ids: list[str]) -> None:
    """Write requests and answers as the collector of an endpoint does; one request was too large to be collected."""
    hour = f"{moment:%Y/%m/%d/%H}"
    for kind in ("request", "response"):
        path = folder / "green" / kind / hour / "instance.jsonl"
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8") as file:
            for n in range(0, len(rows), 100):
                about = {"request_id": f"r{n}", "model_version": "3", "deployment": "green"}
                answer = about | {"ids": ids[n : n + 100], "result": scores[n : n + 100]}
                data = {"data": rows[n : n + 100]} if kind == "request" else answer
                event = {"time": moment.isoformat(), "correlationid": f"r{n}", "data": data}
                if n or kind == "response":
                    file.write(json.dumps(event) + "\n")


def test_what_schedules_run_goes_on_with_what_others_wrote(bake: Bake, tmp_path: Path) -> None:
    """Retraining takes in the inbox; its model scores; the monitor reads what the endpoint collected, or the inbox."""
    answers = {"use_case": "german-credit", "project_slug": "german-credit"}
    project = shutil.copytree(bake(**answers, serving="both"), tmp_path / "project")
    pipelines, inbox = project / "azureml" / "pipelines", tmp_path / "inbox"
    inbox.mkdir()
    module(project, "data", "sample", "--rows", 1000, "--seed", 1, "--output", tmp_path / "first.csv")
    module(project, "data", "sample", "--rows", 1000, "--seed", 2, "--output", inbox / "second.csv")
    sha256 = hashlib.sha256((inbox / "second.csv").read_bytes()).hexdigest()
    (inbox / "second.csv.json").write_text(json.dumps({"sha256": sha256}), "utf-8")
    module(project, "ingest", tmp_path / "first.csv")
    (version,) = (project / "data" / "versions").iterdir()
    parameters(project)

    given = {"raw": str(version), "inbox": str(inbox), "commit": "1" * 40}
    made = execute(pipelines / "retrain.yml", tmp_path / "retrain", given, step="retraining")
    assert told(made["data"] / "manifest.json")["rows"] == 2000
    assert told(made["decision"] / "decision.json")["decision"] == "passed"

    files = tmp_path / "files"
    files.mkdir()
    shutil.copy2(inbox / "second.csv", files)
    digest = told(made["decision"] / "version.json")["digest"]
    model = {"model": str(made["model"]), "digest": digest}
    execute(pipelines / "score.yml", tmp_path / "score", model | {"data": str(files)}, step="scoring")
    (path,) = (tmp_path / "score" / "outputs" / "scores").glob("second-*.parquet")
    scores = pl.read_parquet(path)
    assert scores.height == 1000

    table = pl.read_csv(inbox / "second.csv", infer_schema_length=None)
    now = datetime.now(UTC)
    rows, ids = table.to_dicts(), [str(one) for one in scores[scores.columns[0]]]
    for days in (1, 40):  # the newest window, and one whose outcomes are known
        collect(tmp_path / "collected", now - timedelta(days=days), rows, scores["score"].to_list(), ids)
    kept = [tmp_path / name for name in ("outcomes", "earlier")]
    for folder in kept:
        folder.mkdir()
        (folder / ".keep").touch()
    shutil.copy2(inbox / "second.csv", tmp_path / "outcomes")
    watch = model | {"version": "3", "evaluation": str(made["decision"])}
    more = {name: str(tmp_path / name) for name in ("collected", "outcomes", "earlier")}
    first = execute(pipelines / "monitor.yml", tmp_path / "monitor", watch | more, step="monitor")
    (path,) = first["report"].glob("*-v3.json")
    report = told(path)
    assert (report["rows"], report["status"]) == (900, "fine"), report["findings"]
    assert report["metric"] is not None
    assert f"--earlier {tmp_path / 'earlier'} " in (tmp_path / "monitor" / "commands.txt").read_text("utf-8")
    about = yaml.safe_load((first["table"] / "MLTable").read_text("utf-8"))
    window = pl.read_parquet(first["table"] / about["paths"][0]["file"])
    assert (window.height, window["timestamp"].is_null().sum()) == (900, 0)

    # A project without a service looks at what came last.
    batch = bake(**answers, serving="batch") / "azureml" / "pipelines" / "monitor.yml"
    second = execute(batch, tmp_path / "batch", watch | {"inbox": str(inbox)}, step="monitor")
    (path,) = second["report"].glob("*-v3.json")
    assert told(path)["rows"] == 1000


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("azureml/components/training.yml", "raw: ${{parent.inputs.raw}}", "raw: ${{parent.inputs.rwa}}", "inputs.rwa"),
        ("azureml/components/training.yml", "ingest.outputs.data}}", "ingest.outputs.rows}}", "ingest.outputs.rows"),
        ("azureml/components/training.yml", "parent.inputs.base}}", "parent.inputs.bsae}}", "inputs.bsae"),
        ("azureml/components/ingest.yml", "--raw ", "--table ", "--table"),
        (".amlignore", "!src/**", "!src/*.py", "No module named"),
        (".amlignore", "!conf/contract.yaml", "", "contract.yaml"),
    ],
    ids=["no such input", "no such output", "no such optional input", "no such option", "no code", "no contract"],
)
def test_what_is_broken_fails(bake: Bake, tmp_path: Path, file: str, old: str, new: str, said: str) -> None:
    project = shutil.copytree(bake(use_case="german-credit", project_slug="german-credit"), tmp_path / "project")
    text = (project / file).read_text("utf-8")
    assert old in text
    (project / file).write_text(text.replace(old, new), "utf-8")
    module(project, "data", "sample", "--rows", 200, "--output", tmp_path / "raw" / "rows.csv")
    with pytest.raises(Failed, match=re.escape(said)):
        execute(project / "azureml" / "pipelines" / "train.yml", tmp_path / "run", {"raw": str(tmp_path / "raw")})
