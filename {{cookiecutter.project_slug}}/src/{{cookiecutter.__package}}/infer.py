"""Write a first data contract from a table: types, missing values, roles, task; and say what was noticed."""

import math
from operator import gt
from pathlib import Path
from typing import Any

import msgspec
import polars as pl

from .clean import clean
from .contract import Column, Contract, Task, Type
from .convert import FALSE, TRUE, moment, numbers, unusable
from .dialect import MISSING, Dialect
from .errors import DataError, UsageError
from .roles import assign, look_for_order, recognise
from .synth import learn
from .table import batches, columns_of, is_parquet, look, sniff

SENTINELS = (-1, -9, -99, -999, -9999)
DATES = (
    "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d-%m-%Y", "%Y%m%d",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y",
)  # fmt: skip
TIMES = (
    *(f"%Y-%m-%d{t}%H:%M{s}" for t in " T" for s in (":%S", ":%S%.f", "", ":%SZ", ":%S%.fZ", ":%S%z", ":%S%.f%z")),
    *(f"{day} {time}" for day in DATES[1:5] for time in ("%H:%M:%S", "%H:%M", "%I:%M %p", "%I:%M:%S %p")),
)
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
    frame, dialect = _raw(path, header, target)
    target = _find(target, frame.columns, path)
    decimal = "," if dialect and _decimal_comma(frame, dialect.separator) else "."
    notes: list[str] = []
    if dialect and dialect.above:
        notes.append(f"the table begins in line {dialect.above + 1}: what stands above it is left out")
    if dialect and not dialect.header:
        notes.append(f"the file has no header: columns are named {frame.columns[0]} to {frame.columns[-1]}")
    if decimal == ",":
        notes.append("numbers have a decimal comma")
    columns = [_column(frame[c], decimal, notes, is_target=c == target) for c in frame.columns]
    typed, problems = clean(frame, columns, decimal)
    notes += [
        f"{problem}: such rows break the contract" for problem in problems if not unusable(frame.schema[problem.column])
    ]
    known = typed.filter(pl.col(target).is_not_null())
    if known.is_empty():
        raise DataError(f"The target {target} has no value in {path}.")
    if gone := typed.height - known.height:
        notes.append(f"{target}: {gone} missing; such rows are not used for training")
    goal = next(c for c in columns if c.name == target)
    found, classes = recognise(known[target], goal, task, positive, notes, path)
    goal.role, goal.required, goal.sentinels = "target", gone == 0, []
    for column in columns:
        if column is not goal:
            assign(column, known, goal, found, notes)
    if not any(c.role == "feature" for c in columns):
        raise DataError(f"{path} has no column to learn from: each is constant, an identifier, free text or a leak.")
    look_for_order(columns, typed, notes)
    contract = Contract(
        name=name, columns=columns, task=found, classes=classes, header=not dialect or dialect.header, decimal=decimal
    )
    learn(contract, known)
    return Inference(contract, notes)


def _raw(path: Path, header: bool | None, target: str) -> tuple[pl.DataFrame, Dialect | None]:
    """Read all cells, CSV as text; a first line that holds the target's name is a header."""
    look(path)
    known = [] if header is False or target.isdecimal() else [target]
    dialect = None if is_parquet(path) else sniff(path, header, known)
    width = len(dialect.names) if dialect else len(columns_of(path))
    if width > MAX_COLUMNS:
        raise DataError(
            f"{path} has {width:,} columns; at most {MAX_COLUMNS:,} can be handled. Choose the useful ones first."
        )
    frames = list(batches(path, dialect))
    if not sum(f.height for f in frames):
        raise DataError(f"{path} has a header but no rows.")
    return pl.concat(frames), dialect


def _find(target: str, names: list[str], path: Path) -> str:
    if target in names:
        return target
    if target.isdecimal() and 1 <= int(target) <= len(names):
        return names[int(target) - 1]
    alike = [n for n in names if n.strip().lower() == target.strip().lower()]
    if len(alike) == 1:
        return alike[0]
    raise UsageError(
        f"{path} has no column {target}; it has {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}."
    )


def _decimal_comma(frame: pl.DataFrame, separator: str) -> bool:
    """Numbers with a comma, none with a point: 1.234,5 or 0,5. Between commas, 1,234 is a thousand and more."""
    some = frame.gather_every(max(1, frame.height // 2000)).select(pl.col(pl.String).str.strip_chars())

    def count(pattern: str) -> list[int]:
        return [int(n) for n in some.select(pl.all().str.contains(pattern).sum()).row(0)] if some.width else []

    commas = count(r"^[-+]?[$€£]?\s?(\d+|\d{1,3}([.'\s\x{a0}\x{202f}]\d{3})+),\d+\s?[$€£%]?$")
    thousands = count(r"^[-+]?\d{1,3}(,\d{3})+$") if separator == "," else [0] * len(commas)
    points, grouped = count(r"^[-+]?\d+\.\d+$"), count(r"^[-+]?[1-9]\d{0,2}\.\d{3}$")
    return any(map(gt, commas, thousands)) and not any(map(gt, points, grouped))


def _column(series: pl.Series, decimal: str, notes: list[str], is_target: bool) -> Column:
    """Find type, format and sentinels of one column."""
    name = series.name
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        text = series.cast(pl.String).str.strip_chars()
        text = text.filter(~text.is_in(MISSING) & text.is_not_null())
        kind, written = _text_type(text, decimal, notes, name)
    else:
        kind, written = _stored_type(series.dtype), ""
        text = series.drop_nulls()
    column = Column(name=name, type=kind, format=written)
    if unusable(series.dtype):
        column.note = f"each cell is a {series.dtype.base_type()}: make plain columns of it"
    typed, lost = clean(series.to_frame(), [column], decimal)
    if lost and kind == "integer":  # more digits than any number holds: a code
        column.type = kind = "string"
        typed, _ = clean(series.to_frame(), [column], decimal)
    values = typed[name]
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
    if dtype.is_numeric() or dtype == pl.Duration:
        return "number"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype == pl.Date:
        return "date"
    return "timestamp" if dtype == pl.Datetime else "string"


def _text_type(text: pl.Series, decimal: str, notes: list[str], name: str) -> tuple[Type, str]:
    if text.is_empty():
        return "string", ""
    number = numbers(text.to_frame(), [name], decimal)[name].cast(pl.Float64, strict=False)
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
    if 0 < (bad := number.null_count()) < len(text) / 20:
        odd = text.filter(number.is_null())[0]
        notes.append(
            f"{name}: text, because {bad} of {len(text):,} values {'is' if bad == 1 else 'are'} no number ({odd!r})"
        )
    low = text.str.to_lowercase().unique()
    if low.is_in(TRUE + FALSE).all() and low.len() <= 2:
        return "boolean", ""
    for kind, formats, target in (("date", DATES, pl.Date), ("timestamp", TIMES, pl.Datetime("us"))):
        read = {f: _moments(text, target, f) for f in formats}
        fits = [f for f, values in read.items() if values is not None]
        if fits:
            if len(fits) > 1 and not read[fits[0]].equals(read[fits[1]]):  # type: ignore[union-attr, arg-type]
                notes.append(
                    f"{name}: dates fit both {fits[0]} and {fits[1]}; taken as {fits[0]}, change `format` in the contract if wrong"
                )
            return kind, fits[0]  # type: ignore[return-value]
    return "string", ""


def _moments(text: pl.Series, target: Any, written: str) -> pl.Series | None:
    """Read dates that are all written in one way; None where one is not."""
    for some in (text.head(100), text):  # most ways fail early
        read = some.to_frame("t").select(moment(pl.col("t"), target, written))["t"]
        if read.null_count():
            return None
    return read


def _sentinels(values: pl.Series, name: str, notes: list[str]) -> list[float]:
    """Numbers that stand for "missing": the only negative value of a column, and one of the usual ones."""
    negative = values.filter(values < 0).unique().to_list()
    if len(negative) != 1 or negative[0] not in SENTINELS or not (values > 0).any():
        return []
    share = (values == negative[0]).mean()
    notes.append(f"{name}: {negative[0]:g} is its only negative value ({share:.1%} of rows): taken as missing")
    return [negative[0]]
