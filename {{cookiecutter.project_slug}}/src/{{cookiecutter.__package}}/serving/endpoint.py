"""The endpoint: which versions are deployed, and which share of the requests each of them gets.

What is wanted stands in one file, `endpoint.json`, which commands replace as a whole and the router follows. A release
that is under way stands in the same file, so that after a crash at any moment both say the same.
"""

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import filelock
import msgspec
from msgspec import Struct

from .. import clock
from ..errors import Fault, UsageError
from ..registry import Version
from ..table import replacing

FILE, ADDRESS = "endpoint.json", "endpoint.address.json"
MIRROR = 50  # the largest share that may be mirrored, as on Azure ML
PATIENCE = 120.0  # seconds until a router must have done what is wanted


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
    seen: dict[str, "Seen"] = {}  # what the router had counted when the stage began
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

    def since(self, before: "Seen | None") -> "Seen":
        """What came after `before`; counts that are lower than then begin anew, for the router did."""
        if before is None or before.requests > self.requests or len(before.seconds) != len(self.seconds):
            return self
        seconds = [a - b for a, b in zip(self.seconds, before.seconds, strict=True)]
        return Seen(
            self.requests - before.requests, self.errors - before.errors, self.refused - before.refused, seconds
        )


class Endpoint(Protocol):
    """What a release needs of an endpoint, here or in a cloud."""

    def state(self) -> State:
        """What is wanted of it."""

    def apply(self, state: State) -> None:
        """Make it so; returns when it is so.

        Raises:
            Fault: a deployment does not start; what was before goes on.
        """

    def seen(self) -> dict[str, Seen]:
        """What was counted so far, by deployment.

        Raises:
            Fault: the endpoint does not answer.
        """


class LocalEndpoint:
    """The endpoint of this machine: a file beside the registry, and the router that `serve` starts."""

    def __init__(self, root: Path) -> None:
        """Look after `root/endpoint.json`."""
        self._path, self._address = root / FILE, root / "data" / ADDRESS
        self._lock = root / ".endpoint.lock"

    @contextmanager
    def only_one(self) -> Iterator[None]:
        """One command at a time changes the endpoint.

        Raises:
            Fault: another one does.
        """
        try:
            with filelock.FileLock(self._lock, timeout=0):
                yield
        except filelock.Timeout:
            raise Fault("Another command is changing the endpoint right now; try again when it has finished.") from None

    def state(self) -> State:
        """What is wanted; nothing, where nothing was ever served.

        Raises:
            Fault: the file is broken.
        """
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=State)
        except FileNotFoundError:
            return State()
        except msgspec.DecodeError as error:
            raise Fault(f"{self._path} cannot be used: {error}. Put it right, or remove it and serve again.") from None

    def apply(self, state: State) -> None:
        """Write what is wanted, and wait for the router if one runs; takes it back where a deployment fails."""
        before = self.state()
        state.check()
        state.serial = before.serial + 1
        self._write(state)
        if not self.address():
            return
        end = clock.seconds() + PATIENCE
        while clock.seconds() < end:
            told = self._ask()
            if told and told["serial"] >= state.serial:
                if told["failed"]:
                    before.serial = state.serial + 1
                    self._write(before)
                    raise Fault(told["failed"])
                return
            time.sleep(0.05)
        raise Fault("The router does not do what is wanted of it; see what `serve` says.")

    def to_serve(self, champion: Version | None) -> State:
        """What a router that starts now shall do: what it did before, or serve the champion.

        Raises:
            UsageError: there is no champion.
            Fault: a router runs already.
        """
        if url := self.address():
            raise Fault(f"This project is served already: {url}")
        if champion is None:
            raise UsageError("There is no champion yet: run")
        with self.only_one():
            state = self.state()
            live = state.live()
            # A champion that changed while nothing was served.
            if not state.under_way() and (live is None or state.deployments[live].version != champion.version):
                self.apply(state.swap(champion.version))
        return self.state()

    def serve_only(self, version: int) -> None:
        """Give all of the traffic to a version.

        Raises:
            UsageError: a release is under way.
            Fault: the version does not start; what was before goes on.
        """
        with self.only_one():
            state = self.state()
            if running := state.under_way():
                raise UsageError(f"Version {running.version} is being released; first: release abort")
            self.apply(state.swap(version))

    def _write(self, state: State) -> None:
        with replacing(self._path) as part:
            part.write_bytes(msgspec.json.format(msgspec.json.encode(state)))

    def seen(self) -> dict[str, Seen]:
        """What the router counted."""
        told = self._ask()
        if told is None:
            raise Fault("Nothing is served: a release is judged by what requests show, so start it first: serve")
        return msgspec.convert(told["seen"], dict[str, Seen])

    def address(self) -> str | None:
        """Where the router answers; None if none runs."""
        told = self._ask()
        return told and str(told["url"])

    def _ask(self) -> Any:
        """What the router tells; None if another one answers at its address, or none."""
        try:
            noted = json.loads(self._address.read_bytes())
            with urllib.request.urlopen(f"{noted['url']}/endpoint", timeout=5) as answer:
                told = json.loads(answer.read())
            return told if told["router"] == noted["router"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
