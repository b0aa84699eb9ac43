"""Part rows into training, early stopping and holdout, so that every later version parts them the same way."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from .config import Split
from .contract import Contract
from .errors import DataError, UsageError
from .table import replacing

TRAIN, STOP, HOLDOUT = 0, 1, 2
Hashes = NDArray[np.uint64]
_LEAST = 20
FEW_KINDS = 1000
_MISSING = np.uint64(0x7FF8_0000_0000_0000)


def split(data: Path, contract: Contract, conf: Split, out: Path, not_before: str | None = None) -> dict[str, Any]:
    """Write the part of each row (0 training, 1 early stopping, 2 holdout, null: no target) as a one-column Parquet file.

    Args:
        data: a clean table.
        contract: names identifier, features and target.
        conf: how to part. `hash`: by a stable hash of the identifier, or else of the feature values, so that a row which
            was ever in the holdout is never trained on by a later version. `time: COLUMN`: the latest rows are the
            holdout. `group: COLUMN`: like hash, but rows of one group stay together.
        out: where to write.
        not_before: for `time`, the first moment of an earlier version's holdout; this one's never begins sooner.

    Returns:
        The number of rows in each part; `parted`, a hash of the way of parting; for `time` also `holdout_from`.

    Raises:
        UsageError: there is no such column or way to part.
        DataError: a part would be too small.
    """
    kind, _, column = (part.strip() for part in conf.by.partition(":"))
    there = set(pl.read_parquet_schema(data))
    by = _identity(there, contract)
    frame = pl.read_parquet(data, columns=sorted({*by, contract.target.name, column} & there))
    parts = np.full(frame.height, TRAIN, dtype=np.int8)
    hashes = stable_hash(frame, by)
    if len(np.unique(hashes)) < min(FEW_KINDS, frame.height / 2):
        by = [*by, "copy"]  # few kinds of rows: they would fall into the parts in lumps, so each copy counts by itself
        copy = pl.DataFrame({"h": hashes}).select(pl.int_range(pl.len()).over("h")).to_series()
        hashes = _mix(hashes ^ _mix(_bits(copy)))
    told: dict[str, Any] = {}
    if kind == "time":
        moments = _column(frame, column, conf)
        if moments.dtype == pl.Boolean or column == contract.target.name:
            raise UsageError(f"conf/project.yaml: split.by is {conf.by!r}, but {column} tells no time.")
        start: Any = _quantile(moments, 1 - conf.holdout)
        if not_before is not None:
            start = max(start, _like(start, not_before))
        u = uniform(hashes, conf.seed)
        parts[u < conf.early_stopping] = STOP
        parts[(moments >= start).fill_null(False).to_numpy()] = HOLDOUT
        told["holdout_from"] = start.isoformat() if hasattr(start, "isoformat") else str(start)
    elif kind in ("hash", "group"):
        if kind == "group":
            by = [_column(frame, column, conf).name]
            hashes = stable_hash(frame, by)
        u = uniform(hashes, conf.seed)
        parts[u < conf.holdout + conf.early_stopping] = STOP
        parts[u < conf.holdout] = HOLDOUT
    else:
        raise UsageError(f"conf/project.yaml: split.by is {conf.by!r}; give hash, 'time: COLUMN' or 'group: COLUMN'.")
    usable = frame[contract.target.name].is_not_null()
    series = pl.select(pl.when(usable).then(pl.Series("part", parts))).to_series().alias("part")
    counts = {
        name: int((series == n).sum()) for name, n in (("train", TRAIN), ("early_stopping", STOP), ("holdout", HOLDOUT))
    }
    if min(counts.values()) < _LEAST:
        small = ", ".join(f"{n} {name}" for name, n in counts.items())
        raise DataError(
            f"Too few rows to train and judge: {small}; each part needs {_LEAST}. Give more rows or change `split` in conf/project.yaml."
        )
    with replacing(out) as part:
        series.to_frame().write_parquet(part)
    # Models are comparable only if their rows were parted the same way: by these columns, with these settings.
    return counts | told | {"parted": hashlib.sha256(msgspec.json.encode([conf, by])).hexdigest()[:8]}


def _quantile(moments: pl.Series, share: float) -> Any:
    ordered = moments.drop_nulls().sort()
    if ordered.is_empty():
        raise DataError(f"The column {moments.name} has no value; rows cannot be parted by time.")
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _like(moment: Any, text: str) -> Any:
    """Read a moment as it was written down for an earlier version."""
    if isinstance(moment, str):
        return text
    return type(moment).fromisoformat(text) if hasattr(moment, "isoformat") else type(moment)(float(text))


def _column(frame: pl.DataFrame, name: str, conf: Split) -> pl.Series:
    if name not in frame.columns:
        raise UsageError(f"conf/project.yaml: split.by is {conf.by!r}, but there is no column {name!r}.")
    return frame[name]


def _identity(there: set[str], contract: Contract) -> list[str]:
    """The columns that tell rows apart: the identifiers, or else all features."""
    ids = [c.name for c in contract.of("identifier") if c.unique and c.name in there]
    return ids[:1] or [c.name for c in contract.of("feature")]


def uniform(hashes: Hashes, seed: int) -> NDArray[np.float64]:
    """Map hashes to [0, 1), differently for each seed."""
    mixed = _mix(hashes ^ np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64))
    return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53


def stable_hash(frame: pl.DataFrame, columns: list[str]) -> Hashes:
    """Hash rows by the values of some columns; the same on every machine and library version, and in any row order.

    Returns:
        uint64 of shape (n,).
    """
    total = np.zeros(frame.height, dtype=np.uint64)
    for name in columns:
        values = frame[name]
        if values.dtype == pl.String:
            kinds = values.drop_nulls().unique()
            digests = [int.from_bytes(hashlib.blake2b(k.encode(), digest_size=8).digest(), "little") for k in kinds]
            bits = (
                values.replace_strict(kinds, pl.Series(digests, dtype=pl.UInt64), default=0, return_dtype=pl.UInt64)
                .fill_null(0)
                .to_numpy()
            )
        else:
            bits = _bits(values.to_physical())
        total = _mix(total ^ _mix(bits))
    return total


def _bits(values: pl.Series) -> Hashes:
    """The bits of numbers, so that an integer and the float of the same value are alike; missing has bits of its own."""
    if values.dtype.is_float():
        floats = values.fill_null(float("nan")).cast(pl.Float64).to_numpy()
        whole = (np.abs(floats) < 2**53) & (floats == np.floor(floats))
        bits = np.where(whole, np.where(whole, floats, 0).astype(np.int64).view(np.uint64), floats.view(np.uint64))
        return np.where(np.isnan(floats), _MISSING, bits)
    integers = values.cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)
    return np.where(values.is_null().to_numpy(), _MISSING, integers)


def _mix(x: Hashes) -> Hashes:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014): spreads every bit over all others."""
    x = (x + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def sample_rows(data: Path, rows: int, out: Path) -> Path:
    """Write the `rows` rows of a table with the smallest hash, the same ones each time; return `out`."""
    frame = pl.read_parquet(data)
    if rows < 1:
        raise DataError("A sample needs at least one row.")
    order = pl.Series("h", stable_hash(frame, frame.columns)).arg_sort()[:rows].sort()
    with replacing(out) as part:
        frame[order].write_parquet(part)
    return out
