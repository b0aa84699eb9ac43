"""The endpoint of this machine: a file that says what is wanted, and the router that does it."""

import hashlib
import json
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from .. import clock
from ..errors import Fault, UsageError
from ..registry import Version
from ..table import replacing
from .endpoint import PATIENCE, State, Status, alone

FILE, ADDRESS = "endpoint.json", "endpoint.address.json"
# The router is on this machine, whatever proxy leads out of it.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


class Told(Status, kw_only=True):
    """What the router tells at `/endpoint`; `serial` is of the newest state that it took or refused."""

    router: str
    url: str
    serial: int


class LocalEndpoint:
    """The endpoint of this machine: a file beside the registry, and the router that `serve` starts."""

    def __init__(self, root: Path) -> None:
        """Look after `root/endpoint.json`."""
        self._path, self._address = root / FILE, root / "data" / ADDRESS
        self._name = name_of(root)
        self._lock = root / ".endpoint.lock"

    @contextmanager
    def only_one(self, patient: bool = False) -> Iterator[None]:
        """One command at a time changes the endpoint; who is patient waits for the other one.

        Raises:
            Fault: another one does.
        """
        with alone(self._lock, patient):
            yield

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
            told = self.told()
            if told and told.serial >= state.serial:
                if told.refused:
                    before.serial = state.serial + 1
                    self._write(before)
                    raise Fault(told.refused)
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
            wanted, told = state.swap(version), self.told()
            if told and told.refused and told.serial == state.serial:  # a crash: what is idle there may never have run
                wanted.deployments = {name: place for name, place in wanted.deployments.items() if place.traffic}
            self.apply(wanted)

    def _write(self, state: State) -> None:
        with replacing(self._path) as part:
            part.write_bytes(msgspec.json.format(msgspec.json.encode(state)))

    def status(self) -> Status:
        """What the router tells."""
        told = self.told()
        if told is None:
            raise Fault("Nothing is served: a release is judged by what requests show, so start it first: serve")
        told.settled = told.serial == self.state().serial
        return told

    def shown(self) -> tuple[str | None, list[str]]:
        """Where the router answers (None: none runs), and what does not run as it shall."""
        told = self.told()
        return (told.url, told.problems) if told else (None, [])

    def address(self) -> str | None:
        """Where the router answers; None if none runs."""
        told = self.told()
        return told.url if told else None

    def told(self) -> Told | None:
        """What the router tells; None if another one answers at its address, or none."""
        try:
            noted = json.loads(self._address.read_bytes())
            with _open(f"{noted['url']}/endpoint", timeout=5) as answer:
                told = msgspec.json.decode(answer.read(), type=Told)
            # Not one of another project, nor of that of which this one is a copy.
            return told if told.router == noted["router"] and told.router.startswith(self._name) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def name_of(root: Path) -> str:
    """Return what tells this folder from others, and does not tell where it is."""
    return hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
