"""One self-contained HTML page that shows what the gate saw: curves, differences, limits, importance."""

import html
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from matplotlib.axes import Axes

from .config import METRICS
from .contract import Task
from .encode import Vector
from .evaluate import read_scores
from .gate import Decision, Difference, number
from .table import replacing
from .webpage import document, draw, section, table

COLOURS = {"model": "#0b6e99", "champion": "#b8860b", "logistic": "#7a5195", "ridge": "#7a5195", "constant": "#9aa0a6"}
VERDICT = {
    "passed": ("Passed", "#1a7f37"),
    "kept_champion": ("Champion kept", "#9a6700"),
    "rejected": ("Rejected", "#b42318"),
}


def report(folder: Path, name: str, out: Path) -> None:
    """Write the report of a run.

    Args:
        folder: the run's folder with scores, `evaluation.json` and `decision.json`.
        name: the project's name, for the title.
        out: the HTML file.
    """
    told = msgspec.json.decode((folder / "evaluation.json").read_bytes())
    decision = msgspec.json.decode((folder / "decision.json").read_bytes(), type=Decision)
    _, y, scores = read_scores(folder / "scores.parquet")
    if "champion" in told["metrics"]:
        scores["champion"] = read_scores(folder / "champion.parquet")[2]["model"]
    word, colour = VERDICT[decision.decision]
    body = [
        f'<h1>{html.escape(name)}</h1><div class="verdict" style="background:{colour}">{word}</div>',
        "".join(f"<p>{html.escape(reason)}</p>" for reason in decision.reasons),
        f"<p class=note>{html.escape(_origin(folder / decision.candidate))}</p>",
        section(
            "Metrics on the holdout",
            _metrics(told, decision),
            f"{told['rows']:,} rows that no version was trained on. The metric that decides is {decision.metric}.",
        ),
        section(
            "Against its rivals",
            draw((12, 0.8 + 0.4 * len(decision.differences)), lambda ax: _forest(ax, decision)),
            "Above zero is better. The lines end at the bounds from a paired bootstrap, each of which holds at the confidence of the gate.",
        ),
        section("How it behaves", _curves(told, y, scores, decision.candidate)),
        section("What it rests on", _bars(told[decision.candidate]["importance"])),
        section(
            "Limits",
            _checks(decision),
            "Robustness is the share of the skill over a constant that is lost; see conf/project.yaml.",
        ),
    ]
    with replacing(out) as part:
        part.write_text(document(f"{name}: report", "".join(body)), "utf-8", newline="\n")


def _origin(model: Path) -> str:
    """Say in a line where a model comes from."""
    told = msgspec.json.decode((model / "data" / "native" / "lineage.json").read_bytes())
    edits = " with edits on top" if told["dirty"] else ""
    code = f"commit {told['commit'][:8]}{edits}" if told["commit"] else "no commit"
    return (
        f"Data version {told['data_version']}, {told['rows']:,} rows to learn from, {told['features']} features, "
        f"{told['estimator']}, {code}, trained {told['trained_at']}, run {told['run'][:8]}."
    )


def _metrics(told: dict[str, Any], decision: Decision) -> str:
    names = list(told["metrics"]["model"])
    rows = []
    for model, values in told["metrics"].items():
        bounds = decision.intervals.get(model)
        between = f"{bounds.low:.4f} to {bounds.high:.4f}" if isinstance(bounds, Difference) else ""
        cells = ["none" if values[n] is None else f"{values[n]:.4f}" for n in names]
        rows.append([f"<b>{model}</b>" if model == decision.candidate else model, *cells, between])
    return table(["", *names, f"{decision.metric} between"], rows)


def _checks(decision: Decision) -> str:
    verdicts = {True: '<span class="good">kept</span>', False: '<span class="bad">broken</span>'}
    rows = [
        [html.escape(c["name"]), number(c["value"]), number(c["limit"]), verdicts[c["kept"]]] for c in decision.checks
    ]
    return table(["limit on", "measured", "limit", ""], rows)


def _forest(ax: Axes, decision: Decision) -> None:
    for n, (rival, d) in enumerate(decision.differences.items()):
        reach = [[max(0.0, d.estimate - d.low)], [max(0.0, d.high - d.estimate)]]
        ax.errorbar(d.estimate, n, xerr=reach, fmt="o", capsize=4, color=COLOURS.get(rival, "#333"))
    ax.axvline(0, color="#333", linewidth=1)
    ax.set_yticks(range(len(decision.differences)), [f"against the {rival}" for rival in decision.differences])
    ax.set_ylim(-0.6, len(decision.differences) - 0.4)
    turned = "" if METRICS.get(decision.metric, True) else ", turned so that more is better"
    ax.set_xlabel(f"difference in {decision.metric}{turned}")


def _bars(importance: dict[str, float]) -> str:
    top = list(importance.items())[:15][::-1]

    def paint(ax: Axes) -> None:
        ax.barh([name[:40] for name, _ in top], [share for _, share in top], color=COLOURS["model"])
        ax.set_xlabel("share of the importance")

    return draw((12, 0.8 + 0.3 * len(top)), paint)


def _curves(told: dict[str, Any], y: Vector, scores: dict[str, Vector], candidate: str) -> str:
    task: Task = told["task"]
    shown = {n: s for n, s in scores.items() if n != "constant"}
    if task == "regression":
        fit = partial(_predicted, y=y, score=shown[candidate])
        return draw((12, 4), fit, partial(_residuals, y=y, scores=shown), partial(_calibration, y=y, scores=shown))
    if task == "multiclass":
        confusion = partial(_confusion, y=y, score=shown[candidate], names=told["classes"])
        return draw((12, 5), confusion, lambda ax: _calibration(ax, *_pooled(y, shown)))
    return draw((12, 5), lambda ax: _roc(ax, y, shown), lambda ax: _precision(ax, y, shown)) + draw(
        (12, 5), lambda ax: _calibration(ax, y, shown), lambda ax: _lift(ax, y, shown)
    )


def _sorted(y: Vector, score: Vector) -> tuple[Vector, Vector]:
    """Cumulated events and non-events by falling score, at most 500 points."""
    events = (y == 1)[np.argsort(-score, kind="stable")]
    points = np.unique(np.linspace(0, len(y) - 1, 500).astype(int))
    return np.cumsum(events)[points].astype(float), np.cumsum(~events)[points].astype(float)


def _roc(ax: Axes, y: Vector, scores: dict[str, Vector]) -> None:
    for name, score in scores.items():
        up, down = _sorted(y, score)
        ax.plot(np.r_[0, down / down[-1]], np.r_[0, up / up[-1]], color=COLOURS.get(name), label=name)
    ax.plot([0, 1], [0, 1], color=COLOURS["constant"], linestyle=":")
    ax.set(title="ROC", xlabel="share of non-events flagged", ylabel="share of events found")
    ax.legend(frameon=False)


def _precision(ax: Axes, y: Vector, scores: dict[str, Vector]) -> None:
    for name, score in scores.items():
        up, down = _sorted(y, score)
        ax.plot(up / up[-1], up / (up + down), color=COLOURS.get(name), label=name)
    ax.axhline(float((y == 1).mean()), color=COLOURS["constant"], linestyle=":")
    ax.set(title="Precision and recall", xlabel="recall", ylabel="precision", ylim=(0, None))


def _lift(ax: Axes, y: Vector, scores: dict[str, Vector]) -> None:
    for name, score in scores.items():
        parts = np.array_split(y[np.argsort(-score, kind="stable")] == 1, 10)
        ax.plot(range(1, 11), [p.mean() / (y == 1).mean() for p in parts], "o-", color=COLOURS.get(name), label=name)
    ax.axhline(1, color=COLOURS["constant"], linestyle=":")
    ax.set(title="Lift", xlabel="tenth of the rows, highest scores first", ylabel="event rate over the average")
    ax.set_ylim(0)


def _calibration(ax: Axes, y: Vector, scores: dict[str, Vector]) -> None:
    for name, score in scores.items():
        bins = [rows for rows in np.array_split(np.argsort(score, kind="stable"), 10) if len(rows)]
        means = [score[rows].mean() for rows in bins], [y[rows].mean() for rows in bins]
        ax.plot(*means, "o-", color=COLOURS.get(name), label=name)
    low, high = ax.get_xlim()
    ax.plot([low, high], [low, high], color=COLOURS["constant"], linestyle=":")
    ax.set(title="Calibration", xlabel="predicted", ylabel="true")
    ax.legend(frameon=False)


def _pooled(y: Vector, scores: dict[str, Vector]) -> tuple[Vector, dict[str, Vector]]:
    """All classes one after the other, as if each were a yes-or-no question."""
    classes = next(iter(scores.values())).shape[1]
    return np.concatenate([(y == k).astype(float) for k in range(classes)]), {n: s.T.ravel() for n, s in scores.items()}


def _confusion(ax: Axes, y: Vector, score: Vector, names: list[Any]) -> None:
    classes = len(names)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (y.astype(int), score.argmax(axis=1)), 1)
    ax.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for i in range(classes if classes <= 12 else 0):
        for j in range(classes):
            ax.text(j, i, f"{counts[i, j]:.0f}", ha="center", va="center")
    ax.grid(visible=False)
    ax.set(title="Confusion", xlabel="predicted class", ylabel="true class")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(range(0, classes, 1 + classes // 12), [str(n)[:12] for n in names[:: 1 + classes // 12]])


def _predicted(ax: Axes, y: Vector, score: Vector) -> None:
    some = np.random.default_rng(0).permutation(len(y))[:2000]
    ax.scatter(score[some], y[some], s=6, alpha=0.4, color=COLOURS["model"])
    ax.set(title="Predicted and true", xlabel="predicted", ylabel="true")


def _residuals(ax: Axes, y: Vector, scores: dict[str, Vector]) -> None:
    for name, score in scores.items():
        ax.hist(y - score, bins=40, histtype="step", color=COLOURS.get(name), label=name)
    ax.set(title="Errors", xlabel="true minus predicted", ylabel="rows")
    ax.legend(frameon=False)
