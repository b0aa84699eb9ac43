"""The metrics of the gate, written so that they can be resampled fast: each is prepared once and then weighted."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from .contract import Task
from .encode import Vector

Weighted = Callable[[Vector], float]
Indices = NDArray[np.intp]
Flags = NDArray[np.bool_]
BY_TASK: dict[Task, tuple[str, ...]] = {
    "binary": ("auc", "gini", "pr_auc", "log_loss", "brier", "accuracy"),
    "multiclass": ("auc", "log_loss", "brier", "accuracy"),
    "regression": ("r2", "rmse", "mae"),
}
_TINY = 1e-15


def watched(scores: Vector) -> Vector:
    """Return one number a row, shape (n,): the score, or of several classes the probability of the likeliest one."""
    return scores if scores.ndim == 1 else scores.max(axis=1)


def prepare(metric: str, task: Task, y: Vector, score: Vector) -> Weighted:
    """Return a function of row weights (shape (n,)) that gives the metric; all ones give the plain metric.

    Args:
        metric: a name in `config.METRICS`. `auc` of several classes is the mean of one-against-rest.
        task: binary, multiclass or regression.
        y: class numbers or values, shape (n,).
        score: as `model.scores` gives them, shape (n,) or (n, classes).
    """
    if metric == "gini":
        auc = prepare("auc", task, y, score)
        return lambda w: 2 * auc(w) - 1
    if metric in ("auc", "pr_auc"):
        one = _auc if metric == "auc" else _average_precision
        if score.ndim == 1:
            return one(y == 1, score)
        each = [one(y == k, score[:, k]) for k in range(score.shape[1]) if 0 < (y == k).sum() < len(y)]
        return lambda w: float(np.mean([f(w) for f in each]))
    if metric == "r2":
        error = (y - score) ** 2

        def r2(w: Vector) -> float:
            mean = (w @ y) / w.sum()
            spread = w @ (y - mean) ** 2
            return float(1 - (w @ error) / spread) if spread > 0 else float("nan")

        return r2
    loss = row_losses(metric, y, score)
    if metric == "rmse":
        return lambda w: float(np.sqrt((w @ loss) / w.sum()))
    return lambda w: float((w @ loss) / w.sum())


def row_losses(metric: str, y: Vector, score: Vector) -> Vector:
    """Return the term of each row, shape (n,), whose mean is the metric (for `rmse`: its square)."""
    if metric in ("rmse", "mae"):
        error: Vector = np.abs(y - score)
        return error * error if metric == "rmse" else error
    table = score if score.ndim == 2 else np.column_stack([1 - score, score])
    truth = y.astype(int)
    if metric == "accuracy":
        right: Vector = (table.argmax(axis=1) == truth).astype(np.float64)
        return right
    if metric == "log_loss":
        chosen: Vector = table[np.arange(len(y)), truth]
        surprise: Vector = -np.log(np.clip(chosen / np.clip(table.sum(axis=1), _TINY, None), _TINY, None))
        return surprise
    square: Vector = ((table - np.eye(table.shape[1])[truth]) ** 2).sum(axis=1)
    return square / 2 if score.ndim == 1 else square


def _order(flags: Flags, score: Vector) -> tuple[Indices, Vector]:
    """The flagged rows by falling score, and their scores negated, which rise."""
    rows = np.flatnonzero(flags)
    rows = rows[np.argsort(-score[rows], kind="stable")]
    return rows, -score[rows]


def _sums(w: Vector) -> Vector:
    """The sum of the first n weights, for n from 0."""
    return np.concatenate([[0.0], np.cumsum(w)])


def _auc(event: Flags, score: Vector) -> Weighted:
    (up, scores), (down, others) = _order(event, score), _order(~event, score)
    # How many non-events stand above each event, and above or level with it. Sorting once is what makes resampling fast.
    above, level = (np.searchsorted(others, scores, side) for side in ("left", "right"))

    def auc(w: Vector) -> float:
        events, seen = w[up], _sums(w[down])
        total = events.sum() * seen[-1]
        return float(1 - events @ (seen[above] + seen[level]) / 2 / total) if total > 0 else float("nan")

    return auc


def _average_precision(event: Flags, score: Vector) -> Weighted:
    (up, scores), (down, others) = _order(event, score), _order(~event, score)
    right, wrong = np.searchsorted(scores, scores, "right"), np.searchsorted(others, scores, "right")

    def average_precision(w: Vector) -> float:
        events = w[up]
        found, flagged = _sums(events)[right], _sums(w[down])[wrong]
        if not events.sum() > 0:
            return float("nan")
        precision = np.divide(found, found + flagged, out=np.zeros_like(found), where=found > 0)
        return float(events @ precision / events.sum())

    return average_precision


def measure(task: Task, y: Vector, score: Vector) -> dict[str, float]:
    """Return all metrics of a task."""
    ones = np.ones(len(y))
    return {metric: prepare(metric, task, y, score)(ones) for metric in BY_TASK[task]}


def resample(
    metric: str, task: Task, y: Vector, scores: Mapping[str, Vector], resamples: int, seed: int
) -> dict[str, Vector]:
    """Bootstrap one metric for several models on the same resampled rows, so that differences are paired.

    Returns:
        For each model the metric in each resample, shape (resamples,).
    """
    prepared = {name: prepare(metric, task, y, score) for name, score in scores.items()}
    n = len(y)

    def draw(child: np.random.SeedSequence) -> list[float]:
        weights = np.bincount(np.random.default_rng(child).integers(0, n, n), minlength=n).astype(np.float64)
        return [f(weights) for f in prepared.values()]

    with ThreadPoolExecutor() as pool:
        drawn = np.array(list(pool.map(draw, np.random.SeedSequence(seed).spawn(resamples))))
    return {name: drawn[:, k] for k, name in enumerate(prepared)}
