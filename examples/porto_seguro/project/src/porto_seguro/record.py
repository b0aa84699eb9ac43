"""What a run notes about itself, and what its version is then known by: the same on this machine and in the cloud."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifact import NATIVE, ONNX
from .config import Settings
from .contract import Contract
from .seal import digest, take_out

if TYPE_CHECKING:
    from .gate import Decision
    from .registry import Version

RUN = "run.json"  # in a run's folder: what `begun` returns, and what evaluation added to it


def begun(
    data_version: str, contract: Contract, parts: dict[str, Any], sample: int | None, synthetic: bool
) -> dict[str, Any]:
    """Return what is known of a run once its rows are parted.

    Args:
        data_version: its rows.
        contract: what they are.
        parts: what `split` returned.
        sample: how many of the rows it uses; None for all.
        synthetic: whether they were drawn, not seen.
    """
    line = f"{contract.line()}-{parts['parted']}"
    return {"data_version": data_version, "sample": sample, "line": line, "parts": parts, "synthetic": synthetic}


def comparable(champion: "Version | None", about: Mapping[str, Any]) -> "Version | None":
    """Return the champion, unless it answers another question than a run or only ever saw synthetic rows."""
    rehearsed = champion and champion.tags.get("synthetic") == "yes" and not about.get("synthetic")
    return champion if champion and champion.line == about["line"] and not rehearsed else None


def holdout_from(versions: "Sequence[Version]", by: str) -> str | None:
    """Return the first moment of the newest version's holdout, for a split by time: rows before it were trained on."""
    found = [version.tags["holdout_from"] for version in versions if version.tags.get("split_by") == by]
    return found[-1] if found else None


def tags_of(
    about: Mapping[str, Any], decision: "Decision", evaluation: Mapping[str, Any], settings: Settings
) -> dict[str, str]:
    """Return what a version of a judged run is known by, beside its identity."""
    tags = {"data_version": about["data_version"], "candidate": decision.candidate, "reason": decision.reasons[0]}
    tags["engine"] = evaluation[decision.candidate]["onnx"]["engine"]
    tags["synthetic"] = "yes" if about.get("synthetic") else "no"
    if "holdout_from" in about["parts"]:
        tags |= {"holdout_from": about["parts"]["holdout_from"], "split_by": settings.split.by}
    return tags


def finished(run: str, model: Path, line: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Make a run's model folder that of a version; return all of the version's tags.

    An ONNX form that was found wanting (the tag `engine`) leaves the folder first: what it holds is what scores.
    """
    if tags.get("engine") == "native":
        take_out(model, f"{NATIVE}/{ONNX}")
    return {**tags, "run": run, "line": line, "digest": digest(model), "folder": model.name}
