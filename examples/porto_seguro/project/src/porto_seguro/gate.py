"""Judge a new model. Pure: score files of the same holdout rows and settings in, a decision out. In doubt it says no."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from .config import METRICS, Settings
from .contract import Task
from .encode import Vector
from .errors import ProjectError
from .evaluate import read_scores
from .metrics import resample
from .table import replacing
from .train import linear_name

SEED = 0


class Difference(Struct):
    """How much better the candidate is than a rival in the chosen metric: estimate and bounds at the confidence."""

    estimate: float
    low: float
    high: float


class Decision(Struct):
    """What the gate says.

    Attributes:
        decision: `passed`, `kept_champion` or `rejected`.
        candidate: which model was judged: `model`, or its linear rival where `gate.simpler_wins` chose that.
        reasons: in words; the first one decided.
        differences: candidate against constant, linear rival and champion; above zero is better, whatever the metric.
        intervals: the metric of each model with its bounds.
        checks: every limit with its measured value and whether it was kept.
    """

    decision: str
    candidate: str
    metric: str
    reasons: list[str]
    differences: dict[str, Difference] = {}
    intervals: dict[str, Difference] = {}
    checks: list[dict[str, Any]] = []


def gate(scores: Path, evaluation: Path, settings: Settings, out: Path, champion: Path | None = None) -> Decision:
    """Decide and write `decision.json`.

    Args:
        scores: score file of the new model, its linear rival and the constant.
        evaluation: `evaluation.json` with the guards' measurements.
        settings: what is asked.
        out: where to write the decision.
        champion: score file of the champion on the same rows; None for a first version.
    """
    try:
        decision = _judge(scores, evaluation, settings, champion)
    except (ProjectError, msgspec.MsgspecError, OSError, ArithmeticError, ValueError, KeyError, TypeError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        decision = Decision(
            "rejected", "model", settings.goal.metric, [f"The model could not be judged, so it does not pass: {text}"]
        )
    with replacing(out) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(decision)))
    return decision


def _judge(scores: Path, evaluation: Path, settings: Settings, champion: Path | None) -> Decision:
    told = msgspec.json.decode(evaluation.read_bytes())
    task: Task = told["task"]
    metric: str = told["metric"]
    rows, y, models = read_scores(scores)
    if champion:
        old_rows, old_y, old = read_scores(champion)
        if not rows.equals(old_rows) or not np.array_equal(y, old_y):
            raise ValueError("champion and challenger were not scored on the same rows.")
        models["champion"] = old["model"]
    for name, score in models.items():
        if not np.isfinite(score).all() or (task != "regression" and ((score < 0) | (score > 1)).any()):
            raise ValueError(
                f"the scores of {name} are not all finite{'' if task == 'regression' else ' probabilities'}."
            )
    drawn = resample(metric, task, y, models, settings.gate.resamples, SEED)
    linear = linear_name(task)
    against = {
        name: _difference(
            drawn["model"], drawn[name], models["model"], models[name], told, "model", name, metric, settings
        )
        for name in models
        if name != "model"
    }
    words = []
    candidate = "model"
    if not against[linear].low > 0 and told["metrics"][linear] != told["metrics"]["model"]:
        how = "surely better" if against[linear].high < 0 else "as good: it cannot be told apart from the model"
        words.append(f"The {linear} model is {how} in {metric} ({_signed(against[linear])}).")
        if settings.gate.simpler_wins:
            candidate = linear
            words.append(f"gate.simpler_wins is set, so the {linear} model is proposed instead.")
            against = {
                n: _difference(drawn[linear], drawn[n], models[linear], models[n], told, linear, n, metric, settings)
                for n in models
                if n != linear
            }
    checks = _checks(told, candidate, linear, metric, settings, "champion" in models)
    failed = [
        f"{c['name']} is {number(c['value'])}; the limit is {number(c['limit'])} (conf/project.yaml)."
        for c in checks
        if not c["kept"]
    ]
    if not against["constant"].low > 0:
        failed.insert(0, f"It does not surely beat a constant in {metric}: {_signed(against['constant'])}.")
    worse = champion is not None and not against["champion"].low > 0
    if failed:
        verdict, reasons = "rejected", failed
    elif worse:
        verdict, reasons = (
            "kept_champion",
            [f"It is not surely better than the champion in {metric}: {_signed(against['champion'])}."],
        )
    else:
        verdict = "passed"
        reasons = [
            f"It is better than {'the champion' if champion else 'a constant'} in {metric}: {_signed(against['champion' if champion else 'constant'])}."
        ]
    intervals = {
        name: Difference(told["metrics"][name][metric], *_bounds(drawn[name], settings.gate.confidence))
        for name in models
    }
    return Decision(verdict, candidate, metric, reasons + words, against, intervals, checks)


def _bounds(values: Vector, confidence: float) -> tuple[float, float]:
    """One-sided bounds, each at the confidence."""
    if not np.isfinite(values).all():
        raise ValueError("the metric is not defined in each resample; the holdout has too few rows of a class.")
    low, high = np.quantile(values, [1 - confidence, confidence])
    return float(low), float(high)


def _difference(
    new: Vector,
    old: Vector,
    a: Vector,
    b: Vector,
    told: dict[str, Any],
    one: str,
    other: str,
    metric: str,
    settings: Settings,
) -> Difference:
    sign = 1 if METRICS[metric] else -1
    if np.array_equal(a, b):
        return Difference(0.0, 0.0, 0.0)
    return Difference(
        sign * (told["metrics"][one][metric] - told["metrics"][other][metric]),
        *_bounds(sign * (new - old), settings.gate.confidence),
    )


def number(value: float | None) -> str:
    """Write a number with four digits; what could not be measured is no number."""
    return "not a number" if value is None else f"{value:.4g}"


def _signed(d: Difference) -> str:
    return f"difference {d.estimate:+.4f}, between {d.low:+.4f} and {d.high:+.4f}"


def _checks(
    told: dict[str, Any], candidate: str, linear: str, metric: str, settings: Settings, champion: bool
) -> list[dict[str, Any]]:
    """Hold the floor and the guards against what was measured; a value that is missing or no number is not kept."""
    limits = settings.gate.guards
    measured = told["metrics"]
    checks = []

    def add(name: str, value: float | None, limit: float, more: bool = False) -> None:
        kept = value is not None and bool(value >= limit if more else value <= limit)  # JSON writes NaN as null
        checks.append({"name": name, "value": value, "limit": limit, "kept": kept})

    if settings.goal.floor is not None:
        add(f"{metric} (floor)", measured[candidate][metric], settings.goal.floor, METRICS[metric])
    for rival in ("constant", "champion") if champion else ("constant",):
        if rival not in measured:
            raise ValueError(f"the evaluation has no metrics of the {rival}.")
        if "log_loss" in measured[candidate]:
            ratio = measured[candidate]["log_loss"] / measured[rival]["log_loss"]
            add(f"log_loss_ratio to the {rival}", ratio, limits.log_loss_ratio)
    for name, value in told[candidate]["guards"].items():
        add(name, value, getattr(limits, name))
    return checks
