"""Azure's own monitor beside ours: it holds the window that our monitor's job wrote against the champion's training rows."""

import math
from contextlib import suppress
from pathlib import Path

import yaml

from ... import __name__ as package
from ...config import load_settings
from ...contract import load_contract
from ...errors import Fault
from ...ingest import DATA
from ...registry import Version
from ...table import replacing
from ..az import Az, Conflict
from ..environments import Environment
from ..fill import filled


def schedule(az: Az, environment: Environment, root: Path, champion: Version, reference: str) -> Path:
    """Make the schedule of Azure's own monitor anew, and return its file.

    Args:
        az: the command line.
        environment: where.
        root: the project's folder; what was sent stays in `data/azure`.
        champion: what is to be monitored.
        reference: how YAML names it.

    Raises:
        NotFound: the data version that the champion learnt from is no asset of this environment.
    """
    settings, contract = load_settings(root / "conf"), load_contract(root / "conf" / "contract.yaml")
    signal = f"create_monitor.monitoring_signals.{package}_data_drift"
    target = "create_monitor.monitoring_target"
    values = {
        f"{target}.model_id": reference,
        f"{target}.ml_task": "regression" if contract.task == "regression" else "classification",
        f"{signal}.reference_data.input_data.path": _rows(az, environment, root, settings.name, champion),
        f"{signal}.production_data.data_window.lookback_window_size": f"P{math.ceil(settings.monitor.window_days)}D",
    }
    folder = environment.sent(root) / "schedules"
    path = filled(root / "azureml" / "schedules" / "drift.yml", folder / "drift.yml", values)
    az.write("ml", "schedule", "create", "--file", str(path), *environment.scope)
    return path


def _rows(az: Az, environment: Environment, root: Path, project: str, champion: Version) -> str:
    """Name the rows that the champion learnt from as a table (MLTable), an asset that points at the data version."""
    version = champion.tags.get("data_version", "VERSION")  # where nothing is run, it is not known
    about = ("--name", f"{project}-data", "--version", version, *environment.scope)
    where = str(az.read("ml", "data", "show", *about, assume={"path": "DATA/"}).get("path", ""))
    if not where:
        raise Fault(f"Azure does not tell where {project}-data:{version} lies.")
    folder = environment.sent(root) / "reference"
    told = {"type": "mltable", "paths": [{"file": f"{where.rstrip('/')}/{DATA}"}], "transformations": ["read_parquet"]}
    with replacing(folder / "MLTable") as part:
        part.write_text(yaml.safe_dump(told, sort_keys=False), "utf-8", newline="\n")
    name = f"{project}-reference"
    with suppress(Conflict):  # it is there: the version is the hash of the rows
        az.write(
            "ml", "data", "create", "--name", name, "--version", version, "--type", "mltable", "--path", str(folder),
            *environment.scope,
        )  # fmt: skip
    return f"azureml:{name}:{version}"
