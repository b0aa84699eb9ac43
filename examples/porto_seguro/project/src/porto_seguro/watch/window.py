"""The rows of a window, batch by batch, and what they are held against: what the version that scored them learnt from."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct

from ..artifact import PROFILE, Model
from ..clean import clean, stream
from ..config import Settings
from ..contract import Contract
from ..encode import Vector, encode_target
from ..errors import DataError, UsageError
from ..evaluate import read_scores
from ..metrics import watched
from ..profile import Profile, scores_profile
from ..train import metric_of
from . import serving

ROWS = 8_192  # of a batch; several are under way at a time


class Batch(Struct):
    """Some rows of a window.

    Attributes:
        rows: the features, clean.
        scores: shape (n,) or (n, classes).
        truth: targets as `encode_target` gives them, shape (n,); NaN where the outcome is not known. None: of no row.
        wrong: cells that are against the contract, by column and rule: what a request was refused for, or a table holds.
        refused: requests that were refused, whose rows are not there.
    """

    rows: pl.DataFrame
    scores: Vector
    truth: Vector | None = None
    wrong: list[tuple[str, str, int]] = []
    refused: int = 0


def of_table(path: Path, model: Model) -> Iterator[Batch]:
    """Yield the rows of a CSV or Parquet file; the target is used where the file has it.

    Raises:
        DataError: the file is broken, or lacks a feature.
    """
    contract = model.contract
    for frame, problems, _ in stream(path, contract, model.needs, ROWS):
        truth = encode_target(frame, contract) if contract.target.name in frame.columns else None
        wrong = [(p.column, p.rule, p.count) for p in problems if p.column in model.needs]
        yield Batch(frame.select(model.needs), model.predict(frame), truth, wrong)


def of_log(
    log: Path, model: Model, version: str, since: datetime, until: datetime, truth: pl.DataFrame | None = None
) -> Iterator[Batch]:
    """Yield the rows that a version scored between two moments.

    Args:
        log: the folder of the prediction log.
        model: the version's.
        version: its number.
        since, until: the window; `until` is not in it.
        truth: what became of rows: columns `id` and `truth`; None where no outcome is asked for.
    """
    known = None if truth is None else dict(zip(*(truth[name].to_list() for name in truth.columns), strict=True))
    cells: list[list[object]] = []
    scores: list[object] = []
    ids: list[str] = []
    wrong: dict[tuple[str, str], int] = {}
    refused = 0

    def batch() -> Batch:
        found = None if known is None else np.array([known.get(i, np.nan) for i in ids], np.float64)
        told = [(*key, number) for key, number in wrong.items()]
        return Batch(_frame(cells, model), np.array(scores, np.float64), found, told, refused)

    for header, line in serving("predictions").read_log(log, since, until):
        if header.model_version != version:
            continue
        if header.columns != model.needs:
            raise DataError(f"{log} holds rows of version {version} with other columns than its model has.")
        for column, rule, number in line.refused:
            wrong[column, rule] = wrong.get((column, rule), 0) + number
        refused += bool(line.refused)
        cells += line.data
        scores += line.result
        ids += line.ids
        if len(cells) >= ROWS:
            yield batch()
            cells, scores, ids, wrong, refused = [], [], [], {}, 0
    if cells or refused:
        yield batch()


def _frame(cells: list[list[object]], model: Model) -> pl.DataFrame:
    """Cells as they came in a request, in the contract's types; the service has checked them already."""
    columns = model.contract.of("feature")
    if not cells:
        return pl.DataFrame()
    series = serving("payload").as_series
    raw = pl.DataFrame([series(c.name, [row[n] for row in cells]) for n, c in enumerate(columns)])
    return clean(raw, columns, ".")[0]


def outcomes_of(root: Path, contract: Contract) -> pl.DataFrame | None:
    """Return the outcomes that were taken in: columns `id` and `truth`; None if there are none."""
    found: pl.DataFrame | None = serving("outcomes").known_outcomes(contract, root / "data" / "outcomes")
    return found


class Reference(Struct):
    """What a version is held against: how its features and scores were spread, and how good it was on its holdout."""

    version: int
    model: Model
    features: Profile
    scores: Profile
    told: dict[str, Any]  # of the model, from `evaluation.json`
    constant: float
    metric: str
    truth: Vector
    score: Vector


def reference_of(
    version: int, model: Model, folder: Path, settings: Settings, run: Path | None = None, candidate: str = ""
) -> Reference:
    """Read what the training of a version left.

    Args:
        version: its number.
        model: loaded.
        folder: its model folder, which stands in the folder of its run.
        settings: the metric that decides.
        run, candidate: the run's folder, and which of its models this is, where the model folder stands elsewhere.

    Raises:
        UsageError: it was trained before there was a monitor.
    """
    path, run, name = folder / "data" / "native" / PROFILE, run or folder.parent, candidate or folder.name
    if not path.is_file():
        raise UsageError(f"Version {version} has no profile to compare with; train a new one: run")
    told = msgspec.json.decode((run / "evaluation.json").read_bytes())
    _, truth, scores = read_scores(run / "scores.parquet")
    metric = metric_of(settings, model.contract.task)
    return Reference(
        version, model, msgspec.json.decode(path.read_bytes(), type=Profile), scores_profile(watched(scores[name])),
        told.get(name, {}), told["metrics"]["constant"][metric], metric, truth, scores[name],
    )  # fmt: skip
