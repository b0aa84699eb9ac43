"""The only source of time, so that tests and simulations can set it."""

import time
from datetime import UTC, datetime

_set: datetime | None = None


def now() -> datetime:
    """Return the current moment in UTC, or the moment given to `set_now`."""
    return _set or datetime.now(UTC)


def set_now(moment: datetime | None) -> None:
    """Make `now` return `moment` (aware, UTC) until it is set again; None returns to real time."""
    global _set
    _set = moment


def seconds() -> float:
    """Return a steadily rising number of seconds, for measuring how long something takes."""
    return time.perf_counter()
