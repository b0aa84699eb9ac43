"""What a command costs before it does anything, and how much memory scoring takes, stay what they are."""

import os
import shutil
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from bench import MEMORY, heavy_modules, used
from conftest import Bake

# With fewer rows, what reads ahead has not yet taken all that it ever takes.
SMALL, LARGE = 600_000, 1_800_000
STEP = 200_000
PYTHON = (sys.executable, "-m", "porto_seguro")


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a small champion, beside two tables of each kind."""
    folder = Path(shutil.copytree(bake(), tmp_path_factory.mktemp("footprint") / "project"))
    conf = folder / "conf" / "project.yaml"
    settings = yaml.safe_load(conf.read_text("utf-8"))
    settings["model"]["parameters"] |= {"n_estimators": 40, "learning_rate": 0.2}
    conf.write_text(yaml.safe_dump(settings), "utf-8")
    command(folder, "data", "sample", "--rows", STEP, "--output", "rows.parquet")
    command(folder, "data", "sample", "--rows", 20_000)
    command(folder, "ingest")
    command(folder, "run")
    rows = pl.scan_parquet(folder / "rows.parquet")
    for height in (SMALL, LARGE):
        longer = pl.concat([rows] * (height // STEP))
        longer.sink_parquet(folder / f"{height}.parquet", row_group_size=100_000)
        longer.sink_csv(folder / f"{height}.csv")
    return folder


def environment(project: Path) -> dict[str, str]:
    """What a process needs to find the project's package."""
    return {**os.environ, "PYTHONPATH": str(project / "src")}


def command(project: Path, *words: object) -> float:
    """Run a command of the project and return its peak memory in MB."""
    return used([*PYTHON, *map(str, words), "--json"], project, environment(project)).memory


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_memory_of_scoring_does_not_grow_with_the_rows(project: Path, kind: str) -> None:
    small, large = (command(project, "score", f"{rows}.{kind}", f"out.{kind}") for rows in (SMALL, LARGE))
    print(f"{kind}: {small:.0f} MB for {SMALL:,} rows, {large:.0f} MB for {LARGE:,}")
    # Read whole, the large table alone would take 760 MB more; reading ahead takes more or less beside other work.
    assert large < small + 100
    assert large < MEMORY


def test_help_imports_no_heavy_library(project: Path) -> None:
    assert heavy_modules(project, environment(project), "--help") == []
    assert heavy_modules(project, environment(project), "score", "--help") == []


def test_scoring_starts_without_what_only_training_needs(project: Path) -> None:
    """They take seconds to import; what scoring does need is seen."""
    found = heavy_modules(project, environment(project), "score", f"{SMALL}.parquet", "out.csv")
    assert {"numpy", "polars", "pyarrow"} == set(found)
