"""What a training job left: the output `decision`, with what the gate said, measurements and report."""

from pathlib import Path
from typing import Any

import msgspec

from ..errors import DataError
from ..gate import Decision
from .az import Az
from .environments import Environment


def fetch_decision(az: Az, environment: Environment, job: str, folder: Path) -> Decision:
    """Fetch the output `decision` of a job into a folder, and return what the gate said.

    Raises:
        DataError: its outputs are not those of the training pipeline.
    """
    az.read(
        "ml", "job", "download", "--name", job, "--output-name", "decision", "--download-path", str(folder),
        *environment.scope, seconds=3600,
    )  # fmt: skip
    told: Decision = read_output(folder, "decision.json", Decision, job)
    return told


def path_of(folder: Path, name: str, job: str) -> Path:
    """Return where a file of the output is.

    Raises:
        DataError: it is not there.
    """
    if found := sorted(folder.rglob(name)):
        return found[0]
    raise DataError(f"The output `decision` of {job} has no {name}: was it the training pipeline?")


def read_output(folder: Path, name: str, kind: Any, job: str) -> Any:
    """Read a JSON file of the output.

    Raises:
        DataError: it is not there, or not of this kind.
    """
    try:
        return msgspec.json.decode(path_of(folder, name, job).read_bytes(), type=kind)
    except msgspec.MsgspecError as error:
        raise DataError(f"{name} of {job} cannot be read: {error}") from None
