"""Typed settings: what a team decides stands in `conf/project.yaml`, and nowhere else."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from .errors import UsageError

METRICS = {  # name -> whether more is better
    "auc": True,
    "gini": True,
    "pr_auc": True,
    "accuracy": True,
    "r2": True,
    "log_loss": False,
    "brier": False,
    "rmse": False,
    "mae": False,
}
Metric = Literal["auto", "auc", "gini", "pr_auc", "accuracy", "r2", "log_loss", "brier", "rmse", "mae"]
Share = Annotated[float, Meta(gt=0, lt=1)]
Positive = Annotated[float, Meta(gt=0)]


class Goal(Struct, forbid_unknown_fields=True, frozen=True):
    """What counts as success: `metric` (auto: auc, log_loss or rmse by task) and its absolute `floor`."""

    metric: Metric = "auto"
    floor: float | None = None


class Split(Struct, forbid_unknown_fields=True, frozen=True):
    """How rows are parted: `hash`, `time: COLUMN` or `group: COLUMN`; shares of all rows."""

    by: str = "hash"
    holdout: Share = 0.2
    early_stopping: Share = 0.1
    seed: int = 0


class Model(Struct, forbid_unknown_fields=True, frozen=True):
    """The estimator (a name of `model.py`, or a dotted path) and its parameters."""

    estimator: str = "lightgbm"
    parameters: dict[str, Any] = {}
    seed: int = 0


class Guards(Struct, forbid_unknown_fields=True, frozen=True):
    """Limits that every new version must keep.

    Attributes:
        log_loss_ratio: log-loss over that of the constant, and over the champion's (classification).
        calibration_error: mean gap between predicted and true, beyond what chance explains (see `evaluate.calibration`).
        size_mb: size of the model folder.
        latency_ms: median time to score one row.
        noise_drop, missing_drop, extreme_drop: share of the skill over the constant that is lost when numbers are
            jittered by a tenth of their spread, when a twentieth of all cells goes missing, and when a hundredth of all
            numbers is a thousand times too large.
    """

    log_loss_ratio: Positive = 1.02
    calibration_error: Positive = 0.05
    size_mb: Positive = 50.0
    latency_ms: Positive = 200.0
    noise_drop: Positive = 0.3
    missing_drop: Positive = 0.8
    extreme_drop: Positive = 0.8


class Gate(Struct, forbid_unknown_fields=True, frozen=True):
    """How sure the gate must be, and what else it asks."""

    confidence: Annotated[float, Meta(ge=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Meta(ge=100, le=10_000)] = 500
    simpler_wins: bool = False
    guards: Guards = Guards()


# An environment variable: the service asks its callers for what it holds, as bearer token or API key.
TOKEN = "SCORING_TOKEN"  # noqa: S105  a variable's name


class Serving(Struct, forbid_unknown_fields=True, frozen=True):
    """Limits of the scoring service.

    Attributes:
        max_body_mb, max_rows: of one request; a larger one is answered with 413.
        max_in_flight: requests that are answered at once; one more is told to come again (429).
        body_seconds, answer_seconds: how long a request may take to arrive, and the router waits for its answer.
        memory_mb: memory that the process may take, for the alert; 0 for no limit.
        log_file_mb: size at which the prediction log begins a new file.
    """

    max_body_mb: Positive = 4.0
    max_rows: Annotated[int, Meta(ge=1)] = 10_000
    max_in_flight: Annotated[int, Meta(ge=1)] = 64
    body_seconds: Positive = 10.0
    answer_seconds: Positive = 30.0
    memory_mb: Annotated[float, Meta(ge=0)] = 1024.0
    log_file_mb: Positive = 64.0


class Rollout(Struct, forbid_unknown_fields=True, frozen=True):
    """How a new version comes to all of the traffic, and what it must keep on the way.

    Attributes:
        stages: `mirror` (it gets copies of requests), then its rising shares of the traffic in percent; the last is 100.
        mirror: percent of the requests of which it gets copies.
        requests: that it must have answered in a stage before the stage is judged.
        minutes: that a stage lasts at least.
        errors: by how much its share of failed (or of refused) requests may exceed that of the champion.
        latency: how many times as long as the champion's its answers may take (95th percentile).
        shift: how far its scores may be spread differently (population stability index), beyond what chance explains.
        confidence: how sure it must be that its metric is worse, where outcomes are known, before it is rolled back.
    """

    stages: tuple[Literal["mirror"] | Annotated[int, Meta(ge=1, le=100)], ...] = ("mirror", 10, 50, 100)
    mirror: Annotated[int, Meta(ge=1, le=50)] = 50
    requests: Annotated[int, Meta(ge=1)] = 500
    minutes: Annotated[float, Meta(ge=0)] = 0.0
    errors: Annotated[float, Meta(ge=0)] = 0.01
    latency: Positive = 1.5
    shift: Positive = 0.2
    confidence: Annotated[float, Meta(ge=0.5, lt=1)] = 0.99

    def __post_init__(self) -> None:
        """Refuse stages that do not lead anywhere."""
        shares = [stage for stage in self.stages if stage != "mirror"]
        if "mirror" in self.stages[1:] or shares != sorted(set(shares)) or shares[-1:] != [100]:
            raise ValueError("stages: `mirror` first (or not at all), then rising shares that end with 100")


class Inbox(Struct, forbid_unknown_fields=True, frozen=True):
    """Where new tables arrive, and when one counts as whole.

    Attributes:
        url: a folder (from the project's root), or whatever fsspec opens: `abfs://container/folder`.
        ready: `settled`: a file that has not changed for `settle_seconds`; `marker`: one whose marker is there. A marker
            is `FILE.json` (with `sha256`, and if wanted `as_of`), or `_SUCCESS` beside the parts in a folder of their own.
        max_mb: a larger file is put aside unread.
        append: whether rows are added to the newest version, or make a version of their own.
        keep_rows: of an appended version, at most so many of the newest rows; 0 keeps all.
        target_shift: how many times as often (or as seldom) an event may occur as the champion expects, or by how many
            standard deviations the mean of numbers may be off; beyond, a person must look.
    """

    url: str = "data/inbox"
    ready: Literal["settled", "marker"] = "settled"
    settle_seconds: Annotated[float, Meta(ge=0)] = 10.0
    max_mb: Positive = 2000.0
    append: bool = True
    keep_rows: Annotated[int, Meta(ge=0)] = 0
    target_shift: Annotated[float, Meta(gt=1)] = 2.0


class Monitor(Struct, forbid_unknown_fields=True, frozen=True):
    """What is watched, and what counts as much.

    Attributes:
        window_days: that are looked at together.
        maturity_days: after which the outcome of a row should be known; younger outcomes are no fair sample.
        least_rows: with fewer, nothing is said.
        false_alarms: how often a window in which nothing changed may raise an alarm, for each kind of test.
        distance: between training and window, as largest difference of probability (Kolmogorov-Smirnov for numbers,
            total variation for categories), from which a feature has drifted; less is never an alarm, however sure.
        importance: share of the model that must rest on what drifted before it is an alarm.
        broken: distance, or share of unknown, missing or impossible values, from which the source is taken to be broken.
        metric_drop: share of the skill over a constant that may be lost.
        groups: columns whose groups should fare alike.
    """

    window_days: Positive = 30.0
    maturity_days: Annotated[float, Meta(ge=0)] = 30.0
    least_rows: Annotated[int, Meta(ge=50)] = 500
    false_alarms: Annotated[float, Meta(gt=0, le=0.05)] = 0.0005
    distance: Share = 0.05
    importance: Share = 0.02
    broken: Share = 0.4
    metric_drop: Share = 0.05
    groups: tuple[str, ...] = ()


class Retrain(Struct, forbid_unknown_fields=True, frozen=True):
    """When a challenger is trained.

    Attributes:
        new_rows: taken in since the champion's data; 0 for never.
        drift, metric_drop: whether an alarm of that kind is a reason.
        new_columns: whether features that the contract has and the champion does not know are one.
        max_age_days: of the champion; older, it is also stale (an alert).
        every_days: since the last attempt; 0 for no schedule.
        cool_down_days: between two attempts.
        most, within_days: at most so many attempts in so many days.
    """

    new_rows: Annotated[int, Meta(ge=0)] = 0
    drift: bool = True
    metric_drop: bool = True
    new_columns: bool = True
    max_age_days: Positive = 365.0
    every_days: Annotated[float, Meta(ge=0)] = 0.0
    cool_down_days: Annotated[float, Meta(ge=0)] = 7.0
    most: Annotated[int, Meta(ge=1)] = 6
    within_days: Positive = 90.0


class Settings(Struct, forbid_unknown_fields=True, frozen=True):
    """All of `conf/project.yaml`."""

    name: Annotated[str, Meta(pattern=r"\S")]
    goal: Goal = Goal()
    split: Split = Split()
    model: Model = Model()
    gate: Gate = Gate()
    serving: Serving = Serving()
    rollout: Rollout = Rollout()
    promotion: Literal["immediate", "staged"] = "immediate"
    inbox: Inbox = Inbox()
    monitor: Monitor = Monitor()
    retrain: Retrain = Retrain()


def load_settings(conf: Path) -> Settings:
    """Read `project.yaml` in the folder `conf`.

    Raises:
        UsageError: the file is missing, is no YAML, or holds a key or value that is not allowed.
    """
    path = conf / "project.yaml"
    try:
        return msgspec.convert(yaml.safe_load(path.read_text("utf-8")), Settings, strict=False)
    except FileNotFoundError:
        raise UsageError(
            f"{path} does not exist; run the command inside the project, or name it with --project."
        ) from None
    except (msgspec.ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be used: {error}") from None


def file_hash(path: Path) -> str | None:
    """Return the SHA-256 of a file in hexadecimal, or None where there is no such file."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
