"""Score a file of any length: batches in, batches out, and no output at all if a row cannot be scored."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from msgspec import Struct

from .artifact import Model
from .clean import stream
from .encode import Vector
from .errors import DataError, UsageError
from .table import look, replacing


def as_parquet(path: Path) -> bool:
    """Tell by its ending whether an output is Parquet, or else CSV.

    Raises:
        UsageError: it has another ending, or is a folder.
    """
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet", ".pq") or path.is_dir():
        raise UsageError(f"{path} is no name for the output; give a file that ends in .csv or .parquet.")
    return ending != ".csv"


class Writer:
    """Write frames one after the other to CSV or Parquet."""

    def __init__(self, path: Path, parquet: bool) -> None:
        """Open `path` for writing."""
        self._file = path.open("wb")
        self._parquet = parquet
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0

    def write(self, frame: pl.DataFrame) -> None:
        """Append a frame; all must have the same columns."""
        if self._parquet:
            table = frame.to_arrow()
            if self._writer is None:
                self._writer = pq.ParquetWriter(self._file, table.schema, compression="zstd")
            self._writer.write_table(table.cast(self._writer.schema))
        else:
            frame.write_csv(self._file, include_header=self._rows == 0)
        self._rows += frame.height

    def close(self) -> None:
        """Finish the file."""
        if self._writer:
            self._writer.close()
        self._file.close()

    def __enter__(self) -> "Writer":
        """Return the writer."""
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the file."""
        self.close()


class Scored(Struct):
    """How many rows were scored, and how many values of each column were no known category (scored as missing)."""

    rows: int
    unseen: dict[str, int]


def score(model: Model, source: Path, target: Path, progress: Callable[[int], None] = lambda rows: None) -> Scored:
    """Score a table.

    Args:
        model: what scores.
        source: CSV or Parquet with the contract's feature columns; identifiers are carried through where present.
        target: where to write, CSV or (by the ending `.parquet`) Parquet: identifiers or else the row number, then
            `score` (probability of the event, or the predicted value), or `score_<class>` and `prediction`.
        progress: is told the rows done so far.

    Raises:
        DataError: a column is missing, a value has the wrong type or the file is broken; `target` is then not touched.
    """
    contract = model.contract
    unseen: Counter[str] = Counter()
    rows = 0
    if source.resolve() == target.resolve():
        raise UsageError(f"{target} is the input; give another name for the output.")
    parquet = as_parquet(target)
    look(source)
    named = [*model.needs, *(c.name for c in contract.of("identifier"))]
    with replacing(target) as part, Writer(part, parquet) as writer:
        for frame, problems, done in stream(source, contract, model.needs):
            used = [p for p in problems if p.column in named]
            if used:
                raise DataError(f"{source} cannot be scored: {'; '.join(map(str, used[:3]))}.")
            unseen.update(model.encoder.unseen(frame))
            ids = [frame[c.name] for c in contract.of("identifier") if c.name in frame.columns]
            writer.write(
                pl.DataFrame(
                    [*(ids or [pl.Series("row", np.arange(rows + 1, done + 1))]), *columns(model, model.predict(frame))]
                )
            )
            rows = done
            progress(rows)
        if not rows:
            raise DataError(f"{source} has no rows to score.")
    return Scored(rows, dict(unseen))


def columns(model: Model, scores: Vector) -> list[pl.Series]:
    """Return scores, shape (n,) or (n, classes), as named columns."""
    if scores.ndim == 1:
        return [pl.Series("score", scores)]
    names = [str(c) for c in model.contract.classes]
    each = [pl.Series(f"score_{name}", scores[:, k]) for k, name in enumerate(names)]
    return [*each, pl.Series("prediction", [names[k] for k in scores.argmax(axis=1)])]
