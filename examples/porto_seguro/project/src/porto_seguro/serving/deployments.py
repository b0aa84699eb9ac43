"""The deployments of this machine: what `endpoint.json` wants, started, and ended when it is no longer wanted."""

import asyncio
import random
from pathlib import Path

from msgspec import Struct

from ..errors import Fault, ProjectError
from ..registry import Registry
from .endpoint import State
from .local import LocalEndpoint
from .upstream import Upstream


class Table(Struct, frozen=True):
    """Who gets which request. It is never changed, only replaced."""

    deployments: dict[str, Upstream] = {}
    shares: list[tuple[Upstream, float]] = []  # with the sums of the shares so far, from 0 to 1
    mirror: Upstream | None = None
    mirrored: float = 0.0  # the share that is copied, from 0 to 1

    @classmethod
    def of(cls, state: State, deployments: dict[str, Upstream]) -> "Table":
        """Return what the state wants."""
        shares, total, mirror, mirrored = [], 0, None, 0.0
        for name, place in state.deployments.items():
            if place.traffic:
                total += place.traffic
                shares.append((deployments[name], total / 100))
            if place.mirror:
                mirror, mirrored = deployments[name], place.mirror / 100
        return cls(deployments, shares, mirror, mirrored)

    def draw(self) -> Upstream | None:
        """A deployment for a live request."""
        drawn = random.random()
        return next((target for target, sum_ in self.shares if drawn < sum_), None)

    def other(self, than: Upstream) -> Upstream | None:
        """Another deployment with live requests."""
        return next((target for target, _ in self.shares if target is not than), None)


class Deployments:
    """Follows the endpoint's state."""

    def __init__(self, root: Path, registry: Registry, log: Path | None) -> None:
        """Prepare; `log` is the folder of the prediction log."""
        self._root, self._registry, self._log = root, registry, log
        self._endpoint = LocalEndpoint(root)
        self._ending: set[asyncio.Task[None]] = set()
        self.table, self.shares = Table(), dict[str, float]()
        self.serial, self.failed = -1, ""

    async def follow(self) -> None:
        """Do what is wanted: start what is new, then send requests there, then end what is no longer wanted.

        Where that fails, what was before goes on, and `failed` says why.
        """
        try:
            state = self._endpoint.state()
        except Fault as error:  # somebody edits the file
            self.failed = str(error)
            return
        if state.serial == self.serial:
            return
        old = self.table.deployments
        try:
            state.check()
            new = {name: self._made(name, place.version) for name, place in state.deployments.items()}
            fresh = [target for name, target in new.items() if target is not old.get(name)]
            started = await asyncio.gather(*(target.start() for target in fresh), return_exceptions=True)
            if failed := [found for found in started if found]:
                for target, found in zip(fresh, started, strict=True):
                    if not found:
                        self._end(target)
                raise failed[0]
        except (ProjectError, OSError) as error:
            self.serial, self.failed = state.serial, str(error)
            return
        self.table = Table.of(state, new)
        self.shares = {name: place.traffic for name, place in state.deployments.items()}
        self.serial, self.failed = state.serial, ""
        for target in old.values():
            if target not in new.values():
                self._end(target)

    def _made(self, name: str, number: int) -> Upstream:
        known = self.table.deployments.get(name)
        if known and known.version.version == number:
            return known
        version = self._registry.get(number)
        return Upstream(name, version, self._registry.model(version), self._root, self._log)

    def _end(self, target: Upstream) -> None:
        task = asyncio.create_task(target.stop())
        self._ending.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._ending.discard)

    async def end(self) -> None:
        """End all, when they have answered what is under way."""
        for target in self.table.deployments.values():
            self._end(target)
        await asyncio.gather(*self._ending)
