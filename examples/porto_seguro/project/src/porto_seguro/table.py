"""Read and write tables: CSV of any sane dialect and Parquet, whole or in batches of bounded size."""

import codecs
import csv
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from .errors import DataError, Fault

SEPARATORS = (",", ";", "\t", "|")
# What people write for "no value". A blank or a run of blanks counts as well.
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "-")
ROWS = 65_536
_SAMPLE = 1 << 18


class Dialect(msgspec.Struct, frozen=True):
    """How a CSV file is written; `names` are its columns, taken from the header where it has one."""

    separator: str
    encoding: str
    header: bool
    names: tuple[str, ...]


class ConversionError(Exception):
    """A cell does not fit the type that was asked for; read the table as text and clean it."""


def is_parquet(path: Path) -> bool:
    """Tell by name, or else by the first bytes, whether a file is Parquet."""
    if path.suffix.lower() in (".parquet", ".pq"):
        return True
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def sniff(path: Path, header: bool | None = None, known: Sequence[str] = ()) -> Dialect:
    """Find separator, encoding and header of a CSV file from its beginning.

    Args:
        path: the file.
        header: whether the first line names the columns; None decides by its looks.
        known: column names that are expected; a first line holding one of them is a header.

    Raises:
        DataError: the file is empty, binary or has one column only.
    """
    with _reading(path), path.open("rb") as file:
        raw = file.read(_SAMPLE)
        encoding, text = _decode(path, raw)
        if encoding == "utf-8" and not _is_utf8(raw, file):
            encoding, text = "latin-1", raw.decode("latin-1")
        whole = file.tell() == len(raw)
    lines = text.splitlines()
    if not whole and len(lines) > 1:
        lines.pop()
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty.")
    separator, rows = max(
        ((s, list(csv.reader(lines, delimiter=s, skipinitialspace=True))) for s in SEPARATORS),
        key=lambda found: _fit(found[1]),
    )
    first = [cell.strip() for cell in rows[0]]
    if len(first) < 2:
        raise DataError(f"{path} has one column only; looked for the separators {' '.join(map(repr, SEPARATORS))}.")
    if set(first) & set(known):
        header = True
    elif header is None:
        header = _looks_like_header(first, rows[1:])
    return Dialect(separator, encoding, header, _unique(first) if header else _unique([""] * len(first)))


def _decode(path: Path, raw: bytes) -> tuple[str, str]:
    for bom, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if raw.startswith(bom):
            return encoding, raw.decode(encoding, "ignore")
    if b"\0" in raw:
        raise DataError(f"{path} is not a text table (it holds NUL bytes); give CSV or Parquet.")
    try:
        return "utf-8", codecs.getincrementaldecoder("utf-8")().decode(raw)
    except UnicodeDecodeError:
        return "latin-1", raw.decode("latin-1")


def _is_utf8(start: bytes, rest: BinaryIO) -> bool:
    """Whether the whole file is UTF-8: one name with an accent may stand in the last line."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(start)
        while block := rest.read(1 << 23):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _fit(rows: list[list[str]]) -> tuple[float, int]:
    """Rank a separator: the share of rows as wide as the first, then the width; one column is no table."""
    width = len(rows[0])
    return (sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0, width)


def _is_value(cell: str) -> bool:
    """Whether a cell can only be a value, not a name: a number, a date, a sentinel."""
    if cell in MISSING:
        return cell != ""
    bare = cell.replace(",", ".").lstrip("+-")
    try:
        float(bare)
    except ValueError:
        return (
            len(bare) >= 8
            and bare[:1].isdigit()
            and sum(c.isdigit() for c in bare) >= 6
            and not any(c.isalpha() and c != "T" for c in bare)
        )
    return True


def _looks_like_header(first: list[str], rows: list[list[str]]) -> bool:
    if any(map(_is_value, first)) or len({c for c in first if c}) < len([c for c in first if c]):
        return False
    seen_again = sum(any(len(row) > i and row[i].strip() == cell for row in rows) for i, cell in enumerate(first))
    return seen_again <= len(first) / 4


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    """Name the nameless `column_<n>` and number what stands twice."""
    out: list[str] = []
    for n, name in enumerate(names, 1):
        name = name or f"column_{n}"
        candidate, k = name, 2
        while candidate in out:
            candidate, k = f"{name}_{k}", k + 1
        out.append(candidate)
    return tuple(out)


def columns_of(path: Path) -> tuple[str, ...]:
    """Return the column names of a Parquet file."""
    with _reading(path):
        return tuple(name.strip() for name in pq.read_schema(path).names)


def batches(
    path: Path, dialect: Dialect | None, types: Mapping[str, pa.DataType] | None = None, rows: int = ROWS
) -> Iterator[pl.DataFrame]:
    """Yield a table in frames of about `rows` rows; memory does not grow with the file.

    Args:
        path: the file.
        dialect: of a CSV file; None for Parquet.
        types: CSV only: the types of columns; None reads all as text, uncleaned. A column that is not named is text.

    Raises:
        ConversionError: a cell does not fit its type.
        DataError: the file is broken.
    """
    with _reading(path):
        if dialect is None:
            with pq.ParquetFile(path) as file:
                names = [name.strip() for name in file.schema_arrow.names]
                for batch in file.iter_batches(rows):
                    yield _frame(pa.Table.from_batches([batch]).rename_columns(names))
            return
        convert = pacsv.ConvertOptions(
            column_types={name: (types or {}).get(name, pa.string()) for name in dialect.names},
            null_values=list(MISSING) if types else [""],
            strings_can_be_null=types is not None,
            true_values=["true", "True", "TRUE"],
            false_values=["false", "False", "FALSE"],
        )
        encoding = "utf-8" if dialect.encoding == "utf-8-sig" else dialect.encoding
        with pacsv.open_csv(
            path,
            pacsv.ReadOptions(
                column_names=list(dialect.names), skip_rows=int(dialect.header), block_size=1 << 23, encoding=encoding
            ),
            pacsv.ParseOptions(delimiter=dialect.separator, newlines_in_values=True),
            convert,
        ) as reader:
            for batch in reader:
                frame = _frame(pa.Table.from_batches([batch]))
                for start in range(0, frame.height, rows):
                    yield frame.slice(start, rows)


def _frame(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what the readers raise into sentences."""
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except (pa.ArrowInvalid, pa.ArrowKeyError, pa.ArrowNotImplementedError, EOFError) as error:
        text = str(error).splitlines()[0]
        if "conversion error" in text:
            raise ConversionError(text) from None
        kind = "Parquet" if is_parquet(path) else "CSV"
        raise DataError(f"{path} cannot be read as {kind}: {text}.") from None
    except PermissionError:
        raise Fault(f"{path} may not be read: permission denied.") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place only if all goes well.

    Works for a file and for a folder (which must not exist yet). Whatever happens, no half result stands at `path`.

    Raises:
        Fault: the disk is full or the place is not writable.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=path.parent))
        part = temporary / path.name
        yield part
        part.replace(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise Fault(f"{path} cannot be written: {error.strerror or error}. Nothing was changed there.") from None
    finally:
        if temporary:
            shutil.rmtree(temporary, ignore_errors=True)
