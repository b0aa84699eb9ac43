"""The deployments of this machine: what `endpoint.json` wants, started, and ended when it is no longer wanted."""

import asyncio
import random
from collections import Counter
from itertools import accumulate
from pathlib import Path

from msgspec import Struct

from ..errors import Fault, ProjectError, UsageError
from ..registry import Registry
from .endpoint import Deployed, State
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
        """Return what the state wants; a deployment that is not there leaves its share to the others."""
        places = [(deployments[name], place) for name, place in state.deployments.items() if name in deployments]
        live = [(target, place.traffic) for target, place in places if place.traffic]
        sums = list(accumulate(share for _, share in live))
        shares = [(target, sum_ / sums[-1]) for (target, _), sum_ in zip(live, sums, strict=True)]
        mirror, mirrored = next(((t, place.mirror / 100) for t, place in places if place.mirror), (None, 0.0))
        return cls(deployments, shares, mirror, mirrored)

    def draw(self) -> Upstream | None:
        """A deployment for a live request."""
        drawn = random.random()  # noqa: S311  nobody gains by guessing it
        return next((target for target, sum_ in self.shares if drawn < sum_), None)

    def other(self, than: Upstream) -> Upstream | None:
        """Another deployment with live requests."""
        return next((target for target, _ in self.shares if target is not than), None)


class Deployments:
    """Follows the endpoint's state."""

    def __init__(self, root: Path, registry: Registry, log: Path | None, lost: Counter[str]) -> None:
        """Prepare; `log` is the folder of the prediction log, and `lost` counts rows as in `Upstream`."""
        self._root, self._registry, self._log, self._lost = root, registry, log, lost
        self._endpoint = LocalEndpoint(root)
        self._ending: set[asyncio.Task[None]] = set()
        self._missing: dict[str, str] = {}
        self.table, self.shares = Table(), dict[str, float]()
        self.serial, self.refused = -1, ""

    @property
    def failed(self) -> dict[str, str]:
        """Why a deployment does not start, by its name."""
        return self._missing | {name: t.failed for name, t in self.table.deployments.items() if t.failed}

    async def follow(self) -> None:
        """Do what is wanted: start what is new, then send requests there, then end what is no longer wanted.

        Where that fails, what was before goes on, and `refused` says why. Only at first, when there is nothing before,
        one deployment with live requests is enough: better some of them than none.
        """
        try:
            state = self._endpoint.state()
            if state.serial == self.serial:
                return
            state.check()
        except Fault as error:  # somebody edits the file
            self.serial, self.refused = -1, str(error)
            return
        except UsageError as error:
            self.serial, self.refused = state.serial, str(error)
            return
        old, new, missing = self.table.deployments, dict[str, Upstream](), dict[str, str]()
        for name, place in state.deployments.items():
            try:
                new[name] = self._made(name, place)
            except ProjectError as error:
                missing[name] = str(error)
        fresh = [target for name, target in new.items() if target is not old.get(name)]
        await asyncio.gather(*(target.start() for target in fresh))
        failed = missing | {target.name: target.failed for target in fresh if target.failed}
        live = {name for name, place in state.deployments.items() if place.traffic}
        if failed and (old or live <= set(failed)):
            for target in fresh:
                self._end(target)
            self.serial, self.refused = state.serial, " ".join(failed.values())
            return
        self.table, self._missing = Table.of(state, new), missing
        self.shares = {name: place.traffic for name, place in state.deployments.items()}
        self.serial, self.refused = state.serial, ""
        for target in old.values():
            if target not in new.values():
                self._end(target)

    def _made(self, name: str, place: Deployed) -> Upstream:
        """The deployment that runs already; another one where it does not run and shall get more requests."""
        known = self.table.deployments.get(name)
        more = place.traffic > self.shares.get(name, 0)
        if known and known.version.version == place.version and (known.runs or not more):
            return known
        version = self._registry.get(place.version)
        return Upstream(name, version, self._registry.model(version), self._root, self._log, self._lost)

    def _end(self, target: Upstream) -> None:
        task = asyncio.create_task(target.stop())
        self._ending.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._ending.discard)

    async def end(self) -> None:
        """End all, when they have answered what is under way."""
        for target in self.table.deployments.values():
            self._end(target)
        await asyncio.gather(*self._ending)
