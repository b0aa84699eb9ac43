"""The loop that needs no person: take in, look, decide, train a challenger, judge, register, release.

What is under way stands in `data/loop.json`, which is replaced as a whole before and after each step; everything else
lasts in the store, the registry and the endpoint. So a crash at any moment is mended by the next pass.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial

import filelock
from msgspec import Struct

from .. import clock
from ..errors import Fault, ProjectError, UsageError
from ..pipeline import Project
from ..store import only_one
from ..table import replacing
from . import serving
from .broken import screen
from .findings import ALARM, WARNING, Report
from .inbox import Inbox
from .look import Watch, exposition
from .notify import notify
from .policy import Attempt, facts_of, should_retrain
from .state import State, Work, read_state, save_state

GAUGES = "loop.prom"
TRIES = 3  # of one retraining that fails, before it is given up
LOOKS = 30  # in a window


class Event(Struct):
    """Something that the loop did or found, in a sentence; `urgent` is told to people (see `notify`)."""

    step: str
    text: str
    urgent: bool = False


class Loop:
    """The loop of one project."""

    def __init__(self, project: Project) -> None:
        """Look after a project."""
        self.project = project
        self.watch = Watch(project)
        self.inbox = Inbox(project.store, project.settings.inbox)

    def working(self) -> Work | None:
        """The retraining under way."""
        return read_state(self.project.root).work

    def once(
        self, asked: str = "", look: bool = False, tell: Callable[[Event], None] = lambda event: None
    ) -> list[Event]:
        """Do one pass; what fails is told and leaves the champion serving.

        Args:
            asked: why somebody wants a retraining, in words; empty if nobody does.
            look: whether to monitor even if that was done a short while ago.
            tell: is given each event at once.

        Raises:
            Fault: another pass is under way.
        """
        events: list[Event] = []

        def say(step: str, text: str, urgent: bool = False) -> None:
            events.append(Event(step, text, urgent))
            tell(events[-1])

        try:
            lock = filelock.FileLock(self.project.root / ".loop.lock", timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise Fault("Another loop runs in this project already; nothing was done.") from None
        try:
            failed = False
            for step in (self._take, lambda say: self._decide(say, asked, look), self._work):
                try:
                    step(say)
                except ProjectError as error:
                    failed = True
                    say("failed", str(error), urgent=True)
            self._gauges(failed)
            self._tell(events)
        finally:
            lock.release()
        return events

    def _take(self, say: Callable[..., None]) -> None:
        project = self.project
        with only_one(project.root):
            look = partial(screen, limit=project.settings.inbox.target_shift)
            ready = project.registry.champion() and self.inbox.waiting()
            check = partial(look, project.model()[1]) if ready else None
            for taken in self.inbox.take(project.contract, screen=check):
                if taken.reason:
                    say("quarantined", taken.reason, urgent=True)
                elif taken.new:
                    say("taken in", f"{taken.file}: version {taken.version}, {taken.rows:,} rows")
                else:
                    say("known", f"{taken.file} is known already: version {taken.version}")

    def _decide(self, say: Callable[..., None], asked: str, look: bool) -> None:
        state, champion = read_state(self.project.root), self.project.registry.champion()
        report, fresh = self._look(champion.version, look) if champion else (None, False)
        if report and fresh:
            self._alarms(report, state, say)
        if state.work:
            return
        facts = facts_of(self.project, state.attempts)
        answer = should_retrain(facts, report, self.project.settings.retrain, clock.now(), asked)
        if answer.retrain:
            state.work = Work(answer.trigger, answer.evidence, clock.stamp())
            state.attempts = [*state.attempts[-99:], Attempt(clock.now(), answer.trigger)]
            say("retraining", f"{answer.trigger}: {' '.join(answer.evidence)}", urgent=True)
        against = " ".join(answer.blocked)
        if against not in ("", state.blocked):
            say("blocked", f"{answer.trigger}, but: {against}", urgent=True)
        state.blocked = against
        save_state(self.project.root, state)

    def _look(self, version: int, now: bool) -> tuple[Report | None, bool]:
        """The newest report of the champion, and whether it is a new one, because it was time."""
        newest = self.watch.newest(version)
        due = timedelta(days=self.project.settings.monitor.window_days / LOOKS)
        if newest and not now and clock.now() - datetime.fromisoformat(newest.made) < due:
            return newest, False
        try:
            return self.watch.look(), True
        except UsageError:  # nothing to look at yet
            return newest, False

    def _alarms(self, report: Report, state: State, say: Callable[..., None]) -> None:
        alarms = [f.kind for f in report.findings if f.severity == ALARM]
        for kind in dict.fromkeys(alarms):
            texts = " ".join(report.of(kind)[:3])
            say("alarm" if kind not in state.alarms else "still", f"{kind}: {texts}", urgent=kind not in state.alarms)
        if report.severity("labels") == WARNING:
            say("late", " ".join(f.text for f in report.findings if f.kind == "labels"))
        state.alarms = list(dict.fromkeys(alarms))
        save_state(self.project.root, state)

    def _work(self, say: Callable[..., None]) -> None:
        """Bring the retraining under way as far as it goes."""
        state = read_state(self.project.root)
        work = state.work
        if work is None:
            return
        try:
            if work.run is None:
                work.run = self.project.train()
                save_state(self.project.root, state)
            if work.version is None:
                decision = self.project.evaluate(work.run)[1]
                made = self.project.register(work.run)
                if made is None:
                    return self._end(state, say, decision.decision, " ".join(decision.reasons[:2]))
                work.version = made.version
                save_state(self.project.root, state)
                say("registered", f"version {made.version}: {decision.reasons[0]}")
            self._release(state, work.since, work.run, work.version, say)
        except ProjectError:
            work.tries += 1
            if work.tries >= TRIES:
                state.work = None
                say("given up", f"The retraining ({work.trigger}) failed {TRIES} times; the champion stays.", True)
            save_state(self.project.root, state)
            raise

    def _release(self, state: State, since: str, run: str, version: int, say: Callable[..., None]) -> None:
        champion = self.project.registry.champion()
        if (champion and champion.version == version) or self.project.admit(run, version):
            return self._end(state, say, "promoted", f"version {version} is champion")
        endpoint = serving("local").LocalEndpoint(self.project.root)
        releases = serving("release").Releases(self.project, endpoint)
        with endpoint.only_one():
            last = endpoint.state().release
            mine = last is not None and last.version == version and last.began >= since
            if mine and last.status in ("rolled back", "aborted"):  # by a step whose end was cut off
                return self._end(state, say, last.status, last.history[-1])
            step = releases.step() if mine else releases.start(version)
        if step.did in ("done", "rolled back", "aborted"):
            if step.did == "done":
                return self._end(state, say, "promoted", f"version {version} is champion")
            return self._end(state, say, step.did, f"version {version}: {'; '.join(step.reasons)}")
        say("release", f"version {version}, {step.release.stage}: {step.did}: {'; '.join(step.reasons)}")

    def _end(self, state: State, say: Callable[..., None], what: str, text: str) -> None:
        state.work = None
        if what == "promoted" and state.attempts:
            state.attempts[-1].changed = True
        save_state(self.project.root, state)
        say(what, text, urgent=True)

    def _gauges(self, failed: bool) -> None:
        aside, waiting = self.project.store.quarantine, None
        with suppress(ProjectError):  # a remote inbox that does not answer was told already
            waiting = self.inbox.lying()
        told: list[tuple[str, str, float | None]] = [
            ("loop_last_pass_timestamp_seconds", "", clock.now().timestamp()),
            ("loop_failed", "", failed),
            ("loop_waiting_files", "", waiting),
            ("loop_quarantined_files", "", len(list(aside.glob("[!.]*")))),
            ("loop_retrain_wanted", "", bool(read_state(self.project.root).blocked)),
        ]
        with replacing(self.watch.folder / GAUGES) as part:
            part.write_text(exposition(told), "utf-8", newline="\n")

    def _tell(self, events: list[Event]) -> None:
        urgent = [e for e in events if e.urgent]
        if urgent:
            name = self.project.settings.name
            facts = {"project": name, "events": [{"step": e.step, "text": e.text} for e in urgent]}
            for failed in notify(f"{name}: {urgent[0].step}", "\n".join(f"{e.step}: {e.text}" for e in urgent), facts):
                events.append(Event("untold", failed))
