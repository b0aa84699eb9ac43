"""Tables of three shapes, and the real ones, go through infer, run and score with no code edited."""

import csv
import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import Bake
from render import ROOT
from running import free_port, running

DATA = ROOT.parent / "shared" / "data"
RNG = np.random.default_rng(3)
N = 4000
Command = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def command(bake: Bake, tmp_path: Path) -> Callable[..., Command]:
    """Return `command(use_case)`, which gives the command line of a new project of that kind."""

    def of(use_case: str) -> Command:
        project = shutil.copytree(bake(use_case=use_case), tmp_path / use_case)
        (folder,) = (project / "src").iterdir()

        def run(*words: Any) -> tuple[int, dict[str, Any]]:
            done = subprocess.run(
                [sys.executable, "-m", folder.name, *map(str, words), "--json"],
                cwd=project,
                env={**os.environ, "PYTHONPATH": "src"},
                capture_output=True,
                text=True,
                encoding="utf-8",
            )
            assert "Traceback" not in done.stderr, done.stderr
            return done.returncode, json.loads(done.stdout.splitlines()[0])

        return run

    return of


def bare_binary(path: Path) -> str:
    """No header, `;`, decimal commas, Latin-1, stray blanks and dots in the labels; the target is text."""
    x, town = RNG.normal(size=N), RNG.choice(["Köln ", "Zürich", "?", " Bonn"], N)
    rich = x + (town == "Zürich") + RNG.logistic(size=N) > 1
    dots = RNG.choice([".", "", " "], N)
    lines = [
        f"{i + 1000};{f'{a:.3f}'.replace('.', ',')};{t};{'>50K' if r else '<=50K'}{d}"
        for i, (a, t, r, d) in enumerate(zip(x, town, rich, dots, strict=True))
    ]
    path.write_bytes("\n".join(lines).encode("latin-1"))
    return "4"


def quoted_multiclass(path: Path) -> str:
    """Tabs and quotes, dates, booleans with gaps, a constant; three classes."""
    x = RNG.normal(size=N)
    kind = np.argmax(np.column_stack([1.5 * x, np.zeros(N), -x]) + RNG.gumbel(size=(N, 3)), axis=1)
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL)
        out.writerow(["when", "size", "flag", "same", "kind"])
        for i in range(N):
            day = f"{1 + i % 28:02d}.{1 + i % 12:02d}.2024"
            out.writerow(
                [day, f"{x[i]:.4f}", RNG.choice(["true", "false", ""]), "k", ["red", "green", "blue"][kind[i]]]
            )
    return "kind"


def parquet_regression(path: Path) -> str:
    """Parquet with a sentinel, free text, and a column that gives the price away."""
    rooms, area = RNG.integers(1, 9, N), np.abs(RNG.normal(80, 20, N))
    price = 20 * rooms + 2 * area + 10 * RNG.normal(size=N)
    pl.DataFrame(
        {
            "rooms": rooms,
            "area": np.where(RNG.random(N) < 0.1, -1, area),
            "city": RNG.choice(list("abcdefgh"), N),
            "remark": [f"free text, number {i} of many" for i in range(N)],
            "price_in_francs": price * 1.1,
            "price": price,
        }
    ).write_parquet(path)
    return "price"


@pytest.mark.parametrize(
    ("make", "name", "task"),
    [
        (bare_binary, "t.csv", "binary"),
        (quoted_multiclass, "t.tsv", "multiclass"),
        (parquet_regression, "t.parquet", "regression"),
    ],
)
def test_a_table_of_ones_own(
    command: Callable[..., Command], tmp_path: Path, make: Callable[[Path], str], name: str, task: str
) -> None:
    own = command("own")
    code, told = own("run")
    assert (code, "contract infer" in told["error"]) == (2, True)
    target = make(tmp_path / name)
    code, told = own("contract", "infer", tmp_path / name, "--target", target)
    assert (code, told["task"]) == (0, task), told
    if task == "regression":
        assert set(told["ignored"]) == {"remark", "price_in_francs"}
    assert own("contract", "check", tmp_path / name)[0] == 0
    code, told = own("run", "--data", tmp_path / name)
    assert (code, told["decision"], told["model_version"]) == (0, "promoted", 1), told
    code, told = own("score", tmp_path / name, tmp_path / "scores.csv")
    assert (code, told["rows"]) == (0, N)
    assert pl.read_csv(tmp_path / "scores.csv").height == N
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    project = tmp_path / "own"
    words = [sys.executable, "-m", next((project / "src").iterdir()).name, "serve", "--port", str(port)]
    with running(words, url + "/readyz", project, {**os.environ, "PYTHONPATH": "src"}):
        code, told = own("check", "endpoint", url)
        assert code == 0, told
        with urllib.request.urlopen(url + "/metrics") as answer:
            lines = answer.read().decode().splitlines()
    seen = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("scoring_prediction_bucket")]
    assert len({*seen}) > 5, "scores fall into many buckets, whatever their range"
    assert own("data", "sample", "--rows", 500, "--output", tmp_path / "synthetic.csv")[0] == 0
    assert own("contract", "check", tmp_path / "synthetic.csv")[0] == 0


def test_another_target_begins_a_new_line(command: Callable[..., Command], tmp_path: Path) -> None:
    own = command("own")
    parquet_regression(tmp_path / "t.parquet")
    assert own("contract", "infer", tmp_path / "t.parquet", "--target", "price")[0] == 0
    assert own("run", "--data", tmp_path / "t.parquet")[1]["model_version"] == 1
    assert own("contract", "infer", tmp_path / "t.parquet", "--target", "rooms", "--task", "regression")[0] == 2
    again = ("contract", "infer", tmp_path / "t.parquet", "--target", "rooms", "--task", "regression", "--force")
    assert own(*again)[0] == 0
    told = own("run", "--data", tmp_path / "t.parquet")[1]
    assert any("new model line" in note for note in told["notes"])
    assert told["champion"]["metrics"] is None
    assert [v["version"] for v in own("models")[1]["versions"]] == [1, 2][: 1 + (told["model_version"] is not None)]


@pytest.mark.parametrize(
    ("use_case", "file", "low", "high"),
    [
        ("porto-seguro", "porto_seguro/train_head19393.csv", 0.58, 0.68),
        ("german-credit", "german_credit/german_credit_data.csv", 0.68, 0.85),
    ],
)
def test_the_real_rows(
    command: Callable[..., Command], tmp_path: Path, use_case: str, file: str, low: float, high: float
) -> None:
    if not (DATA / file).exists():
        pytest.skip(f"the real rows are not here: {DATA / file}")
    project = command(use_case)
    code, told = project("contract", "check", DATA / file)
    assert (code, told["problems"], told["unknown_columns"]) == (0, [], [])
    told = project("run", "--data", DATA / file)[1]
    assert told["decision"] == "promoted", told["reasons"]
    assert low < told["metrics"]["auc"] < high
    assert project("score", DATA / file, tmp_path / "scores.parquet")[0] == 0
