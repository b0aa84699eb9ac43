"""A simulation as one page: what happened, what was noticed when, what was done, and what it was good for."""

from collections.abc import Sequence
from functools import partial
from html import escape
from statistics import fmean

from ..config import METRICS
from ..webpage import MARKS, PHONE, brief, document, known, mark, picture, rounded, section, spoken, table
from .findings import ALARM, FINE, WARNING, WORDS, Month, Outcome, Told
from .page import KINDS
from .pictures import LANE, course, gained


def story(told: Told) -> str:
    """Return a self-contained HTML page."""
    right = sum(event.right for event in told.events)
    colour = MARKS[FINE if right == len(told.events) and not told.false_alarms else WARNING][1]
    took = f", played in {told.seconds:.0f} seconds" if told.seconds else ""
    badge = f"{right} of {len(told.events)} handled" if told.events else "Nothing planted"
    body = [
        f"<h1>{escape(told.project)}: {_count(len(told.months), 'simulated month')}</h1>",
        f'<div class="verdict" style="background:{colour}">{badge}</div>',
        f"<p class=lead>{_headline(told)}</p>",
        f"<p class=note>Real components on synthetic rows, {told.rows:,} a month, seed {told.seed}{took}.</p>",
        _course(told) if told.months else "",
        _events(told.events) if told.events else "",
        _months(told.months) if told.months else "",
        _saved(told),
        section("What follows from it", "".join(f"<p>{sentence}</p>" for sentence in _conclusions(told))),
    ]
    return document(f"{told.project}: simulated", "".join(body), PHONE)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _sign(told: Told) -> int:
    return 1 if METRICS.get(told.metric, True) else -1


def _later(told: Told) -> list[dict[str, float | int | str]]:
    """Promotions but that of the first model, before the first month."""
    return [p for p in told.promotions if float(p["month"]) > 0]


def _headline(told: Told) -> str:
    right, metric, number = sum(event.right for event in told.events), spoken(told.metric), len(told.events)
    handled = f"{right} of {_count(number, 'planted trouble')} {'was' if number == 1 else 'were'} noticed in time and handled as the policy says"
    found = [f"In {_count(len(told.months), 'month')}, {handled if number else 'nothing was planted'}."]
    if told.months:
        less = " (less is better)" if _sign(told) < 0 else ""
        means = rounded(told.metric_kept_up, 3), rounded(told.metric_left_alone, 3)
        found.append(f"The kept-up model made {metric} {means[0]} on average, the one left alone {means[1]}{less}.")
    later, alarms = len(_later(told)), _count(told.false_alarms, "false alarm")
    found.append(f"There {'was' if later == 1 else 'were'} {_count(later, 'promotion')} and {alarms}.")
    return " ".join(found)


def _course(told: Told) -> str:
    note = (
        "Upper part: each bar is something that was planted, from its first to its last month; the diamond stands in the "
        "month in which it was noticed. Lower part: the metric by month, on the same rows for both models. Dotted lines: "
        "a new version was promoted."
    )
    kept, alone = rounded(told.metric_kept_up, 3), rounded(told.metric_left_alone, 3)
    words = f"{spoken(told.metric)} by month: kept up {kept}, left alone {alone} on average; with {len(told.events)} planted events."
    height = 3.6 + LANE * len(told.events)
    return section(
        "What happened", picture((12, height), words, partial(course, told=told, promotions=_later(told)), "big"), note
    )


def _month(number: int | None) -> str:
    return f"month\u00a0{number}" if number is not None else "not noticed"


def _events(events: Sequence[Outcome]) -> str:
    rows = []
    for e in events:
        planted = _month(e.planted) if e.planted == e.until else f"months {e.planted} to {e.until}"
        kind = "" if e.kind == e.name else f"<div class=note>{escape(e.kind)}</div>"
        action = brief(e.action or "nothing")
        wanted = (
            "" if e.right else f"<div class=note>expected within {_count(e.within, 'month')}: {escape(e.expects)}</div>"
        )
        verdict = f'<span class="whole">{mark(FINE, "yes") + "yes" if e.right else mark(ALARM, "no") + "no"}</span>'
        rows.append([
            f'<div class="name">{escape(e.name)}{kind}</div>', planted, _month(e.noticed), brief(e.evidence or "-"),
            action + wanted, verdict,
        ])  # fmt: skip
    head = ["planted", "when", "noticed", "by what", "what was done", "right"]
    note = "Right: noticed in time, and handled as the policy says."
    return section("What was planted, and what came of it", table(head, rows, "text long"), note)


def _gains(told: Told) -> list[tuple[Month, float]]:
    """By how much the kept-up model was better, turned so that more is better."""
    return [
        (m, _sign(told) * (m.kept_up - m.left_alone)) for m in told.months if known(m.kept_up) and known(m.left_alone)
    ]


def _saved(told: Told) -> str:
    gains = _gains(told)
    if not gains:
        return ""
    (best, most), (worst, least) = (choose(gains, key=lambda gain: gain[1]) for choose in (max, min))
    mean = fmean(gain for _, gain in gains)
    words = (
        f"The kept-up model was {'better' if mean >= 0 else 'worse'} by {rounded(abs(mean), 3)} on average; the difference was "
        f"{rounded(most, 3)} at best, in month {best.number}, and {rounded(least, 3)} at worst, in month {worst.number}."
    )
    turned = "" if _sign(told) > 0 else ", turned so that more is better"
    note = f"{spoken(told.metric)} of the model that was kept up, less that of the model left alone{turned}, by month."
    drawn = picture((12, 2.6), words, partial(gained, gains=gains), "big")
    return section("What it saved", f"<p>{words}</p>{drawn}", note)


def _conclusions(told: Told) -> list[str]:
    found = []
    waits = [e.noticed - e.planted for e in told.events if e.noticed is not None]
    if waits:
        soon = sum(wait <= 0 for wait in waits)
        later = f", the last one {_count(max(waits), 'month')} after it began" if max(waits) > 0 else ""
        found.append(f"{len(waits)} of {_count(len(told.events), 'planted trouble')} noticed; {soon} at once{later}.")
    if wrong := [escape(e.name) for e in told.events if not e.right]:
        found.append(f"Not handled as it should have been: {', '.join(wrong)}.")
    found.append(
        f"{_count(told.false_alarms, 'false alarm')}: a model was trained although nothing had been planted."
        if told.false_alarms
        else "No false alarm: where nothing had been planted, no model was trained for drift or its metric."
    )
    for p in told.promotions:
        reason = escape(str(p["reason"]).rstrip(".").replace("_", " "))
        when = f"in month {p['month']}" if float(p["month"]) > 0 else "at the start"
        found.append(f"Version {p['version']} was promoted {when}: {reason}.")
    answered, refused, failed = (
        sum(getattr(m, part) for m in told.months) for part in ("answered", "refused", "failed")
    )
    if answered + refused + failed:
        lost = f"{_count(refused, 'request')} {'was' if refused == 1 else 'were'} refused, {failed:,} failed"
        found.append(f"The service scored {_count(answered, 'row')}; {lost}.")
    if told.last_report:
        found.append(f"In the end the monitor said: {told.last_report.status}.")
    return found


def _deed(sentence: str) -> str:
    """What the loop did: the step, and what was said about it."""
    step, sign, text = sentence.partition(": ")
    return brief(text, step.replace("_", " ")) if sign and len(step) < 20 else brief(sentence)


def _months(months: Sequence[Month]) -> str:
    kinds = [kind for kind in KINDS if any(kind in m.severities for m in months)]
    served = any(m.answered + m.refused + m.failed for m in months)
    rows = []
    for m in months:
        signs = [mark(m.severities[k], WORDS[m.severities[k]]) if k in m.severities else "" for k in kinds]
        did = "".join(map(_deed, m.did)) or "-"
        lost = "".join(
            f"<div class=bad>{_count(n, 'request')} {word}</div>"
            for n, word in ((m.refused, "refused"), (m.failed, "failed"))
            if n
        )
        row = [f"<b>{m.number}</b>", f'<span class="whole">{escape(m.date[:10])}</span>', f"v{m.champion}", *signs, did]
        rows.append([*row, f"{m.answered:,}{lost}"] if served else row)
    turned = [f'<div class="turned">{KINDS[kind]}</div>' for kind in kinds]
    head = ["month", "date", "version", *turned, "what happened", *(["rows scored"] if served else [])]
    legend = ", ".join(mark(severity, word) + word for severity, word in WORDS.items())
    return section("Month by month", table(head, rows, "text long kinds"), f"What the monitor said: {legend}.")
