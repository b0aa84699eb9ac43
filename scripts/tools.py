"""Tools that would not fit into the kit's environment: each is installed once, beside it, whoever asks first."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from filelock import BaseFileLock, FileLock
from render import ROOT

HOW = {"npm": "apt-get install nodejs npm", "uv": "pip install uv"}
Commands = Callable[[Path], Iterable[list[str]]]


def place(name: str) -> Path:
    """Return the folder of a tool: in .nox or, where the kit runs without nox, among temporary files."""
    above = ROOT / ".nox"
    return (above if above.is_dir() else Path(tempfile.gettempdir())) / name


def alone(folder: Path) -> BaseFileLock:
    """Let one process at a time write into the folder of a tool; several workers may ask for it at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{folder}.lock")


def installed(name: str, commands: Commands) -> Path:
    """Return the folder of a tool, which is installed on first use.

    Args:
        name: of the folder, with the versions that belong into it.
        commands: what installs it into an empty folder.

    Raises:
        RuntimeError: it cannot be installed; nothing stays.
    """
    folder = place(name)
    made = folder / "made"  # written last, so that a half-made folder is made again
    if not made.exists():
        with alone(folder):
            if not made.exists():
                shutil.rmtree(folder, ignore_errors=True)
                for words in commands(folder):
                    _run(name, words)
                made.touch()
    return folder


def _run(name: str, words: list[str]) -> None:
    if shutil.which(words[0]) is None:
        raise RuntimeError(f"{words[0]} is needed for {name}: {HOW[words[0]]}")
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} could not be installed by {words[0]}: {done.stderr[-500:]}")
