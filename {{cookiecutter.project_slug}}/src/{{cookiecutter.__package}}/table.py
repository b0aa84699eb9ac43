"""Read and write tables: CSV of any sane dialect and Parquet, whole or in batches of bounded size."""

import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from . import dialect as written
from .dialect import MISSING, Dialect, unique
from .errors import DataError, Fault

ROWS = 32_768
BLOCK = 1 << 21  # bytes of CSV that are read at once; several blocks are under way at a time


class ConversionError(Exception):
    """A cell does not fit the type that was asked for; read the table as text and clean it."""


def is_parquet(path: Path) -> bool:
    """Tell by the first bytes whether a file is Parquet; its name may be wrong."""
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def sniff(path: Path, header: bool | None = None, known: Sequence[str] = ()) -> Dialect:
    """Find out how a CSV file is written; see `dialect.sniff`."""
    with _reading(path):
        return written.sniff(path, header, known)


def look(path: Path, may_be_empty: bool = False) -> None:
    """Make sure that there is a file that may be read, with something in it.

    Raises:
        DataError: there is not.
        Fault: it may not be read.
    """
    with _reading(path):
        if path.is_dir():
            raise DataError(f"{path} is a folder; give a file.")
        with path.open("rb") as file:
            if not file.read(1) and not may_be_empty:
                raise DataError(f"{path} is empty.")


def columns_of(path: Path) -> tuple[str, ...]:
    """Return the column names of a Parquet file."""
    with _reading(path):
        return unique(pq.read_schema(path).names)


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
                names = unique(file.schema_arrow.names)
                for batch in file.iter_batches(rows):
                    yield _frame(pa.Table.from_batches([batch]).rename_columns(list(names)))
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
                column_names=list(dialect.names), skip_rows=dialect.skip, block_size=BLOCK, encoding=encoding
            ),
            pacsv.ParseOptions(delimiter=dialect.separator, quote_char=dialect.quote, newlines_in_values=True),
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
        text = str(error).splitlines()[0].rstrip(".")
        if "conversion error" in text:
            raise ConversionError(text) from None
        if text.startswith("Could not skip initial"):
            raise DataError(f"{path} has a header but no rows.") from None
        if ragged := re.search(r"Expected (\d+) columns, got (\d+): ?(.*)", str(error), re.DOTALL):
            wanted, got, row = ragged.groups()
            raise DataError(
                f"{path}: a row has {got} cells instead of {wanted}: {row[:100]!r}. Mend it; text that holds the "
                "separator or a line break must stand in quotes."
            ) from None
        kind = "Parquet" if is_parquet(path) else "CSV"
        raise DataError(f"{path} cannot be read as {kind}: {text}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as text: {error.reason}. Save it as UTF-8.") from None
    except PermissionError:
        raise Fault(f"{path} may not be read: permission denied.") from None


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` that takes its place only if all goes well.

    Works for a file and for a folder (which must not exist yet). Whatever happens, no half result stands at `path`.

    Raises:
        Fault: the disk is full or the place is not writable.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".part-", dir=path.parent))
    except OSError as error:
        raise Fault(f"{path} cannot be written: {error.strerror or error}.") from None
    try:
        part = temporary / path.name
        yield part
        part.replace(path)
    except FileNotFoundError:
        raise
    except (OSError, pl.exceptions.ComputeError) as error:
        said = getattr(error, "strerror", None) or str(error)
        if not isinstance(error, OSError) and "os error" not in said:  # Polars wraps what the system says
            raise
        raise Fault(f"{path} cannot be written: {said}. Nothing was changed there.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
