"""Drift against the reporting suite that most teams know: the same statistics of the same columns."""

import json
import math
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench_serve import peer_env

WINDOW = 892_816  # rows of the unlabelled one of the two real Porto Seguro tables
EVIDENTLY = "0.7.23"
PACKAGES = (f"evidently=={EVIDENTLY}", "pandas==2.3.3")
Wanted = Mapping[str, tuple[str, list[str]]]
Found = dict[str, dict[str, float]]

# What it prints is the time from two frames in memory to all numbers, and the numbers. A report of `ValueDrift` is the
# quicker one of the two ways to them; `DataDriftPreset` also correlates all columns, and takes more than twice as
# long. With `bare` it calls the functions behind them, which draw and count nothing for a page.
SUITE = """
import json, sys, time
import pandas
from evidently import DataDefinition, Dataset, Report
from evidently.legacy.calculations.stattests import get_stattest
from evidently.metrics import ValueDrift
reference, window, wanted, way = sys.argv[1:]
wanted = json.loads(open(wanted).read())
before, now = (pandas.read_parquet(file, columns=list(wanted)) for file in (reference, window))
pairs = [(name, method) for name, (_, methods) in wanted.items() for method in methods]
wall, cpu = time.perf_counter(), time.process_time()
if way == "bare":
    values = []
    for name, method in pairs:
        kind = {"number": "num", "category": "cat"}[wanted[name][0]]
        a, b = before[name].dropna(), now[name].dropna()
        values.append(get_stattest(a, b, kind, method)(a, b, kind, 0.1).drift_score)
else:
    kinds = DataDefinition(
        numerical_columns=[name for name in wanted if wanted[name][0] == "number"],
        categorical_columns=[name for name in wanted if wanted[name][0] == "category"],
    )
    a, b = (Dataset.from_pandas(frame, data_definition=kinds) for frame in (before, now))
    told = Report([ValueDrift(column=name, method=method) for name, method in pairs]).run(b, a)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
if way != "bare":
    told = [(metric["config"], metric["value"]) for metric in told.dict()["metrics"]]
    assert [(config["column"], config["method"]) for config, _ in told] == pairs
    values = [value for _, value in told]
found = {}
for (name, method), value in zip(pairs, values, strict=True):
    found.setdefault(name, {})[method] = float(value)
print(json.dumps({"wall": wall, "cpu": cpu, "found": found}))
"""

# Every column counts as a feature here, as it does for the suite.
OURS = """
import json, sys, time
from pathlib import Path
import polars, scipy.special
from msgspec import structs
from porto_seguro.contract import load_contract
from porto_seguro.profile import Tally, profile_of
from porto_seguro.watch.drift import chi_square, distance, ks_chance, psi
reference, window, wanted = sys.argv[1:]
wanted = json.loads(open(wanted).read())
contract = load_contract(Path("conf/contract.yaml"))
columns = [structs.replace(c, role="feature") for c in contract.columns if c.name in wanted]
contract = structs.replace(contract, columns=[contract.target, *columns])
before, now = (polars.read_parquet(file, columns=list(wanted)) for file in (reference, window))
wall, cpu = time.perf_counter(), time.process_time()
profile, found = profile_of(before, contract), {}
tally = Tally(profile)
tally.add(now)
counted = tally.profile()
for name, old in profile.columns.items():
    new = counted.columns[name]
    gap = distance(old.counts, new.counts, old.ordered)
    found[name] = {
        "psi": psi(old.counts, new.counts, old.ordered), "distance": gap,
        "chance": ks_chance(gap, old.present, new.present) if old.ordered else chi_square(old.counts, new.counts)[1],
        "gaps": sum((a == 0) != (b == 0) for a, b in zip(old.counts, new.counts, strict=True)),
    }
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps({"wall": wall, "cpu": cpu, "found": found}))
"""


def suite(folder: Path) -> Path:
    """Return the Python of an environment below `folder` that has the suite; one that is there already is used again.

    Raises:
        Absent: it cannot be installed here.
    """
    venv = folder / f"evidently-{EVIDENTLY}"
    done = venv / "complete"
    if not done.exists():
        shutil.rmtree(venv, ignore_errors=True)
        peer_env(folder, venv.name, *PACKAGES)
        done.touch()
    return venv / "bin" / "python"


def quiet(env: Mapping[str, str], home: Path) -> dict[str, str]:
    """The environment of its processes: they tell nobody that they run, and keep their settings below `home`."""
    return {**env, "DO_NOT_TRACK": "1", "HOME": str(home), "XDG_CONFIG_HOME": str(home), "PYTHONPATH": ""}


def asked(python: Path, reference: Path, window: Path, wanted: Path, way: str = "report") -> list[str]:
    """The words that measure all of what `wanted`, a JSON file, asks for: by column its kind and the methods."""
    return [str(python), "-c", SUITE, *map(str, (reference, window, wanted)), way]


def reported(python: Path, reference: Path, window: Path, wanted: Wanted, env: Mapping[str, str]) -> Found:
    """Return what the suite finds, by column and method.

    Args:
        python: of `suite`.
        reference, window: Parquet files.
        wanted: by column `number` or `category`, and the names of the methods.
        env: of the process.

    Raises:
        RuntimeError: it failed.
    """
    notes = window.parent / "wanted.json"
    notes.write_text(json.dumps(wanted), "utf-8")
    words = asked(python, reference, window, notes)
    done = subprocess.run(words, env=quiet(env, window.parent), capture_output=True, text=True, cwd=window.parent)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told: Found = json.loads(done.stdout.splitlines()[-1])["found"]
    return told


def statistics(columns: list[Any]) -> dict[str, tuple[str, list[str]]]:
    """What is measured of columns of a contract: two statistics each."""
    return {c.name: ("category", ["psi", "chisquare"]) if c.categorical else ("number", ["psi", "ks"]) for c in columns}


def same(ours: Found, *theirs: Found) -> None:
    """Make sure that both sides measured the same columns: the PSI of categories is the same wherever it is taken.

    Raises:
        RuntimeError: they differ.
    """
    for name, told in ((name, told) for found in theirs for name, told in found.items()):
        if "chisquare" not in told or ours[name]["gaps"]:
            continue  # numbers are binned differently, and so are bins without a row
        if not math.isclose(ours[name]["psi"], told["psi"], rel_tol=1e-6):
            raise RuntimeError(f"PSI of {name}: ours {ours[name]['psi']}, of the suite {told['psi']}")
