"""Whether to retrain: the answer, its evidence, and what would have changed it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Command, decoded

from {{ cookiecutter.__package }}.config import Retrain
from {{ cookiecutter.__package }}.watch.findings import ALARM, WARNING, Kind, Report
from {{ cookiecutter.__package }}.watch.policy import Answer, Attempt, Facts, should_retrain

NOW = datetime(2025, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
FACTS = Facts(champion=1, trained=NOW - 100 * DAY, new_rows=999)


def report(kind: Kind, severity: int = ALARM) -> Report:
    made = Report(version=1, source="", made="", since="", until="", rows=1)
    made.tell(kind, severity, f"{kind} it is.")
    return made


def asked(facts: Facts = FACTS, seen: Report | None = None, because: str = "", **conf: Any) -> Answer:
    return should_retrain(facts, seen, Retrain(**conf), NOW, because)


def tried(*days: float, trigger: str = "age") -> Facts:
    return changed(attempts=[Attempt(NOW - n * DAY, trigger) for n in days])


def changed(**fields: Any) -> Facts:
    return msgspec.structs.replace(FACTS, **fields)


def test_nothing_happened_so_no_and_it_says_what_would_change_that() -> None:
    answer = asked(new_rows=1000, every_days=200)
    assert (answer.retrain, answer.trigger) == (False, "")
    words = " ".join(answer.otherwise)
    assert "1 more rows" in words
    assert "100.0 more days" in words
    assert "265 more days" in words
    assert {s.name for s in answer.signals} == {"metric_drop", "drift", "new_columns", "new_rows", "age", "schedule"}


@pytest.mark.parametrize(
    ("trigger", "facts", "seen", "conf"),
    [
        ("metric_drop", FACTS, report("performance"), {}),
        ("drift", FACTS, report("drift"), {}),
        ("drift", FACTS, report("prediction"), {}),
        ("new_columns", changed(new_columns=["x"]), None, {}),
        ("new_rows", changed(new_rows=1000), None, {"new_rows": 1000}),
        ("age", changed(trained=NOW - 366 * DAY), None, {}),
        ("schedule", FACTS, None, {"every_days": 100}),
    ],
)
def test_each_trigger_alone_is_enough_and_is_named(
    trigger: str, facts: Facts, seen: Report | None, conf: dict[str, Any]
) -> None:
    answer = asked(facts, seen, **conf)
    assert (answer.retrain, answer.trigger) == (True, trigger)
    assert answer.evidence
    assert answer.otherwise


@pytest.mark.parametrize(
    ("facts", "seen", "conf"),
    [
        (FACTS, report("drift", WARNING), {}),
        (FACTS, report("drift"), {"drift": False}),
        (FACTS, report("performance"), {"metric_drop": False}),
        (FACTS, report("calibration"), {}),
        (changed(new_rows=999), None, {"new_rows": 1000}),
        (changed(new_columns=["x"]), None, {"new_columns": False}),
        (changed(unapproved=["x"]), None, {}),
        (changed(trained=NOW - 365 * DAY), None, {}),
        (tried(99), None, {"every_days": 100}),
    ],
)
def test_what_is_just_not_enough_is_not_enough(facts: Facts, seen: Report | None, conf: dict[str, Any]) -> None:
    assert not asked(facts, seen, **conf).retrain


def test_a_new_column_waits_for_the_contract() -> None:
    answer = asked(changed(unapproved=["income"]))
    assert "income" in " ".join(answer.evidence)
    assert "add them there" in " ".join(answer.evidence)


def test_storms_are_stopped_and_a_person_may_still_ask() -> None:
    cooling = tried(6)
    answer = asked(cooling, report("drift"))
    assert (answer.retrain, answer.trigger) == (False, "drift")
    assert "cools down until 2025-06-02" in answer.blocked[0]
    assert asked(tried(7), report("drift")).retrain
    often = tried(80, 70, 60, 50, 40, 30)
    assert "6 attempts in 90 days" in asked(often, report("drift")).blocked[0]
    assert asked(changed(attempts=often.attempts[1:]), report("drift")).retrain
    assert asked(cooling, report("quality"), because="a new product").trigger == "manual"


def test_what_led_to_nothing_is_tried_less_and_less_often_but_another_reason_counts() -> None:
    drift = report("drift")
    assert asked(tried(10, trigger="drift"), drift).retrain
    twice = tried(40, 10, trigger="drift")
    assert "2 times in a row" in asked(twice, drift).blocked[0]
    assert asked(tried(50, 14, trigger="drift"), drift).retrain
    worse = report("performance")
    worse.tell("drift", ALARM, "drift it is.")
    assert asked(twice, worse).trigger == "metric_drop"
    twice.attempts[-1].changed = True  # it gave a new champion
    assert asked(twice, drift).retrain


def test_a_model_never_learns_from_data_that_look_broken() -> None:
    seen = report("drift")
    seen.tell("quality", ALARM, "x looks broken.")
    answer = asked(FACTS, seen)
    assert not answer.retrain
    assert "x looks broken." in answer.blocked[0]


def test_first_model_and_no_data() -> None:
    assert asked(changed(champion=None)).trigger == "first"
    assert not asked(changed(data=False), because="please").retrain


def test_the_command_answers_and_does_nothing(lived: Path, command: Command) -> None:
    before = sorted(p.name for p in (lived / "runs").iterdir())
    code, said = command(lived, "should-retrain", "--json")
    answer = decoded(said)
    assert (code, answer["retrain"]) == (0, False)
    assert answer["otherwise"]
    code, said = command(lived, "should-retrain", "--because", "a new product")
    assert (code, "Retrain: manual" in said) == (0, True)
    assert sorted(p.name for p in (lived / "runs").iterdir()) == before
