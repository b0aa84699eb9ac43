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
    loss = _loss(metric, y, score)
    if metric == "rmse":
        return lambda w: float(np.sqrt((w @ loss) / w.sum()))
    return lambda w: float((w @ loss) / w.sum())


def _loss(metric: str, y: Vector, score: Vector) -> Vector:
    """The per-row term whose mean is the metric (for `rmse`: its square)."""
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


def _runs(event: Flags, score: Vector) -> tuple[Indices, Vector, Indices]:
    """Order by falling score; return the order, the events in it, and where each run of equal scores starts."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return order, event[order].astype(np.float64), starts


def _auc(event: Flags, score: Vector) -> Weighted:
    order, positive, starts = _runs(event, score)

    def auc(w: Vector) -> float:
        weights = w[order]
        up = np.add.reduceat(weights * positive, starts)
        down = np.add.reduceat(weights, starts) - up
        above = np.cumsum(up) - up / 2  # ties count half
        total = up.sum() * down.sum()
        return float(above @ down / total) if total > 0 else float("nan")

    return auc


def _average_precision(event: Flags, score: Vector) -> Weighted:
    order, positive, starts = _runs(event, score)

    def average_precision(w: Vector) -> float:
        weights = w[order]
        up = np.add.reduceat(weights * positive, starts)
        seen = np.cumsum(np.add.reduceat(weights, starts))
        if not up.sum() > 0:
            return float("nan")
        precision = np.divide(np.cumsum(up), seen, out=np.zeros_like(up), where=seen > 0)
        return float(up @ precision / up.sum())

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
