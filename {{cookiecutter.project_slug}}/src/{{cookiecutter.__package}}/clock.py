"""The only source of time, so that tests and simulations can set it."""

import mmap
import os
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

# An environment variable: a file that holds by how many seconds the processes of a simulation are off from real time.
SHARED = "SHARED_CLOCK"
_set: datetime | None = None
_shared: mmap.mmap | None = None


def now() -> datetime:
    """Return the current moment in UTC, or the moment given to `set_now`."""
    if _set or _shared is None:
        return _set or datetime.now(UTC)
    return datetime.now(UTC) + timedelta(seconds=struct.unpack_from("d", _shared)[0])


def set_now(moment: datetime | None) -> None:
    """Make `now` return `moment` (aware, UTC) until it is set again; None returns to real time."""
    global _set
    _set = moment


def share(file: Path | None) -> None:
    """Keep time by a file, with all processes that are started from now on; None returns to real time."""
    global _shared
    _shared = None
    os.environ.pop(SHARED, None)
    if file:
        if not file.exists():
            file.write_bytes(struct.pack("d", 0.0))
        with file.open("r+b") as opened:
            _shared = mmap.mmap(opened.fileno(), 8)
        os.environ[SHARED] = str(file)


def jump(moment: datetime) -> None:
    """Make it `moment` (aware, UTC) in all processes that keep time by the file; from there it goes on."""
    assert _shared is not None
    struct.pack_into("d", _shared, 0, (moment - datetime.now(UTC)).total_seconds())


def stamp() -> str:
    """Return the current moment as ISO text; texts are ordered as their moments are."""
    return now().isoformat(timespec="milliseconds")


def seconds() -> float:
    """Return a steadily rising number of seconds, for measuring how long something takes."""
    return time.perf_counter()


if SHARED in os.environ:
    share(Path(os.environ[SHARED]))
