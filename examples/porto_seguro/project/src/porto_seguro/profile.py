"""How columns are spread, as counts by bin, small enough to lie beside a model; and how the groups of a column fare."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from .contract import Column, Contract
from .draw import plain
from .encode import Vector

BINS = 200  # of a number; its distribution function is off by at most 1 / BINS between two bounds
KINDS = 200  # categories that are told apart
SCORE = "score"
Counts = NDArray[np.int64]


class Spread(Struct):
    """How one column is spread.

    Attributes:
        edges: of a number, ascending: bin k holds what is above edge k-1 and at most edge k; the last one all beyond.
        kinds: of categories, their values as text; the last bin holds all others.
        counts: values by bin.
        missing: rows without a value.
        low, high: the smallest and largest number there was.
    """

    counts: list[int]
    edges: list[float] = []
    kinds: list[str] = []
    missing: int = 0
    low: float | None = None
    high: float | None = None

    @property
    def ordered(self) -> bool:
        """Whether the bins have an order."""
        return not self.kinds

    @property
    def present(self) -> int:
        """How many values there are."""
        return sum(self.counts)


class Profile(Struct):
    """How the columns of a table are spread."""

    rows: int
    columns: dict[str, Spread]


def profile_of(frame: pl.DataFrame, contract: Contract) -> Profile:
    """Choose bins for the features in a clean frame, and count them.

    Numbers with at most `BINS` different values get a bin each, others bins of equal size.
    """
    spreads = {c.name: _bins(frame[c.name], c) for c in contract.of("feature") if c.name in frame.columns}
    return count(Profile(0, spreads), [frame])


def scores_profile(scores: Vector) -> Profile:
    """The same for scores, shape (n,)."""
    return count(Profile(0, {SCORE: Spread([], _edges(scores))}), [pl.DataFrame({SCORE: scores})])


def _bins(series: pl.Series, column: Column) -> Spread:
    if column.categorical or series.dtype in (pl.String, pl.Boolean):
        found = series.drop_nulls().value_counts(sort=True).head(KINDS)
        kinds = {_text(v): None for v in [*column.categories, *found[series.name].to_list()]}
        return Spread([], kinds=list(kinds)[:KINDS] or [""])
    values = plain(series).drop_nulls().drop_nans().to_numpy()
    spread = Spread([], _edges(values))
    if len(values):
        spread.low, spread.high = float(values.min()), float(values.max())
    return spread


def _edges(values: Vector) -> list[float]:
    known = np.unique(values)
    if len(known) > BINS:
        known = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:]))
    return known.tolist() or [0.0]


def _text(value: object) -> str:
    """A category as text, alike for a number that was read as an integer or as a float."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


class Tally:
    """Counts rows, frame by frame, in the bins of a profile; memory does not grow with the rows."""

    def __init__(self, profile: Profile) -> None:
        """Begin at zero; `profile` gives the bins, its counts do not matter."""
        self._bins = profile.columns
        self.rows = 0
        self.counts = {name: np.zeros(len(s.edges or s.kinds) + 1, np.int64) for name, s in profile.columns.items()}
        self.missing = dict.fromkeys(profile.columns, 0)
        self.outside = dict.fromkeys(profile.columns, 0)
        self._edges = {name: np.array(s.edges) for name, s in profile.columns.items()}
        self._kinds = {name: {kind: n for n, kind in enumerate(s.kinds)} for name, s in profile.columns.items()}

    def add(self, frame: pl.DataFrame) -> None:
        """Count the rows of a clean frame."""
        with ThreadPoolExecutor() as pool:  # numpy sorts and searches outside of Python's lock
            list(pool.map(self._add, [frame[name] for name in self._bins if name in frame.columns]))
        self.rows += frame.height

    def _add(self, series: pl.Series) -> None:
        name = series.name
        bins = self._bins[name]
        if not bins.ordered:
            places = self._kinds[name]
            for value, number in series.value_counts().iter_rows():
                if value is None:
                    self.missing[name] += number
                else:
                    self.counts[name][places.get(_text(value), len(places))] += number
            return
        values = plain(series).to_numpy()
        values = values[~np.isnan(values)]
        self.missing[name] += len(series) - len(values)
        found = np.searchsorted(self._edges[name], values)
        self.counts[name] += np.bincount(found, minlength=len(self.counts[name]))
        if bins.low is not None and bins.high is not None:
            self.outside[name] += int(((values < bins.low) | (values > bins.high)).sum())

    def profile(self) -> Profile:
        """What was counted so far."""
        columns = {
            name: msgspec.structs.replace(bins, counts=self.counts[name].tolist(), missing=self.missing[name])
            for name, bins in self._bins.items()
        }
        return Profile(self.rows, columns)


def count(profile: Profile, frames: list[pl.DataFrame]) -> Profile:
    """Count frames in the bins of a profile."""
    tally = Tally(profile)
    for frame in frames:
        tally.add(frame)
    return tally.profile()


PICKED = 0.9  # quantile of the scores from which a row counts as picked


class Group(Struct):
    """The rows of one group: all, picked, those with a known outcome, and of these the predicted and the true sum."""

    rows: int = 0
    picked: int = 0
    known: int = 0
    predicted: float = 0.0
    true: float = 0.0


Groups = dict[str, dict[str, Group]]


def group_rows(
    rows: pl.DataFrame, columns: Sequence[str], scores: Vector, truth: Vector | None, bar: float, into: Groups
) -> None:
    """Add rows to the groups that they belong to.

    Args:
        rows: clean features.
        columns: whose values are the groups; one that is not there is left out.
        scores: one number a row, shape (n,).
        truth: 0 and 1 or a number, NaN where unknown; None where nothing is known.
        bar: the score from which a row is picked.
        into: is added to, by column and value.
    """
    known = np.zeros(len(scores), bool) if truth is None else ~np.isnan(truth)
    outcome = np.zeros(len(scores)) if truth is None else np.nan_to_num(truth)
    facts = pl.DataFrame(
        {"picked": scores >= bar, "known": known, "predicted": scores * known, "true": outcome * known}
    )
    for column in columns:
        if column not in rows.columns:
            continue
        values = rows[column].cast(pl.String).fill_null("missing").alias("value")
        told = facts.with_columns(values).group_by("value").agg(pl.len(), pl.all().exclude("value").sum())
        found = into.setdefault(column, {})
        for value, number, picked, count, predicted, true in told.iter_rows():
            old = found.setdefault(value, Group())
            old.rows, old.picked, old.known = old.rows + number, old.picked + picked, old.known + count
            old.predicted, old.true = old.predicted + predicted, old.true + true


def groups_of(rows: pl.DataFrame, columns: Sequence[str], scores: Vector, truth: Vector) -> Mapping[str, object]:
    """Return the groups of a holdout and the bar from which a row is picked; arguments as in `group_rows`."""
    bar, found = float(np.quantile(scores, PICKED)), Groups()
    group_rows(rows, columns, scores, truth, bar, found)
    return {"bar": bar, "columns": found}
