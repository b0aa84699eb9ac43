"""The log of all predictions: every request's inputs and scores, only ever appended to."""

import threading
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from .. import clock


class PredictionLog:
    """Every request's inputs and scores, a line of JSON each, in files that are only ever appended to.

    Lines are written by a thread of their own, off the request path. A line is whole or, after a crash, the last one of
    its file; `read_log` leaves that one out. Where the disk is full, rows are dropped and counted: serving goes on.
    """

    def __init__(self, folder: Path, about: dict[str, Any], megabytes: float, waiting: int = 100_000) -> None:
        """Begin.

        Args:
            folder: where the files are; made if missing.
            about: the first line of each file: deployment, model version, columns.
            megabytes: after which a new file is begun.
            waiting: rows that may wait to be written; beyond, rows are dropped.
        """
        self._folder, self._about, self._size, self._most = folder, about, int(megabytes * 1e6), waiting
        self._lines: list[tuple[datetime, str, list[str], Sequence[Any], list[Any]]] = []
        self._rows = self.kept = self.dropped = 0
        self._wake, self._ended = threading.Event(), False
        self._encode = msgspec.json.Encoder().encode
        self._file: Any = None
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)
        self._thread.start()

    def add(self, request: str, ids: list[str], cells: Sequence[Any], result: list[Any]) -> None:
        """Note a request; returns at once."""
        if self._rows + len(ids) > self._most:
            self.dropped += len(ids)
            return
        self._rows += len(ids)
        self._lines.append((clock.now(), request, ids, cells, result))

    def close(self) -> None:
        """Write what waits, and end."""
        self._ended = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended:
            self._wake.wait(0.2)
            self._flush()
        self._flush()
        if self._file:
            self._file.close()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        rows = sum(len(line[2]) for line in lines)
        self._rows -= rows
        try:
            text = b"".join(self._line(*line) for line in lines)
            file = self._open()
            before = file.tell()
            try:
                file.write(text)
                file.flush()
            except OSError:
                file.truncate(before)  # no half line
                file.seek(before)
                raise
            self.kept += rows
        except OSError:
            self.dropped += rows

    def _line(self, time: datetime, request: str, ids: list[str], cells: Sequence[Any], result: list[Any]) -> bytes:
        return self._encode((time, request, ids, cells, result)) + b"\n"

    def _open(self) -> Any:
        if self._file and self._file.tell() >= self._size:
            self._file.close()
            self._file = None
        if not self._file:
            self._folder.mkdir(parents=True, exist_ok=True)
            stamp = clock.now().strftime("%Y%m%d-%H%M%S-%f")
            name = f"{stamp}-{self._about['deployment']}-{self._about['model_version']}.jsonl"
            self._file = (self._folder / name).open("xb", buffering=0)
            self._file.write(self._encode(self._about) + b"\n")
        return self._file


class Header(msgspec.Struct):
    """The first line of a file of the prediction log."""

    deployment: str
    model_version: str
    columns: list[str]


class Logged(msgspec.Struct, array_like=True):
    """A request in the prediction log; `data` in the order of the header's columns."""

    time: datetime
    request_id: str
    ids: list[str]
    data: list[list[Any]]
    result: list[Any]


_decode = msgspec.json.Decoder(Logged).decode


def read_log(folder: Path, since: datetime | None = None) -> Iterator[tuple[Header, Logged]]:
    """Yield the requests of all files, oldest file first; a line that a crash cut off is left out.

    Args:
        folder: of the log.
        since: leave out what is older.
    """
    for path in sorted(folder.glob("*.jsonl")):
        yield from _read_file(path, since)


def newest_scores(folder: Path, since: datetime, who: dict[str, str], rows: int) -> dict[str, list[Any]]:
    """Return about so many of the newest scores of each deployment; files are read only as far back as that takes.

    Args:
        folder: of the log.
        since: leave out what is older.
        who: the version of each deployment.
        rows: of each.
    """
    found: dict[str, list[Any]] = {name: [] for name in who}
    for path in sorted(folder.glob("*.jsonl"), reverse=True):
        for header, line in _read_file(path, since):
            if who.get(header.deployment) != header.model_version or len(found[header.deployment]) >= 2 * rows:
                break
            found[header.deployment] += line.result
    return {name: scores[-rows:] for name, scores in found.items()}


def _read_file(path: Path, since: datetime | None) -> Iterator[tuple[Header, Logged]]:
    if since and path.stat().st_mtime < since.timestamp():
        return
    with path.open("rb") as file:
        first = file.readline()
        if not first.endswith(b"\n"):
            return
        header = msgspec.json.decode(first, type=Header)
        for text in file:
            if text.endswith(b"\n"):
                line = _decode(text)
                if since is None or line.time >= since:
                    yield header, line
