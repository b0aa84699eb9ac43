"""Recognise the task, and which column plays which role: identifier, constant, free text, leak, or a feature."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from .contract import Column, Role, Task, Value
from .convert import FALSE, TRUE
from .errors import DataError, UsageError
from .metrics import prepare

ID_NAME = re.compile(
    r"(^|[_ .-])(id|ids|uuid|guid|key|sno|index|idx|row|record|number|no|nr)$|[a-z]I[dD]$|^(unnamed|column_1$)",
    re.IGNORECASE,
)
KEY_NAME = re.compile(r"(^|[_ .-])(id|uuid|guid)$|[a-z]I[dD]$", re.IGNORECASE)  # of something, perhaps of a customer
CATEGORY_NAME = re.compile(r"(^|[_ .-])(cat|category|class|code|type|kind|group|zip|region)$", re.IGNORECASE)
MAX_CATEGORIES = 1_000  # more kinds of text than this are names, not categories
MAX_CLASSES = 50
RARE = 10  # a class of fewer rows can hardly be learnt
LARGEST = 1e30  # a target beyond this cannot be squared and summed
LEAK = 0.995  # a single column that ranks the target this well knows it


def assign(column: Column, frame: pl.DataFrame, goal: Column, task: Task, notes: list[str]) -> None:
    """Recognise identifiers, constants, free text and leaks; note the categories of the rest."""
    values = frame[column.name].drop_nulls()
    kinds = values.n_unique()

    def leave(role: Role, why: str) -> None:
        column.role, column.note = role, why
        notes.append(f"{column.name}: {role}, {why}")

    if values.is_empty():
        column.required, column.missing = False, None
        return leave("ignored", column.note or "all values are missing")
    if kinds == 1 and len(values) == frame.height:
        return leave("ignored", f"constant ({values[0]})")
    every = kinds == len(values) and len(values) == frame.height and frame.height >= 10
    ascending = column.type == "integer" and every and (values.is_sorted() or values.is_sorted(descending=True))
    if (
        every
        and column.type in ("integer", "string")
        and (ascending or ID_NAME.search(column.name) or _token(column, values))
    ):
        column.unique = True
        return leave("identifier", "a different value in every row" + (", in order" if ascending else ""))
    if KEY_NAME.search(column.name) and column.type in ("integer", "string") and kinds > max(20, len(values) / 20):
        return leave(
            "identifier",
            f"by its name, though {kinds:,} values repeat: consider `by: 'group: {column.name}'` under `split`",
        )
    if column.type == "string":
        if kinds > MAX_CATEGORIES or (kinds > 0.5 * len(values) and kinds > 20):
            return leave(
                "ignored",
                f"{kinds:,} different texts in {len(values):,} rows: no category; make a feature of it in model.py if it matters",
            )
        column.categories = sorted(values.unique().to_list())
    if (
        column.type == "integer"
        and CATEGORY_NAME.search(column.name)
        and 2 < kinds <= min(MAX_CATEGORIES, len(values) / 10)
    ):
        column.categories = sorted(values.unique().to_list())
        notes.append(f"{column.name}: its numbers are taken as {kinds} categories, because of its name")
    if column.type in ("integer", "number"):
        low = values.min()
        if isinstance(low, int | float) and low >= 0:
            column.minimum = 0
    score = _alone(values, frame.filter(pl.col(column.name).is_not_null())[goal.name], column, goal, task)
    if score >= LEAK and len(values) >= 50:
        return leave(
            "ignored", f"it alone tells {goal.name} ({score:.3f} of 1): most likely known only afterwards, a leak"
        )
    return None


def _token(column: Column, values: pl.Series) -> bool:
    """Whether texts look like keys: one short word each, nearly all with digits."""
    if column.type != "string" or not values.str.contains(r"^[\w.:/-]{1,64}$").all():
        return False
    return int(values.str.contains(r"\d").sum()) > 0.9 * len(values)


def _alone(values: pl.Series, truth: pl.Series, column: Column, goal: Column, task: Task) -> float:
    """How well one column tells the target by itself, from 0 (not at all) to 1 (for certain)."""
    n, kinds = len(values), values.n_unique()
    y = truth.cast(pl.Float64).to_numpy() if task == "regression" else truth.rank("dense").to_numpy().astype(int) - 1
    if column.categorical or column.type == "boolean" or kinds <= 50:
        if kinds > max(2, n / 20):
            return 0.0  # too few rows a value to tell a leak from chance
        code = values.rank("dense").to_numpy().astype(int) - 1
        if task == "regression":
            means = np.bincount(code, y) / np.bincount(code)
            return 1 - float(np.mean((y - means[code]) ** 2)) / (float(np.var(y)) or 1.0)
        table = np.zeros((code.max() + 1, y.max() + 1))
        np.add.at(table, (code, y), 1)
        right, base = table.max(axis=1).sum() / n, table.sum(axis=0).max() / n
        return float((right - base) / (1 - base)) if base < 1 else 0.0  # beyond always guessing the commonest class
    rank = values.to_physical().cast(pl.Float64).rank("average").to_numpy()
    if task == "regression":
        together = np.corrcoef(rank, truth.rank("average").to_numpy())[0, 1]
        return float(together**2) if math.isfinite(together) else 0.0
    if task == "multiclass" or truth.n_unique() < 2:
        return 0.0
    auc = prepare("auc", "binary", (truth == goal.categories[-1]).cast(pl.Float64).to_numpy(), rank)(np.ones(n))
    return max(auc, 1 - auc)


def look_for_order(columns: list[Column], frame: pl.DataFrame, notes: list[str]) -> None:
    """Point out a table that looks ordered in time: a random split would look into the future."""
    for column in columns:
        if column.type in ("date", "timestamp") and column.role in ("feature", "ignored"):
            values = frame[column.name].drop_nulls()
            if values.n_unique() > 5 and (values.is_sorted() or values.is_sorted(descending=True)):
                notes.append(
                    f"the rows are ordered by {column.name}: consider `by: 'time: {column.name}'` under `split` in conf/project.yaml"
                )


def recognise(
    values: pl.Series, goal: Column, task: Task | None, positive: str | None, notes: list[str], path: Path
) -> tuple[Task, list[Value]]:
    """Decide the task and order the classes."""
    kinds: list[Any] = sorted(values.unique().to_list())
    if len(kinds) < 2:
        raise DataError(f"The target {goal.name} has one value only in {path} ({kinds[0]}); there is nothing to learn.")
    rarest = int(values.value_counts()["count"].min())  # type: ignore[arg-type]
    if task is None:
        if len(kinds) == 2:
            task = "binary"
        elif goal.type == "string":
            task = "multiclass"
        else:  # numbers: few, and each often enough to be learnt, are classes
            few = goal.type == "integer" and len(kinds) <= 20 and len(values) >= 10 * len(kinds)
            task = "multiclass" if few and rarest >= RARE else "regression"
        notes.append(f"task: {task} ({goal.name} has {len(kinds)} different values); give --task to change it")
    if task == "regression":
        if positive is not None:
            raise UsageError(f"--positive goes with a binary task; this is a regression of {goal.name}.")
        if goal.type not in ("integer", "number"):
            raise DataError(f"The target {goal.name} is a {goal.type}; regression needs numbers.")
        if max(abs(kinds[0]), abs(kinds[-1])) > LARGEST:
            raise DataError(f"The target {goal.name} goes beyond {LARGEST:g}; give it in a larger unit.")
        return task, []
    if goal.type in ("date", "timestamp"):
        raise DataError(f"The target {goal.name} is a date; give a column with classes or numbers.")
    if len(kinds) > MAX_CLASSES:
        raise DataError(f"The target {goal.name} has {len(kinds)} classes; at most {MAX_CLASSES} can be handled.")
    if task == "multiclass" and len(kinds) < 3:
        raise DataError(f"The target {goal.name} has {len(kinds)} values; a multiclass task needs three or more.")
    if positive is not None and task != "binary":
        raise UsageError(f"--positive goes with a binary task; {goal.name} has {len(kinds)} classes.")
    if task == "binary":
        if len(kinds) != 2:
            raise DataError(f"The target {goal.name} has {len(kinds)} values; a binary task needs two.")
        kinds = _order(kinds, values, goal, positive, notes)
    if rarest < RARE:
        notes.append(
            f"{goal.name}: its rarest class has {rarest} row{'s' * (rarest > 1)}: too few to learn; join it with another"
        )
    goal.categories, goal.tolerance = kinds, 0.0
    return task, kinds


def _order(kinds: list[Any], values: pl.Series, goal: Column, positive: str | None, notes: list[str]) -> list[Any]:
    if positive is not None:
        wanted = positive.strip().lower()
        words: dict[Any, tuple[str, ...]] = {True: TRUE, False: FALSE} if goal.type == "boolean" else {}
        match = [k for k in kinds if wanted in (str(k).lower(), str(k).lower() + ".0", *words.get(k, ()))]
        if not match:
            raise UsageError(f"{positive!r} is not a value of {goal.name}; it has {kinds[0]} and {kinds[1]}.")
        event = match[0]
    elif kinds in ([0, 1], [-1, 1], [False, True]):
        event = kinds[1]
    else:
        event = min(kinds, key=lambda k: (int((values == k).sum()), str(k)))
        notes.append(f"the event to predict is {goal.name} = {event} (the rarer one); give --positive to change it")
    return [k for k in kinds if k != event] + [event]
