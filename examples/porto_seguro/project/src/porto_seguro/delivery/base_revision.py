"""A model of an earlier commit: its code and settings, in a folder and a process of their own, on given rows."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from msgspec import Struct

from ..errors import UsageError
from ..record import RUN
from ..train import git

PACKAGE = __package__.split(".")[0]
# What would make the other process take this one's project, or tell its outputs as ours.
OTHERS = {"PROJECT_DIR", "PYTHONPATH", "GITHUB_OUTPUT", "TF_BUILD"}
HOURS = 6


class NoChampion(UsageError):
    """There is nothing to compare with; the message says why."""


class Trained(Struct):
    """What the earlier commit made of the rows: the folder of its run, which model of it stands, and its line."""

    folder: Path
    candidate: str
    line: str


def commit_of_revision(root: Path, revision: str) -> str:
    """Return the commit that a revision names.

    Raises:
        NoChampion: none was named, there is no git here, or it has no such commit.
    """
    if not revision:
        raise NoChampion("No revision was named to compare with.")
    if git(root, "rev-parse", "--git-dir") is None:
        raise NoChampion("There is no git repository here, so there is no earlier code to compare with.")
    # A revision may come from outside: it must not be taken for an option.
    found = git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{commit}")
    if not found:
        raise NoChampion("The revision to compare with cannot be reached from this checkout (is its history whole?).")
    return found


@contextmanager
def worktree(root: Path, commit: str, place: Path) -> Iterator[Path]:
    """Give the project as it was at a commit, in the folder `place`, for as long as it is needed.

    Raises:
        NoChampion: the project was not there yet.
    """
    prefix = git(root, "rev-parse", "--show-prefix") or ""  # a project may stand deeper in its repository
    if git(root, "worktree", "add", "--detach", str(place), commit) is None:
        raise NoChampion(f"git could not check out {commit[:8]} beside this checkout.")
    try:
        before = place / prefix
        if not (before / "conf" / "project.yaml").is_file() or not (before / "src" / PACKAGE).is_dir():
            raise NoChampion(f"The project did not exist at {commit[:8]} yet.")
        yield before
    finally:
        git(root, "worktree", "remove", "--force", str(place))
        git(root, "worktree", "prune")


def copy_settings(source: Path, target: Path) -> Path:
    """Make a folder that is a project: its settings and locks, but no data and no models."""
    for name in ("conf", "requirements"):
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
    return target


class Other:
    """The earlier code at work, beside this process."""

    def __init__(self, before: Path, scratch: Path, version: str, sample: int | None) -> None:
        """Start it.

        Args:
            before: the earlier checkout.
            scratch: its project folder, which has the data version already.
            version: the data version.
            sample: how many of its rows to use; None for all.
        """
        words = ["--project", str(scratch), "run", "--data", version, "--json"]
        words += ["--sample", str(sample)] if sample else []
        environ = {k: v for k, v in os.environ.items() if k not in OTHERS} | {"PYTHONPATH": str(before / "src")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", PACKAGE, *words], cwd=scratch, env=environ, text=True, encoding="utf-8",
            errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ended(self) -> Trained:
        """Wait for it.

        Raises:
            NoChampion: it could not train on these rows.
        """
        out, errors = self._process.communicate(timeout=HOURS * 3600)
        told = _object(out)
        if self._process.returncode:
            said = str(told.get("error") or (errors.strip().splitlines() or ["it gave no reason"])[-1])
            raise NoChampion(f"The earlier code cannot learn from these rows: {said[:300]}")
        try:
            folder = Path(told["report"]).parent
            judged, about = (_object((folder / name).read_text("utf-8")) for name in ("decision.json", RUN))
            return Trained(folder, str(judged["candidate"]), str(about["line"]))
        except (OSError, KeyError) as error:
            raise NoChampion(f"The earlier code leaves its results in another way: {error}") from None

    def stop(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def _object(text: str) -> dict[str, Any]:
    """Read a JSON object; what is none is an empty one."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
