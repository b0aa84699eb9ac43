"""Bring a version to all of the traffic, stage by stage; it goes back by itself where the new one does worse.

All that is known stands in the endpoint's state, which is replaced as a whole: after a crash at any moment, the next
step goes on from there.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import numpy as np
from msgspec import Struct

from .. import clock
from ..errors import UsageError
from ..pipeline import Project
from ..store import only_one
from ..train import metric_of
from .compare import Evidence, Finding, compare
from .endpoint import Champions, Deployed, Endpoint, Release, Seen, State
from .outcomes import known
from .predictions import newest_scores

MIRROR = "mirror"
ROWS = 20_000  # of the newest scores are enough to compare


class Step(Struct):
    """What a step did."""

    did: str  # started, moved on, held, rolled back, aborted or done
    release: Release
    reasons: list[str]
    findings: list[Finding] = []


class Releases:
    """The releases of a project on an endpoint."""

    def __init__(
        self, project: Project, endpoint: Endpoint, registry: Champions | None = None, command: str = "",
        first: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        """Begin.

        Args:
            project: settings, contract and prediction log.
            endpoint: where versions are released.
            registry: who is champion; the project's own, unless another one is given.
            command: what a user types before the names of commands, for the messages.
            first: serves a version where none is served yet; without it, such a one is refused.
        """
        self._project, self._endpoint, self._registry = project, endpoint, registry or project.registry
        self._command, self._first = command, first
        self._rollout = project.settings.rollout
        self._stages = [str(stage) for stage in self._rollout.stages]

    def start(self, version: int) -> Step:
        """Deploy a version beside the one that is served, and begin with the first stage.

        Raises:
            UsageError: a release is under way, nothing is served, or the version answers another question.
            Fault: the version does not start; nothing was changed.
        """
        state, registry = self._endpoint.state(), self._registry
        if running := state.under_way():
            raise UsageError(
                f"Version {running.version} is being released: {self._command}release step, or {self._command}release abort"
            )
        base = state.live()
        if base is None and self._first:
            return self._begin_with(version, self._first)
        if base is None:
            raise UsageError(
                f"Nothing is served yet, so there is nothing to replace; the first version needs no release: {self._command}promote {version}"
            )
        wanted, now = registry.get(version), registry.get(state.deployments[base].version)
        if wanted.version == now.version:
            raise UsageError(f"Version {version} has all of the traffic already.")
        if wanted.line != now.line:
            raise UsageError(
                f"Version {version} answers another question than version {now.version}; their scores cannot be "
                f"compared. To swap them at once: {self._command}promote {version}"
            )
        release = Release(
            version=version,
            candidate=state.idle(),
            base=base,
            stage=self._stages[0],
            since=clock.stamp(),
            began=clock.stamp(),
        )
        self._say(release, f"version {version} begins as {release.candidate} beside {base} (version {now.version})")
        status = self._endpoint.status()
        if not status.logged and len(self._stages) > 1:
            raise UsageError(f"Scores are what a release compares: {status.no_log}")
        release.seen = status.seen
        release.seen.pop(release.candidate, None)
        return self._enter(state, release, Step("started", release, release.history[-1:]))

    def _begin_with(self, version: int, serve: Callable[[int], None]) -> Step:
        """Serve the first version: there is nothing to compare it with."""
        self._registry.get(version)
        serve(version)
        with only_one(self._project.root):
            self._registry.promote(version)
        name, now = self._endpoint.state().live() or "", clock.stamp()
        release = Release(
            version=version, candidate=name, base=name, stage="100", since=now, began=now, status="done",
        )  # fmt: skip
        self._say(release, f"version {version} is the first one: it has all of the traffic at once")
        return Step("done", release, release.history[-1:])

    def go_on(self, version: int, begun: bool) -> Step:
        """Start the release of a version, or judge it; one that has `begun` may have been ended by somebody else."""
        release = self._endpoint.state().release
        if release and release.version == version and release.status in ("running", "promoting"):
            return self.step()
        if release and release.version == version and begun:
            return Step(release.status, release, release.history[-1:])
        return self.start(version)

    def step(self) -> Step:
        """Judge the present stage; move on, hold, or go back.

        Raises:
            UsageError: no release is under way.
            Fault: the endpoint does not answer; the release stays as it is.
        """
        state, release = self._under_way()
        if release.stage not in self._stages:
            raise UsageError(
                f"The release is in the stage {release.stage}, which conf/project.yaml no longer has: put it back, or "
                f"{self._command}release abort"
            )
        if self._promoted(release):
            return self._done(state, release)
        if state.deployments != self._places(state, release):  # somebody's hand
            self._endpoint.apply(State(self._places(state, release), release))
        status = self._endpoint.status()
        if not status.settled:
            return Step("held", release, ["the endpoint is not yet as it shall be"])
        # Refused: who wrote this state died before it could take it back.
        if broken := [text for text in (status.refused, status.failed.get(release.candidate)) if text]:
            return self._back(state, release, "rolled back", broken)
        if release.status == "promoting":
            return self._done(state, release)
        seen = {name: found.since(release.seen.get(name)) for name, found in status.seen.items()}
        findings = self._compare(state, release, seen)
        broken = [str(f) for f in findings if not f.kept]
        if broken:
            return self._back(state, release, "rolled back", broken, findings)
        count = seen.get(release.candidate, Seen()).requests
        if count < self._rollout.requests:
            return Step("held", release, [f"{count} of {self._rollout.requests} requests so far"], findings)
        if not any("PSI" in f.name for f in findings):
            few = "there are not enough scores of both in the prediction log yet"
            return Step("held", release, [few if status.logged else status.no_log], findings)
        ends = datetime.fromisoformat(release.since) + timedelta(minutes=self._rollout.minutes)
        if clock.now() < ends:
            return Step("held", release, [f"the stage lasts until {ends.isoformat(timespec='seconds')}"], findings)
        return self._on(state, release, findings)

    def abort(self) -> Step:
        """Give all of the traffic back to the version that had it."""
        state, release = self._under_way()
        if self._promoted(release):
            raise UsageError(f"It is the champion already: {self._command}release step, then {self._command}rollback")
        return self._back(state, release, "aborted", ["somebody asked for it"])

    def _under_way(self) -> tuple[State, Release]:
        state = self._endpoint.state()
        release = state.under_way()
        if release is None:
            raise UsageError(f"No release is under way: {self._command}release start VERSION")
        return state, release

    def _on(self, state: State, release: Release, findings: list[Finding]) -> Step:
        left = release.stage
        release.stage, release.since = self._stages[self._stages.index(left) + 1], clock.stamp()
        self._say(release, f"{_words(left)} went well; now {_words(release.stage)}")
        release.seen = self._endpoint.status().seen
        return self._enter(state, release, Step("moved on", release, release.history[-1:], findings))

    def _enter(self, state: State, release: Release, step: Step) -> Step:
        """Make the traffic that of the stage, in one write; with all of the traffic, the version becomes champion."""
        if release.stage == "100":
            release.status = "promoting"
        wanted = State(self._places(state, release), release)
        self._endpoint.apply(wanted)
        return self._done(wanted, release, step.findings) if release.status == "promoting" else step

    def _places(self, state: State, release: Release) -> dict[str, Deployed]:
        share = 0 if release.stage == MIRROR else int(release.stage)
        copies = self._rollout.mirror if release.stage == MIRROR else 0
        return {
            release.base: Deployed(state.deployments[release.base].version, 100 - share),
            release.candidate: Deployed(release.version, share, copies),
        }

    def _promoted(self, release: Release) -> bool:
        """Whether all but the last write was done."""
        champion = self._registry.champion()
        return release.status == "promoting" and champion is not None and champion.version == release.version

    def _done(self, state: State, release: Release, findings: list[Finding] | None = None) -> Step:
        """With all of the traffic, the version becomes champion; doing this twice does no harm."""
        with only_one(self._project.root):
            self._registry.promote(release.version)
        release.status = "done"
        self._say(release, f"version {release.version} is champion")
        self._endpoint.apply(State(state.deployments, release))
        return Step("done", release, release.history[-1:], findings or [])

    def _back(
        self, state: State, release: Release, did: str, reasons: list[str], findings: list[Finding] | None = None
    ) -> Step:
        assert did in ("rolled back", "aborted")
        release.status = did  # type: ignore[assignment]
        self._say(release, f"{did} in the stage {release.stage}: {'; '.join(reasons)}")
        self._endpoint.apply(State({release.base: Deployed(state.deployments[release.base].version, 100)}, release))
        return Step(did, release, reasons, findings or [])

    def _compare(self, state: State, release: Release, seen: dict[str, Seen]) -> list[Finding]:
        data, contract = self._project.root / "data", self._project.contract
        names = {name: str(state.deployments[name].version) for name in (release.candidate, release.base)}
        scores = newest_scores(data / "predictions", datetime.fromisoformat(release.since), names, ROWS)
        outcomes = known(contract, data / "outcomes", data / "predictions", datetime.fromisoformat(release.began))
        evidence = {
            name: Evidence(seen.get(name, Seen()), np.array(scores[name], np.float64), outcomes.get((name, version)))
            for name, version in names.items()
        }
        metric = metric_of(self._project.settings, contract.task)
        return compare(evidence[release.candidate], evidence[release.base], self._rollout, metric, contract.task)

    def _say(self, release: Release, text: str) -> None:
        release.history.append(f"{clock.stamp()} {text}")


def _words(stage: str) -> str:
    return "copies of requests" if stage == MIRROR else f"{stage} % of the requests"
