"""The short way from the cells of a request to the model's matrix, without a data frame."""

import math
from array import array
from collections.abc import Sequence
from datetime import date
from itertools import chain
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ..artifact import Model
from ..contract import Column
from ..encode import LARGEST, Feature, Matrix

EPOCH = date(1970, 1, 1).toordinal()
Cells = Sequence[Any]


class Fast:
    """Encode rows of plain cells; gives up (None) on whatever needs a closer look."""

    def __init__(self, columns: list[Column], features: list[Feature]) -> None:
        """Turn the contract into arrays; `columns` and `features` go together."""
        n = len(columns)
        self._low, self._high = np.full(n, -LARGEST), np.full(n, LARGEST)
        self._first, self._sentinel = np.zeros(n), np.full(n, np.nan)
        self._broken = np.array([c.type != "integer" for c in columns])
        self._optional = np.array([not c.required for c in columns])
        self._codes: list[tuple[int, dict[Any, float | None]]] = []
        self._days: list[int] = []
        for i, (column, feature) in enumerate(zip(columns, features, strict=True)):
            if column.minimum is not None:
                self._low[i] = column.minimum
            if column.maximum is not None:
                self._high[i] = column.maximum
            if column.type in ("date", "timestamp"):
                self._days.append(i)
            elif column.type == "string" or column.type == "boolean" or feature.categories:
                kinds: list[Any] = feature.categories or [False, True]
                if column.type == "integer" and kinds == list(range(int(kinds[0]), int(kinds[0]) + len(kinds))):
                    # Codes count from the first label. One that is not known needs a closer look.
                    self._first[i] = kinds[0]
                    self._low[i], self._high[i] = max(self._low[i], kinds[0]), min(self._high[i], kinds[-1])
                else:
                    self._codes.append((i, {kind: float(k) for k, kind in enumerate(kinds)} | {None: None}))
                    self._low[i], self._high[i], self._broken[i] = -np.inf, np.inf, True
            if column.sentinels:
                self._sentinel[i] = column.sentinels[0]
        self._coded = bool(self._codes or self._days)

    @classmethod
    def of(cls, model: Model) -> "Fast | None":
        """Return it where it can do what the model's own way does."""
        columns = model.contract.of("feature")
        probe = pl.DataFrame({name: pl.Series([None], dtype=pl.Int8) for name in model.needs})
        try:
            same = model.code.features(probe) is probe
        except Exception:  # somebody's own code, on rows that it does not expect
            return None
        simple = all(len(c.sentinels) < 2 and (c.type != "date" or not c.format) for c in columns)
        timed = any(c.type == "timestamp" for c in columns)
        if not same or not simple or timed or model.encoder.names != model.needs:
            return None
        return cls(columns, model.encoder.features)

    def __call__(self, rows: list[Cells]) -> Matrix | None:
        """Encode rows of cells in contract order; float32 of shape (n, features)."""
        if self._coded:
            coded: list[Any] = [list(row) for row in rows]
            try:
                for i, codes in self._codes:
                    for row in coded:
                        row[i] = codes[row[i]]
                for i in self._days:
                    for row in coded:
                        if row[i] is not None:
                            row[i] = _day(row[i])
            except (KeyError, TypeError, ValueError):
                return None
            rows = coded
        try:
            # Unlike numpy's own conversion, this takes no text for a number.
            flat = array("d", rows[0] if len(rows) == 1 else chain.from_iterable(rows))
        except TypeError:
            try:
                flat = array("d", [math.nan if cell is None else cell for row in rows for cell in row])
            except (TypeError, OverflowError):
                return None
        except OverflowError:
            return None
        raw: NDArray[np.float64] = np.frombuffer(flat)
        if len(rows) > 1:  # a single row stays a vector, with which numpy is three times as fast
            raw = raw.reshape(len(rows), -1)
        raw[raw == self._sentinel] = np.nan
        # A comparison with NaN is false: what is missing is right only where it may be.
        right = (raw >= self._low) & (raw <= self._high) & ((np.floor(raw) == raw) | self._broken)
        right |= np.isnan(raw) & self._optional
        if np.count_nonzero(right) < right.size:
            return None
        raw -= self._first
        return raw.astype(np.float32).reshape(len(rows), -1)


def _day(text: str) -> float:
    """Days since 1970 of a date written in full."""
    if len(text) != 10:
        raise ValueError(text)
    return date.fromisoformat(text).toordinal() - EPOCH
