"""Synthetic tables: draw rows from the statistics that a contract holds.

`learn.py` fills them in, `draw.py` draws the columns. The target follows from a linear score of the features, to which
a column's `synthesis` adds:

    effect             per value in the order of the values, or for a number per `sd` from `mean`
    effect_missing     of a missing value

In a multiclass task each of these is a list with a number per class. In the contract's `synthesis`, `auc` (binary),
`log_loss` (multiclass) or `r2` (regression) say how good a model would be that knew the truth: this sets the slope.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl

from .contract import Column, Contract
from .convert import TYPES
from .draw import Array, draw_columns, hide, position, quantile, stream
from .errors import UsageError
from .learn import learn

__all__ = ["learn", "sample", "to_raw"]

PILOT_ROWS, PILOT_CELLS, PILOT_SEED = 80_000, 6_000_000, 2**31
_MIDDLES = (np.arange(4_000) + 0.5) / 4_000


class Signal(NamedTuple):
    """How the linear score makes the target.

    Classes: softmax(slope * score + intercept). Regression: quantile of slope * score + intercept + noise * N(0, 1).
    """

    slope: float
    intercept: Array
    noise: float = 0.0


def sample(contract: Contract, rows: int, seed: int) -> pl.DataFrame:
    """Draw a table in the contract's types and column order; missing is null. The same seed gives the same rows.

    Draw a table that is too big for the memory in pieces, each with its own seed: identifiers then do not collide.

    Raises:
        UsageError: the contract's synthesis cannot be understood.
    """
    try:
        return add_target(contract, draw_columns(contract, rows, seed), calibrate(contract), seed)
    except (TypeError, ValueError, KeyError, AttributeError, pl.exceptions.PolarsError) as error:
        where = " of ".join(["", *getattr(error, "__notes__", [])])
        raise UsageError(
            f"The contract's synthesis{where} cannot be used: {str(error).splitlines()[0][:200]}"
        ) from None


def add_target(contract: Contract, frame: pl.DataFrame, signal: Signal, seed: int) -> pl.DataFrame:
    """Draw the target from the features, and put all columns into the contract's order."""
    target, random = contract.target, stream(seed, contract.target.name)
    score = signal.slope * _score(contract, frame) + signal.intercept
    if contract.task == "regression":
        values = quantile(target, score[:, 0] + signal.noise * random.standard_normal(frame.height))
    else:
        below = np.cumsum(_softmax(score), axis=1)[:, :-1] < random.random((frame.height, 1))
        values = pl.Series(contract.classes, dtype=TYPES[target.type], strict=False).gather(below.sum(axis=1))
    return frame.with_columns(hide(target, values, seed)).select(contract.names)


def calibrate(contract: Contract) -> Signal:
    """Find the slope that gives the quality which the contract asks for, and the intercepts that give the class shares.

    It is done on a pilot table, so that all samples of a contract, small or shifted, obey one law.
    """
    rows = min(PILOT_ROWS, max(PILOT_CELLS // len(contract.columns), 4_000))
    score, goal = _score(contract, draw_columns(contract, rows, PILOT_SEED)), contract.synthesis
    if contract.task == "regression":
        return _calibrate_regression(contract.target, score, goal.get("r2", 0.5) if score.any() else 0.0)
    kinds = len(contract.classes)
    shares = np.maximum(np.reshape(contract.target.synthesis.get("shares", [1.0] * kinds), kinds), 1e-9)
    shares /= shares.sum()
    if contract.task == "binary":  # one number a row: 4,000 of its quantiles stand for all rows
        score = np.column_stack([0 * _MIDDLES, np.quantile(score[:, 1], _MIDDLES)])
    score = score[:10_000]

    def fit(slope: float) -> tuple[Array, Array]:
        intercept = np.log(shares)
        for _ in range(30):
            p = _softmax(slope * score + intercept)
            change = np.log(shares / p.mean(axis=0))
            intercept = intercept + change
            if abs(change).max() < 1e-6:
                break
        return intercept, p

    def quality(slope: float) -> float:
        p = fit(slope)[1]
        if contract.task == "multiclass":
            return float((p * np.log(np.maximum(p, 1e-15))).sum(axis=1).mean())
        event, other = p[:, 1] / p[:, 1].sum(), p[:, 0] / p[:, 0].sum()
        return float(event @ (np.cumsum(other) - other / 2))

    wanted = goal.get("auc") if contract.task == "binary" else -goal["log_loss"] if "log_loss" in goal else None
    slope = 1.0 if wanted is None or not score.any() else _solve(quality, wanted, 64.0)
    return Signal(slope, fit(slope)[0])


def _calibrate_regression(target: Column, score: Array, wanted: float) -> Signal:
    """The target is a bent line of a normal variable: a perfect model's R2 comes from averaging over the noise."""
    mean, sd = float(score.mean()), float(score.std()) or 1.0
    points = np.quantile((score - mean) / sd, _MIDDLES[::8])[:, None]
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)

    def r2(rho: float) -> float:
        y = quantile(target, (rho * points + math.sqrt(1 - rho**2) * nodes).ravel()).cast(pl.Float64).to_numpy()
        expected, square = (np.average(v.reshape(-1, 9), axis=1, weights=weights) for v in (y, y * y))
        return float(expected.var() / max(square.mean() - expected.mean() ** 2, 1e-300))

    rho = _solve(r2, wanted, 0.9999) if wanted > 0 else 0.0
    return Signal(rho / sd, np.array([-rho * mean / sd]), math.sqrt(1 - rho**2))


def _solve(rising: Callable[[float], float], goal: float, high: float) -> float:
    """Return where a rising function reaches the goal, between 0 and `high`."""
    low = 0.0
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < goal else (low, middle)
    return (low + high) / 2


def _softmax(score: Array) -> Array:
    power = np.exp(score - score.max(axis=1, keepdims=True))
    return np.asarray(power / power.sum(axis=1, keepdims=True))


def _score(contract: Contract, frame: pl.DataFrame) -> Array:
    """The linear score, shape (rows, classes), or (rows, 1) in a regression; the first class of two has 0."""
    width = len(contract.classes) if contract.task == "multiclass" else 1
    score = np.zeros((frame.height, width))
    for column in contract.of("feature"):
        plan = column.synthesis
        if "effect" in plan or "effect_missing" in plan:
            effect = np.reshape(plan.get("effect", [0.0] * width), (-1, width)).astype(float)
            absent = np.reshape(plan.get("effect_missing", [0.0] * width), (1, width)).astype(float)
            place, missing = position(column, frame[column.name])
            if "mean" in plan:
                score += place[:, None] * effect + missing[:, None] * absent
            else:
                score += np.vstack([effect, absent, 0 * absent])[place.astype(int)]
    return np.hstack([0 * score, score]) if contract.task == "binary" else score


def to_raw(frame: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Return the same rows as the outside world writes them: its sentinels, its dates, its decimal mark."""
    return frame.select(
        _outside(column, contract.decimal) for column in contract.columns if column.name in frame.columns
    )


def _outside(column: Column, decimal: str) -> pl.Expr:
    value = pl.col(column.name)
    if column.sentinels:
        value = value.fill_null(pl.lit(column.sentinels[0], TYPES[column.type]))
    if column.type in ("date", "timestamp") and column.format:
        value = (value.dt.replace_time_zone("UTC") if "%z" in column.format else value).dt.strftime(column.format)
    if column.type == "number" and decimal != ".":
        value = value.cast(pl.String).str.replace(".", decimal, literal=True)
    return value
