"""The log of all predictions: every request's inputs and scores, only ever appended to."""

import sys
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from .. import clock
from .payload import Refused

STAMP = "%Y%m%d-%H%M%S-%f"  # how the name of a file begins: when its first line was noted
LENGTH = 22  # of that
REFUSALS = 20  # that are told of a request
BLOCK = 65_536  # bytes that are read at once, from the end of a file


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
        self._lines = deque[tuple[Any, ...]]()  # as in `Logged`
        self._waiting = self.kept = self.dropped = self.refused = 0
        self._wake, self._ended = threading.Event(), False
        self._encode = msgspec.json.Encoder().encode
        self._file: BinaryIO | None = None
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)
        self._thread.start()

    def add(self, request: str, ids: list[str], cells: Sequence[Any], result: list[Any]) -> None:
        """Note a request; returns at once."""
        rows = len(ids)
        if self._waiting + rows > self._most:
            self.dropped += rows
            return
        self._waiting += rows
        self._lines.append((clock.now(), request, ids, cells, result))

    def refuse(self, request: str, cells: Sequence[Refused]) -> None:
        """Note a request that was refused, and what was wrong with it; returns at once."""
        if self._waiting < self._most:
            self._waiting += 1
            self._lines.append((clock.now(), request, [], [], [], cells[:REFUSALS]))

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
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return
        rows, refused = sum(len(line[2]) for line in lines), sum(len(line) > 5 for line in lines)
        self._waiting -= rows + refused
        try:
            text = b"".join(self._encode(line) + b"\n" for line in lines)
            self._write(self._open(lines[0][0]), text)
            self.kept += rows
            self.refused += refused
        except OSError:
            self.dropped += rows

    def _write(self, file: BinaryIO, text: bytes) -> None:
        """Append all of it or nothing."""
        before, left = file.tell(), memoryview(text)
        try:
            while left:  # the system may take a part only, and say nothing
                left = left[file.write(left) :]
        except OSError:
            try:
                file.truncate(before)
                file.seek(before)
            except OSError:  # half a line stays, the last one of this file
                self._close()
            raise

    def _close(self) -> None:
        if self._file:
            self._file.close()
        self._file = None

    def _open(self, first: datetime) -> BinaryIO:
        """The file for lines of which the first was noted then."""
        if self._file and self._file.tell() >= self._size:
            self._close()
        if not self._file:
            self._folder.mkdir(parents=True, exist_ok=True)
            name = f"{first.strftime(STAMP)}-{self._about['deployment']}-{self._about['model_version']}.jsonl"
            self._file = (self._folder / name).open("ab", buffering=0)
        if not self._file.tell():
            self._write(self._file, self._encode(self._about) + b"\n")
        return self._file


class Header(msgspec.Struct):
    """The first line of a file of the prediction log."""

    deployment: str
    model_version: str
    columns: list[str]


class Logged(msgspec.Struct, array_like=True):
    """A request in the prediction log; `data` in the order of the header's columns.

    One that was refused has no rows; `refused` says why: column, rule, and how many cells broke it.
    """

    time: datetime
    request_id: str
    ids: list[str]
    data: list[list[Any]]
    result: list[Any]
    refused: list[Refused] = []


_header, _decode = msgspec.json.Decoder(Header).decode, msgspec.json.Decoder(Logged).decode
_BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_told: set[Path] = set()  # files of which was said that they are broken


def read_log(
    folder: Path, since: datetime | None = None, until: datetime | None = None
) -> Iterator[tuple[Header, Logged]]:
    """Yield the requests of all files, oldest file first, those that were refused too.

    A line that a crash cut off is left out; so is one that cannot be read, and a word about it goes to standard error.

    Args:
        folder: of the log.
        since: leave out what is older; files without anything newer are hardly looked at.
        until: leave out what is not older; files that begin later are not looked at.
    """
    for path in _files(folder, since, until):
        with path.open("rb") as file:
            first = file.readline()
            header = _head(first)
            broken = int(header is None and first.endswith(b"\n"))
            for text in file:
                line = _line(text) if header else None
                if header and line and (since is None or line.time >= since) and (until is None or line.time < until):
                    yield header, line
                broken += line is None and text.endswith(b"\n")
        if broken and path not in _told:
            _told.add(path)
            print(f"The prediction log has {broken:,} broken lines in {path.name}; they are left out.", file=sys.stderr)


def newest_scores(folder: Path, since: datetime, who: dict[str, str], rows: int) -> dict[str, list[Any]]:
    """Return about so many of the newest scores of each deployment; files are read only as far back as that takes.

    Args:
        folder: of the log.
        since: leave out what is older.
        who: the version of each deployment.
        rows: of each.
    """
    found: dict[str, list[Any]] = {name: [] for name in who}
    for path in reversed(_files(folder, since, None)):
        with path.open("rb") as file:
            header = _head(file.readline())
            if not header or who.get(header.deployment) != header.model_version:
                continue
            scores = found[header.deployment]
            for text in _backwards(file):
                line = _line(text)
                if len(scores) >= rows or (line and line.time < since):
                    break
                scores += line.result[::-1] if line else []
    return {name: scores[:rows][::-1] for name, scores in found.items()}


def _files(folder: Path, since: datetime | None, until: datetime | None) -> list[Path]:
    """Those files that may have something of that time, oldest first."""
    before = until.astimezone(UTC).strftime(STAMP) if until else "~"  # which comes after every digit
    return [
        path
        for path in sorted(folder.glob("*.jsonl"))
        if path.name[:LENGTH] < before and (since is None or _goes_on(path, since))
    ]


def _goes_on(path: Path, since: datetime) -> bool:
    """Whether a file has a line that is as new, by its last one: lines stand in the order of time.

    The name of the next file would not tell: several processes may write for one deployment, each to its own files.
    """
    with path.open("rb") as file:
        last = next((line for text in _backwards(file) if (line := _line(text))), None)
        return last is not None and last.time >= since


def _head(text: bytes) -> Header | None:
    try:
        return _header(text)
    except _BROKEN:
        return None


def _line(text: bytes) -> Logged | None:
    try:
        return _decode(text) if text.endswith(b"\n") else None
    except _BROKEN:
        return None


def _backwards(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, the last one first."""
    at, rest = file.seek(0, 2), b""
    while at:
        size = min(BLOCK, at)
        at -= size
        file.seek(at)
        rest, *lines = (file.read(size) + rest).splitlines(keepends=True)
        yield from reversed(lines)
    yield rest
