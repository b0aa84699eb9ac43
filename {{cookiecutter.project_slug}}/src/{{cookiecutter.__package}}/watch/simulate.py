"""Play months of operation with the real components: inbox, service, prediction log, outcomes, monitor, policy, gate, release."""

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import yaml

from .. import clock
from ..artifact import Model
from ..config import load_settings
from ..encode import encode_target
from ..errors import UsageError
from ..metrics import prepare
from ..pipeline import Project
from ..table import replacing
from ..train import metric_of
from .findings import Month, Told
from .look import SERVED
from .loop import Event, Loop
from .scenario import SOURCE, WORLD, Scenario, look_back, read_scenario
from .shifts import World, break_rows
from .story import story
from .traffic import Answers, Service, drop, send_outcomes

MONTH = timedelta(days=30)
ROUNDS = 12  # of more requests, until a release has ended
MORE = 3_000  # rows in each
ONLINE = ("outage", "late")  # what cannot happen without a service
WEAK: dict[str, Any] = {"estimator": "constant", "parameters": {}}


def simulate(
    root: Path, scenario: Path, months: int | None = None, seed: int | None = None,
    keep: Path | None = None, progress: Callable[[str], None] = lambda step: None,
) -> Told:  # fmt: skip
    """Play a scenario in a copy of a project's settings.

    Args:
        root: the project; only `data/simulation` in it is written.
        scenario: the file (see `scenario.Scenario`).
        months, seed: in place of the scenario's.
        keep: where the simulated project is kept; None throws it away.
        progress: is told the name of each month as it begins.

    Raises:
        UsageError: the scenario cannot be played.
        Fault: the service does not start.
    """
    plan = read_scenario(scenario)
    plan = msgspec.structs.replace(
        plan, months=months or plan.months, seed=plan.seed if seed is None else seed,
        events=[e for e in plan.events if e.month <= (months or plan.months) and (SERVED or e.kind not in ONLINE)],
    )  # fmt: skip
    if keep and keep.exists():
        raise UsageError(f"{keep} exists; name a new folder.")
    start = clock.seconds()
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory())) / root.resolve().name
        folder.mkdir(parents=True)
        for name in ("conf", "requirements"):
            shutil.copytree(root / name, folder / name)
        stack.callback(clock.share, None)
        clock.share(folder / "clock")
        simulation = _Simulation(folder, plan)
        stack.callback(simulation.end)
        told = simulation.play(progress)
    told.seconds = round(clock.seconds() - start, 1)
    path = root / "data" / "simulation" / f"seed-{plan.seed}.html"
    told.page = str(path)
    with replacing(path) as part:
        part.write_text(story(told), "utf-8", newline="\n")
    return told


class _Simulation:
    """One year or two of one project."""

    def __init__(self, root: Path, plan: Scenario) -> None:
        self._root, self._plan = root, plan
        self._conf = root / "conf" / "project.yaml"
        settings = yaml.safe_load(self._conf.read_text("utf-8"))
        for section, values in plan.settings.items():
            settings[section] = settings.get(section, {}) | values
        self._settings = settings
        self._write(settings)
        project = Project(root)
        self._contract = project.contract
        self._metric = metric_of(project.settings, self._contract.task)
        self._world = World(self._contract, plan.seed)
        self._service = Service(root) if SERVED else None
        self._scored: dict[int, list[tuple[str, pl.DataFrame]]] = {}  # by month: ids and true rows that were sent
        self._waiting: list[int] = []  # months whose outcomes have not arrived
        self._first: Model | None = None
        self._why = ""  # the last retraining was begun

    def _write(self, settings: dict[str, Any]) -> None:
        self._conf.write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")

    def end(self) -> None:
        """Stop what runs."""
        if self._service:
            self._service.stop()

    def _at(self, month: float) -> datetime:
        """The moment after so many months."""
        return datetime.combine(self._plan.start, time(), UTC) + month * MONTH

    def play(self, progress: Callable[[str], None]) -> Told:
        """Play all months."""
        plan = self._plan
        told = Told(project=load_settings(self._conf.parent).name, seed=plan.seed, rows=plan.rows, metric=self._metric)
        progress("the first model")
        clock.jump(self._at(0) - timedelta(days=1))
        drop(self._root, self._contract, "first", self._world.draw(plan.first_rows, 0))
        began = Loop(Project(self._root)).once()
        if not any(e.step == "promoted" for e in began):
            said = "; ".join(f"{e.step}: {e.text}" for e in began)
            raise UsageError(f"The first model of the simulation was not promoted: {said}")
        told.promotions.append({"month": 0, "version": 1, "reason": "the first model"})
        self._first = Project(self._root).model()[1]
        if self._service:
            self._service.start()
        log: dict[int, list[Event]] = {}
        for number in range(1, plan.months + 1):
            progress(f"month {number}")
            begun = clock.seconds()
            month, log[number] = self._month(number, told)
            month.seconds = round(clock.seconds() - begun, 2)
            told.months.append(month)
        look_back(told, plan, log)
        told.metric_kept_up, told.metric_left_alone = (
            float(np.mean([getattr(m, name) for m in told.months if m.kept_up is not None]))
            for name in ("kept_up", "left_alone")
        )
        return told

    def _month(self, number: int, told: Told) -> tuple[Month, list[Event]]:
        plan, events = self._plan, list[Event]()
        champion = Project(self._root).registry.champion()
        month = Month(number, self._at(number - 1).date().isoformat(), champion.version if champion else 0)
        rows = self._world.draw(plan.rows, number * 100, plan.shifts(number, *WORLD), float(number))
        answers, sent = self._send(number, rows, number * 100, month, events)
        self._measure(month, rows, sent, answers)
        self._deliver(number)
        clock.jump(self._at(number) - timedelta(hours=1))
        if plan.now(number, "worse"):
            self._write(self._settings | {"model": WEAK})
        asked = "; ".join(e.name for e in plan.now(number, "worse"))
        events += Loop(Project(self._root)).once(asked, look=True)
        self._write(self._settings)
        loop = Loop(Project(self._root))
        for n in range(ROUNDS):
            if loop.working() is None:
                break
            if self._service and any(e.step == "release" for e in events):
                block = number * 100 + 1 + n
                more = self._world.draw(MORE, block, plan.shifts(number, *WORLD), float(number))
                self._send(number, more, block, month, events, calm=True)
            loop = Loop(Project(self._root))
            events += loop.once()
        for event in events:
            event.text = event.text.replace(f"{self._root}/", "")
            if event.step == "retraining":
                self._why = event.text
            if event.step == "promoted":
                now = Project(self._root).registry.champion()
                told.promotions.append({"month": number, "version": now.version if now else 0, "reason": self._why})
        month.did = [f"{e.step}: {e.text}" for e in events if e.step not in ("release", "known")]
        report = loop.watch.newest(Project(self._root).registry.history()[-1]) or loop.watch.newest(month.champion)
        if report:
            told.last_report, month.severities = report, report.severities
        return month, events

    def _send(
        self, number: int, rows: pl.DataFrame, block: int, month: Month, events: list[Event], calm: bool = False
    ) -> tuple[Answers, pl.DataFrame]:
        """Have rows scored in the course of a month; return the answers, and the rows as the source sent them."""
        plan, ids = self._plan, [f"{block}-{n}" for n in range(rows.height)]
        self._scored.setdefault(number, []).append((f"{block}-", rows))
        sent = break_rows(rows, self._contract, plan.shifts(number, *SOURCE))
        if not self._service:
            model = Project(self._root).model()[1]
            return Answers(list(range(rows.height)), model.predict(sent).tolist()), sent
        answers, step = Answers(), -(-rows.height // (1 if calm else 4))
        for n, start in enumerate(range(0, rows.height, step)):
            if not calm:
                clock.jump(self._at(number - 1 + 0.05 + n * 0.22))
            if n == 2 and plan.now(number, "outage"):
                self._service.kill()
                lost = self._service.ask(sent[start : start + 200], self._contract, ids[start : start + 200])
                month.failed += lost.failed
                self._service.start()
                text = f"the service was killed, {lost.failed} requests failed; it goes on where it was"
                events.append(Event("restarted", text))
            answers.add(self._service.ask(sent[start : start + step], self._contract, ids[start : start + step]), start)
        month.answered += len(answers.places)
        month.failed += answers.failed
        month.refused += answers.refused
        return answers, sent

    def _measure(self, month: Month, rows: pl.DataFrame, sent: pl.DataFrame, answers: Answers) -> None:
        """The metric of what was answered, and of what the first model would have answered to the same."""
        if not answers.places:
            return
        assert self._first
        y = encode_target(rows[answers.places], self._contract)
        month.kept_up, month.left_alone = (
            prepare(self._metric, self._contract.task, y, score)(np.ones(len(y)))
            for score in (answers.vector(), self._first.predict(sent[answers.places]))
        )

    def _deliver(self, number: int) -> None:
        """Outcomes, and tables to learn from, of the months that are old enough; unless they are late."""
        plan = self._plan
        self._waiting.append(number)
        if plan.now(number, "late"):
            return
        for month in [m for m in self._waiting if m <= number - plan.label_months]:
            self._waiting.remove(month)
            sent = self._scored.pop(month)
            if self._service:
                send_outcomes(self._root, self._contract, sent)
            clock.jump(self._at(number) - timedelta(days=1, minutes=60 - month % 60))
            wrong = [*plan.shifts(month, *SOURCE), *plan.shifts(number, "poison")]
            table = break_rows(sent[0][1], self._contract, wrong)
            drop(self._root, self._contract, f"month-{month:03}", table)
