"""The pictures of the monitor's page and of a simulation's story."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ..config import METRICS, Monitor
from ..webpage import BEFORE, GREY, INK, MARKS, NOW, OTHER, apart, known, label, spoken
from .findings import ALARM, FINE, WARNING, WORDS, Feature, Metric, Month, Outcome, Told

NAMED = 8  # features whose name stands in the picture of what matters
BINS = 39  # a number never has more groups of bins; of more categories,
MOST = 30  # so many are drawn, the most frequent ones
VISIBLE = 0.002  # share of the rows
TICKS = 36  # months of which a number fits below a picture
LANE = 0.24  # inches that the bar of an event takes
PLANTED = "#7a5195"


def metric(ax: Axes, m: Metric, expected: float | None) -> None:
    """Window against reference, with error bars, and what the scores let expect."""
    sign = 1 if METRICS.get(m.name, True) else -1
    for n, (value, error, colour) in enumerate(((m.reference, m.reference_error, INK), (m.value, m.error, NOW))):
        reach = 1.96 * error if known(error) else 0.0
        ax.errorbar(value, n, xerr=reach, fmt="o", markersize=8, capsize=5, linewidth=2, color=colour)
    names = ["before", "window"]
    if known(expected):
        ax.plot(expected, 2, "D", markersize=8, markerfacecolor="white", markeredgecolor=OTHER, markeredgewidth=2)
        names.append("expected")
    if known(m.detectable) and m.detectable > 0:
        bar = m.reference - sign * m.detectable
        ax.axvline(bar, color=GREY, linestyle="--")
        ax.text(bar, len(names) - 0.35, "a drop to here would show", ha="center", va="bottom", color=INK)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.set_xlabel(f"{spoken(m.name)}, {'more' if sign > 0 else 'less'} is better")


def shares(ax: Axes, feature: Feature) -> None:
    """Wide bars for training, narrow ones for the window; what training did not have stands apart, on the right."""
    before, now = np.array(feature.reference), np.array(feature.window)
    places = np.arange(len(before), dtype=float)
    if before[-1] == 0:
        places[-1] += 1
        kept = len(before) - (now[-1] < VISIBLE)
        before, now, places = before[:kept], now[:kept], places[:kept]
    if len(before) > BINS:
        kept = np.sort(np.argsort(-np.maximum(before, now), kind="stable")[:MOST])
        before, now, places = before[kept], now[kept], np.arange(MOST) + (places[kept] - kept)
    ax.bar(places, before, width=0.95, color=BEFORE)
    ax.bar(places, now, width=0.45, color=NOW)
    new = feature.reference[-1] == 0 and feature.window[-1] >= VISIBLE
    ax.set_xticks(places[-1:] if new else [], ["new"] if new else [])
    ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    ax.grid(visible=False, axis="x")


def moved(feature: Feature) -> float:
    """How far it moved, in values or in how often it is missing: either may be an alarm."""
    return max(feature.distance, abs(feature.missing - feature.missing_before))


def matters(ax: Axes, features: Sequence[Feature], limits: Monitor) -> None:
    """How much rests on each feature, against how far it moved, with the limits of an alarm."""
    wide = 1.1 * max(*map(moved, features), 2 * limits.distance)
    high = 1.1 * max(*(f.importance or 0 for f in features), 2 * limits.importance)
    root = np.sqrt, np.square  # shows what is small and what is large in one picture
    ax.set(xlim=(0, wide), ylim=(0, high), xlabel="distance", ylabel="share of the model")
    ax.set_xscale("function", functions=root)
    ax.set_yscale("function", functions=root)
    ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    ax.fill_between([limits.distance, wide], limits.importance, high, color=MARKS[ALARM][1], alpha=0.07, linewidth=0)
    ax.axvline(limits.distance, color=GREY, linestyle="--")
    ax.axhline(limits.importance, color=GREY, linestyle="--")
    for severity, shape in ((FINE, "o"), (WARNING, "^"), (ALARM, "s")):
        some = [f for f in features if f.severity == severity]
        if some:
            colour = GREY if severity == FINE else MARKS[severity][1]
            places = [moved(f) for f in some], [f.importance or 0 for f in some]
            ax.plot(*places, shape, color=colour, label=WORDS[severity], clip_on=False)
    ax.legend(loc="upper left", bbox_to_anchor=(0, 1.12), ncols=3, frameon=False, borderaxespad=0)
    named = sorted(features, key=lambda f: (-f.severity, -moved(f)))[:NAMED]
    heights = [((f.importance or 0) / high) ** 0.5 for f in named]
    for f, height, place in zip(named, heights, apart(heights, 0.08), strict=True):
        x = (moved(f) / wide) ** 0.5
        ax.plot([x, 1.01], [height, place], transform=ax.transAxes, color=GREY, linewidth=0.6, clip_on=False)
        ax.text(1.015, place, label(f.name), transform=ax.transAxes, va="center")


def course(ax: Axes, told: Told, promotions: Sequence[Mapping[str, Any]]) -> None:
    """The metric by month, and above it a lane for each event."""
    months = [m.number for m in told.months]
    lines = [
        ("kept up", [_number(m.kept_up) for m in told.months], NOW, "o-", 2.4),
        ("left alone", [_number(m.left_alone) for m in told.months], OTHER, "s-", 1.6),
    ]
    lines = [line for line in lines if any(map(known, line[1]))]
    values = [value for _, some, *_ in lines for value in some if known(value)] or [0.0, 1.0]
    below = 3.0 / (3.0 + LANE * len(told.events))  # share of the height that the metric takes
    margin = 0.08 * (max(values) - min(values)) or 0.1
    low, high = min(values) - margin, max(values) + margin
    top = low + (high - low) / below
    ax.set(xlim=(months[0] - 0.6, months[-1] + 0.6), ylim=(low, top), xlabel="month")
    ax.set_xticks(months[:: 1 + len(months) // TICKS])
    ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= high])
    ax.set_ylabel(spoken(told.metric), y=below / 2)
    ax.spines["left"].set_bounds(low, high)
    for n, promotion in enumerate(promotions):
        ax.plot([promotion["month"]] * 2, [low, high], ":", color=INK, linewidth=1.2)
        ax.annotate(
            f"v{promotion['version']}", (float(promotion["month"]), low), xytext=(3, 3 + 11 * (n % 2)),
            textcoords="offset points", color=INK,
        )  # fmt: skip
    for _, some, colour, style, width in lines:
        ax.plot(months, some, style, color=colour, linewidth=width, markersize=5)
    ends = [([value for value in some if known(value)][-1] - low) / (top - low) for _, some, *_ in lines]
    for (name, _, colour, *_), place in zip(lines, apart(ends, 0.055 * below + 0.01), strict=True):
        ax.text(1.01, place, name, transform=ax.transAxes, color=colour, va="center", fontweight="bold")
    for n, event in enumerate(told.events):
        place = high + (top - high) * (1 - (n + 0.5) / len(told.events))
        _lane(ax, event, place, below, (months[0], months[-1]))


def _lane(ax: Axes, event: Outcome, place: float, below: float, months: tuple[int, int]) -> None:
    """An event as a bar with its name beside it, on the side where there is room, and as a shade over the metric."""
    ends = event.planted - 0.45, min(event.until, months[1]) + 0.45
    ax.axvspan(*ends, ymax=below, color=PLANTED, alpha=0.05, linewidth=0)
    ax.plot(ends, [place] * 2, color=PLANTED, alpha=0.45, linewidth=8, solid_capstyle="butt")
    right = ends[1]
    if event.noticed is not None:
        ax.plot(event.noticed, place, "D", color=INK, markersize=6, markeredgecolor="white")
        right = max(right, event.noticed + 0.3)
    fault = "" if event.right else " ✕ not noticed" if event.noticed is None else " ✕ not handled"
    at, side = (ends[0] - 0.2, "right") if 2 * event.planted > sum(months) else (right + 0.2, "left")
    ax.text(at, place, label(event.name, 40) + fault, ha=side, va="center")


def _number(value: float | None) -> float:
    return value if value is not None else float("nan")


def gained(ax: Axes, gains: Sequence[tuple[Month, float]]) -> None:
    """A bar for each month, above zero where it was better."""
    numbers = [m.number for m, _ in gains]
    ax.bar(numbers, [gain for _, gain in gains], width=0.7, color=[NOW if gain >= 0 else OTHER for _, gain in gains])
    ax.axhline(0, color=INK, linewidth=1)
    ax.set(xlim=(numbers[0] - 0.6, numbers[-1] + 0.6), xlabel="month", ylabel="difference")
    ax.set_xticks(numbers[:: 1 + len(numbers) // TICKS])
    ax.grid(visible=False, axis="x")
