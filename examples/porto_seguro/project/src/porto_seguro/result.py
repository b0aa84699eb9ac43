"""What `run` tells a user or a program."""

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from .gate import Decision
from .record import RUN, comparable
from .registry import Version


class Result(Struct, kw_only=True):
    """What `run` tells; `champion` is the one that there was before, its metrics those on the same holdout."""

    data_version: str
    run: str
    model_version: int | None
    decision: str
    reasons: list[str]
    metrics: dict[str, float]
    champion: dict[str, Any] | None
    baselines: dict[str, dict[str, float]]
    report: str
    notes: list[str]
    seconds: float = 0.0


def told(path: Path) -> dict[str, Any]:
    """Read one of a run's JSON files."""
    found: dict[str, Any] = msgspec.json.decode(path.read_bytes())
    return found


def result_of(folder: Path, run: str, data_version: str, decision: Decision, champion: Version | None) -> Result:
    """Put together what a judged run told in its folder; `champion` is the one of that moment."""
    evaluation, notes = told(folder / "evaluation.json"), told(folder / RUN)["notes"]
    metrics, onnx = evaluation["metrics"], evaluation[decision.candidate]["onnx"]
    if onnx["engine"] == "native":
        notes.append(f"The estimator itself scores, not its ONNX form: {onnx['reason']}.")
    return Result(
        data_version=data_version,
        run=run,
        model_version=None,
        decision=decision.decision,
        reasons=decision.reasons,
        metrics=metrics[decision.candidate],
        champion={"version": champion.version, "metrics": metrics.get("champion")} if champion else None,
        baselines={name: values for name, values in metrics.items() if name not in ("model", "champion")},
        report=str(folder / "report.html"),
        notes=notes,
    )


def notes_on(champion: Version | None, about: dict[str, Any]) -> list[str]:
    """Say why a run does without the champion, if it does."""
    if champion is None or comparable(champion, about):
        return []
    who = f"the champion (version {champion.version})" if champion.version else "the champion"
    if champion.line == about["line"]:
        return [f"These rows are real, but {who} learnt from synthetic ones only: it is not compared."]
    return [
        f"Target, features or split are not those of {who}: this begins a new model line. "
        "The old versions are kept; the old champion is not compared."
    ]
