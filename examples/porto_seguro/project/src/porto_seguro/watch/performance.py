"""How good a model is on rows whose outcome is known by now; and until then, how good its own scores let expect."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from msgspec import Struct

from ..config import METRICS, Monitor
from ..contract import Task
from ..encode import Vector
from ..metrics import BY_TASK, prepare, resample, watched
from ..profile import Groups, group_rows
from .drift import upper_chance
from .findings import ALARM, UNKNOWN, WARNING, Metric, Report
from .window import Batch, Reference

RESAMPLES = 200  # give a standard error to 5 %
EVENTS = 30  # of the rarer class, with fewer a metric says nothing
LABELLED = 0.5  # share of the matured rows that should have an outcome
OFF = 0.1  # by which predicted and true may differ, as a share, before it is worth a word
MOST = 100_000  # rows are enough for a metric; of more than twice as many every second, fourth and so on is kept


class Past(Struct):
    """What the metric of an earlier window was; times in ISO text."""

    since: str
    until: str
    value: float
    error: float


class Known:
    """Rows whose outcome is known, and how many of how many that is."""

    def __init__(self, bar: float, columns: Sequence[str]) -> None:
        """Begin; `bar` and `columns` as in `groups.group_rows`."""
        self._bar, self._columns = bar, columns
        self._truth: list[Vector] = []
        self._scores: list[Vector] = []
        self._step = 1
        self.rows = self.known = 0
        self.asked = False  # whether outcomes are delivered at all
        self.groups = Groups()

    def add(self, batch: Batch) -> None:
        """Take the rows with an outcome."""
        n = len(batch.scores)
        self.rows += n
        if batch.truth is None or not n:
            return
        self.asked = True
        there = ~np.isnan(batch.truth)
        taken = slice(-self.known % self._step, None, self._step)
        self.known += int(there.sum())
        self._truth.append(batch.truth[there][taken])
        self._scores.append(batch.scores[there][taken])
        if sum(map(len, self._truth)) > 2 * MOST:
            y, score = self.arrays()
            self._truth, self._scores, self._step = [y[::2].copy()], [score[::2].copy()], 2 * self._step
        truth = batch.truth if batch.scores.ndim == 1 else batch.truth * np.nan
        group_rows(batch.rows, self._columns, watched(batch.scores), truth, self._bar, self.groups)

    def arrays(self) -> tuple[Vector, Vector]:
        """Targets, shape (n,), and scores; at most `2 * MOST` rows, evenly taken."""
        return np.concatenate(self._truth), np.concatenate(self._scores)


def estimate(metric: str, task: Task, y: Vector, score: Vector) -> tuple[float, float]:
    """Return a metric and its standard error, by a bootstrap; the error is NaN where a resample has no value."""
    value = prepare(metric, task, y, score)(np.ones(len(y)))
    return float(value), float(np.std(resample(metric, task, y, {"": score}, RESAMPLES, 0)[""]))


def expected(metric: str, task: Task, score: Vector) -> float | None:
    """Return what the scores themselves let expect of a metric, if they are calibrated; None for a regression.

    Each row counts as every class, weighted with its probability (confidence-based performance estimation).
    """
    if task == "regression" or metric not in BY_TASK[task]:
        return None
    table = np.column_stack([1 - score, score]) if score.ndim == 1 else score
    y = np.repeat(np.arange(table.shape[1]), len(table)).astype(np.float64)
    tiled = np.tile(score, table.shape[1]) if score.ndim == 1 else np.tile(score, (table.shape[1], 1))
    return float(prepare(metric, task, y, tiled)(table.T.ravel()))


def judge(
    report: Report, known: Known, reference: Reference, conf: Monitor, past: Sequence[Past],
    period: tuple[str, str], spoilt: bool = False,
) -> None:  # fmt: skip
    """Add to the report what the outcomes show.

    Args:
        report: is added to.
        known: the matured rows.
        reference: the holdout of the version.
        conf: what counts as much.
        past: earlier windows of the same version; those that overlap with this one do not count.
        period: first and last moment of the matured rows.
        spoilt: whether their source was broken then: what was lost is not the model's fault.
    """
    task, metric = reference.model.contract.task, reference.metric
    sign = 1 if METRICS[metric] else -1
    holdout = estimate(metric, task, reference.truth, reference.score)
    skill = sign * (holdout[0] - reference.constant)
    if known.rows:
        report.labelled = known.known / known.rows
    if known.known and report.labelled is not None and report.labelled < LABELLED:
        text = (
            f"Only {report.labelled:.0%} of the rows from {period[0][:10]} to {period[1][:10]} have an outcome by now."
        )
        report.tell("labels", WARNING, text)
    elif known.rows and not known.known:
        report.tell(
            "labels", WARNING if known.asked else UNKNOWN, f"No outcome of {known.rows:,} matured rows is known yet."
        )
    elif known.rows:
        report.measured("labels")
    if known.known:
        y, score = known.arrays()
        events = int(min((y == k).sum() for k in np.unique(y))) if task != "regression" else len(y)
        kinds = len(np.unique(y)) if task != "regression" else 2
        if events < EVENTS or kinds < 2:
            text = f"{events:,} outcomes of the rarer kind are too few to measure {metric}; {EVENTS} are needed."
            report.tell("performance", UNKNOWN, text)
        else:
            value, error = estimate(metric, task, y, score)
            found = _against(Metric(metric, value, error, *holdout, len(y), events, *period), holdout, past, sign, conf)
            found.lost = sign * (found.reference - value) / skill if skill > 0 else 0.0
            report.metric = found
            report.measured("performance")
            if found.chance < conf.false_alarms and found.lost >= conf.metric_drop:
                text = (
                    f"{metric} is {value:.4f} (standard error {error:.4f}) on {len(y):,} rows with an outcome; it was "
                    f"{found.reference:.4f}: {found.lost:.0%} of the skill over a constant is lost."
                )
                spoilt_by = " Their source was broken then, so that this says nothing of the model." if spoilt else ""
                report.tell("performance", WARNING if spoilt else ALARM, text + spoilt_by)
        _calibration(report, y, score, reference, conf)


def _against(found: Metric, holdout: tuple[float, float], past: Sequence[Past], sign: int, conf: Monitor) -> Metric:
    """Look twice, at this window and at it together with the one before; each against holdout and all earlier ones."""
    older = _apart(past, found.since)
    looks = [(older[:n], older[n:]) for n in range(min(len(older), 1) + 1)]
    chances = []
    for fresh, base in looks:
        now = _pool([(found.value, found.error), *((p.value, p.error) for p in fresh)])
        then = _pool([holdout, *((p.value, p.error) for p in base)])
        error = math.hypot(now[1], then[1])
        chances.append(upper_chance(sign * (then[0] - now[0]) / error) if error > 0 else 1.0)
        if not fresh:
            found.reference, found.reference_error = then
    found.chance = min(1.0, len(chances) * min(chances)) if all(map(math.isfinite, chances)) else 1.0
    z = NormalDist().inv_cdf(1 - conf.false_alarms / len(chances)) + NormalDist().inv_cdf(0.9)
    found.detectable = z * math.hypot(found.error, found.reference_error)
    return found


def _apart(past: Sequence[Past], since: str) -> list[Past]:
    """Earlier windows that overlap neither with this one nor with each other, newest first."""
    found: list[Past] = []
    for one in sorted(past, key=lambda p: p.until, reverse=True):
        if one.until <= since and math.isfinite(one.error) and one.error > 0:
            found.append(one)
            since = one.since
    return found


def _pool(measured: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean of values, weighted by what is known of each, and its standard error."""
    weights = np.array([1 / max(error, 1e-12) ** 2 for _, error in measured])
    return float(np.average([value for value, _ in measured], weights=weights)), float(weights.sum() ** -0.5)


def _calibration(report: Report, y: Vector, score: Vector, reference: Reference, conf: Monitor) -> None:
    """Compare how often it happens with how often it was predicted, against the same on the holdout."""
    now, before = (_ratio(t, s, reference) for t, s in ((y, score), (reference.truth, reference.score)))
    if now is None or before is None:
        return
    report.measured("calibration")
    report.calibration = now[0] / before[0]
    z = abs(math.log(report.calibration)) / math.hypot(now[1], before[1])
    if 2 * upper_chance(z) < conf.false_alarms and abs(report.calibration - 1) >= OFF:
        text = f"It happens {report.calibration:.2f} times as often as predicted, compared with the holdout."
        report.tell("calibration", WARNING, text)


def _ratio(y: Vector, score: Vector, reference: Reference) -> tuple[float, float] | None:
    """True over predicted, and the standard error of its logarithm; None where that says nothing."""
    if reference.model.contract.task != "binary" or (y == 1).sum() < EVENTS:
        return None
    return float(y.sum() / score.sum()), float(y.sum() ** -0.5)


def foresee(report: Report, score: Vector, reference: Reference, conf: Monitor) -> None:
    """Say what the scores of the window itself let expect, as long as its outcomes are not known."""
    metric, task = reference.metric, reference.model.contract.task
    now, before = (expected(metric, task, s) for s in (score, reference.score))
    if now is None or before is None:
        return
    report.measured("proxy")
    report.expected, report.expected_before = now, before
    sign = 1 if METRICS[metric] else -1
    skill = sign * (before - reference.constant)
    lost = sign * (before - now) / skill if skill > 0 else 0.0
    if lost >= 2 * conf.metric_drop:
        text = f"The scores let expect {metric} {now:.4f}, on the holdout {before:.4f}; outcomes will tell."
        report.tell("proxy", WARNING, text)
