"""What all commands share: the project they work in; tables and progress for eyes, one JSON object for programs."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from .errors import UsageError

if TYPE_CHECKING:
    from .pipeline import Project
    from .result import Result

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]
_given: Path | None = None
_handing_on = True

COLOURS = {
    "promoted": "green",
    "passed": "green",
    "kept_champion": "yellow",
    "rejected": "red",
    "ok": "green",
    "note": "yellow",
    "wrong": "red",
}
_out, _err = Console(highlight=False), Console(stderr=True, highlight=False)


def as_json(value: Any, outputs: bool = True) -> None:
    """Print one JSON object; its plain values are also outputs of a pipeline's step, where one runs the command."""
    import msgspec

    built = msgspec.to_builtins(value)
    print(json.dumps(built, ensure_ascii=False, allow_nan=False, default=str))
    if outputs and _handing_on and isinstance(built, dict):
        _hand_on({key: one for key, one in built.items() if one is None or isinstance(one, str | int | float)})


@contextmanager
def handing_nothing_on() -> Iterator[None]:
    """Keep outputs back: what is only shown was not done."""
    global _handing_on
    _handing_on = False
    try:
        yield
    finally:
        _handing_on = True


def _hand_on(values: dict[str, Any]) -> None:
    """Tell GitHub Actions (GITHUB_OUTPUT names a file) or Azure Pipelines (TF_BUILD; it reads standard error) outputs.

    Raises:
        UsageError: a value has more than one line, which could pass itself off as another output.
    """
    file, azure = os.environ.get("GITHUB_OUTPUT"), os.environ.get("TF_BUILD")
    if not file and not azure:
        return
    told = {
        key: "" if one is None else json.dumps(one) if isinstance(one, bool) else str(one)
        for key, one in values.items()
    }
    for key, text in told.items():
        if not re.fullmatch(r"[A-Za-z_][\w-]*", key) or len(text.splitlines()) > 1 or text.endswith(("\n", "\r")):
            raise UsageError(f"The output {key!r} cannot be handed to the next step: its name or a line break in it.")
    if file:
        with Path(file).open("a", encoding="utf-8", newline="\n") as place:
            place.writelines(f"{key}={text}\n" for key, text in told.items())
    if azure:
        for key, text in told.items():
            safe = text.replace("%", "%AZP25")
            print(f"##vso[task.setvariable variable={key};isOutput=true]{safe}", file=sys.stderr, flush=True)


def line(text: str, style: str = "") -> None:
    """Print a line; brackets in it are text, not markup."""
    _out.print(text, style=style or None, markup=False, soft_wrap=True)


def error(text: str) -> None:
    """Print a sentence to standard error."""
    _err.print(text, style="red", markup=False, soft_wrap=True)


def word(text: str) -> str:
    """Colour a verdict."""
    return f"[{COLOURS[text]}]{text}[/]" if text in COLOURS else text


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers with four digits behind the point."""
    grid = Table(title=title, title_justify="left", header_style="bold")
    for n, name in enumerate(head):
        grid.add_column(name, justify="left" if n == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(
            *(f"{cell:.4f}" if isinstance(cell, float) else word("" if cell is None else str(cell)) for cell in row)
        )
    console = _out if _out.is_terminal else Console(highlight=False, width=160, file=sys.stdout)
    console.print(grid)


@contextmanager
def steps(total: int, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Show a bar over named steps on standard error; call the yielded function as each step begins."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=_err,
        transient=True,
        disable=quiet or not _err.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=total)
        begun = 0

        def step(name: str) -> None:
            nonlocal begun
            bar.update(task, description=name, completed=begun)
            begun += 1

        yield step


@contextmanager
def rows(quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """Show how many rows are done on standard error."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} rows"),
        TimeElapsedColumn(),
        console=_err,
        transient=True,
        disable=quiet or not _err.is_terminal,
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda done: bar.update(task, completed=done)


def choose(folder: Path | None) -> None:
    """Set the project's folder; None means the one that the user stands in."""
    global _given
    _given = folder


def root() -> Path:
    """Return the project's folder: the given one, or the nearest one above with `conf/project.yaml`.

    Raises:
        UsageError: there is none.
    """
    here = _given or Path.cwd()
    for folder in (here, *(() if _given else here.resolve().parents)):
        if (folder / "conf" / "project.yaml").is_file():
            return folder
    raise UsageError(
        f"{here} is no project: there is no conf/project.yaml in it or above. Go into the project, or give --project."
    )


def project() -> "Project":
    """Open the project; what it needs is imported only now."""
    from .pipeline import Project

    return Project(root())


def result(found: "Result") -> None:
    """Print what a run came to."""
    rows = [
        ("model", *found.metrics.values()),
        *((name, *values.values()) for name, values in found.baselines.items()),
    ]
    if found.champion and found.champion["metrics"]:
        rows.append((f"champion (version {found.champion['version']})", *found.champion["metrics"].values()))
    table(f"Holdout, data version {found.data_version}", ("", *found.metrics), rows)
    for text in (*found.reasons, *found.notes):
        line(f"- {text}")
    line(
        f"Decision: {found.decision}" + (f", version {found.model_version}" if found.model_version else ""),
        COLOURS[found.decision],
    )
    line(f"Report: {found.report} ({found.seconds:.1f} s)")
