"""Is the contract fit to guard the door? Rows drawn from it must pass it, and each fault planted in them must be found."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from .. import clock
from ..check import check_file
from ..contract import Column, Contract
from ..errors import DataError
from ..synth import sample, to_raw
from .junit import Check

ROWS = 1_000
NONSENSE = "no such value"


def check_data(contract: Contract) -> list[Check]:
    """Hold synthetic rows against the contract, first as they are, then with one fault of one column at a time.

    A fault is planted in every row, so that no tolerance covers it.
    """
    raw = to_raw(sample(contract, ROWS, 0), contract)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        found = [_tried("synthetic rows keep the contract", raw, contract, path, "")]
        for column in contract.of("identifier", "feature", "target"):
            for fault, frame in _faults(column, raw, contract):
                found.append(_tried(f"{column.name}: {fault} is found", frame, contract, path, column.name))
    return found


def _faults(column: Column, raw: pl.DataFrame, contract: Contract) -> Iterator[tuple[str, pl.DataFrame]]:
    """What each rule of a column must not let pass."""

    def all_are(value: Any, dtype: Any = None) -> pl.DataFrame:
        return raw.with_columns(pl.lit(value, dtype).alias(column.name))

    def clear_of_sentinels(value: float, step: int) -> float:
        while value in [float(s) for s in column.sentinels]:  # it would be read as missing
            value += step
        return value

    if column.role != "identifier":
        yield "a table without it", raw.drop(column.name)
    if column.type not in ("string", "boolean"):
        yield "another type", all_are(NONSENSE)
    if column.required:
        yield "a missing value", all_are(None, raw.schema[column.name])
    kind = pl.Int64 if column.type == "integer" else pl.Float64
    bounds = (("below", column.minimum, -1), ("above", column.maximum, 1))
    for side, bound, step in bounds if contract.decimal == "." else ():
        if bound is not None:
            yield f"a value {side} the limit", all_are(clear_of_sentinels(bound + step, step), kind)
    if column.categories:
        if column.type in ("integer", "number"):
            yield "an unknown category", all_are(clear_of_sentinels(max(map(float, column.categories)) + 1, 1), kind)
        elif column.type == "string":
            yield "an unknown category", all_are(NONSENSE)
    if column.unique:
        yield "a value twice", all_are(raw[column.name][0], raw.schema[column.name])


def _tried(name: str, frame: pl.DataFrame, contract: Contract, path: Path, wanted: str) -> Check:
    """Check a table in which a column is wrong (or none is)."""
    start = clock.seconds()
    frame.write_parquet(path)
    try:
        said = [(p.column, str(p)) for p in check_file(path, contract)[1]]
    except DataError as error:
        said = [(wanted, str(error))] if wanted and wanted in str(error) else [("", str(error))]
    failure = ""
    if wanted and wanted not in [column for column, _ in said]:
        failure = f"it was not found; found: {said[0][1] if said else 'nothing'}"
    elif not wanted and said:
        failure = f"they break it, so either the rules or the statistics of conf/contract.yaml are wrong: {said[0][1]}"
    return Check(name, round(clock.seconds() - start, 4), failure)
