"""Does a feature, or do labels, look as if their source were broken, not as if the world had changed?"""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl

from ..artifact import Model
from ..check import allowed
from ..config import Monitor
from ..encode import encode_target
from ..metrics import prepare
from ..profile import Profile, Spread, count
from .drift import distance
from .findings import ALARM, WARNING, Feature

ALIKE = 0.1  # distance to the training of another column, below which two columns look exchanged
OUTSIDE = 0.01  # share of numbers beyond the range of training that is worth a word


def look_broken(
    features: Sequence[Feature], sample: pl.DataFrame, now: Profile, model: Model, before: Profile, conf: Monitor
) -> list[tuple[str, int, str]]:
    """Return name, severity and a sentence for each feature whose source looks broken.

    Args:
        features: compared already.
        sample: some rows of the window.
        now, before: the counts of window and training.
        model: its contract knows the categories.
        conf: what counts as much.
    """
    found = []
    columns = {c.name: c for c in model.contract.of("feature")}
    swapped = _swapped(features, sample, before)
    for f in features:
        column, old, new = columns[f.name], before.columns[f.name], now.columns[f.name]
        listed = 0 < len(column.categories) <= len(old.kinds)
        severity = ALARM
        if f.name in swapped:
            text = f"{f.name} and {swapped[f.name]} look as if they were exchanged."
        elif listed and new.counts[-1] > max(allowed(column.tolerance, new.present), 5):
            text = f"{f.name} holds a category that the contract does not know in {f.unknown:.1%} of its rows."
        elif f.severity and f.distance >= conf.broken:
            text = f"{f.name} looks broken, not drifted: distance {f.distance:.3f}{_times(old, new)}."
        elif f.severity and abs(f.missing - f.missing_before) >= conf.broken:
            text = f"{f.name} is missing in {f.missing:.1%} of the rows; in training in {f.missing_before:.1%}."
        elif f.outside >= OUTSIDE and not f.severity:
            severity, text = WARNING, f"{f.name} is beyond the range of training in {f.outside:.1%} of the rows."
        else:
            continue
        found.append((f.name, severity, text))
    return found


def _times(old: Spread, new: Spread) -> str:
    """Say how many times as large the numbers are, where that looks like another unit."""
    before, after = (_median(s) for s in (old, new))
    if not old.ordered or not before or not after:
        return ""
    beyond = new.counts[-1] > new.present / 2
    return (
        "; most values are larger than any in training" if beyond else f"; median {after:.4g}, in training {before:.4g}"
    )


def _median(spread: Spread) -> float | None:
    if not spread.ordered or not spread.present:
        return None
    place = int(np.searchsorted(np.cumsum(spread.counts), spread.present / 2))
    return spread.edges[min(place, len(spread.edges) - 1)]


def _swapped(features: Sequence[Feature], sample: pl.DataFrame, before: Profile) -> dict[str, str]:
    """Pairs of numbers of which each looks like what the other one was, and not like itself."""
    moved = [f.name for f in features if f.severity and before.columns[f.name].ordered]
    gap = {f.name: f.distance for f in features}
    found: dict[str, str] = {}
    for n, a in enumerate(moved):
        for b in moved[n + 1 :]:
            if a in found or b in found:
                continue
            crossed = [_as(sample[x], before.columns[y]) for x, y in ((a, b), (b, a))]
            if max(crossed) < ALIKE and max(crossed) < min(gap[a], gap[b]) / 2:
                found |= {a: b, b: a}
    return found


def _as(series: pl.Series, spread: Spread) -> float:
    """The distance of a column's values to the training of another column."""
    crossed = count(Profile(0, {series.name: spread}), [series.to_frame()]).columns[series.name]
    return distance(spread.counts, crossed.counts, ordered=True) if crossed.present else 1.0


SURE = 5.0  # standard errors
LEAST = 100  # rows


def screen(model: Model, rows: pl.DataFrame, limit: float) -> str:
    """Return why labelled rows look poisoned, in a sentence; empty where they do not.

    Args:
        model: the champion.
        rows: clean, with the target.
        limit: how many times as often (or as seldom) a class may occur as the champion expects; for numbers, by how
            many of its standard deviations the mean may be off.
    """
    y = encode_target(rows, model.contract)
    there = ~np.isnan(y)
    if there.sum() < LEAST:
        return ""
    y, score, name = y[there], model.predict(rows.filter(pl.Series(there))), model.contract.target.name
    n = len(y)
    if model.contract.task == "regression":
        off = float((y - score).mean())
        if abs(off) > limit * float(np.std(score)) and abs(off) > SURE * float((y - score).std()) / math.sqrt(n):
            return f"The mean of {name} is off by {off:.4g} from what the champion expects of these rows; look at them."
        return ""
    table = np.column_stack([1 - score, score]) if score.ndim == 1 else score
    for k, label in enumerate(model.contract.classes):
        seen, wanted = float((y == k).sum()), float(table[:, k].sum())
        error = math.sqrt(max(float((table[:, k] * (1 - table[:, k])).sum()), 1.0))
        if abs(seen - wanted) > SURE * error and not wanted / limit <= seen <= wanted * limit:
            return (
                f"{name} = {label} in {seen / n:.1%} of {n:,} rows, where the champion expects {wanted / n:.1%}: the "
                "labels look wrong. Take the file in by hand if they are right: ingest FILE"
            )
    if score.ndim == 1:
        events = min(float((y == 1).sum()), float((y == 0).sum()))
        auc = prepare("auc", "binary", y, score)(np.ones(n)) if events >= 30 else 0.5
        if auc < 0.5 - SURE * 0.29 / math.sqrt(max(events, 1.0)):
            return f"The champion ranks these rows upside down (AUC {auc:.3f}): the labels of {name} look exchanged."
    return ""
