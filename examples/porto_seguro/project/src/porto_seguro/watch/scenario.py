"""What a simulation plays, as data (`conf/scenario.yaml`), and what came of each thing that was planted."""

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

from ..errors import UsageError
from .findings import Outcome, Told
from .loop import Event
from .shifts import Shift

WORLD = ("covariate", "seasonal", "concept", "weaker")
SOURCE = ("units", "swap", "rename")


class Planted(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Something that happens.

    Attributes:
        name: in words.
        kind: of `shifts.Shift`; or `outage` (the service is killed), `late` (outcomes do not arrive), `worse` (somebody
            has a worse model trained).
        month, months: when it begins, from 1, and how long it lasts.
        columns, size: of the shift.
        within: months in which it must be noticed.
        expects: the word with which the action must begin: retrained, held, quarantined, refused, waited, restarted.
    """

    name: str
    kind: Literal[
        "covariate", "seasonal", "concept", "weaker", "units", "swap", "rename", "poison", "outage", "late", "worse"
    ]
    month: Annotated[int, Meta(ge=1)]
    months: Annotated[int, Meta(ge=1)] = 1
    columns: tuple[str, ...] = ()
    size: float = 0.0
    within: Annotated[int, Meta(ge=1)] = 2
    expects: str = "retrained"

    @property
    def last(self) -> int:
        """The last month of it."""
        return self.month + self.months - 1

    def shift(self) -> Shift:
        """The same as a shift."""
        return Shift(kind=self.kind, columns=self.columns, size=self.size)  # type: ignore[arg-type]


class Scenario(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        start: the first day; in the past, so that nothing of it is younger than its files.
        months, rows, first_rows: how many, rows in each, and rows to learn from before.
        label_months: until the outcomes of a month, and the table to learn from, arrive.
        settings: laid over `conf/project.yaml`, section by section.
        seed: of the world.
    """

    start: date = date(2024, 1, 1)
    months: Annotated[int, Meta(ge=1, le=120)] = 18
    rows: Annotated[int, Meta(ge=100)] = 10_000
    first_rows: Annotated[int, Meta(ge=500)] = 40_000
    label_months: Annotated[int, Meta(ge=0, le=12)] = 1
    seed: Annotated[int, Meta(ge=0, le=2000)] = 0
    settings: dict[str, dict[str, Any]] = {}
    events: list[Planted] = []

    def now(self, month: int, *kinds: str) -> list[Planted]:
        """What of these kinds happens in a month."""
        return [e for e in self.events if e.kind in kinds and e.month <= month <= e.last]

    def shifts(self, month: int, *kinds: str) -> list[Shift]:
        """The same as shifts."""
        return [e.shift() for e in self.now(month, *kinds)]


def read_scenario(path: Path) -> Scenario:
    """Read a scenario.

    Raises:
        UsageError: it is missing or cannot be understood.
    """
    try:
        scenario = msgspec.convert(yaml.safe_load(path.read_text("utf-8")) or {}, Scenario, strict=False)
        for event in scenario.events:
            if event.kind in (*WORLD, *SOURCE, "poison"):
                event.shift()
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist; name a scenario with --scenario.") from None
    except (msgspec.ValidationError, yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{path} cannot be used: {error}") from None
    if "monitor" in scenario.settings:
        raise UsageError(f"{path}: settings may not change `monitor`; a simulation proves the limits that are shipped.")
    return scenario


# By which words of the loop each kind is noticed: the step, and the beginning of its text ("" for any).
SIGNS: dict[str, list[tuple[str, str]]] = {
    "covariate": [("alarm", "drift"), ("alarm", "prediction"), ("still", "drift"), ("still", "prediction")],
    "concept": [("alarm", "performance"), ("still", "performance")],
    "source": [("alarm", "quality"), ("still", "quality"), ("quarantined", "")],
    "late": [("late", "")],
    "poison": [("quarantined", "")],
    "worse": [("kept_champion", ""), ("rejected", "")],
    "outage": [("restarted", "")],
}
SIGNS |= {"seasonal": SIGNS["covariate"], "weaker": SIGNS["concept"], **dict.fromkeys(SOURCE, SIGNS["source"])}
# What was done: the word, and the steps of the loop that mean it.
DEEDS: dict[str, list[tuple[str, str]]] = {
    "quarantined": [("quarantined", "")],
    "held": [("blocked", ""), ("quarantined", ""), ("alarm", "quality"), ("still", "quality")],
    "refused": [("kept_champion", ""), ("rejected", "")],
    "restarted": [("restarted", "")],
    "waited": [("late", "")],
}
BLAMED = ("drift", "metric_drop")
ENDS = ("promoted", "kept_champion", "rejected", "rolled back", "given up")
LATER = 4  # months in which a retraining may end


def look_back(told: Told, plan: Scenario, log: dict[int, list[Event]]) -> None:
    """Fill in the planted events, and count false alarms.

    Args:
        told: is filled in.
        plan: what was planted.
        log: what the loop did, month by month.
    """
    for planted in plan.events:
        told.events.append(_followed(planted, log))
    blamed = {
        month for month, events in log.items()
        if any(e.step == "retraining" and e.text.startswith(BLAMED) for e in events)
    }  # fmt: skip
    # What happened goes on to be seen while rows of that time mature, and until a model has learnt from them.
    excused = {
        month for e in plan.events
        for month in range(e.month, e.last + max(e.within, plan.label_months + 2) + 1)
    }  # fmt: skip
    told.false_alarms = len(blamed - excused)


def _followed(planted: Planted, log: dict[int, list[Event]]) -> Outcome:
    found = Outcome(planted.name, planted.kind, planted.month, planted.last, planted.within, planted.expects)
    end = planted.month + planted.within
    for month in range(planted.month, end):
        signs = [e for e in log.get(month, []) if _is(e, SIGNS[planted.kind])]
        if signs and found.noticed is None:
            found.noticed, found.evidence = month, signs[0].text
    if found.noticed is None:
        found.action = "nothing"
        return found
    within = [e for month in range(planted.month, end) for e in log.get(month, [])]
    after = [e for month in range(found.noticed, found.noticed + LATER) for e in log.get(month, [])]
    found.action = _retrained(after) if planted.expects == "retrained" else _done(planted.expects, within)
    learnt = planted.expects == "held" and any(e.step == "retraining" for e in within)
    found.right = found.action.startswith(planted.expects) and not learnt
    return found


def _is(event: Event, signs: list[tuple[str, str]]) -> bool:
    return any(event.step == step and event.text.startswith(text) for step, text in signs)


def _retrained(after: list[Event]) -> str:
    """How each retraining for drift or metric ended."""
    ends: list[Event] = []
    begun = blamed = False
    for event in after:
        if event.step == "retraining":
            blamed = event.text.startswith(BLAMED)
            begun = begun or blamed
        elif blamed and event.step in ENDS:
            ends.append(event)
            blamed = False
    if not begun:
        return "nothing"
    if not ends:
        return "retrained"
    best = next((e for e in ends if e.step == "promoted"), ends[-1])
    shown = ends[: ends.index(best) + 1]
    return f"retrained, {', '.join(e.step for e in shown)}: {best.text}"


def _done(expects: str, after: list[Event]) -> str:
    deeds = [e for signs in DEEDS[expects] for e in after if _is(e, [signs])]
    return f"{expects}: {deeds[0].text}" if deeds else "nothing"
