"""Train the configured estimator, and beside it a constant and a linear model for comparison."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl

from . import clock
from . import model as recipe
from .artifact import Model, save_model
from .config import Settings, file_hash
from .contract import Contract, Task
from .encode import Vector, encode_target, fit_encoder
from .errors import DataError, UsageError
from .export import to_onnx
from .metrics import BY_TASK, Indices, watched
from .model import Watch
from .profile import profile_of
from .record import RUN
from .split import HOLDOUT, STOP, TRAIN
from .table import replacing

DEFAULT_METRIC: dict[Task, str] = {"binary": "auc", "multiclass": "log_loss", "regression": "rmse"}
LIBRARIES = ("lightgbm", "numpy", "polars", "scikit-learn")
SOME_ROWS = 10_000  # are enough to see how scores are spread
LINEAR_ROWS = 200_000  # more rows hardly move a linear model, but take long
PROFILE_ROWS = 100_000  # are enough to know how features are spread
DIRTY = "-dirty"  # as `git describe --dirty` writes

# Threads that spin while they wait take the processor from what they wait for: on a machine with other work, training
# then takes many times as long. Read when LightGBM loads the OpenMP library, which is later than here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def metric_of(settings: Settings, task: Task) -> str:
    """Return the metric that decides.

    Raises:
        UsageError: it does not go with the task.
    """
    metric = DEFAULT_METRIC[task] if settings.goal.metric == "auto" else settings.goal.metric
    if metric not in BY_TASK[task]:
        raise UsageError(
            f"conf/project.yaml: goal.metric {metric} does not go with the task {task}; give {', '.join(BY_TASK[task])}."
        )
    return metric


def linear_name(task: Task) -> str:
    """Return the name of the simple rival."""
    return "ridge" if task == "regression" else "logistic"


def train_run(
    root: Path, run: str, data: Path, parts: Path, contract: Contract, settings: Settings, out: Path,
    about: dict[str, Any], commit: str = "", watch: Watch | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Train, and note beside the models what the run is.

    Args:
        root: the project's folder, of which the models keep checksums.
        run: the run's name.
        data, parts, contract, settings, out, watch: as in `train`.
        about: what `record.begun` returned.
        commit: of the code, where `root` is a copy that does not know it; one that ends with `-dirty` was changed since.

    Returns:
        What should be logged as parameters.
    """
    lineage = lineage_of(root, settings, about["data_version"])
    lineage |= {key: about[key] for key in ("line", "synthetic")} | {"split": about["parts"], "run": run}
    if commit:
        lineage |= {"commit": commit.removesuffix(DIRTY), "dirty": commit.endswith(DIRTY)}
    learnt = train(data, parts, contract, settings, out, lineage, watch)
    with replacing(out / RUN) as part:
        part.write_bytes(msgspec.json.encode(about))
    chosen = settings.model
    return learnt | chosen.parameters | {"estimator": chosen.estimator, "sample": about["sample"] or "all"}


def train(
    data: Path, parts: Path, contract: Contract, settings: Settings, out: Path, lineage: dict[str, Any],
    watch: Watch | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Fit and save three models: `model`, `logistic` (or `ridge`) and `constant`.

    Args:
        data: a clean table.
        parts: its split.
        contract, settings: what to learn, and how.
        out: the folder in which the model folders are made.
        lineage: where data, code and settings come from; kept inside each model.
        watch: is told how `model` does on the rows for early stopping (see `model.fit`).

    Returns:
        What was learnt on: rows, features, boosting rounds.

    Raises:
        DataError: a class has no row to learn from.
    """
    from lightgbm.basic import LightGBMError

    frame = pl.read_parquet(data, columns=[c.name for c in contract.of("feature", "target")])
    part = pl.read_parquet(parts)["part"].to_numpy()
    y = encode_target(frame, contract)
    mine = Model(
        contract, fit_encoder(recipe.features(frame.select(c.name for c in contract.of("feature"))), contract), None
    )
    x = mine.encoder.transform(mine.features(frame))
    (x_train, y_train), (x_stop, y_stop) = ((x[part == n], y[part == n]) for n in (TRAIN, STOP))
    for n, name in enumerate(contract.classes):
        if not (y_train == n).any():
            raise DataError(
                f"No training row has {contract.target.name} = {name}; every class needs some. Join rare classes or "
                "leave their rows out; where the classes are numbers, you may also infer again with --task regression."
            )
    told: dict[str, Any] = {"rows": len(x_train), "features": x_train.shape[1]}
    learnt = frame.filter(pl.Series(part != HOLDOUT))
    spread = profile_of(learnt.sample(min(learnt.height, PROFILE_ROWS), seed=0), contract)
    for folder, name, parameters in (
        ("model", settings.model.estimator, settings.model.parameters),
        (linear_name(contract.task), linear_name(contract.task), {}),
        ("constant", "constant", {}),
    ):
        estimator = recipe.build(name, parameters, contract.task, mine.encoder, settings.model.seed)
        few: Any = slice(None)
        more = slice(None)
        if folder == linear_name(contract.task) and len(y_train) > LINEAR_ROWS:
            few, more = _some(y_train, len(contract.classes)), slice(0)
        try:
            rows = x_train[few], y_train[few], x_stop[more], y_stop[more]
            fitted = recipe.fit(estimator, *rows, contract.task, watch if folder == "model" else None)
        except (ValueError, TypeError, LightGBMError) as error:
            said = str(error).strip().splitlines()[0].rstrip(".")
            raise UsageError(
                f"The estimator {name} in conf/project.yaml cannot learn from this table with its parameters: {said}."
            ) from None
        if rounds := getattr(fitted, "n_estimators_", None):
            told["rounds"] = int(rounds)
        about = lineage | {"estimator": name, "parameters": parameters} | told
        about["score_bounds"] = _bounds(recipe.scores(fitted, x_train[:SOME_ROWS], contract.task))
        onnx = None
        if folder == "model" or (folder != "constant" and settings.gate.simpler_wins):
            try:
                onnx = to_onnx(fitted, x.shape[1])
            except Exception as error:  # of many kinds; the estimator itself scores as well, only slower
                about["no_onnx"] = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        save_model(
            Model(contract, mine.encoder, fitted, lineage=about), out / folder, onnx, msgspec.json.encode(spread)
        )
    return told


def _bounds(scores: Vector) -> list[float]:
    """Twentieths of the scores, by which the service counts those that it gives; a constant has one."""
    found = np.quantile(watched(scores), np.linspace(0.05, 0.95, 19))
    return sorted({float(f"{bound:.4g}") for bound in found[np.isfinite(found)]})


def _some(y: Vector, classes: int) -> Indices:
    """Rows for the linear model: drawn, for the table may be sorted; and at least one of each class."""
    drawn = np.random.default_rng(0).permutation(len(y))[:LINEAR_ROWS]
    return np.union1d(drawn, np.array([np.argmax(y == n) for n in range(classes)], dtype=np.intp))


def lineage_of(root: Path, settings: Settings, data_version: str) -> dict[str, Any]:
    """Return where a model comes from: code, data, contract, settings, lock, libraries, seeds, time."""
    return {
        "commit": git(root, "rev-parse", "HEAD"),
        "dirty": bool(git(root, "status", "--porcelain", "--untracked-files=no")),
        "data_version": data_version,
        "contract": file_hash(root / "conf" / "contract.yaml"),
        "settings": file_hash(root / "conf" / "project.yaml"),
        "lock": file_hash(root / "requirements" / "project.txt"),
        "seeds": {"model": settings.model.seed, "split": settings.split.seed},
        "libraries": {name: version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "trained_at": clock.now().isoformat(timespec="seconds"),
    }


def git(root: Path, *arguments: str) -> str | None:
    """Ask git; None where there is no git, no repository or no commit yet."""
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
