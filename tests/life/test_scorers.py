"""Streaming, parallel and Spark scorers give the same scores, run by the arguments in their components.

Spark is installed once, beside the kit's other tools; Java 17 must be there (apt-get install openjdk-17-jre-headless).
Version 3.5 is that of the newest Spark runtime on Azure, which has Java 17 and Python 3.11.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import tools
import yaml
from azure_executor import WORKER
from conftest import Bake

SPARK = "3.5.8"
USE_CASES = ("porto-seguro", "german-credit")
# The script once for each list of arguments, as if each time Spark had been started for it; that takes long.
DRIVER = """
import json, runpy, sys
script, lists = sys.argv[1], json.loads(sys.argv[2])
for arguments in lists:
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        print(error.code)
"""
STREAMING = """
import sys
from importlib import import_module
from pathlib import Path
package, model, source, target = sys.argv[1:]
load, score = (import_module(f"{package}.{name}") for name in ("artifact", "score"))
score.score(load.load_model(Path(model), None, None, threads=1), Path(source), Path(target))
"""


@dataclass
class Trained:
    """A project with a trained model and a table."""

    root: Path
    package: str
    model: Path
    table: Path
    scores: pl.DataFrame
    id: str

    @property
    def model_needs(self) -> list[str]:
        contract = yaml.safe_load((self.root / "conf" / "contract.yaml").read_text("utf-8"))
        roles = {
            column["name"]: next(
                (c["value"] for c in column.get("customProperties", []) if c["property"] == "role"), ""
            )
            for column in contract["schema"][0]["properties"]
        }
        return [name for name, role in roles.items() if role in ("", "feature")]

    def python(self, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python far from the project, so that nothing is found by chance."""
        told = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
        return subprocess.run(
            [sys.executable, *map(str, words)], cwd=tempfile.gettempdir(), env=told, capture_output=True, text=True
        )

    def component(self, name: str) -> dict[str, Any]:
        path = self.root / "azureml" / "components" / f"score_{name}.yml"
        content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
        return content


def words(line: str, **values: object) -> list[str]:
    """Resolve the placeholders of a command line; what is optional and not given goes."""
    names = {f"inputs.{k}": v for k, v in values.items()} | {f"outputs.{k}": v for k, v in values.items()}
    line = re.sub(r"\$\[\[(.*?)\]\]", lambda m: m[1] if re.findall(r"{{(.*?)}}", m[1])[0] in names else "", line)
    return [re.sub(r"\${{(.*?)}}", lambda m: str(names[m[1]]), word) for word in line.split()]


@pytest.fixture(scope="module", params=USE_CASES)
def trained(request: pytest.FixtureRequest, bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    use_case: str = request.param
    folder = tmp_path_factory.mktemp(use_case)
    root = Path(
        shutil.copytree(
            bake(use_case=use_case, project_slug=use_case, platform="azure-ml", extras="spark"), folder / "p"
        )
    )
    package = use_case.replace("-", "_")
    made = Trained(root, package, root / "runs", root / "table.csv", pl.DataFrame(), "")

    def run(*told: object) -> None:
        done = subprocess.run(
            [sys.executable, *map(str, told)], cwd=root, env=os.environ | {"PYTHONPATH": "src"}, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()

    run("-m", package, "data", "sample", "--rows", 6000, "--output", made.table)
    run("-m", package, "train", "--data", made.table)
    (made.model,) = root.glob("runs/*/artifacts/model")
    run("-c", STREAMING, package, made.model, made.table, root / "streamed.parquet")
    run("-m", f"{package}.azure.steps", "score", "--model", made.model, "--data", made.table, "--out", root / "step")
    made.scores = pl.read_parquet(root / "streamed.parquet")
    made.id = made.scores.columns[0]
    step = pl.read_parquet(root / "step" / "table.parquet")
    assert step.drop("score").equals(made.scores.drop("score"))
    assert made.scores["score"].n_unique() > 100
    assert float((step["score"] - made.scores["score"]).abs().max()) < 1e-6  # type: ignore[arg-type]  # of more threads
    return made


@pytest.fixture
def files(trained: Trained, tmp_path: Path) -> list[Path]:
    """The table in five files; two have the same name, one is Parquet."""
    table = pl.read_csv(trained.table, infer_schema=False)
    size = table.height // 5 + 1
    paths = [tmp_path / "in" / name for name in ("a/part.csv", "b/part.csv", "c.csv", "d.csv", "e.parquet")]
    for n, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        piece = table[size * n : size * (n + 1)]
        if path.suffix == ".csv":
            piece.write_csv(path)
        else:
            pl.read_csv(trained.table, infer_schema_length=None)[size * n : size * (n + 1)].write_parquet(path)
    return paths


def work(trained: Trained, scores: Path, *batches: list[Path]) -> subprocess.CompletedProcess[str]:
    task = trained.component("parallel")["task"]
    script = (trained.root / "azureml" / "components" / task["code"] / task["entry_script"]).resolve()
    told = json.dumps([[str(path) for path in batch] for batch in batches])
    arguments = words(task["program_arguments"], model=trained.model, scores=scores)
    return trained.python("-c", WORKER, script, told, *arguments)


def test_parallel_workers_write_what_streaming_writes(trained: Trained, files: list[Path], tmp_path: Path) -> None:
    scores = tmp_path / "out"
    for batches in ([files[0:2], files[4:]], [files[2:4], files[2:4]]):  # two workers; one is given a batch again
        done = work(trained, scores, *batches)
        assert done.returncode == 0, done.stderr
    found = [pl.read_parquet(path) for path in scores.iterdir()]
    assert len(found) == len(files)
    order = trained.scores[trained.id].to_list()
    together = pl.concat(sorted(found, key=lambda one: order.index(one[trained.id][0])))
    assert together.equals(trained.scores)


def test_a_file_that_cannot_be_scored_fails_its_mini_batch(trained: Trained, files: list[Path], tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(files[0].read_text("utf-8").splitlines()[0] + "\n1\n", "utf-8")
    done = work(trained, tmp_path / "out", [files[0], bad])
    assert done.returncode != 0
    assert "DataError" in done.stderr
    component = trained.component("parallel")
    assert (component["error_threshold"], component["mini_batch_error_threshold"]) == (0, 0)
    assert not list((tmp_path / "out").glob("bad*"))


@pytest.fixture(scope="session")
def spark() -> dict[str, str]:
    """The environment in which Spark runs here."""
    java = shutil.which("java")
    if not java:
        pytest.fail("Spark needs Java 17: apt-get install openjdk-17-jre-headless")
    install = ["uv", "pip", "install", "--quiet", "--python", sys.executable, "--target"]
    folder = tools.installed(f"pyspark-{SPARK}", lambda folder: [[*install, str(folder), f"pyspark=={SPARK}"]])
    options = {
        "spark.ui.enabled": "false",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "2",
    }
    # Java's thorough compiler would cost more than it gains in so short a time.
    told = " ".join(f"--conf {key}={value}" for key, value in options.items())
    told += " --driver-java-options '-XX:TieredStopAtLevel=1 -XX:+UseSerialGC'"
    return {
        "PYTHONPATH": str(folder),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "PYSPARK_SUBMIT_ARGS": f"--master local[2] {told} pyspark-shell",
    }


@pytest.fixture(scope="module")
def submitted(trained: Trained, spark: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Spark said of each table, and the folder in which its scores are.

    The good one is text in several files for one use case, and typed Parquet with missing values for the other.
    """
    folder = tmp_path_factory.mktemp("spark")
    text, typed = (
        pl.read_csv(trained.table, **how) for how in ({"infer_schema": False}, {"infer_schema_length": None})
    )
    first, form = trained.model_needs[0], "csv" if trained.package == "german_credit" else "parquet"
    typed = typed.with_columns(pl.col(pl.Int64, pl.Float64).replace(-1, None))  # how missing values are written there
    tables = {"good": text if form == "csv" else typed}
    if form == "parquet":
        few = typed.head(50).cast({first: pl.String})
        tables |= {"value": few.with_columns(pl.lit("much").alias(first)), "column": few.drop(first)}
        tables["identifier"] = few.drop(trained.id)
    component, lists = trained.component("spark"), []
    script = (trained.root / "azureml" / "components" / component["code"] / component["entry"]["file"]).resolve()
    for name, table in tables.items():
        (folder / f"{name}-in").mkdir()
        for n in range(0, table.height, 2500):
            piece, path = table[n : n + 2500], folder / f"{name}-in" / f"{n}.{form}"
            piece.write_csv(path) if form == "csv" else piece.write_parquet(path)
        about = {"model": trained.model, "data": folder / f"{name}-in", "scores": folder / name}
        lists.append(words(component["args"], **about, format=form, separator=","))
    done = trained.python("-c", DRIVER, script, json.dumps(lists), **spark)
    assert done.returncode == 0, done.stderr[-3000:]
    return {"folder": folder} | dict(zip(tables, done.stdout.splitlines(), strict=True))


def test_spark_gives_the_scores_that_streaming_gives(trained: Trained, submitted: dict[str, Any]) -> None:
    assert f"{trained.scores.height:,} rows scored" in submitted["good"]
    found = pl.concat([pl.read_parquet(path) for path in (submitted["folder"] / "good").glob("*.parquet")])
    assert found.sort(trained.id).equals(trained.scores.sort(trained.id))


def test_spark_says_in_a_sentence_what_it_cannot_score(trained: Trained, submitted: dict[str, Any]) -> None:
    says = {
        "value": "The rows cannot be scored: ",
        "column": "The table lacks ",
        "identifier": "Spark keeps no order of rows, ",
    }
    wrong = {name: text for name, text in submitted.items() if name not in ("folder", "good")}
    assert len(wrong) == (3 if trained.package == "porto_seguro" else 0)
    for name, text in wrong.items():
        assert text.startswith(says[name])
        assert not (submitted["folder"] / name / "_SUCCESS").exists()


def test_the_packages_of_the_spark_environment_are_those_of_the_lock(trained: Trained) -> None:
    environment = yaml.safe_load((trained.root / "azureml" / "environments" / "spark.yml").read_text("utf-8"))
    wanted = environment["conda_file"]["dependencies"][-1]["pip"]
    lock = (trained.root / "requirements" / "project.txt").read_text("utf-8")
    assert {one.partition("==")[0] for one in wanted} >= {"polars", "lightgbm", "onnxruntime", "pandas", "pyarrow"}
    assert [one for one in wanted if not re.search(rf"(?m)^{re.escape(one)}(?![\w.])", lock)] == []
