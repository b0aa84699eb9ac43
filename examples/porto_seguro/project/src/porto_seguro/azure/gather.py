"""Steps that read the inbox by its own rules: what came in since becomes a data version; the last table is the window."""

import shutil
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec
import typer

from .. import cli, show
from ..errors import DataError, UsageError
from ..parts import HIDDEN
from ..store import Store
from ..watch.inbox import Inbox
from .step_io import contract, filling, manifest_of, note, settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
AWAY = ("archive", "quarantine")  # what the inbox itself puts aside, where somebody else empties it


@app.command()
def newest(
    inbox: Annotated[Path, typer.Option(help="The inbox; it is only read.")],
    out: Annotated[Path, typer.Option(help="The folder for the table.")],
) -> None:
    """Bring the table that came into the inbox last and is complete: what a project without a service monitors."""
    with TemporaryDirectory() as scratch:
        drops = Inbox(Store(Path(scratch)), msgspec.structs.replace(settings().inbox, url=str(inbox.absolute())))
        if not (complete := drops.waiting()):
            raise DataError(f"{inbox} holds no complete table, so there is nothing to look at yet.")
        table = inbox / complete[-1]
        with filling(out) as folder:
            if table.is_dir():
                shutil.copytree(table, folder)
            else:
                folder.mkdir()
                shutil.copy2(table, folder)
    show.line(f"The window is {complete[-1]}.")


@app.command()
def gather(
    base: Annotated[Path, typer.Option(help="The newest data version.")],
    out: Annotated[Path, typer.Option(help="The folder for the data version.")],
    refused: Annotated[Path, typer.Option(help="The folder for tables that are refused, with the reasons.")],
    inbox: Annotated[Path | None, typer.Option(help="The inbox; it is only read.")] = None,
    since: Annotated[str, typer.Option(help="An ISO time: what came into the inbox before is in the version.")] = "",
) -> None:
    """Take in all tables of the inbox that are complete, as `ingest` does here; without any, the version stays as it is.

    A table that is taken a second time adds no row, so `since` may well be too early.
    """
    try:
        moment = datetime.fromisoformat(since or "1970-01-01")
    except ValueError:
        raise UsageError(f"--since {since} is no ISO time; write it like 2026-01-31T12:00:00+00:00.") from None
    with TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        shutil.copytree(base, store.folder / "versions" / manifest_of(base).version)
        store.inbox.mkdir()
        for path in _newer(inbox, moment if moment.tzinfo else moment.replace(tzinfo=UTC)) if inbox else ():
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, store.inbox / path.name)
        drops = Inbox(store, msgspec.structs.replace(settings().inbox, url="data/inbox"))
        for text in drops.unfinished():
            show.line(f"Not complete yet: {text}")
        taken = list(drops.take(contract()))
        for one in taken:
            show.line(f"{one.file}: {one.reason or f'{one.rows:,} rows in version {one.version}'}")
        newest = store.latest()
        with filling(out) as folder:
            shutil.copytree(store.path(newest.version).parent, folder)
        with filling(refused) as folder:
            shutil.copytree(store.quarantine, folder) if store.quarantine.is_dir() else folder.mkdir()
    note({"taken": sum(one.new for one in taken), "refused": sum(bool(one.reason) for one in taken)})
    show.line(f"Data version {newest.version}, {newest.rows:,} rows")


def _newer(inbox: Path, moment: datetime) -> Iterator[Path]:
    """Yield what lies in the inbox since a moment: files, folders of parts, and what belongs to them."""
    groups: dict[str, list[Path]] = {}
    for path in sorted(inbox.iterdir()):
        if not path.name.startswith(HIDDEN) and path.name not in AWAY:
            groups.setdefault(path.name.removesuffix(".json"), []).append(path)
    for paths in groups.values():
        inside = [file for path in paths for file in (path.rglob("*") if path.is_dir() else [path])]
        times = []
        for file in inside:
            with suppress(FileNotFoundError):  # somebody took it away
                times.append(file.stat().st_mtime)
        if times and max(times) >= moment.timestamp():
            yield from paths


if __name__ == "__main__":
    cli.main(app)
