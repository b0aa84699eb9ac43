"""What the loop remembers between passes, in `data/loop.json`."""

from pathlib import Path

import msgspec
from msgspec import Struct

from ..errors import Fault
from ..table import replacing
from .policy import Attempt

FILE = "loop.json"


class Work(Struct):
    """A retraining under way, and how far it has come."""

    trigger: str
    evidence: list[str]
    since: str
    run: str | None = None
    version: int | None = None
    tries: int = 0


class State(Struct):
    """What the loop remembers; `alarms` were told already."""

    attempts: list[Attempt] = []
    work: Work | None = None
    alarms: list[str] = []
    blocked: str = ""


def read_state(root: Path) -> State:
    """Return what is remembered of the project in `root`.

    Raises:
        Fault: the file is broken.
    """
    path = root / "data" / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return State()
    except msgspec.DecodeError as error:
        raise Fault(f"{path} cannot be used: {error}. Remove it; no data and no model is lost.") from None


def save_state(root: Path, state: State) -> None:
    """Remember it; the file is replaced as a whole."""
    with replacing(root / "data" / FILE) as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(state)))
