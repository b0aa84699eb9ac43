"""Shall a challenger be trained? What is known in, one answer out, with its evidence and what would change it."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from ..config import Retrain
from ..pipeline import Project
from .findings import ALARM, Kind, Report


class Attempt(Struct):
    """A retraining: when it began, why, and whether it gave a new champion."""

    since: datetime
    trigger: str
    changed: bool = False


class Facts(Struct, kw_only=True):
    """What the policy looks at besides the newest report.

    Attributes:
        champion: its version; None if there is none yet.
        trained: when it was trained.
        new_rows: taken in since the data that it learnt from.
        new_columns: features of the contract that it does not know.
        unapproved: columns that arrived and that the contract does not name.
        attempts: earlier retrainings, oldest first.
        data: whether there is any data to learn from.
    """

    champion: int | None
    trained: datetime | None = None
    new_rows: int = 0
    new_columns: list[str] = []
    unapproved: list[str] = []
    attempts: list[Attempt] = []
    data: bool = True


class Signal(Struct):
    """One reason to retrain: whether it holds, the evidence, and what would turn it round."""

    name: str
    holds: bool
    evidence: str
    otherwise: str


class Answer(Struct):
    """Whether to retrain; `trigger` names the first signal that holds.

    Attributes:
        evidence: what speaks for the answer, in words.
        otherwise: what would have changed it, in words.
        blocked: what stands against a retraining that is wanted; a person may retrain all the same.
        signals: all that was looked at.
    """

    retrain: bool
    trigger: str
    evidence: list[str]
    otherwise: list[str]
    blocked: list[str] = []
    signals: list[Signal] = []


def should_retrain(facts: Facts, report: Report | None, conf: Retrain, now: datetime, asked: str = "") -> Answer:
    """Decide.

    Args:
        facts: of champion, data and attempts.
        report: the newest one of the champion; None if there is none.
        conf: the policy.
        now: the moment.
        asked: why somebody wants it, in words; then nothing but missing data stands against it.
    """
    if not facts.data:
        return Answer(False, "", ["There is no data to learn from."], ["Take in a table: ingest"])
    if asked:
        return Answer(True, "manual", [asked], ["Nobody asking for it."])
    if facts.champion is None:
        return Answer(True, "first", ["There is no champion yet."], ["A champion."])
    signals = _signals(facts, report, conf, now)
    wanted = [s for s in signals if s.holds]
    if not wanted:
        return Answer(False, "", [s.evidence for s in signals], [s.otherwise for s in signals], signals=signals)
    evidence = [s.evidence for s in wanted]
    blocked = _blocked(facts, report, conf, now)
    free = [s for s in wanted if not _futile(facts, s.name, conf, now)]
    if not blocked and free:
        return Answer(
            True, free[0].name, [s.evidence for s in free], [s.otherwise for s in wanted], signals=signals
        )  # fmt: skip
    blocked += [b for b in [_futile(facts, s.name, conf, now) for s in wanted] if b and not free]
    against, otherwise = [text for text, _ in blocked], [text for _, text in blocked]
    return Answer(False, wanted[0].name, evidence, otherwise, against, signals)


def _signals(facts: Facts, report: Report | None, conf: Retrain, now: datetime) -> list[Signal]:
    found: list[Signal] = []
    looked: list[tuple[str, bool, tuple[Kind, ...]]] = [
        ("metric_drop", conf.metric_drop, ("performance",)),
        ("drift", conf.drift, ("drift", "prediction")),
    ]
    for name, wanted, kinds in looked:
        if not wanted:
            continue
        alarms = report.of(*kinds) if report else []
        if alarms:
            found.append(Signal(name, True, " ".join(alarms[:3]), f"No alarm of the kind {kinds[0]} in `monitor`."))
        else:
            evidence = f"No alarm of the kind {kinds[0]}." if report else "Nothing was monitored yet."
            found.append(Signal(name, False, evidence, f"An alarm of the kind {kinds[0]} in `monitor`."))
    if conf.new_columns:
        names = ", ".join(facts.new_columns[:5])
        more = ", ".join(facts.unapproved[:5])
        evidence = (
            f"The contract has features that the champion does not know: {names}." if names else "No new feature."
        )
        if more:
            evidence += f" Columns that the contract does not name: {more}; add them there to have them learnt."
        otherwise = "Their going out of the contract." if names else "A new feature in conf/contract.yaml."
        found.append(Signal("new_columns", bool(names), evidence, otherwise))
    if conf.new_rows:
        enough = facts.new_rows >= conf.new_rows
        evidence = f"{facts.new_rows:,} rows are new; the limit is {conf.new_rows:,}."
        otherwise = (
            f"Fewer than {conf.new_rows:,} new rows." if enough else f"{conf.new_rows - facts.new_rows:,} more rows."
        )
        found.append(Signal("new_rows", enough, evidence, otherwise))
    if facts.trained:
        age = (now - facts.trained) / timedelta(days=1)
        old = age > conf.max_age_days
        evidence = f"The champion is {age:.0f} days old; the limit is {conf.max_age_days:g}."
        otherwise = "A younger champion." if old else f"{conf.max_age_days - age:.0f} more days."
        found.append(Signal("age", old, evidence, otherwise))
    if conf.every_days:
        last = max([t for t in (facts.trained, *(a.since for a in facts.attempts)) if t], default=None)
        since = (now - last) / timedelta(days=1) if last else float("inf")
        due = since >= conf.every_days
        evidence = f"The last training was {since:.1f} days ago; the schedule says every {conf.every_days:g} days."
        otherwise = "A training in that time." if due else f"{conf.every_days - since:.1f} more days."
        found.append(Signal("schedule", due, evidence, otherwise))
    return found


def _blocked(facts: Facts, report: Report | None, conf: Retrain, now: datetime) -> list[tuple[str, str]]:
    """What stands against it, and what would take that away."""
    found: list[tuple[str, str]] = []
    if report and report.severities.get("quality") == ALARM:
        bad = " ".join(report.of("quality")[:3])
        found.append((f"The data looks broken, and a model must not learn from it. {bad}", "Mending the source."))
    if facts.attempts:
        end = facts.attempts[-1].since + timedelta(days=conf.cool_down_days)
        if now < end:
            text = f"The last attempt was at {_day(facts.attempts[-1].since)}; it cools down until {_day(end)}."
            found.append((text, f"Waiting until {_day(end)}."))
    recent = [a.since for a in facts.attempts if a.since > now - timedelta(days=conf.within_days)]
    if len(recent) >= conf.most:
        end = recent[-conf.most] + timedelta(days=conf.within_days)
        text = f"There were {len(recent)} attempts in {conf.within_days:g} days; the most is {conf.most}."
        found.append((text, f"Waiting until {_day(end)}, or raising `retrain.most`."))
    return found


def _futile(facts: Facts, trigger: str, conf: Retrain, now: datetime) -> tuple[str, str] | None:
    """What stands against a trigger that led to nothing before: each time in a row, twice the time must pass."""
    same = [a for a in facts.attempts if a.trigger == trigger]
    row = 0
    while row < len(same) and not same[-1 - row].changed:
        row += 1
    days = min(conf.cool_down_days * 2 ** max(row - 1, 0), conf.within_days)
    if not row or now >= same[-1].since + timedelta(days=days):
        return None
    end = _day(same[-1].since + timedelta(days=days))
    times = "once" if row == 1 else f"{row} times in a row"
    return (
        f"Retraining for {trigger} gave no better model {times}; it is tried again after {end}.",
        f"Waiting until {end}.",
    )


def _day(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="minutes")[:16]


def facts_of(project: Project, attempts: Sequence[Attempt]) -> Facts:
    """Gather the facts.

    Args:
        project: whose store and registry are asked.
        attempts: earlier retrainings, oldest first.
    """
    versions, champion = project.store.versions(), project.registry.champion()
    facts = Facts(
        champion=champion.version if champion else None, data=bool(versions),
        attempts=list(attempts),
    )  # fmt: skip
    if champion and versions:
        model = project.model()[1]
        facts.trained = datetime.fromisoformat(model.lineage["trained_at"])
        old = next((m.sequence for m in versions if m.version == champion.tags["data_version"]), 0)
        facts.new_rows = sum(m.added for m in versions if m.sequence > old)
        facts.new_columns = [c.name for c in project.contract.of("feature") if c.name not in model.needs]
        facts.unapproved = versions[-1].extra_columns
    return facts
