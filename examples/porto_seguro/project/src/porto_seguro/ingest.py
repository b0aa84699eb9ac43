"""Turn one file, URL or query into clean Parquet with a manifest: what it holds, where it comes from, its content hash."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct

from . import clock
from .contract import Contract
from .errors import DataError, UsageError
from .parts import checked, source_hash
from .table import replacing

DATA, MANIFEST = "data.parquet", "manifest.json"
SYNTHETIC = "synthetic rows"
DATABASE = "DATABASE_URL"  # an SQLAlchemy URL; it may hold a password, so it never stands in a file


class Manifest(Struct, kw_only=True):
    """What is known of a data version; its name `version` is the beginning of the content's SHA-256.

    Attributes:
        source_sha256: of the bytes of the source; of a folder, of its parts in the order of their names.
        known_as: names a published table whose checksum stands in the contract, or says that the rows are synthetic.
        based_on: the version to which the rows of the source were added; empty for a version of their own.
        content, added: the hash of the rows of the source alone, and how many of them the version holds.
        as_of: how old the newest rows are (UTC), as far as those who sent them said so.
    """

    version: str
    rows: int
    source: str
    source_sha256: str
    known_as: str
    contract: str
    created: str
    extra_columns: list[str] = []
    sequence: int = 0
    based_on: str = ""
    content: str = ""
    added: int = 0
    as_of: str = ""


Screen = Callable[[pl.DataFrame], str]


def ingest(
    source: Path,
    contract: Contract,
    out: Path,
    base: Path | None = None,
    late: bool = False,
    keep_rows: int = 0,
    screen: Screen | None = None,
) -> Manifest:
    """Check a table and write it as `data.parquet` beside `manifest.json`.

    Args:
        source: CSV or Parquet; or a folder of parts, which are one table in the order of their names.
        contract: what the table must look like.
        out: the folder to make; it must not exist.
        base: a `data.parquet` to which the rows are appended; a row whose identifier (or whole content, without one) is
            known already takes the place of the old one.
        late: the rows are older than those of `base`: where an identifier is known already, the old row stays.
        keep_rows: how many rows are kept when they are appended, the last ones; 0 for all.
        screen: gets the clean rows of the source; a sentence that it returns refuses them.

    Raises:
        Rejected: the table breaks the contract.
        DataError: it cannot be read, lacks a column, or `screen` refuses it.
    """  # fmt: skip
    frame, extra = checked(source, contract)
    if screen and (objection := screen(frame)):
        raise DataError(f"{source.name} is held back: {objection}")
    content = own = content_hash(frame)
    added = frame.height
    if base:
        old = pl.read_parquet(base)
        frame = _append(old, frame, contract, late)
        added = frame.height - old.height if late else added
        frame = frame.tail(keep_rows or frame.height)
        content = content_hash(frame)
    checksum = source_hash(source)
    known = next((s["name"] for s in contract.sources if s.get("sha256") == checksum), "")
    manifest = Manifest(
        version=content[:12], rows=frame.height, source=source.name, source_sha256=checksum, known_as=known,
        contract=contract.version, created=clock.now().isoformat(timespec="seconds"), extra_columns=extra, content=own,
        added=min(added, frame.height),
    )  # fmt: skip
    with replacing(out) as part:
        part.mkdir()
        frame.write_parquet(part / DATA)
        (part / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _append(old: pl.DataFrame, new: pl.DataFrame, contract: Contract, late: bool) -> pl.DataFrame:
    ids = [c.name for c in contract.of("identifier") if c.unique and c.name in old.columns and c.name in new.columns]
    keep: Literal["first", "last"] = "first" if late else "last"
    if ids:
        return pl.concat([old, new], how="diagonal").unique(subset=ids[:1], keep=keep, maintain_order=True)
    # Rows may be alike: the second copy of a row is known only if the old rows have two of it.
    each = [f.with_columns(pl.int_range(pl.len()).over(f.columns).alias("\0copy")) for f in (old, new)]
    return pl.concat(each, how="diagonal").unique(keep=keep, maintain_order=True).drop("\0copy")


def content_hash(frame: pl.DataFrame) -> str:
    """Return the SHA-256 of names, types and values; independent of file format and library version."""
    total = hashlib.sha256()
    for column in frame.iter_columns():
        total.update(f"{column.name}\0{column.dtype}\0{len(column)}\0".encode())
        total.update(np.packbits(column.is_null().to_numpy()).tobytes())
        if column.dtype == pl.String:
            total.update(column.str.len_bytes().fill_null(0).to_numpy().tobytes())
            total.update("".join(column.fill_null("")).encode())
        else:
            total.update(np.ascontiguousarray(column.to_physical().fill_null(0).to_numpy()).tobytes())
    return total.hexdigest()


@contextmanager
def local(source: str) -> Iterator[Path]:
    """Give a local path of a file; what lies behind a URL is copied into a temporary folder first.

    Raises:
        DataError: it cannot be fetched.
    """
    if "://" not in source:
        yield Path(source)
        return
    import fsspec

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, source.rstrip("/").rpartition("/")[2].partition("?")[0] or "table")
        try:
            with fsspec.open(source, "rb") as remote, path.open("wb") as copy:
                shutil.copyfileobj(remote, copy, 1 << 22)
        except (OSError, ValueError, ImportError) as error:
            raise DataError(f"{source} cannot be fetched: {error}.") from None
        yield path


@contextmanager
def query(sql: str) -> Iterator[Path]:
    """Give the result of a query to the database named by the environment variable DATABASE_URL, as Parquet.

    Raises:
        UsageError: the variable is not set.
        DataError: the database refuses.
    """
    url = os.environ.get(DATABASE)
    if not url:
        raise UsageError(
            f"Set the environment variable {DATABASE} to an SQLAlchemy URL first, for example sqlite:///claims.db."
        )
    import sqlalchemy

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "query.parquet")
        try:
            engine = sqlalchemy.create_engine(url)
            with engine.connect() as connection:
                pl.read_database(sql, connection, infer_schema_length=None).write_parquet(path)
        except AttributeError:
            raise DataError("The query gives no rows; write a SELECT.") from None
        except (sqlalchemy.exc.SQLAlchemyError, pl.exceptions.PolarsError, ImportError) as error:
            text = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise DataError(f"The query failed: {text}.") from None
        finally:
            if "engine" in locals():
                engine.dispose()
        yield path


def openml(number: int, out: Path) -> int:
    """Fetch a data set of OpenML (network needed) and write it as Parquet; return the number of rows.

    Raises:
        DataError: it cannot be fetched.
    """
    from sklearn.datasets import fetch_openml

    try:
        frame = fetch_openml(data_id=number, as_frame=True, parser="auto").frame
    except Exception as error:  # network, parser and server errors of many kinds
        raise DataError(f"OpenML data set {number} cannot be fetched: {str(error).splitlines()[0]}.") from None
    table = pl.from_pandas(frame)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(out)
    return int(table.height)
