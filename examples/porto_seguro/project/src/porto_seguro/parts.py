"""A source of rows: one file, or a folder of parts that are one table in the order of their names."""

import hashlib
from pathlib import Path

import polars as pl

from .check import check_file, check_frame
from .clean import Problem, read
from .contract import Contract
from .errors import DataError

BLOCK = 1 << 22
HIDDEN = (".", "_")  # names that begin like this are notes of the program that wrote the folder


class Rejected(DataError):
    """The table breaks its contract; `problems` says how."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        """Say the first problem and how many there are."""
        self.problems = problems
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{path.name} breaks the data contract: {problems[0]}{more}.")


def parts(source: Path) -> list[Path]:
    """Return the files of a source that may hold rows, in order.

    Raises:
        DataError: a folder holds none, or further folders.
    """
    if not source.is_dir():
        return [source]
    inside = sorted(path for path in source.iterdir() if not path.name.startswith(HIDDEN))
    if folders := [path.name for path in inside if path.is_dir()]:
        raise DataError(
            f"{source} holds a folder ({folders[0]}); write all parts side by side, not by the values of a column."
        )
    if not any(path.stat().st_size for path in inside):
        raise DataError(f"{source} holds no rows.")
    return inside


def source_hash(source: Path) -> str:
    """Return the SHA-256 of the bytes of a source: of its parts one after the other."""
    total = hashlib.sha256()
    for part in parts(source):
        with part.open("rb") as file:
            while block := file.read(BLOCK):
                total.update(block)
    return total.hexdigest()


def checked(source: Path, contract: Contract) -> tuple[pl.DataFrame, list[str]]:
    """Read a source.

    Returns:
        Its clean rows, and the columns that the contract does not know.

    Raises:
        Rejected: it breaks the contract.
        DataError: it cannot be read, lacks a column, or holds no rows.
    """
    frame, problems, extra = _together(source, contract) if source.is_dir() else check_file(source, contract)
    if problems:
        raise Rejected(source, problems)
    return frame, extra


def _together(source: Path, contract: Contract) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    need = [c.name for c in contract.columns if c.role in ("feature", "target")]
    frames, unknown = [], dict[str, None]()
    for part in (part for part in parts(source) if part.stat().st_size):
        try:
            frame, problems, extra = read(part, contract, need)
        except DataError as error:
            if "no rows" in str(error):  # a part of its own for nothing is usual
                continue
            raise
        if problems:
            raise Rejected(part, problems)
        frames.append(frame)
        unknown |= dict.fromkeys(extra)
    if not frames:
        raise DataError(f"{source} holds no rows.")
    frame = pl.concat(frames, how="diagonal")
    frame = frame.select(name for name in contract.names if name in frame.columns)
    return frame, check_frame(frame, contract), list(unknown)
