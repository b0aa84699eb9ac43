"""The monitor's report as one page that explains itself."""

from functools import partial
from html import escape

from ..config import Monitor
from ..webpage import (
    MARKS,
    PHONE,
    UNKNOWN,
    chance,
    document,
    known,
    mark,
    percent,
    picture,
    rounded,
    section,
    spoken,
    table,
)  # fmt: skip
from .findings import ALARM, FINE, WARNING, WORDS, Feature, Report
from .findings import UNKNOWN as TOO_FEW
from .pictures import matters, metric, shares

SHOWN = 15  # features in the table
PICTURES = 6  # of which a picture is drawn
KINDS = {
    "performance": "Metric", "drift": "Features", "prediction": "Scores", "quality": "Data quality",
    "calibration": "Calibration", "attribution": "Attribution", "bias": "Groups", "labels": "Outcomes",
    "proxy": "Expected metric",
}  # fmt: skip
BARS = "Wide grey bars: training. Narrow blue bars: the window."
NEXT = {  # what an alarm means, worst first
    "quality": "What arrives looks broken, not changed. Mend the source first: until it is mended no challenger is trained, "
    "because a model must not learn from such rows.",
    "performance": "The model does worse than it did, by more than chance explains. This is a reason to train a challenger; "
    "the gate decides whether it replaces the model.",
    "drift": "What arrives is no longer what the model learnt from, in features that matter to it. This is a reason to train "
    "a challenger; the gate decides whether it replaces the model.",
    "prediction": "The scores are spread differently from those of training. This is a reason to train a challenger; the gate "
    "decides whether it replaces the model.",
}
CALM = {
    FINE: "Nothing has changed that matters. The model goes on serving; nothing needs to be done.",
    WARNING: "Nothing calls for action by itself, but the findings below are worth a look. The model goes on serving.",
    ALARM: "Something is wrong that a person should look at; the findings below say what.",
    TOO_FEW: "There are too few rows to say whether anything has changed. Wait for more, or look at a longer window.",
}
HELP = {
    "Distance": "The largest difference of probability between training and window, from 0 (alike) to 1 (nothing in common): "
    "for numbers the Kolmogorov-Smirnov statistic, for categories the total variation.",
    "PSI": "The population stability index, another measure of the same. Below 0.1 is usually called stable, above 0.25 a large change.",
    "Chance": "How likely a window in which nothing changed would show as much, corrected for the number of tests. A small "
    "number says that the change is real; the distance says whether it is large. An alarm needs both.",
    "Unknown and outside": "Shares of the values: categories that training did not have, and numbers beyond its smallest and largest.",
    "Importance": "The share of the model that rests on the feature. A feature that drifts but hardly matters gives a warning only.",
    "Smallest visible drop": "A drop of the metric of this size would be an alarm nine times in ten. A smaller one may go unseen in a "
    "window of this size; more outcomes make it smaller.",
    "Attribution": "Whether the scores rest on the same features as in training, in the same order: 1 where they do (a "
    "normalised discounted cumulative gain).",
    "Expected metric": "What the scores would make of the metric if they were calibrated. It needs no outcomes, and does not "
    "see it when the relation between features and outcome changes.",
}  # fmt: skip


def page(report: Report, name: str, limits: Monitor | None = None) -> str:
    """Return a self-contained HTML page.

    Args:
        report: what was found.
        name: the project's.
        limits: that held for it, for the picture of what matters; the usual ones where they are not given.
    """
    severity = next(s for s, word in WORDS.items() if word == report.status)
    worst = next((kind for kind in NEXT if severity == ALARM and report.severities.get(kind) == ALARM), "")
    refused = f", {report.refused:,} more refused" if report.refused else ""
    body = [
        f"<h1>{escape(name)}: monitor of version {report.version}</h1>",
        f'<div class="verdict" style="background:{MARKS[severity][1]}">{report.status.capitalize()}</div>',
        f"<p class=lead>{NEXT.get(worst) or CALM[severity]}</p>",
        f"<p class=note>{_period(report.since, report.until)}, {report.rows:,} rows{refused}, from {escape(report.source)}. "
        f"Made {_time(report.made)} UTC.</p>",
        section("What was found", _looked(report) + _findings(report)),
        section("How good the model is", _performance(report)),
        _scores(report.prediction),
        _features(report, limits or Monitor()),
        *(_group(column, values) for column, values in report.groups.items()),
        section("How to read this", "<dl>" + "".join(f"<dt>{k}</dt><dd>{v}</dd>" for k, v in HELP.items()) + "</dl>"),
    ]
    return document(f"{name}: monitor", "".join(body), PHONE)


def _time(text: str) -> str:
    return escape(text[:16].replace("T", " "))


def _period(since: str, until: str) -> str:
    days = escape(since[:10]), escape(until[:10])
    return f"On {days[0]}" if days[0] == days[1] else f"From {days[0]} to {days[1]}"


def _looked(report: Report) -> str:
    """A sign for each kind that was looked at, and the names of the others."""
    looked = [(word, report.severities[kind]) for kind, word in KINDS.items() if kind in report.severities]
    chips = "".join(f"<li>{mark(severity, WORDS[severity])}{word}</li>" for word, severity in looked)
    others = ", ".join(word.lower() for kind, word in KINDS.items() if kind not in report.severities)
    return f'<ul class="chips">{chips}</ul>' + (f"<p class=note>Not looked at: {others}.</p>" if others else "")


def _findings(report: Report) -> str:
    parts = []
    for severity, title in ((ALARM, "Alarms"), (WARNING, "Warnings"), (TOO_FEW, "Too little to tell"), (FINE, "Fine")):
        found = [f for f in report.findings if f.severity == severity]
        lines = "".join(f"<li>{mark(severity, WORDS[severity])}{escape(f.text)}</li>" for f in found)
        parts += [f"<h3>{title} ({len(found)})</h3><ul>{lines}</ul>"] if found else []
    return "".join(parts) or "<p>No alarm and no warning.</p>"


def _performance(report: Report) -> str:
    m, facts, drawn = report.metric, [], ""
    if m:
        name, events = spoken(m.name), f", {m.events:,} of the rarer kind" if m.events != m.rows else ""
        facts = [
            [f"{name} in the window", rounded(m.value), f"{m.rows:,} outcomes{events}; {_period(m.since, m.until).lower()}"],
            ["before", rounded(m.reference), "holdout and earlier windows of this version"],
            ["skill lost", percent(max(m.lost, 0.0)) if known(m.lost) else UNKNOWN, "of what the model had over a constant"],
            ["chance", chance(m.chance), "of seeing this where nothing changed"],
            ["smallest visible drop", rounded(m.detectable, 3), "would be an alarm nine times in ten"],
        ]  # fmt: skip
        words = f"{name} {rounded(m.value)} in the window, {rounded(m.reference)} before, each with its 95% interval."
        drawn = picture((4.6, 2.8), words, partial(metric, m=m, expected=report.expected))
    else:
        facts = [["metric", UNKNOWN, "too few outcomes are known yet"]]
    before = f"what the scores let expect; on the holdout {rounded(report.expected_before)}"
    more = [
        ("expected metric", report.expected, rounded, before),
        ("outcomes known", report.labelled, percent, "of the rows that are old enough"),
        ("true over predicted", report.calibration, _plain, "1: it happens as often as predicted, as on the holdout"),
        ("attribution (NDCG)", report.attribution, _plain, "1: the scores rest on the same features as in training"),
    ]
    facts += [[what, write(value), words] for what, value, write, words in more if known(value)]
    drawn = f"<div>{drawn}<p class=note>The lines are 95% intervals.</p></div>" if drawn else ""
    return f'<div class="pair">{drawn}{table(["what", "value", "in words"], facts, "text")}</div>'


def _plain(value: float | None) -> str:
    return f"{value:.3f}" if known(value) else UNKNOWN


def _verdict(feature: Feature) -> str:
    return mark(feature.severity, WORDS[feature.severity]) + WORDS[feature.severity]


def _bars(feature: Feature, what: str, size: tuple[float, float]) -> str:
    return picture(
        size, f"{what}: distance {_plain(feature.distance)} from training.", partial(shares, feature=feature)
    )


def _scores(score: Feature | None) -> str:
    if score is None:
        return ""
    facts = [
        ["verdict", _verdict(score)], ["distance", _plain(score.distance)], ["PSI", _plain(score.psi)],
        ["chance", chance(score.chance)],
    ]  # fmt: skip
    drawn = _bars(score, "Scores", (4.6, 2.4)) if score.reference and score.window else ""
    content = f'<div class="pair">{drawn}{table(["what", "value"], facts, "text")}</div>'
    return section("How the scores are spread", content, f"{BARS} From the lowest scores, left, to the highest.")


def _features(report: Report, limits: Monitor) -> str:
    order = sorted(report.features, key=lambda f: (-f.severity, -f.distance))
    if not order:
        return ""
    drawn = "".join(
        f'<div class="name"><b>{escape(f.name)}</b> {mark(f.severity, WORDS[f.severity])}{_bars(f, f.name, (3.7, 1.9))}</div>'
        for f in order[:PICTURES]
        if f.reference and f.window
    )
    rows = [
        [
            f'<div class="name">{escape(f.name)}</div>', _plain(f.distance), _plain(f.psi), chance(f.chance),
            percent(f.missing), percent(f.missing_before), percent(f.unknown), percent(f.outside),
            percent(f.importance), _verdict(f),
        ]
        for f in order[:SHOWN]
    ]  # fmt: skip
    head = ["feature", "distance", "PSI", "chance", "missing", "before", "unknown", "outside", "importance", "verdict"]
    rest = [f.distance for f in order[SHOWN:]]
    more = f" Of {len(rest):,} more, none is further away than {_plain(max(rest))}." if rest else ""
    note = (
        f"{BARS} Numbers go from low to high, in the bins of training; categories stand one by one, the most frequent ones "
        "where there are many. What training did not have stands apart, as new."
    )
    return (
        (_scatter(order, limits) if any(known(f.importance) for f in order) else "")
        + (section("The features that moved most", f'<div class="grid">{drawn}</div>', note) if drawn else "")
        + section("Features in figures", table(head, rows), f"The worst first.{more}")
    )


def _scatter(features: list[Feature], limits: Monitor) -> str:
    placed = [f for f in features if known(f.importance)]
    alarms = sum(f.severity == ALARM for f in placed)
    words = f"Importance against distance of {len(placed)} features; {alarms} of them are alarms."
    drawn = picture((12, 4.2), words, partial(matters, features=placed, limits=limits), "big")
    note = (
        "To the right: moved further. Higher up: more of the model rests on it. A feature in the shaded corner is an alarm if "
        f"its change is no chance; the limits are a distance of {limits.distance:g} and {limits.importance:.0%} of the model. "
        "A feature that is missing more or less often moved by the difference of the shares."
    )
    return section("Which drift matters", drawn, note)


def _group(column: str, values: dict[str, dict[str, float]]) -> str:
    rows = [
        [
            f'<div class="name">{escape(value)}</div>', f"{facts['rows']:,.0f}", percent(facts.get("picked")),
            percent(facts.get("picked_before")), f"{facts.get('known', 0):,.0f}", rounded(facts.get("true_over_predicted"), 3),
        ]
        for value, facts in sorted(values.items(), key=lambda item: -item[1]["rows"])
    ]  # fmt: skip
    head = ["group", "rows", "picked", "before", "outcomes", "true over predicted"]
    note = "Picked: among the tenth of the rows with the highest scores in the holdout. True over predicted: 1 where it happens as often as predicted."
    return section(f"Groups of {escape(column)}", table(head, rows), note)
