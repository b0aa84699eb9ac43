"""What the self-contained HTML pages are built of: their look, sections, tables, pictures, numbers for people."""

import io
import math
import re
import warnings
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, TypeGuard

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

CSS = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1f2328; background: #f6f8fa; margin: 0 }
main { max-width: 1080px; margin: 0 auto; padding: 24px }
h1 { font-size: 24px; margin: 0 } h2 { font-size: 18px; margin: 0 0 8px }
section { background: white; border: 1px solid #d0d7de; border-radius: 8px; padding: 16px 20px; margin: 16px 0 }
.verdict { display: inline-block; color: white; border-radius: 16px; padding: 2px 14px; font-weight: 600; margin: 8px 0 }
table { border-collapse: collapse; width: 100% } th, td { text-align: right; padding: 4px 10px; border-bottom: 1px solid #eaeef2 }
th:first-child, td:first-child { text-align: left } td { font-variant-numeric: tabular-nums }
.bad { color: #b42318; font-weight: 600 } .good { color: #1a7f37 } .note { color: #59636e; font-size: 14px }
svg { width: 100%; height: auto } .wide { overflow-x: auto }
"""
# For pages that are read on a phone as well: pictures stand side by side only where they stay legible.
PHONE = """<meta name="viewport" content="width=device-width, initial-scale=1"><style>
h3 { font-size: 16px; margin: 16px 0 4px } p { margin: 8px 0 } figure { margin: 0 }
.lead { font-size: 18px } .big svg { min-width: 760px }
.grid { display: grid; gap: 12px 24px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr)) }
.pair { display: grid; align-items: start; gap: 12px 24px; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr) }
.whole { white-space: nowrap } .text td, .text th { text-align: left } .text td { vertical-align: top } tr:last-child td { border-bottom: 0 }
th { color: #59636e; font-size: 14px; font-weight: 600; vertical-align: bottom }
ul { margin: 0; padding: 0; list-style: none } li { margin: 4px 0; overflow-wrap: anywhere }
.chips { margin: 8px 0 } .chips li { display: inline-block; margin: 2px 14px 2px 0; white-space: nowrap }
.mark { display: inline-block; width: 20px; height: 20px; border-radius: 10px; color: white; font: 700 13px/20px sans-serif;
  text-align: center; margin-right: 6px } .kinds .mark { margin-right: 0 }
.say { overflow-wrap: anywhere } .long .say { min-width: 170px } summary { cursor: pointer } .name { overflow-wrap: anywhere; min-width: 130px } .turned { writing-mode: vertical-rl; transform: rotate(180deg) }
.kinds { font-size: 14px } .kinds td, .kinds th { padding-left: 5px; padding-right: 5px } dt { font-weight: 600; margin-top: 8px } dd { margin: 0 }
svg { overflow: visible } figure text { font-family: system-ui, sans-serif !important }
@media (max-width: 700px) { .wide:has(.big, .long)::before { content: "Swipe sideways for more."; color: #59636e; font-size: 12px }
  .long { min-width: 860px } .pair { grid-template-columns: minmax(0, 1fr) } main { padding: 12px } section { padding: 12px 14px } .lead { font-size: 16px } }
</style>"""
# Told apart by people who see no red and green; marks differ by shape too.
NOW, BEFORE, OTHER, GREY, INK = "#0b6e99", "#c3cbd4", "#b8860b", "#9aa0a6", "#59636e"
MARKS = {0: ("✓", "#1a7f37"), 1: ("!", "#9a6700"), 2: ("✕", "#b42318"), -1: ("?", "#59636e")}
LOOK: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 10, "axes.edgecolor": GREY, "axes.labelcolor": INK, "text.color": "#1f2328",
    "xtick.color": INK, "ytick.color": INK, "axes.titlesize": 11, "legend.fontsize": 9,
}  # fmt: skip
UNKNOWN = "not known"
LONG = 150  # letters of a cell that are shown at once
SPOKEN = {"auc": "AUC", "pr_auc": "PR AUC", "r2": "R²", "rmse": "RMSE", "mae": "MAE"}


def document(title: str, body: str, head: str = "") -> str:
    """Return a page that needs nothing else; `body` and `head` (more of the head) are HTML."""
    style = f"<title>{escape(title)}</title><style>{CSS}</style>{head}"
    return f'<!doctype html><html lang="en"><meta charset="utf-8">{style}<main>{body}</main></html>'


def section(title: str, content: str, note: str = "") -> str:
    """Return a part of the page; all is HTML."""
    note = f"<p class=note>{note}</p>" if note else ""
    return f'<section><h2>{title}</h2><div class="wide">{content}</div>{note}</section>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], css: str = "") -> str:
    """Return a table of HTML cells; the class `text` is for words, else all but the first column are numbers."""
    cells = "".join(f"<th>{h}</th>" for h in head)
    css = f' class="{css}"' if css else ""
    return f"<table{css}><tr>{cells}</tr>{''.join('<tr>' + ''.join(f'<td>{c}</td>' for c in row) + '</tr>' for row in rows)}</table>"


def draw(size: tuple[float, float], *paint: Callable[[Axes], None]) -> str:
    """Draw into a row of axes and return SVG; names of columns are no formulas, whatever signs they hold.

    Args:
        size: width and height of the whole in inches.
        paint: one function for each of the axes.
    """
    with mpl.rc_context({"text.parse_math": False}):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(1, len(paint), squeeze=False)[0]
        for ax, drawn in zip(axes, paint, strict=True):
            ax.spines[["top", "right"]].set_visible(False)
            ax.grid(alpha=0.25)
            ax.set_axisbelow(True)
            drawn(ax)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def picture(size: tuple[float, float], says: str, paint: Callable[[Axes], None], css: str = "") -> str:
    """Return a drawing with real text, and what it says for those who do not see it.

    Args:
        size: width and height in inches; about 4 wide for one that stands in a `grid`, 12 for a `big` one.
        says: in words; the same drawing with the same words is the same text.
        paint: draws it.
        css: class of the figure.
    """
    with mpl.rc_context({**LOOK, "svg.hashsalt": says}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the browser has the signs of other scripts
        text = draw(size, paint)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # alike in all pictures of a page
    css = f' class="{css}"' if css else ""
    return f'<figure{css} role="img" aria-label="{escape(says)}">{text}</figure>'


def mark(severity: int, word: str) -> str:
    """Return a small sign of a severity; `word` says it to those who do not see it."""
    sign, colour = MARKS[severity]
    return f'<span class="mark" style="background:{colour}" role="img" aria-label="{word}" title="{word}">{sign}</span>'


def brief(text: str, step: str = "") -> str:
    """Return text as HTML, with a word in bold before it; of a long one the beginning, which opens to the rest."""
    step = f"<b>{escape(step)}</b> " if step else ""
    if len(text) <= LONG:
        return f'<div class="say">{step}{escape(text)}</div>'
    ends = [text.rfind(sign, 0, LONG) + 1 for sign in (". ", " ")]
    end = next((end for end in ends if end > LONG // 3), LONG)
    return f'<details class="say"><summary>{step}{escape(text[:end])}</summary>{escape(text[end:])}</details>'


def label(text: str, most: int = 28) -> str:
    """Return a name as it may stand in a picture: on one line, and not long."""
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= most else text[: most - 1] + "…"


def apart(places: Sequence[float], gap: float) -> list[float]:
    """Return the places moved as little as needed (least squares) for neighbours to be at least `gap` apart."""
    order = sorted(range(len(places)), key=lambda n: places[n])
    pools: list[tuple[float, int]] = []  # mean and number of those that touch, without the gaps between them
    for rank, n in enumerate(order):
        mean, size = places[n] - rank * gap, 1
        while pools and pools[-1][0] > mean:
            other, more = pools.pop()
            mean, size = (mean * size + other * more) / (size + more), size + more
        pools.append((mean, size))
    moved = [0.0] * len(places)
    flat = [mean for mean, size in pools for _ in range(size)]
    for rank, n in enumerate(order):
        moved[n] = flat[rank] + rank * gap
    return moved


def known(value: float | None) -> TypeGuard[float]:
    """Whether it is a number, neither absent nor infinite."""
    return value is not None and math.isfinite(value)


def rounded(value: float | None, digits: int = 4) -> str:
    """Return a number for people: `digits` that count, but never an exponent."""
    if not known(value):
        return UNKNOWN
    size = math.floor(math.log10(abs(value))) if value else 0
    return f"{value:,.{min(max(digits - 1 - size, 0), 10)}f}"


def percent(value: float | None) -> str:
    """Return a share for people, as HTML."""
    if not known(value):
        return UNKNOWN
    return "&lt;\u00a00.1%" if 0 < value < 0.0005 else f"{value:.1%}" if value not in (0, 1) else f"{value:.0%}"


def chance(value: float) -> str:
    """Return a p-value for people, as HTML."""
    return UNKNOWN if not known(value) else "&lt;\u00a00.0001" if value < 0.0001 else f"{value:.2g}"


def spoken(metric: str) -> str:
    """Return the name of a metric as people write it."""
    return SPOKEN.get(metric, metric.replace("_", " "))
