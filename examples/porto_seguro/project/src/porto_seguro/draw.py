"""Draw columns from the statistics in a contract.

A column's `synthesis` may say (type, categories and range say the rest; shares are fractions of 1):

    shares, values               how often each value occurs; the values default to the categories
    quantiles, at                values at these probabilities (default: `LEVELS`)
    bernoulli: p | binomial: [n, p] | poisson: mean | uniform: [low, high, step]
    sequence: [start, step]      ascending whole numbers, gaps of this mean; another seed counts from elsewhere
    decimals                     round numbers
    prefix, width                make text of a number: prefix, then digits filled with zeros to the width
    factors: {name: loading}     columns that load on one factor are correlated (Gaussian copula)
    missing                      share of rows without a value
    sql                          replace the drawn value by an expression over the row
    effect, effect_missing       part in the target: see `synth.py`

The contract's `synthesis` may hold `joint` and `joint_missing`: lists of {columns, values, shares}, tables from which
several columns are drawn at once, as values or as true for missing.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import NormalDist
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl

from .contract import Column, Contract
from .convert import TYPES

Array = npt.NDArray[np.float64]
LEVELS = (0.005, 0.01, 0.025, *(n / 20 for n in range(1, 20)), 0.975, 0.99, 0.995)
_MINUTE = 60_000_000


def draw_columns(contract: Contract, rows: int, seed: int) -> pl.DataFrame:
    """Draw all columns but the target, in the contract's order.

    A column depends on seed, rows and its own synthesis only, not on its neighbours.

    Raises:
        ValueError and the like: the synthesis cannot be understood; a note on the error names the column.
    """
    together: dict[str, dict[str, pl.Series]] = {"joint": {}, "joint_missing": {}}
    for key, found in together.items():
        for group in contract.synthesis.get(key, []):
            shares = np.asarray(group["shares"], float)
            codes = stream(seed, key, *group["columns"]).choice(len(group["values"]), rows, p=shares / shares.sum())
            found |= {
                name: pl.Series(v).gather(codes) for name, *v in zip(group["columns"], *group["values"], strict=True)
            }
    factors: dict[str, Array] = {}
    columns = [column for column in contract.columns if column.role != "target"]
    drawn = []
    for column in columns:
        with _blaming(column):
            values = together["joint"].get(column.name)
            values = _draw(column, rows, seed, factors) if values is None else values.cast(TYPES[column.type])
            drawn.append(hide(column, values, seed, together["joint_missing"].get(column.name)))
    frame = pl.DataFrame(drawn)
    for column in columns:
        if "sql" not in column.synthesis:
            continue
        with _blaming(column):
            frame = frame.with_columns(pl.sql_expr(column.synthesis["sql"]).cast(TYPES[column.type]).alias(column.name))
    return frame


@contextmanager
def _blaming(column: Column) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(column.name)
        raise


def stream(seed: int, *names: str) -> np.random.Generator:
    """Return the random numbers of one purpose."""
    return np.random.default_rng([seed, crc32("\n".join(names).encode())])


def hide(column: Column, values: pl.Series, seed: int, hidden: pl.Series | None = None) -> pl.Series:
    """Name the values, and make some missing: the column's own share, or those that are given."""
    share = column.synthesis.get("missing", 0)
    if hidden is None and share:
        hidden = pl.Series(stream(seed, column.name, "missing").random(len(values)) < share)
    if hidden is not None:
        values = values.zip_with(~hidden, pl.Series([None], dtype=values.dtype))
    return values.alias(column.name)


def _draw(column: Column, rows: int, seed: int, factors: dict[str, Array]) -> pl.Series:
    plan, random = column.synthesis, stream(seed, column.name)
    if "sequence" in plan or (not plan and column.role == "identifier" and column.type in ("integer", "string")):
        start, step = plan.get("sequence", (1, 1))
        gaps = random.geometric(1 / max(step, 1), rows)
        gaps[:1] = start + seed % 1_000_000 * 10_000_000
        return _typed(column, np.cumsum(gaps))
    loadings = plan.get("factors", {})
    z = math.sqrt(1 - sum(loading**2 for loading in loadings.values())) * random.standard_normal(rows)
    for name, loading in loadings.items():
        if name not in factors:
            factors[name] = stream(seed, "factor", name).standard_normal(rows)
        z += loading * factors[name]
    return quantile(column, z)


def quantile(column: Column, z: Array) -> pl.Series:
    """Map standard normal numbers to the column's values: its whole distribution."""
    values, shares = _table(column)
    if values:
        codes = np.searchsorted(_normal(np.cumsum(shares)[:-1] / np.sum(shares), 1e-12), z)
        if isinstance(values[0], float | int) and column.type == "string":
            return _typed(column, np.array(values)[codes])
        return pl.Series(values, dtype=TYPES[column.type], strict=False).gather(codes)
    points, levels = _curve(column)
    if len(points) != len(levels):
        raise ValueError(f"{len(points)} quantiles at {len(levels)} levels")
    return _typed(column, np.interp(z, _normal(levels, 1e-6), points))


def _normal(shares: Iterable[float], edge: float) -> Array:
    """The normal scores of cumulated shares; 0 and 1 are moved inwards by `edge`."""
    return np.array([NormalDist().inv_cdf(min(max(float(p), edge), 1 - edge)) for p in shares])


def _table(column: Column) -> tuple[list[Any], Any]:
    """The values of a column that is drawn from a list, and their shares; else an empty list."""
    plan = column.synthesis
    values = known_values(column)
    if "shares" in plan:
        if len(values) != len(plan["shares"]):
            raise ValueError(f"{len(values)} values and {len(plan['shares'])} shares")
        return values, plan["shares"]
    if "bernoulli" in plan:
        return [0, 1], [1 - plan["bernoulli"], plan["bernoulli"]]
    if "binomial" in plan:
        n, p = plan["binomial"]
        return list(range(n + 1)), [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    if "poisson" in plan:
        mean = plan["poisson"]
        kinds = range(int(mean + 10 * math.sqrt(mean)) + 10)
        return list(kinds), [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in kinds]
    if "uniform" in plan or (column.type == "string" and not values):
        low, high, step = plan.get("uniform", (1, 1000, 1))
        values = [round(low + k * step, 9) for k in range(round((high - low) / step) + 1)]
    return ([] if "quantiles" in plan else values), [1] * len(values)


def known_values(column: Column) -> list[Any]:
    """The values that a column is drawn from, if it is drawn from a list."""
    return (
        column.synthesis.get("values") or list(column.categories) or ([False, True] if column.type == "boolean" else [])
    )


def _curve(column: Column) -> tuple[list[float], Sequence[float]]:
    """The points of a distribution function, values and probabilities; a bell over the range where nothing is known."""
    plan = column.synthesis
    if "quantiles" in plan:
        return [as_number(v) for v in plan["quantiles"]], plan.get("at", LEVELS)
    if column.type in ("date", "timestamp"):
        return [as_number("2024-01-01"), as_number("2024-12-31")], (0, 1)
    low = column.minimum if column.minimum is not None else min(0.0, (column.maximum or 0.0) - 100)
    return [low, column.maximum if column.maximum is not None else low + 100], (0, 1)


def as_number(value: Any) -> float:
    """A number as it is; a date or time (or its ISO text) as microseconds since 1970."""
    if isinstance(value, int | float):
        return value
    moment = datetime.fromisoformat(str(value))
    return moment.replace(tzinfo=UTC).timestamp() * 1e6


def _typed(column: Column, number: npt.NDArray[Any]) -> pl.Series:
    """Numbers in the column's type; times to the minute, which every way of writing keeps."""
    plan = column.synthesis
    if column.type in ("date", "timestamp"):
        moment = pl.Series(np.rint(number / _MINUTE).astype(np.int64) * _MINUTE).cast(pl.Datetime("us"))
        return moment.cast(TYPES[column.type])
    if column.type == "number":
        # Adding 0 turns -0.0 into 0.0.
        return pl.Series(np.round(number, plan["decimals"]) + 0.0 if "decimals" in plan else number.astype(np.float64))
    whole = pl.Series(np.rint(number).astype(np.int64))
    if column.type == "string":
        return str(plan.get("prefix", "")) + whole.cast(pl.String).str.zfill(plan.get("width", 1))
    return whole.cast(TYPES[column.type])


def position(column: Column, series: pl.Series) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Where each row stands: for a number in sd from the mean (missing: 0), else the value's place in the list.

    A missing value has the place after the list's end, an unknown one the next. Also returns which rows are missing.
    """
    plan, missing = column.synthesis, series.is_null()
    if "mean" in plan:
        place = ((plain(series) - plan["mean"]) / plan["sd"]).fill_null(0.0)
    else:
        values = known_values(column)
        place = series.replace_strict(values, range(len(values)), default=len(values) + 1, return_dtype=pl.Float64)
        place = place.zip_with(~missing, pl.Series([float(len(values))]))
    return place.to_numpy(), missing.to_numpy()


def plain(series: pl.Series) -> pl.Series:
    """Return dates and times as microseconds, all else as it is; floats."""
    return (series.cast(pl.Datetime("us")).to_physical() if series.dtype.is_temporal() else series).cast(pl.Float64)
