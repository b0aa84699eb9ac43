"""What an endpoint is: which versions are deployed, which share of the requests each gets, and the release under way.

All of it is replaced as a whole, so that after a crash at any moment traffic and release say the same.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Literal, Protocol

import filelock
from msgspec import Struct

from ..errors import Fault, UsageError
from ..registry import Version

MIRROR = 50  # the largest share that may be mirrored, as on Azure ML
PATIENCE = 120.0  # seconds until another command, or the router, must have done what it does


class Deployed(Struct):
    """A version under a name; the share of live requests that it answers, and the share of which it gets copies (%)."""

    version: int
    traffic: int = 0
    mirror: int = 0


class Release(Struct, kw_only=True):
    """A version on its way to all of the traffic."""

    version: int
    candidate: str  # the deployment that holds it
    base: str  # the deployment that it shall replace
    stage: str
    since: str  # when the stage began
    began: str  # when the release began
    status: Literal["running", "promoting", "done", "rolled back", "aborted"] = "running"
    seen: dict[str, "Seen"] = {}  # what was counted when the stage began
    history: list[str] = []  # in words


class State(Struct):
    """All that is wanted of the endpoint; `serial` counts the changes."""

    deployments: dict[str, Deployed] = {}
    release: Release | None = None
    serial: int = 0

    def live(self) -> str | None:
        """The deployment with the largest share of the requests."""
        return max(self.deployments, key=lambda name: self.deployments[name].traffic, default=None)

    def swap(self, version: int) -> "State":
        """The same with all of the traffic at one version; the deployment that had it stays, for the way back."""
        before = self.live()
        name = next((n for n, d in self.deployments.items() if d.version == version), None) or self.idle()
        places = {name: Deployed(version, 100)}
        if before and before != name:
            places[before] = Deployed(self.deployments[before].version)
        return State(places, self.release)

    def idle(self) -> str:
        """The name for a new deployment: the colour that has no traffic."""
        return next(name for name in ("blue", "green") if name != self.live())

    def under_way(self) -> Release | None:
        """The release that is under way."""
        return self.release if self.release and self.release.status in ("running", "promoting") else None

    def check(self) -> None:
        """Refuse what cannot be.

        Raises:
            UsageError: shares that do not add to 100, more than one mirror, or a name that is none.
        """
        places = self.deployments
        if wrong := [name for name in places if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name)]:
            raise UsageError(f"{wrong[0]} is no name for a deployment: small letters, digits and - (blue, green).")
        total = sum(d.traffic for d in places.values())
        if places and (total != 100 or any(d.traffic < 0 for d in places.values())):
            raise UsageError(f"The shares of the traffic add to {total} %; they must add to 100 %.")
        mirrors = [name for name, d in places.items() if d.mirror]
        if len(mirrors) > 1 or any(not 0 <= d.mirror <= MIRROR for d in places.values()):
            raise UsageError(f"One deployment can get copies, of at most {MIRROR} % of the requests.")
        if mirrors and places[mirrors[0]].traffic:
            raise UsageError(f"{mirrors[0]} gets live requests; then it gets no copies.")


class Seen(Struct):
    """What the router counted of a deployment: answers by kind, and by seconds taken (bounds in `telemetry.SECONDS`)."""

    requests: int = 0
    errors: int = 0  # answers of 500 and above, or none
    refused: int = 0  # answers of 400 to 499
    seconds: list[int] = []
    counter: str = ""  # who counted; another one began at zero

    def since(self, before: "Seen | None") -> "Seen":
        """What came after `before`; all of it, if somebody else counted then: the router was started again."""
        if before is None or before.counter != self.counter:
            return self
        seconds = [a - b for a, b in zip(self.seconds, before.seconds, strict=True)]
        return Seen(
            self.requests - before.requests, self.errors - before.errors, self.refused - before.refused, seconds
        )


class Status(Struct, kw_only=True):
    """What an endpoint tells of itself."""

    seen: dict[str, Seen]  # what was counted so far, by deployment
    settled: bool = True  # whether the newest state was taken or refused already
    refused: str = ""  # why it was refused, so that an older one goes on
    failed: dict[str, str] = {}  # why a deployment does not start, by its name
    logged: bool = True  # whether scores go into the prediction log
    no_log: str = "the service keeps no prediction log; start `serve` again without --no-log"  # if they do not

    @property
    def problems(self) -> list[str]:
        """What is not as it shall be, in sentences."""
        return [text for text in (self.refused, *self.failed.values()) if text]


@contextmanager
def alone(lock: Path, patient: bool) -> Iterator[None]:
    """Let one command at a time on this machine change an endpoint; who is patient waits for the other one.

    Raises:
        Fault: another one does.
    """
    try:
        with filelock.FileLock(lock, timeout=PATIENCE if patient else 0):
            yield
    except filelock.Timeout:
        raise Fault("Another command is changing the endpoint right now; try again when it has finished.") from None


class Endpoint(Protocol):
    """What a release needs of an endpoint, here or in a cloud."""

    def state(self) -> State:
        """What is wanted of it."""

    def apply(self, state: State) -> None:
        """Make it so; returns when it is so.

        Raises:
            Fault: a deployment does not start; what was before goes on.
        """

    def status(self) -> Status:
        """What it counted, and what does not run.

        Raises:
            Fault: the endpoint does not answer.
        """


class Champions(Protocol):
    """What a release needs of a registry, here or in a cloud."""

    def get(self, version: int) -> Version:
        """Return a version."""

    def champion(self) -> Version | None:
        """Return the present champion."""

    def promote(self, version: int) -> None:
        """Make a version the champion; doing it twice does no harm."""


class Led(Endpoint, Protocol):
    """What the commands need besides."""

    def only_one(self, patient: bool = False) -> AbstractContextManager[None]:
        """One command at a time changes the endpoint; who is patient waits for the other one.

        Raises:
            Fault: another one does.
        """

    def shown(self) -> tuple[str | None, list[str]]:
        """Where it answers (None: nowhere), and what is not as it shall be, in sentences."""
