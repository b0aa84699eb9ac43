"""Write a first data contract from a table: types, missing values, roles, task; and say what was noticed."""

import math
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from .clean import FALSE, TRUE, clean
from .contract import Column, Contract, Task, Type, Value
from .errors import DataError, UsageError
from .roles import assign, look_for_order
from .synth import learn
from .table import MISSING, batches, columns_of, is_parquet, sniff

SENTINELS = (-1, -9, -99, -999, -9999)
DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y%m%d")
TIMES = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M",
)
MAX_CLASSES = 50
MAX_COLUMNS = 5_000


class Inference(msgspec.Struct):
    """The contract, and the sentences that tell what was recognised."""

    contract: Contract
    notes: list[str]


def infer(
    path: Path,
    target: str,
    name: str,
    header: bool | None = None,
    task: Task | None = None,
    positive: str | None = None,
) -> Inference:
    """Infer a contract from a table.

    Args:
        path: CSV (separator, encoding and header are found out) or Parquet.
        target: the column to predict, by name, or by position (from 1) where the file has no header.
        name: the contract's name.
        header: whether the first line of a CSV names the columns; None decides by its looks.
        task: binary, multiclass or regression; None decides by the target's values.
        positive: the class that is the event to predict in a binary task; None takes 1, true, yes, or the rarer one.

    Raises:
        DataError: the table cannot be used: empty, one class only, no such target.
    """
    frame, has_header = _raw(path, header)
    target = _find(target, frame.columns, path)
    decimal = "," if not is_parquet(path) and _decimal_comma(frame) else "."
    notes: list[str] = (
        [] if has_header else [f"the file has no header: columns are named {frame.columns[0]} to {frame.columns[-1]}"]
    )
    if decimal == ",":
        notes.append("numbers have a decimal comma")
    columns = [_column(frame[c], decimal, notes, is_target=c == target) for c in frame.columns]
    typed, _ = clean(frame, columns, decimal)
    known = typed.filter(pl.col(target).is_not_null())
    if known.is_empty():
        raise DataError(f"The target {target} has no value in {path}.")
    if gone := typed.height - known.height:
        notes.append(f"{gone} rows have no value in {target}: they are not used for training")
    goal = next(c for c in columns if c.name == target)
    found, classes = _task(known[target], goal, task, positive, notes, path)
    goal.role, goal.required, goal.sentinels = "target", gone == 0, []
    for column in columns:
        if column is not goal:
            assign(column, known, goal, found, notes)
    if not any(c.role == "feature" for c in columns):
        raise DataError(f"{path} has no column to learn from: each is constant, an identifier, free text or a leak.")
    look_for_order(columns, typed, notes)
    contract = Contract(name=name, columns=columns, task=found, classes=classes, header=has_header, decimal=decimal)
    learn(contract, known)
    return Inference(contract, notes)


def _raw(path: Path, header: bool | None) -> tuple[pl.DataFrame, bool]:
    """Read all cells, CSV as text."""
    if not path.is_file():
        raise DataError(f"{path} does not exist.")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty.")
    dialect = None if is_parquet(path) else sniff(path, header)
    width = len(dialect.names) if dialect else len(columns_of(path))
    if width > MAX_COLUMNS:
        raise DataError(
            f"{path} has {width:,} columns; at most {MAX_COLUMNS:,} can be handled. Choose the useful ones first."
        )
    frames = list(batches(path, dialect))
    if not sum(f.height for f in frames):
        raise DataError(f"{path} has a header but no rows.")
    return pl.concat(frames), dialect is None or dialect.header


def _find(target: str, names: list[str], path: Path) -> str:
    if target in names:
        return target
    if target.isdigit() and 1 <= int(target) <= len(names):
        return names[int(target) - 1]
    alike = [n for n in names if n.strip().lower() == target.strip().lower()]
    if len(alike) == 1:
        return alike[0]
    raise UsageError(
        f"{path} has no column {target}; it has {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
    )


def _decimal_comma(frame: pl.DataFrame) -> bool:
    pattern = r"^\s*[-+]?\d+,\d+\s*$"
    found = frame.head(1000).select(pl.col(pl.String).str.contains(pattern).any())
    dots = frame.head(1000).select(pl.col(pl.String).str.contains(r"^\s*[-+]?\d+\.\d+\s*$").any())
    return bool(found.width and any(found.row(0))) and not any(dots.row(0))


def _column(series: pl.Series, decimal: str, notes: list[str], is_target: bool) -> Column:
    """Find type, format and sentinels of one column."""
    name = series.name
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        text = text.filter(~text.is_in(MISSING) & text.is_not_null())
        kind, written = _text_type(text, decimal, notes, name)
    else:
        kind, written = _stored_type(series.dtype), ""
        text = series.drop_nulls()
    column = Column(name=name, type=kind, format=written)
    values = clean(series.to_frame(), [column], decimal)[0][name]
    if kind in ("integer", "number") and not is_target:
        column.sentinels = _sentinels(values, name, notes)
        if column.sentinels:
            values = clean(series.to_frame(), [column], decimal)[0][name]
    share = values.null_count() / len(values)
    column.required = share == 0
    if share:
        column.missing = min(100.0, math.ceil(150 * share + 5))
    return column


def _stored_type(dtype: pl.DataType) -> Type:
    if dtype.is_integer():
        return "integer"
    if dtype.is_numeric():
        return "number"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype == pl.Date:
        return "date"
    return "timestamp" if dtype == pl.Datetime else "string"


def _text_type(text: pl.Series, decimal: str, notes: list[str], name: str) -> tuple[Type, str]:
    if text.is_empty():
        return "string", ""
    number = (text.str.replace(",", ".", literal=True) if decimal == "," else text).cast(pl.Float64, strict=False)
    if not number.null_count():
        codes = text.str.contains(r"^0\d").any()  # 00123 is a code: as a number it would lose its zeros
        eight = text.str.contains(r"^(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])$").all()
        if eight:
            return "date", "%Y%m%d"
        if codes:
            return "string", ""
        return (
            "integer" if bool((number == number.round()).all()) and not text.str.contains(r"[eE]").any() else "number"
        ), ""
    low = text.str.to_lowercase().unique()
    if low.is_in(TRUE + FALSE).all() and low.len() <= 2:
        return "boolean", ""
    for kind, formats, target in (("date", DATES, pl.Date), ("timestamp", TIMES, pl.Datetime("us"))):
        fits = [f for f in formats if not text.str.strptime(target, f, strict=False).null_count()]
        if fits:
            if len(fits) > 1:
                notes.append(
                    f"{name}: dates fit both {fits[0]} and {fits[1]}; taken as {fits[0]}, change `format` in the contract if wrong"
                )
            return kind, fits[0]  # type: ignore[return-value]
    return "string", ""


def _sentinels(values: pl.Series, name: str, notes: list[str]) -> list[float]:
    """Numbers that stand for "missing": the only negative value of a column, and one of the usual ones."""
    negative = values.filter(values < 0).unique().to_list()
    if len(negative) != 1 or negative[0] not in SENTINELS or not (values > 0).any():
        return []
    share = (values == negative[0]).mean()
    notes.append(f"{name}: {negative[0]:g} is its only negative value ({share:.1%} of rows): taken as missing")
    return [negative[0]]


def _task(
    values: pl.Series, goal: Column, task: Task | None, positive: str | None, notes: list[str], path: Path
) -> tuple[Task, list[Value]]:
    """Decide the task and order the classes."""
    kinds: list[Any] = sorted(values.unique().to_list())
    if len(kinds) < 2:
        raise DataError(f"The target {goal.name} has one value only in {path} ({kinds[0]}); there is nothing to learn.")
    if task is None:
        if len(kinds) == 2:
            task = "binary"
        elif goal.type == "string" or (goal.type == "integer" and len(kinds) <= 20 and len(values) >= 10 * len(kinds)):
            task = "multiclass"
        else:
            task = "regression"
        notes.append(f"task: {task} ({goal.name} has {len(kinds)} different values)")
    if task == "regression":
        if goal.type not in ("integer", "number"):
            raise DataError(f"The target {goal.name} is a {goal.type}; regression needs numbers.")
        return task, []
    if goal.type in ("date", "timestamp"):
        raise DataError(f"The target {goal.name} is a date; give a column with classes or numbers.")
    if len(kinds) > MAX_CLASSES:
        raise DataError(f"The target {goal.name} has {len(kinds)} classes; at most {MAX_CLASSES} can be handled.")
    if task == "binary":
        if len(kinds) != 2:
            raise DataError(f"The target {goal.name} has {len(kinds)} values; a binary task needs two.")
        kinds = _order(kinds, values, goal, positive, notes)
    goal.categories, goal.tolerance = kinds, 0.0
    return task, kinds


def _order(kinds: list[Any], values: pl.Series, goal: Column, positive: str | None, notes: list[str]) -> list[Any]:
    if positive is not None:
        match = [k for k in kinds if str(k).lower() == positive.strip().lower()]
        if not match:
            raise UsageError(f"{positive} is not a value of {goal.name}; it has {kinds[0]} and {kinds[1]}.")
        event = match[0]
    elif kinds in ([0, 1], [-1, 1], [False, True]):
        event = kinds[1]
    else:
        event = min(kinds, key=lambda k: (int((values == k).sum()), str(k)))
        notes.append(f"the event to predict is {goal.name} = {event} (the rarer one); give --positive to change it")
    return [k for k in kinds if k != event] + [event]
