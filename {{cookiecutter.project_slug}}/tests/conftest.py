"""A throw-away copy of this project with data to live on; where there is no contract yet, one is inferred."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from {{ cookiecutter.__package }} import cli
from {{ cookiecutter.__package }}.config import load_settings
from {{ cookiecutter.__package }}.contract import load_contract, save_contract
from {{ cookiecutter.__package }}.infer import infer
from {{ cookiecutter.__package }}.pipeline import Project
from {{ cookiecutter.__package }}.synth import sample, to_raw

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., tuple[int, str]]


def made_up(rows: int, seed: int) -> pl.DataFrame:
    """Rows of no one in particular, with a signal: for a project that has no contract yet."""
    rng = np.random.default_rng(seed)
    amount, colour = rng.gamma(2, 50, rows).round(2), rng.choice(["red", "green", "blue"], rows)
    bought = amount / 50 + 2 * (colour == "red") + rng.logistic(size=rows) > 3
    return pl.DataFrame(
        {
            "id": np.arange(rows) + 1000 * seed,
            "amount": np.where(rng.random(rows) < 0.1, -1, amount),
            "colour": np.where(rng.random(rows) < 0.05, "?", colour),
            "age": rng.integers(18, 90, rows),
            "bought": np.where(bought, "yes", "no"),
        }
    )


def table(root: Path, rows: int, seed: int, path: Path) -> Path:
    """Write rows that keep the contract of the project in `root`."""
    contract = root / "conf" / "contract.yaml"
    real = (ROOT / "conf" / "contract.yaml").exists()
    known = load_contract(contract)
    frame = to_raw(sample(known, rows, seed), known) if real else made_up(rows, seed)
    frame.write_parquet(path) if path.suffix == ".parquet" else frame.write_csv(path)
    return path


def new_project(root: Path) -> Path:
    """Copy conf and locks to `root`, and give it a contract if there is none."""
    for name in ("conf", "requirements"):
        shutil.copytree(ROOT / name, root / name)
    if not (root / "conf" / "contract.yaml").exists():
        made_up(2000, 1).write_csv(root / "first.csv")
        found = infer(root / "first.csv", "bought", load_settings(root / "conf").name)
        save_contract(found.contract, root / "conf" / "contract.yaml")
    return root


def settings(root: Path, **changes: Any) -> None:
    """Change sections of conf/project.yaml."""
    path = root / "conf" / "project.yaml"
    conf = yaml.safe_load(path.read_text("utf-8"))
    for section, values in changes.items():
        conf[section] = values if not isinstance(values, dict) else conf.get(section, {}) | values
    path.write_text(yaml.safe_dump(conf), "utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project."""
    return new_project(tmp_path / "project")


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a data version and a champion; look, but change nothing."""
    root = new_project(tmp_path_factory.mktemp("lived") / "project")
    result = Project(root).run(str(table(root, 20_000, 1, root / "rows.csv")))
    assert result.decision == "promoted", result.reasons
    return root


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command as a user would; return its exit code and what it printed (both streams)."""

    def run(root: Path, *words: Any) -> tuple[int, str]:
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, "argv", ["project", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    return run


def decoded(printed: str) -> dict[str, Any]:
    """Read the one JSON object that `--json` prints."""
    found: dict[str, Any] = json.loads(printed.splitlines()[0])
    return found
