"""Score the holdout with the new model, its simple rivals and the champion, and measure what the guards watch."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from . import clock
from .artifact import Model, load_model, size_mb
from .config import METRICS, Settings
from .contract import Contract, Task
from .encode import LARGEST, Vector, encode_target
from .errors import DataError, UsageError
from .explain import contributions
from .metrics import measure, prepare, watched
from .profile import groups_of
from .split import HOLDOUT
from .table import replacing
from .train import linear_name, metric_of

PROBE = 5_000  # holdout rows on which robustness and importance are measured
BINS = 10
TOLERANCE = 1e-5  # between the estimator and its ONNX form: in probability, or as a share of the range of predictions


def evaluate(
    data: Path, parts: Path, models: Path, contract: Contract, settings: Settings, out: Path,
    champion: Path | None = None, champion_digest: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write `scores.parquet` (the holdout rows with one column of scores a model) and `evaluation.json`.

    Args:
        data, parts: the table and its split.
        models: the folder in which `train` made its model folders.
        contract, settings: as in training.
        out: where to write.
        champion: the model folder of the champion, if there is one to compare with: it scores the same rows again
            and gets a file of its own, `champion.parquet`. Its manifest must have the digest `champion_digest`.

    Returns:
        What stands in `evaluation.json`: metrics of each model; guards and importance of `model`, and of its linear
        rival where the gate may propose it.
    """
    there = set(pl.read_parquet_schema(data))
    columns = [c.name for c in contract.of("identifier", "feature", "target") if c.name in there]
    frame = pl.read_parquet(data, columns=columns).filter(pl.read_parquet(parts)["part"] == HOLDOUT)
    y = encode_target(frame, contract)
    linear = linear_name(contract.task)
    loaded = {name: load_model(models / name) for name in ("model", linear, "constant")}
    scores = {name: model.predict(frame) for name, model in loaded.items()}
    rows = _rows(frame, contract)
    out.mkdir(parents=True, exist_ok=True)
    write_scores(out / "scores.parquet", rows, y, scores)
    told: dict[str, Any] = {"rows": len(y), "task": contract.task, "metric": metric_of(settings, contract.task)}
    told["classes"] = contract.classes
    told["metrics"] = {name: measure(contract.task, y, score) for name, score in scores.items()}
    if champion:
        old = load_model(champion, champion_digest).predict(frame)
        write_scores(out / "champion.parquet", rows, y, {"model": old})
        told["metrics"]["champion"] = measure(contract.task, y, old)
    bar = told["metrics"]["constant"][told["metric"]]
    for name in ("model", linear) if settings.gate.simpler_wins else ("model",):
        told[name] = {
            "guards": guards(loaded[name], models / name, frame, y, scores[name], told["metric"], bar),
            "importance": importance(loaded[name], frame.head(PROBE), y[:PROBE], told["metric"]),
            "attribution": attribution(loaded[name], frame.head(PROBE)),
            "groups": groups_of(frame, settings.monitor.groups, watched(scores[name]), y),
            "onnx": parity(loaded[name], models / name, frame, scores[name]),
        }
    with replacing(out / "evaluation.json") as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(told)))
    return told


def _rows(frame: pl.DataFrame, contract: Contract) -> pl.Series:
    """Name each row: its identifier, or else its number in the holdout."""
    ids = [c.name for c in contract.of("identifier") if c.name in frame.columns]
    return frame[ids[0]].cast(pl.String).alias("row") if ids else pl.Series("row", range(frame.height)).cast(pl.String)


def write_scores(path: Path, rows: pl.Series, y: Vector, scores: dict[str, Vector]) -> None:
    """Write a score file: `row`, `target`, and a column (a fixed-size list, for several classes) for each model."""
    columns = [
        pl.Series(name, s, dtype=pl.Array(pl.Float64, s.shape[1]) if s.ndim == 2 else pl.Float64)
        for name, s in scores.items()
    ]
    with replacing(path) as part:
        pl.DataFrame([rows, pl.Series("target", y), *columns]).write_parquet(part)


def calibration(task: Task, y: Vector, score: Vector) -> float:
    """Return how far predictions are off on average, beyond what chance explains.

    Rows are put into ten bins of equal size by prediction. In each, the gap between mean prediction and mean truth
    counts as far as it exceeds twice its standard error. Unit: probability, or standard deviations of the target.
    """
    if score.ndim == 2:
        return float(
            np.mean([calibration("binary", (y == k).astype(float), score[:, k]) for k in range(score.shape[1])])
        )
    unit = (float(np.std(y)) or 1.0) if task == "regression" else 1.0
    total = 0.0
    for rows in np.array_split(np.argsort(score, kind="stable"), BINS):
        if len(rows) > 1:
            off = y[rows] - score[rows]
            # A few rows of one class have no spread of their own: the one that the predictions imply is the least.
            implied = 0.0 if task == "regression" else float(np.mean(score[rows] * (1 - score[rows])))
            error = max(float(off.std()), implied**0.5) / len(rows) ** 0.5
            total += len(rows) / len(y) * max(0.0, abs(float(off.mean())) - 2 * error)
    return total / unit


def guards(
    model: Model, folder: Path, frame: pl.DataFrame, y: Vector, score: Vector, metric: str, bar: float
) -> dict[str, float]:
    """Measure what `config.Guards` limits; `score` is what the model gives the frame, `bar` the constant's metric."""
    task, probe, truth = model.contract.task, frame.head(PROBE), y[:PROBE]
    ones = np.ones(len(truth))
    sign = 1 if METRICS[metric] else -1

    def skill(rows: pl.DataFrame) -> float:
        return sign * (prepare(metric, task, truth, model.predict(rows))(ones) - bar)

    whole = skill(probe)

    def drop(rows: pl.DataFrame) -> float:
        return (whole - skill(rows)) / whole if whole > 0 else 1.0  # no skill: nothing more to lose

    rng = np.random.default_rng(0)
    numbers = [c.name for c in model.contract.of("feature") if c.type in ("integer", "number") and not c.categorical]
    cells = {name: rng.random(probe.height) for name in model.needs}
    jitter = [
        (pl.col(n) + pl.Series(rng.normal(size=probe.height)) * (probe[n].cast(pl.Float64).std() or 0.0) / 10).alias(n)
        for n in numbers
    ]
    extreme = [
        pl.when(pl.Series(cells[n]) < 0.01).then(pl.col(n) * 1000).otherwise(pl.col(n)).alias(n) for n in numbers
    ]
    blank = [pl.when(pl.Series(cells[n]) >= 0.05).then(pl.col(n)).alias(n) for n in model.needs]
    return {
        "calibration_error": calibration(task, y, score),
        "size_mb": size_mb(folder),
        "latency_ms": _latency(model, frame),
        "noise_drop": drop(probe.with_columns(jitter)),
        "missing_drop": drop(probe.with_columns(blank)),
        "extreme_drop": drop(probe.with_columns(extreme)),
    }


def attribution(model: Model, rows: pl.DataFrame) -> dict[str, float]:
    """Return what share of the scores of these rows each feature made, by mean absolute contribution to the raw score.

    It is empty for an estimator that gives no contributions (see `explain.contributions`).
    """
    try:
        parts = np.array(contributions(model, model.encoder.transform(model.features(rows)))["contributions"])
    except UsageError:
        return {}
    mean = np.abs(parts).reshape(-1, len(model.encoder.names)).mean(axis=0)
    return dict(zip(model.encoder.names, (mean / (mean.sum() or 1.0)).tolist(), strict=True))


def parity(model: Model, folder: Path, frame: pl.DataFrame, score: Vector) -> dict[str, Any]:
    """Compare the ONNX form with the estimator: on all rows, on rows with gaps, and on rows far from what was seen.

    Conversions may be wrong without a word, so that only a form that gives the same scores may serve.

    Args:
        model: with its own estimator.
        folder: where it is saved.
        frame: the holdout.
        score: what the estimator gives it.

    Returns:
        `engine` (onnx or native), `rows` compared, the largest `difference`, and in words the `reason`.
    """
    if "no_onnx" in model.lineage:
        return {"engine": "native", "rows": 0, "difference": None, "reason": model.lineage["no_onnx"]}
    x = model.encoder.transform(model.features(frame))
    some = x[:PROBE]
    rng = np.random.default_rng(0)
    gaps = np.where(rng.random(some.shape) < 0.1, np.float32(np.nan), some)
    far = np.clip(some * rng.choice(np.array([-1e3, 1, 1e3], np.float32), some.shape), -LARGEST, LARGEST)
    odd = np.concatenate([gaps, far, np.full_like(some[:1], np.nan)]).astype(np.float32)
    try:
        other = load_model(folder, engine="onnx")
        theirs = np.concatenate([other.scores_of(x), other.scores_of(odd)])
    except Exception as error:  # the runtime's own kinds
        return {"engine": "native", "rows": 0, "difference": None, "reason": str(error).splitlines()[0][:200]}
    ours = np.concatenate([score, model.scores_of(odd)])
    unit = 1.0 if model.contract.task != "regression" else max(float(np.ptp(ours)), 1e-30)
    gap = np.abs(ours - theirs) / unit
    worst = float(np.max(gap)) if np.isfinite(gap).all() else float("inf")
    told = {"engine": "onnx" if worst <= TOLERANCE else "native", "rows": len(ours), "difference": worst}
    off = int((~(gap <= TOLERANCE)).reshape(len(gap), -1).any(axis=1).sum())
    said = f"it gives other scores for {off:,} of {len(ours):,} rows, by up to {worst:.2g}"
    return told | {"reason": "" if worst <= TOLERANCE else said}


def _latency(model: Model, frame: pl.DataFrame) -> float:
    """The median time to score one row, in milliseconds."""
    times = []
    for n in range(21):
        start = clock.seconds()
        model.predict(frame[n % frame.height : n % frame.height + 1])
        times.append(clock.seconds() - start)
    return float(np.median(times)) * 1000


def importance(model: Model, rows: pl.DataFrame, y: Vector, metric: str) -> dict[str, float]:
    """Return what share of the model rests on each feature, largest first: gain for boosting, else permutation."""
    booster = getattr(model.estimator, "booster_", None)
    if booster is not None:
        gain = np.asarray(booster.feature_importance("gain"), dtype=np.float64)
    else:
        x, task = model.encoder.transform(model.features(rows)), model.contract.task
        ones, rng, sign = np.ones(len(y)), np.random.default_rng(0), 1 if METRICS[metric] else -1
        whole = prepare(metric, task, y, model.scores_of(x))(ones)
        gain = np.zeros(x.shape[1])
        for k in range(x.shape[1]):
            kept = x[:, k].copy()
            x[:, k] = rng.permutation(kept)
            gain[k] = max(0.0, sign * (whole - prepare(metric, task, y, model.scores_of(x))(ones)))
            x[:, k] = kept
    total = gain.sum() or 1.0
    ranked = sorted(zip(model.encoder.names, gain / total, strict=True), key=lambda pair: -pair[1])
    return {name: round(float(share), 6) for name, share in ranked}


def read_scores(path: Path) -> tuple[pl.Series, Vector, dict[str, Vector]]:
    """Read what `write_scores` wrote: rows, target and the scores by model.

    Raises:
        DataError: the file is missing or broken.
    """
    try:
        frame = pl.read_parquet(path)
        return (
            frame["row"],
            frame["target"].to_numpy(),
            {n: frame[n].to_numpy() for n in frame.columns if n not in ("row", "target")},
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"The score file {path} cannot be read: {str(error).splitlines()[0]}.") from None
