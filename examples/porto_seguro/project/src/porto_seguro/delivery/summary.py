"""What the gate decided, as a page of Markdown: a comment on a pull request, the summary of a run."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..gate import Decision, Difference, number

WORDS = {
    "passed": "passed: it may take the champion's place",
    "kept_champion": "the champion stays",
    "rejected": "rejected",
}


def summary(
    name: str, decision: Decision, evaluation: Mapping[str, Any], about: str, champion: str = "", notes: Sequence[str] = ()
) -> str:  # fmt: skip
    """Write the page.

    Args:
        name: of the project.
        decision: what the gate said.
        evaluation: what was measured (`evaluation.json`).
        about: the rows on which, in words.
        champion: which one it was compared with, in words.
        notes: what else a reader should know.
    """
    metrics: Mapping[str, Mapping[str, float]] = evaluation["metrics"]
    shown = {"model": "challenger", "champion": f"champion{f' ({champion})' if champion else ''}"}
    names = [name for name in ("model", "champion") if name in metrics]
    names += [name for name in metrics if name not in names]
    columns = list(next(iter(metrics.values())))
    lines = [f"### {name}: {WORDS[decision.decision]}", "", *(f"- {text}" for text in (*decision.reasons, *notes)), ""]
    lines += _table(
        ["", *columns],
        [[shown.get(name, name), *(number(metrics[name].get(column)) for column in columns)] for name in names],
    )
    who = "challenger" if decision.candidate == "model" else f"the {decision.candidate} model, which is proposed,"
    lines += [f"How much better the {who.removeprefix('the ')} is in {decision.metric}:", ""]
    rows = [[shown.get(rival, rival), *_difference(found)] for rival, found in decision.differences.items()]
    lines += _table(["against", "difference", "surely between"], rows)
    if decision.checks:
        kept = {True: "kept", False: "**not kept**"}
        rows = [[c["name"], number(c["value"]), number(c["limit"]), kept[bool(c["kept"])]] for c in decision.checks]
        lines += ["<details><summary>Limits</summary>", "", *_table(["limit", "measured", "allowed", ""], rows)]
        lines += ["</details>", ""]
    return "\n".join([*lines, f"{about}; {evaluation['rows']:,} of them in the holdout.", ""])


def without(name: str, why: str) -> str:
    """Write the page where nothing could be judged."""
    return f"### {name}: nothing to judge yet\n\n{why}\n"


def _difference(found: Difference) -> list[str]:
    return [f"{found.estimate:+.4f}", f"{found.low:+.4f} and {found.high:+.4f}"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    line = "|" + " --- |" + " ---: |" * (len(head) - 1)
    return [f"| {' | '.join(cells)} |" for cells in (head,)] + [line] + [f"| {' | '.join(r)} |" for r in rows] + [""]
