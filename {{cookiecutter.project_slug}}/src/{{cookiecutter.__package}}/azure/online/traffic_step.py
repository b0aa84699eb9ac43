"""The step with which the monitor of an online endpoint begins: what its collector wrote becomes a window."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import polars as pl
import typer
import yaml

from ... import cli, clock, show
from ...clean import clean
from ...contract import Contract
from ...serving.payload import as_series
from ...serving.predictions import Header, Logged, read_log
from ..step_io import contract, filling, note, settings
from .traffic_log import convert

TABLE, TIME = "window.parquet", "timestamp"  # Azure's own monitor looks for a column of that name
REQUESTS = 4_096  # that are held at a time

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def window(
    collected: Annotated[Path, typer.Option(help="What was collected of the endpoint: modelDataCollector/ENDPOINT.")],
    version: Annotated[int, typer.Option(help="The model's version: of the table, only its rows are a part.")],
    out: Annotated[Path, typer.Option(help="The folder for the prediction log.")],
    table: Annotated[Path, typer.Option(help="The folder for the newest window as a table (MLTable).")],
) -> None:
    """Turn what was collected into the prediction log, as far back as the monitor looks, and into a table."""
    about, conf, now = contract(), settings().monitor, clock.now()
    days = timedelta(days=conf.window_days)
    with TemporaryDirectory() as scratch:
        log = Path(scratch)
        files = convert(collected, about, log, now - days - timedelta(days=conf.maturity_days))
        with filling(out) as folder:
            folder.mkdir()
            for path in log.iterdir():
                path.rename(folder / path.name)
            lines = (one for one in read_log(folder, now - days, now) if one[0].model_version == str(version))
            frame = pl.concat([_frame([], about), *_frames(lines, about)])
        with filling(table) as folder:
            folder.mkdir()
            frame.write_parquet(folder / TABLE)
            told = {"type": "mltable", "paths": [{"file": f"./{TABLE}"}], "transformations": ["read_parquet"]}
            (folder / "MLTable").write_text(yaml.safe_dump(told, sort_keys=False), "utf-8", newline="\n")
    note({"files": files, "rows": frame.height})
    show.line(f"{files:,} files of answers; {frame.height:,} rows of version {version} in the window")


def _frames(lines: Iterator[tuple[Header, Logged]], about: Contract) -> Iterator[pl.DataFrame]:
    """Yield the rows of requests, as tables."""
    held: list[Logged] = []
    for _, line in lines:
        held.append(line)
        if len(held) == REQUESTS:
            yield _frame(held, about)
            held = []
    yield _frame(held, about)


def _frame(lines: list[Logged], about: Contract) -> pl.DataFrame:
    """The cells of requests in the contract's types, each row with its time."""
    columns, cells = about.of("feature"), [row for line in lines for row in line.data]
    times = [line.time for line in lines for _ in line.data]
    raw = pl.DataFrame([as_series(c.name, [row[n] for row in cells]) for n, c in enumerate(columns)])
    rows, _ = clean(raw, columns, ".")
    return rows.with_columns(pl.Series(TIME, times, pl.Datetime("us", "UTC")))


if __name__ == "__main__":
    cli.main(app)
