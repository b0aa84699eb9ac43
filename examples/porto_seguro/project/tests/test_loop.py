"""The loop that needs no person: what it does in a pass, and that a crash at any moment loses and doubles nothing."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from conftest import Command, decoded, settings

from porto_seguro import clock
from porto_seguro.contract import Contract
from porto_seguro.pipeline import Project
from porto_seguro.synth import to_raw
from porto_seguro.watch import loop as module
from porto_seguro.watch.broken import screen
from porto_seguro.watch.loop import Loop
from porto_seguro.watch.shifts import Shift, World, break_rows
from porto_seguro.watch.state import read_state

WEAK = {"estimator": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 3, "min_samples_leaf": 200}}


class Killed(BaseException):
    """As `kill -9`: nothing in the process goes on."""


@pytest.fixture
def living(lived: Path, tmp_path: Path) -> Path:
    """A project with a champion, whose inbox does not wait; promotion is immediate."""
    root = Path(shutil.copytree(lived, tmp_path / "living"))
    settings(root, inbox={"settle_seconds": 0}, promotion="immediate")
    return root


@pytest.fixture(autouse=True)
def _real_time() -> Iterator[None]:
    yield
    clock.set_now(None)


def contract_of(root: Path) -> Contract:
    return Project(root).contract


def drop(root: Path, name: str, frame: pl.DataFrame) -> Path:
    inbox = root / "data" / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    to_raw(frame, contract_of(root)).write_csv(inbox / name)
    return inbox / name


def passed(root: Path, **how: Any) -> dict[str, str]:
    """Do a pass; what happened, by step."""
    return {event.step: event.text for event in Loop(Project(root)).once(**how)}


def test_a_drop_counts_towards_the_policy_and_a_challenger_is_judged(living: Path) -> None:
    settings(living, retrain={"new_rows": 3_000, "cool_down_days": 7})
    world = World(contract_of(living), 3)
    drop(living, "one.csv", world.draw(2_000, 1))
    first = passed(living)
    assert "one.csv" in first["taken in"]
    assert "retraining" not in first
    drop(living, "two.csv", world.draw(2_000, 2))
    second = passed(living)
    assert second["retraining"].startswith("new_rows")
    assert {"promoted", "kept_champion", "rejected"} & set(second)
    drop(living, "three.csv", world.draw(9_000, 3))
    third = passed(living)
    if "promoted" not in second:
        assert "cools down" in third["blocked"]
        assert "blocked" not in passed(living)  # said once
        clock.set_now(datetime.now(UTC) + timedelta(days=8))
        assert "retraining" in passed(living)


def test_bad_files_are_put_aside_and_people_are_told(
    living: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    told: list[str] = []
    monkeypatch.setattr(module, "notify", lambda subject, text, facts: told.append(text) or [])
    contract, world = contract_of(living), World(contract_of(living), 4)
    rows = world.draw(3_000, 1)
    (drop(living, "broken.csv", rows)).write_text("nothing,of\nthe,kind\n", "utf-8")
    drop(living, "poisoned.csv", break_rows(rows, contract, [Shift(kind="poison", size=1)]))
    drop(living, "good.csv", world.draw(3_000, 2))
    versions = len(Project(living).store.versions())
    code, said = command(living, "loop", "--once", "--json")
    steps = [event["step"] for event in decoded(said)["events"]]
    assert (code, steps.count("quarantined"), steps.count("taken in")) == (0, 2, 1), said
    assert len(Project(living).store.versions()) == versions + 1
    assert len(told) == 1
    assert "poisoned.csv" in told[0]
    aside = [p.name for p in (living / "data" / "quarantine").rglob("*.csv")]
    assert sorted(aside) == ["broken.csv", "poisoned.csv"]
    gauges = (living / "data" / "monitor" / "loop.prom").read_text("utf-8")
    assert "loop_quarantined_files 2" in gauges
    assert "loop_failed 0" in gauges


def test_the_screen_lets_right_labels_pass_and_holds_wrong_ones_back(lived: Path) -> None:
    model, world = Project(lived).model()[1], World(contract_of(lived), 5)
    contract = contract_of(lived)
    for number in range(1, 6):
        assert screen(model, world.draw(4_000, number), 2.0) == ""
    wrong = break_rows(world.draw(4_000, 6), contract, [Shift(kind="poison", size=1)])
    assert screen(model, wrong, 2.0)
    assert screen(model, wrong[:20], 2.0) == ""  # too few to tell


def test_a_failing_step_leaves_the_champion_and_says_so(
    living: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    told: list[str] = []
    monkeypatch.setattr(module, "notify", lambda subject, text, facts: told.append(text) or [])
    settings(living, model={"estimator": "sklearn.no.Such", "parameters": {}})
    champion = Project(living).registry.history()
    for turn in range(3):
        code, said = command(living, "loop", "--once", *(("--retrain", "a test") if not turn else ()))
        assert code == 3, said
    assert Project(living).registry.history() == champion
    assert read_state(living).work is None
    assert "given up" in said
    assert len(told) == 3
    assert "loop_failed 1" in (living / "data" / "monitor" / "loop.prom").read_text("utf-8")
    assert command(living, "loop", "--once")[0] == 0


# A crash before and after each of these, which change what lasts: the object and its method.
BOUNDARIES = [
    ("inbox", "take"),
    ("project", "train"),
    ("project", "evaluate"),
    ("project", "register"),
    ("project", "admit"),
    ("registry", "promote"),
]


@pytest.fixture(scope="module")
def weak(lived: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a weak champion, so that the next challenger surely passes."""
    without = shutil.ignore_patterns("runs", "mlflow.db*")
    root = Path(shutil.copytree(lived, tmp_path_factory.mktemp("weak") / "weak", ignore=without))
    settings(root, inbox={"settle_seconds": 0}, promotion="immediate", model=WEAK, goal={"floor": None})
    assert Project(root).run().decision == "promoted"
    settings(root, model={"estimator": "lightgbm", "parameters": {}})
    drop(root, "new.csv", World(contract_of(root), 7).draw(3_000, 1))
    return root


@pytest.mark.life
@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize(("what", "method"), BOUNDARIES)
def test_after_a_crash_at_any_boundary_the_next_pass_ends_the_work(
    weak: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, method: str, where: str
) -> None:
    living = Path(shutil.copytree(weak, tmp_path / "living"))
    versions = len(Project(living).store.versions())

    loop = Loop(Project(living))
    target: Any = {"inbox": loop.inbox, "project": loop.project, "registry": loop.project.registry}[what]
    kept = getattr(target, method)

    def dying(*args: Any, **how: Any) -> Any:
        if where == "after":
            found = kept(*args, **how)
            if what == "inbox":
                list(found)
        raise Killed

    monkeypatch.setattr(target, method, dying)
    with pytest.raises(Killed):
        loop.once("a test")
    monkeypatch.undo()
    history = Project(living).registry.history()
    assert history in ([1], [1, 2])  # no half promotion
    seen: list[str] = []
    for _ in range(3):
        seen += passed(
            living, asked="" if read_state(living).work or 2 in Project(living).registry.history() else "a test"
        )
        if read_state(living).work is None and 2 in Project(living).registry.history():
            break
    registry = Project(living).registry
    assert registry.history() == [1, 2], seen
    assert [v.version for v in registry.versions()] == [1, 2]  # no double version
    assert len(Project(living).store.versions()) == versions + 1  # no lost file, no double one
    assert not list((living / "data" / "inbox").iterdir())
    assert len(list((living / "data" / "archive").iterdir())) == 1


def test_two_loops_do_not_run_at_once(living: Path, command: Command) -> None:
    import filelock

    with filelock.FileLock(living / ".loop.lock"):
        code, said = command(living, "loop", "--once")
    assert (code, "Another loop" in said) == (3, True)


def test_a_broken_memory_is_said_and_costs_nothing(living: Path, command: Command) -> None:
    (living / "data" / "loop.json").write_text("{", "utf-8")
    code, said = command(living, "should-retrain")
    assert (code, "Remove it" in said) == (3, True)


def test_time_can_be_shared_by_processes(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    moment = datetime(2020, 2, 2, tzinfo=UTC)
    clock.share(tmp_path / "clock")
    try:
        clock.jump(moment)
        assert abs(clock.now() - moment) < timedelta(minutes=1)
        code = "from porto_seguro import clock; print(clock.now().isoformat())"
        env = os.environ | {"PYTHONPATH": str(Path(clock.__file__).parents[1])}
        told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
        assert told.startswith("2020-02-02")
    finally:
        clock.share(None)
    assert clock.now().year > 2020
