"""Bring a table as people write it into the types of the contract, and say what does not fit."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import polars as pl
import pyarrow as pa

from .contract import Column, Contract
from .convert import cell, convert, numbers, plain
from .dialect import Dialect
from .errors import DataError
from .table import ROWS, ConversionError, batches, columns_of, is_parquet, look, sniff

_ARROW = {"integer": pa.int64(), "number": pa.float64()}
SHOWN = 5


class Problem(msgspec.Struct, frozen=True):
    """Rows of one column (or of the table) that break one rule; `rows` holds the first ones as (row from 1, value)."""

    column: str
    rule: str
    count: int
    rows: list[tuple[int, str]] = []

    def __str__(self) -> str:
        """Say it in one line."""
        where = ", ".join(f"row {n}: {value}" for n, value in self.rows)
        return (
            f"{self.column}: {self.rule}"
            + (f"; {self.count} rows" if self.count else "")
            + (f" ({where})" if where else "")
        )


def read(path: Path, contract: Contract, need: Sequence[str]) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    """Read a whole table in the contract's types.

    Args:
        path: CSV or Parquet.
        contract: says what to expect.
        need: columns that must be there; others of the contract are read where present.

    Returns:
        The frame in contract order, what could not be brought into its type (missing in the frame), and the names of
        columns that the contract does not know (left out).

    Raises:
        DataError: the file is broken, holds no rows, or lacks a needed column.
    """
    frames: list[pl.DataFrame] = []
    problems: list[Problem] = []
    for frame, found, _ in stream(path, contract, need):
        frames.append(frame)
        problems += found
    if not frames:
        raise DataError(f"{path} has a header but no rows.")
    _, names = layout(path, contract, need)
    return pl.concat(frames), _merge(problems), [name for name in names if name not in contract.names]


def layout(path: Path, contract: Contract, need: Sequence[str]) -> tuple[Dialect | None, tuple[str, ...]]:
    """Find out how a file is written and which columns it has.

    Raises:
        DataError: a needed column is missing.
    """
    look(path)
    if is_parquet(path):
        dialect, names = None, columns_of(path)
    else:
        dialect = sniff(path, None if contract.header else False, contract.names)
        if not dialect.header:
            dialect = msgspec.structs.replace(dialect, names=_by_position(path, dialect, contract, need))
        names = dialect.names
    if absent := [name for name in need if name not in names]:
        some = ", ".join(absent[:SHOWN]) + (f" and {len(absent) - SHOWN} more" if len(absent) > SHOWN else "")
        raise DataError(
            f"{path} lacks {'the columns' if len(absent) > 1 else 'the column'} {some}; it has {len(names)} columns: {_list(names)}."
        )
    return dialect, names


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _by_position(path: Path, dialect: Dialect, contract: Contract, need: Sequence[str]) -> tuple[str, ...]:
    """Name the columns of a file without header: all of the contract, or all but the target."""
    for names in (contract.names, [n for n in contract.names if n != contract.target.name], list(need)):
        if len(names) == len(dialect.names):
            return tuple(names)
    raise DataError(f"{path} has no header and {len(dialect.names)} columns; the contract has {len(contract.names)}.")


def stream(
    path: Path, contract: Contract, need: Sequence[str], rows: int = ROWS
) -> Iterator[tuple[pl.DataFrame, list[Problem], int]]:
    """Yield (frame, problems, rows so far) for each batch; see `read`.

    Numbers are first read as numbers, which is fast; the first cell that resists makes the rest be read as text.
    """
    dialect, names = layout(path, contract, need)
    columns = [column for column in contract.columns if column.name in names]
    types = {c.name: _ARROW[c.type] for c in columns if c.type in _ARROW and contract.decimal == "."}
    done = 0
    try:
        for frame in batches(path, dialect, types, rows):
            clean_frame, problems = clean(frame, columns, contract.decimal, done)
            done += frame.height
            yield clean_frame, problems, done
        return
    except ConversionError:
        pass
    skip, done = done, 0
    for frame in batches(path, dialect, None, rows):
        start, done = done, done + frame.height
        if done <= skip:
            continue
        frame = frame.slice(max(0, skip - start))
        clean_frame, problems = clean(frame, columns, contract.decimal, max(start, skip))
        yield clean_frame, problems, done


def clean(
    frame: pl.DataFrame, columns: Sequence[Column], decimal: str = ".", start: int = 0
) -> tuple[pl.DataFrame, list[Problem]]:
    """Bring the columns of a frame into their types; what resists becomes missing and is told.

    Args:
        frame: raw rows, in any types.
        columns: what to expect; the frame has them all.
        decimal: the decimal mark of numbers in text.
        start: the number of rows before this frame, for the row numbers in problems.
    """
    given, frame = frame, plain(frame)
    before_types, types = given.schema, frame.schema  # made anew each time they are asked for
    texts = [c.name for c in columns if c.type in ("integer", "number") and types[c.name] == pl.String]
    out = numbers(frame, texts, decimal).select(convert(c, types[c.name]).alias(c.name) for c in columns)
    raw = [cell(before_types[c.name], c.name).alias(c.name) for c in columns]
    lost = given.select(raw).null_count().row(0), out.null_count().row(0)
    problems = []
    for column, before, after in zip(columns, *lost, strict=True):
        if after > before and column.role != "ignored":
            bad = pl.DataFrame(
                {"raw": given.select(raw[columns.index(column)]).to_series(), "new": out[column.name]}
            ).with_row_index("row", start + 1)
            bad = bad.filter(pl.col("raw").is_not_null() & pl.col("new").is_null())
            shown = [(int(r), repr(v)) for r, v in bad.head(SHOWN).select("row", "raw").iter_rows()]
            wanted = f"a {column.type}" if column.type != "integer" else "an integer"
            problems.append(
                Problem(
                    column.name,
                    f"is not {wanted}" + (f" written as {column.format}" if column.format else ""),
                    bad.height,
                    shown,
                )
            )
    marked = [
        (pl.col(c.name), [int(v) if c.type == "integer" else v for v in c.sentinels]) for c in columns if c.sentinels
    ]
    return out.with_columns(pl.when(~value.is_in(sentinels)).then(value) for value, sentinels in marked), problems


def _merge(problems: list[Problem]) -> list[Problem]:
    """Join the problems that batches found with the same rule."""
    joined: dict[tuple[str, str], Problem] = {}
    for p in problems:
        old = joined.get((p.column, p.rule))
        joined[p.column, p.rule] = (
            Problem(p.column, p.rule, p.count + old.count, (old.rows + p.rows)[:SHOWN]) if old else p
        )
    return list(joined.values())
