"""What became of the rows that were scored: labels that arrive later, joined with the prediction log by row id."""

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from msgspec import Struct

from ..clean import clean, layout
from ..contract import Contract
from ..encode import Vector, encode_target
from ..errors import DataError
from ..ingest import content_hash
from ..metrics import measure
from ..table import batches, replacing
from .predictions import read_log

ID, TRUTH = "id", "truth"


class Performance(Struct):
    """How a deployment did on the rows whose outcome is known."""

    deployment: str
    model_version: str
    rows: int
    metrics: dict[str, float]


def take_outcomes(source: Path, contract: Contract, folder: Path) -> tuple[int, bool]:
    """Keep a table of outcomes: the identifier of the contract (or a column `id`), and the target.

    Args:
        source: CSV or Parquet.
        contract: names identifier and target.
        folder: where outcomes are kept; the same content is kept once.

    Returns:
        The number of rows, and whether they are new.

    Raises:
        DataError: a column is missing, or a target is not of the contract's type or classes.
    """
    dialect, names = layout(source, contract, [contract.target.name])
    known = [c.name for c in contract.of("identifier")] + [ID]
    key = next((name for name in known if name in names), None)
    if key is None:
        raise DataError(f"{source} names no rows: it needs a column {' or '.join(known)}.")
    raw = pl.concat(list(batches(source, dialect)), how="vertical_relaxed")
    frame, problems = clean(raw, [contract.target], contract.decimal)
    if problems:
        raise DataError(f"{source} cannot be used: {problems[0]}.")
    if contract.classes and not frame[contract.target.name].drop_nulls().is_in(contract.classes).all():
        raise DataError(f"{source} cannot be used: {contract.target.name} has a class that the contract does not know.")
    table = pl.DataFrame([raw[key].cast(pl.String).alias(ID), frame[contract.target.name]]).drop_nulls()
    if not table.height:
        raise DataError(f"{source} has no row with both {key} and {contract.target.name}.")
    path = folder / f"{content_hash(table)[:12]}.parquet"
    new = not path.exists()
    if new:
        with replacing(path) as part:
            table.write_parquet(part)
    return table.height, new


def known_outcomes(contract: Contract, folder: Path) -> pl.DataFrame | None:
    """Return what is known by now: columns `id`, and `truth` as `encode_target` gives it; None if that is nothing.

    Of a row with several outcomes, the one taken in last counts.
    """
    files = sorted(folder.glob("*.parquet"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    if not files:
        return None
    known = pl.concat([pl.read_parquet(file) for file in files]).unique(ID, keep="last", maintain_order=True)
    return pl.DataFrame({ID: known[ID], TRUTH: encode_target(known, contract)})


def known(
    contract: Contract, folder: Path, log: Path, since: datetime | None = None
) -> dict[tuple[str, str], tuple[Vector, Vector]]:
    """Return, by deployment and model version, the targets (shape (n,)) and scores of the rows whose outcome is known.

    Of a row that was scored several times by the same version, the last score counts.

    Args:
        contract: says what the target is.
        folder: of the outcomes.
        log: of the predictions.
        since: leave out what was scored before.
    """
    told = known_outcomes(contract, folder)
    if told is None:
        return {}
    truth = dict(zip(*(told[name].to_list() for name in told.columns), strict=True))
    scored: dict[tuple[str, str], dict[str, object]] = {}
    for header, line in read_log(log, since):
        found = scored.setdefault((header.deployment, header.model_version), {})
        found.update((i, score) for i, score in zip(line.ids, line.result, strict=True) if i in truth)
    return {
        key: (np.array([truth[i] for i in rows], np.float64), np.array(list(rows.values()), np.float64))
        for key, rows in scored.items()
        if rows
    }


def performance(contract: Contract, folder: Path, log: Path) -> list[Performance]:
    """Measure each deployment and model version on what is known by now; arguments as in `known`."""
    out = []
    for (deployment, version), (y, score) in known(contract, folder, log).items():
        values = measure(contract.task, y, score)
        out.append(Performance(deployment, version, len(y), {k: v for k, v in values.items() if np.isfinite(v)}))
    return out
