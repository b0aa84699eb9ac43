"""Train this checkout's code and an earlier commit's on the same rows, and let the gate compare: nothing is kept."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, chdir
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ..contract import Contract
from ..evaluate import evaluate, read_scores, write_scores
from ..gate import Decision, gate
from ..ingest import SYNTHETIC
from ..metrics import measure
from ..pipeline import Project
from ..record import begun
from ..split import sample_rows, split
from ..synth import sample, to_raw
from ..table import replacing
from ..train import train_run
from .base_revision import NoChampion, Other, Trained, commit_of_revision, copy_settings, worktree
from .summary import summary

FULL = 200_000  # synthetic rows
Progress = Callable[[str], None]


class Judged(Struct, kw_only=True):
    """What became of it; `against` is the commit of the champion, empty where there was none."""

    decision: Decision
    metrics: dict[str, dict[str, float]]
    rows: int
    data: str
    against: str
    notes: list[str]
    page: str


class Rows(Struct):
    """The rows on which both are judged: a data version, how many of it (None: all), and in words."""

    version: str
    sample: int | None
    synthetic: bool
    words: str


def check_training(project: Project, against: str, rows: int, full: bool, progress: Progress) -> Judged:
    """Train and judge in a scratch folder.

    Args:
        project: this checkout's.
        against: a git revision, whose model is the champion; empty for none.
        rows: how many; of the newest data version, or synthetic ones where the project has none.
        full: all rows of the data version, or more synthetic ones.
        progress: is told the name of each step as it begins.

    Raises:
        DataError, UsageError: the contract, the rows or the settings are not as they should be.
    """
    notes: list[str] = []
    project = Project(project.root.resolve())
    contract, settings = project.contract, project.settings
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place, ExitStack() as stack:
        folder = Path(place).resolve()
        stack.enter_context(chdir(folder))  # MLflow makes folders wherever one stands
        progress("rows")
        here = Project(copy_settings(project.root, folder / "challenger"))
        used = _rows(project, here, rows, full)
        commit, other = "", None
        try:
            commit = commit_of_revision(project.root, against)
            before = stack.enter_context(worktree(project.root, commit, folder / "code"))
            scratch = copy_settings(before, folder / "champion")
            shutil.copytree(here.root / "data", scratch / "data")
            other = Other(before, scratch, used.version, used.sample)
            stack.callback(other.stop)
        except NoChampion as error:
            notes.append(f"There is no champion: {error}")
        progress("train")
        out, about = _train(here, used)
        data = out / "sample.parquet" if used.sample else here.store.path(used.version)
        progress("evaluate")
        told = evaluate(data, out / "split.parquet", out, contract, settings, out)
        progress("champion")
        old = None
        try:
            old = _champion(other.ended() if other else None, out, told, about, contract)
        except NoChampion as error:
            notes.append(f"There is no champion: {error}")
        progress("gate")
        decision = gate(out / "scores.parquet", out / "evaluation.json", settings, out / "decision.json", old)
    against = commit if old else ""
    page = summary(settings.name, decision, told, used.words, against[:8], notes)
    return Judged(
        decision=decision, metrics=told["metrics"], rows=told["rows"], data=used.words, against=against, notes=notes,
        page=page,
    )  # fmt: skip


def _rows(project: Project, here: Project, rows: int, full: bool) -> Rows:
    """Put a data version into the scratch project."""
    if versions := project.store.versions():
        newest = versions[-1]
        folder = project.store.path(newest.version).parent
        shutil.copytree(folder, here.root / folder.relative_to(project.root))
        few = None if full or newest.rows <= rows else rows
        words = f"{few or newest.rows:,} rows of the data version {newest.version}"
        return Rows(newest.version, few, newest.known_as == SYNTHETIC, words)
    count = max(rows, FULL) if full else rows
    contract = project.contract
    path = here.root / "rows.parquet"
    to_raw(sample(contract, count, 0), contract).write_parquet(path)
    here.store.note_synthetic(path)
    made, _ = here.store.add(path, contract)
    return Rows(made.version, None, True, f"{count:,} synthetic rows")


def _train(here: Project, used: Rows) -> tuple[Path, dict[str, Any]]:
    """Part the rows and fit the three models; return their folder, and what is known of them."""
    contract, settings, out = here.contract, here.settings, here.root / "runs" / "challenger"
    out.mkdir(parents=True)
    data = here.store.path(used.version)
    if used.sample:
        data = sample_rows(data, used.sample, out / "sample.parquet")
    parts = split(data, contract, settings.split, out / "split.parquet")
    about = begun(used.version, contract, parts, used.sample, used.synthetic)
    train_run(here.root, "challenger", data, out / "split.parquet", contract, settings, out, about)
    return out, about


def _champion(
    other: Trained | None, out: Path, told: dict[str, Any], about: dict[str, Any], contract: Contract
) -> Path | None:
    """Write the champion's scores of the same holdout, and its metrics beside the challenger's."""
    if other is None:
        return None
    if other.line != about["line"]:
        raise NoChampion("Target, features or split are not those of the earlier code: a new model line begins.")
    rows, y, models = read_scores(other.folder / "scores.parquet")
    scores = models[other.candidate]
    path = out / "champion.parquet"
    write_scores(path, rows, y, {"model": scores})
    told["metrics"]["champion"] = measure(contract.task, y, scores)
    with replacing(out / "evaluation.json") as part:
        part.write_bytes(msgspec.json.format(msgspec.json.encode(told)))
    return path
