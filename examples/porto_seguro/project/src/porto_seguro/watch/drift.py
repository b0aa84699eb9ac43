"""The statistics of drift between two sets of counts in the same bins. Pure numbers: no frames, no files."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..encode import Vector

GROUPS = 10  # of about equal size, in which the stability index is taken
LEAST = 5.0  # rows that a cell of a chi-square test should expect


def _shares(counts: ArrayLike) -> Vector:
    counts = np.asarray(counts, np.float64)
    total = counts.sum()
    return counts / total if total > 0 else counts


def distance(reference: ArrayLike, window: ArrayLike, ordered: bool) -> float:
    """Return the largest difference of probability between two distributions, from 0 to 1.

    Args:
        reference, window: counts in the same bins, shape (bins,).
        ordered: for numbers, the Kolmogorov-Smirnov statistic, which is exact where each value has a bin of its own,
            and at most a bin's share too small otherwise; for categories, the total variation.
    """
    gap = _shares(reference) - _shares(window)
    return float(np.abs(np.cumsum(gap)).max()) if ordered else float(np.abs(gap).sum() / 2)


def psi(reference: ArrayLike, window: ArrayLike, ordered: bool) -> float:
    """Return the population stability index: the sum of (p - q) ln(p / q).

    The bins of numbers are joined to about ten of equal size; an empty one counts half a row.
    """
    a, b = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    if not a.sum() or not b.sum():
        return 0.0
    if ordered:
        before = np.concatenate([[0.0], np.cumsum(_shares(a))[:-1]])
        places = np.minimum((before * GROUPS + 1e-9).astype(np.intp), GROUPS - 1)
        a, b = (np.bincount(places, weights=c, minlength=GROUPS).astype(np.float64) for c in (a, b))
    used = (a > 0) | (b > 0)
    p, q = (_shares(np.where(c > 0, c, 0.5)[used]) for c in (a, b))
    return float(((p - q) * np.log(p / q)).sum())


def ks_chance(statistic: float, n: int, m: int) -> float:
    """Return how likely chance alone gives two samples of n and m rows a distance of at least this.

    It is Kolmogorov's limit law (Kolmogorov, 1933), which is careful where numbers have ties.
    """
    if not n or not m:
        return 1.0
    x = statistic * math.sqrt(n * m / (n + m))
    if x < 0.2:
        return 1.0
    total = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return float(min(max(total, 0.0), 1.0))


def chi_square(reference: ArrayLike, window: ArrayLike) -> tuple[float, float]:
    """Return Pearson's statistic of two rows of counts, and how likely chance alone gives as much.

    Categories that expect fewer than five rows are joined, for the law does not hold for them.
    """
    from scipy.special import chdtrc

    table = np.array([reference, window], np.float64)
    table = table[:, table.sum(axis=0) > 0]
    rows = table.sum(axis=1)
    if (rows == 0).any():
        return 0.0, 1.0
    rare = table.sum(axis=0) * rows.min() / rows.sum() < LEAST
    if rare.any():
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(axis=1)])
    if table.shape[1] < 2:
        return 0.0, 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = float(((table - expected) ** 2 / expected).sum())
    return statistic, float(chdtrc(table.shape[1] - 1, statistic))


def shares_chance(k: float, n: float, j: float, m: float) -> float:
    """Return how likely chance alone parts two shares, k of n and j of m, so far (normal approximation, two-sided)."""
    if not n or not m:
        return 1.0
    both = (k + j) / (n + m)
    error = math.sqrt(both * (1 - both) * (1 / n + 1 / m))
    return math.erfc(abs(k / n - j / m) / error / math.sqrt(2)) if error > 0 else 1.0


def upper_chance(z: float) -> float:
    """Return how likely a standard normal number is at least z."""
    return math.erfc(z / math.sqrt(2)) / 2


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values that hold for all of the tests together (Holm, 1979)."""
    order = np.argsort(chances)
    adjusted, worst = [0.0] * len(chances), 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, chances[place] * (len(chances) - rank)))
        adjusted[place] = worst
    return adjusted


def ndcg(reference: ArrayLike, window: ArrayLike) -> float:
    """Return how well the features that matter in a window are those that mattered in training, from 0 to 1.

    It is the normalised discounted cumulative gain (Järvelin and Kekäläinen, 2002): features in the order of the window,
    each worth what it was in training. Azure ML's attribution drift is the same number.
    """
    gains, now = np.asarray(reference, np.float64), np.asarray(window, np.float64)
    discount = 1 / np.log2(np.arange(len(gains)) + 2)
    best = float(np.sort(gains)[::-1] @ discount)
    return float(gains[_falling(now)] @ discount) / best if best > 0 else 1.0


def _falling(values: Vector) -> NDArray[np.intp]:
    return np.argsort(-values, kind="stable")
