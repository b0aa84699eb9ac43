# ruff: noqa: E402
"""Score a table with Spark: the function of `score`, on as many machines as there are."""

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

PACKAGE = Path(__file__).resolve().parents[1]
if not __package__:  # Spark runs this file by its path; now it is a part of its package again (PEP 366)
    sys.path.insert(0, str(PACKAGE.parent))
    __package__ = f"{PACKAGE.name}.azure"
    import_module(__package__)

import polars as pl

from ..artifact import Model, load_model
from ..clean import clean
from ..contract import Column
from ..errors import DataError, ProjectError
from ..score import columns

if TYPE_CHECKING:
    import pandas as pd

TYPES = {"integer": "bigint", "number": "double", "boolean": "boolean", "date": "date", "timestamp": "timestamp_ntz"}


def carried(model: Model, names: Iterable[str]) -> list[Column]:
    """Return the columns that stand beside the scores: the identifiers of a table with these columns.

    Raises:
        DataError: it has none. Spark keeps no order of rows, so nobody could tell whose score is whose.
    """
    found = [column for column in model.contract.of("identifier") if column.name in names]
    if not found:
        wanted = (
            ", ".join(column.name for column in model.contract.of("identifier")) or "a column of the role identifier"
        )
        raise DataError(f"Spark keeps no order of rows, so the table needs what tells them apart: {wanted}.")
    return found


def schema(model: Model, names: Iterable[str]) -> str:
    """Return the columns of the output, as Spark wants them: those of `score` for a table with these columns."""
    out = {column.name: TYPES.get(column.type, "string") for column in carried(model, names)}
    if model.contract.task == "multiclass":
        out |= {f"score_{name}": "double" for name in model.contract.classes} | {"prediction": "string"}
    else:
        out["score"] = "double"
    return ", ".join(f"`{name}` {kind}" for name, kind in out.items())


def score_frames(model: Model, frames: Iterable["pd.DataFrame"]) -> Iterator["pd.DataFrame"]:
    """Score the frames that `mapInPandas` gives.

    Args:
        model: what scores.
        frames: rows in any types, with the columns that the model needs and an identifier.

    Raises:
        DataError: a value has the wrong type.
    """
    for raw in frames:
        frame = pl.from_pandas(raw)
        if not frame.height:
            continue
        ids = carried(model, frame.columns)
        needed = [column for column in model.contract.columns if column.name in model.needs]
        rows, problems = clean(frame, list({c.name: c for c in (*needed, *ids)}.values()), model.contract.decimal)
        if problems:
            raise DataError(f"The rows cannot be scored: {'; '.join(map(str, problems[:3]))}.")
        scored = pl.DataFrame([*(rows[c.name] for c in ids), *columns(model, model.predict(rows))])
        yield scored.to_pandas(use_pyarrow_extension_array=True)


@cache
def loaded(folder: str, digest: str) -> Model:
    """Return the model, read once in each process; it scores in one thread, as in `parallel`."""
    return load_model(Path(folder), digest or None, None, threads=1)


def score_table(spark: Any, model: str, rows: str, scores: str, form: str, separator: str, digest: str) -> int:
    """Score a table.

    Args:
        spark: the session.
        model, rows, scores: URIs (or paths) of the model folder, the table and a new folder for the scores (Parquet).
        form, separator: `parquet` or `csv`, and what separates the cells of the latter.
        digest: of the model's manifest, where it is known.

    Returns:
        How many rows.

    Raises:
        DataError: a column is missing, a value has the wrong type, or there are no rows.
        Fault: a file of the model is missing or changed.
    """
    from pyspark import SparkFiles

    context, name, folder = spark.sparkContext, PACKAGE.name, model.rstrip("/").rpartition("/")[2]
    with tempfile.TemporaryDirectory() as scratch:
        # The workers get the code of this job, and the model, from here.
        context.addFile(shutil.make_archive(f"{scratch}/{name}", "zip", PACKAGE.parent, name))
        context.addFile(model, recursive=True)
        here = loaded(SparkFiles.get(folder), digest)
        text = {"header": str(here.contract.header), "sep": separator, "escape": '"', "multiLine": "true"}
        table = spark.read.format(form).options(**(text if form == "csv" else {})).load(rows)
        if absent := [column for column in here.needs if column not in table.columns]:
            raise DataError(f"The table lacks {', '.join(absent[:5])}; it has {len(table.columns)} columns.")

        # Within this function, so that it reaches the workers whole, before they have its module.
        def part(frames: Iterator["pd.DataFrame"]) -> Iterator["pd.DataFrame"]:
            root = SparkFiles.getRootDirectory()
            if not any(path.startswith(f"{root}/code-") for path in sys.path):
                sys.path.insert(0, tempfile.mkdtemp(prefix="code-", dir=root))
                shutil.unpack_archive(f"{root}/{name}.zip", sys.path[0])
            module = import_module(f"{name}.azure.spark")
            yield from module.score_frames(module.loaded(SparkFiles.get(folder), digest), frames)

        wanted = [*here.needs, *(c.name for c in carried(here, table.columns))]
        table = table.select(*(f"`{column}`" for column in dict.fromkeys(wanted)))
        table.mapInPandas(part, schema(here, table.columns)).write.parquet(scores)
    done: int = spark.read.parquet(scores).count()
    if not done:
        raise DataError(f"{rows} has no rows to score.")
    return done


def main() -> None:
    """Do what the arguments of the component say."""
    from pyspark.sql import SparkSession

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--scores", required=True)
    parser.add_argument("--format", choices=["parquet", "csv"], default="parquet")
    parser.add_argument("--separator", default=",")
    parser.add_argument("--digest", default="")
    told = parser.parse_args()
    spark = SparkSession.builder.getOrCreate()
    try:
        rows = score_table(spark, told.model, told.rows, told.scores, told.format, told.separator, told.digest)
    except ProjectError as error:
        sys.exit(str(error))
    except Exception as error:  # what a worker raised comes back wrapped up, with its whole traceback
        found = re.findall(r"^\S*\.errors\.(?:DataError|Fault): (.*)$", str(error), re.MULTILINE)
        if not found:
            raise
        sys.exit(found[-1])
    finally:
        spark.stop()
    print(f"{told.scores}: {rows:,} rows scored.")


if __name__ == "__main__":
    main()
