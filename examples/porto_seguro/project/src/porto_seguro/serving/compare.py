"""Is a new version as good as the one that it shall replace, by what requests show? Pure: numbers in, findings out."""

import numpy as np
from msgspec import Struct

from ..config import METRICS, Rollout
from ..contract import Task
from ..encode import Vector
from ..metrics import resample, watched
from .endpoint import Seen
from .telemetry import SECONDS

EARLY = 50  # requests from which failures count, however many a stage asks for
SLACK_MS = 5.0  # what no caller notices
LABELS = 200  # rows with a known outcome from which a metric says something
RESAMPLES, BINS = 500, 10


class Evidence(Struct):
    """What is known of a deployment since the stage began; of outcomes, since the release began."""

    seen: Seen
    scores: Vector  # as the service gave them: shape (n,) or (n, classes)
    known: tuple[Vector, Vector] | None = None  # targets and scores


class Finding(Struct):
    """One thing compared: what the new version shows, what the old one, and the most (or least) it may be."""

    name: str
    candidate: float
    base: float
    limit: float
    kept: bool

    def __str__(self) -> str:
        """In a sentence."""
        return f"{self.name}: {self.candidate:.4g} against {self.base:.4g}, the limit is {self.limit:.4g}"


def compare(candidate: Evidence, base: Evidence, rollout: Rollout, metric: str, task: Task) -> list[Finding]:
    """Compare two deployments on what there is; what cannot be compared yet is left out.

    Args:
        candidate, base: the new one and the old one.
        rollout: the limits.
        metric, task: which metric decides where outcomes are known.
    """
    found: list[Finding] = []
    new, old = candidate.seen, base.seen
    if new.requests < EARLY:
        return found
    for name, bad, usual in (
        ("share of requests that failed", new.errors, old.errors),
        ("share of requests that were refused", new.refused, old.refused),
    ):
        usually = usual / max(old.requests, 1)
        share, limit = bad / new.requests, usually + rollout.errors
        found.append(Finding(name, share, usually, limit, share <= limit))
    if new.requests < rollout.requests:
        return found
    if old.requests >= EARLY:
        mine, theirs = percentile_ms(new.seconds), percentile_ms(old.seconds)
        limit = theirs * rollout.latency + SLACK_MS
        found.append(Finding("ms for an answer (95th percentile)", mine, theirs, limit, mine <= limit))
    if min(len(candidate.scores), len(base.scores)) >= EARLY:
        shift, chance = spread_apart(watched(candidate.scores), watched(base.scores))
        limit = rollout.shift + 2 * chance
        found.append(Finding("shift of the scores (PSI)", shift, 0.0, limit, shift <= limit))
    if candidate.known and base.known and min(len(candidate.known[0]), len(base.known[0])) >= LABELS:
        found += _metric(candidate.known, base.known, rollout.confidence, metric, task)
    return found


def percentile_ms(counts: list[int], share: float = 0.95) -> float:
    """Return a percentile of times in milliseconds, from counts by the bounds `telemetry.SECONDS`."""
    edges = np.array([0.0, *SECONDS, 2 * SECONDS[-1]])
    sums = np.cumsum(counts)
    wanted = share * sums[-1]
    n = int(np.searchsorted(sums, wanted))
    before = sums[n - 1] if n else 0
    return float(edges[n] + (edges[n + 1] - edges[n]) * (wanted - before) / max(counts[n], 1)) * 1000


def spread_apart(new: Vector, old: Vector) -> tuple[float, float]:
    """Return the population stability index between two sets of scores (shape (n,)), and what chance alone gives.

    Bins are tenths of `old`. Of two samples of one distribution, n PSI is about chi-square with bins - 1 degrees of
    freedom (Yurdakul, 2018, Statistical Properties of the Population Stability Index), which gives its mean.
    """
    edges = np.unique(np.quantile(old, np.linspace(0, 1, BINS + 1)[1:-1]))
    a, b = (np.bincount(np.searchsorted(edges, s), minlength=len(edges) + 1) + 0.5 for s in (new, old))
    p, q = a / a.sum(), b / b.sum()
    return float(((p - q) * np.log(p / q)).sum()), len(edges) * (1 / len(new) + 1 / len(old))


def _metric(
    new: tuple[Vector, Vector], old: tuple[Vector, Vector], confidence: float, metric: str, task: Task
) -> list[Finding]:
    """Two samples, resampled each for itself; rows that both scored make the test only more careful."""
    values = [resample(metric, task, y, {"": s}, RESAMPLES, seed)[""] for seed, (y, s) in enumerate((new, old))]
    if not all(np.isfinite(v).all() for v in values):
        return []  # too few rows of a class
    sign = 1 if METRICS[metric] else -1
    best = float(np.quantile(sign * (values[0] - values[1]), confidence))
    name = f"{metric}, where outcomes are known"
    mine, theirs = (float(np.mean(v)) for v in values)
    return [Finding(name, mine, theirs, theirs - sign * (best - sign * (mine - theirs)), best >= 0)]
