"""Look a project over: what is there, what is missing, and which command comes next."""

import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from msgspec import Struct

from .errors import ProjectError
from .pipeline import Project
from .train import metric_of
from .watch.inbox import Inbox

FREE_GB = 1.0
LIBRARIES = ("lightgbm", "mlflow", "polars", "scikit-learn")


class Finding(Struct):
    """One thing looked at; `state` is ok, note or wrong."""

    what: str
    state: str
    detail: str


def examine(root: Path) -> tuple[list[Finding], str]:
    """Return the findings and the next command to type."""
    found = [_python(), *map(_library, LIBRARIES), _disk(root), _git(root)]
    following = "run"
    project = Project(root)
    try:
        contract = project.contract
        metric_of(project.settings, contract.task)
        found.append(
            Finding(
                "contract",
                "ok",
                f"{contract.task}, target {contract.target.name}, {len(contract.of('feature'))} features",
            )
        )
    except ProjectError as error:
        there = (root / "conf" / "contract.yaml").exists()
        found.append(Finding("contract", "wrong" if there else "note", str(error)))
        return found, "mend conf/contract.yaml" if there else "contract infer FILE --target COLUMN"
    versions = project.store.versions()
    if versions:
        found.append(
            Finding(
                "data",
                "ok",
                f"{len(versions)} versions, the newest {versions[-1].version} with {versions[-1].rows:,} rows",
            )
        )
    else:
        found.append(Finding("data", "note", "no version yet"))
        following = "data sample, then ingest (or: run --data FILE)"
    here = "://" not in project.settings.inbox.url  # another machine is not asked for a look
    waiting = len(Inbox(project.store, project.settings.inbox).waiting()) if here else 0
    if waiting:
        found.append(Finding("inbox", "note", f"{waiting} files wait"))
        following = "ingest"
    try:
        champion = project.registry.champion()
        found.append(
            Finding("champion", "ok" if champion else "note", f"version {champion.version}" if champion else "none yet")
        )
    except ProjectError as error:
        return [*found, Finding("registry", "wrong", str(error))], "mend mlflow.db, or move it away and run again"
    if foreign := project.registry.foreign():
        said = f"versions registered by hand, of no use here: {', '.join(map(str, foreign))}"
        found.append(Finding("registry", "note", said))
    if champion and not waiting and versions:
        following = "score INPUT OUTPUT"
    return found, following


def _python() -> Finding:
    good = sys.version_info[:2] in ((3, 11), (3, 12))
    return Finding("Python", "ok" if good else "wrong", sys.version.split()[0] + ("" if good else ": use 3.11 or 3.12"))


def _library(name: str) -> Finding:
    try:
        return Finding(name, "ok", version(name))
    except PackageNotFoundError:
        return Finding(name, "wrong", "not installed: pip install -r requirements/project.txt")


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free / 1e9
    return Finding("disk", "ok" if free >= FREE_GB else "wrong", f"{free:.1f} GB free")


def _git(root: Path) -> Finding:
    there = any((folder / ".git").exists() for folder in (root.resolve(), *root.resolve().parents))
    return Finding(
        "git",
        "ok" if there else "note",
        "the commit is noted with each model" if there else "no repository: git init && git add -A && git commit",
    )
