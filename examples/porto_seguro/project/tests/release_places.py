"""Where releases are tried: an endpoint without processes, and a registry."""

import copy
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl

from porto_seguro.errors import Fault
from porto_seguro.registry import Version
from porto_seguro.serving.endpoint import Deployed, Seen, State, Status
from porto_seguro.serving.predictions import PredictionLog
from porto_seguro.serving.telemetry import SECONDS

RNG = np.random.default_rng(0)
SCORES = RNG.beta(2, 30, 5_000)


def seen(requests: int, errors: int = 0, refused: int = 0, bucket: int = 2) -> Seen:
    return Seen(requests, errors, refused, [requests if n == bucket else 0 for n in range(len(SECONDS) + 1)])


class Crash(Exception):
    """The process dies here."""


class Fake:
    """An endpoint without processes, and a registry; `crash_at` counts writes of both, after or before each."""

    FIRST = 0  # number of the write that first holds a release
    DOWN, NO_LOG = "nothing is served", "--no-log"  # what is said of it

    def __init__(self, root: Path, crash_at: int = -1, after: bool = False) -> None:
        self.stored, self.root = State({"blue": Deployed(1, 100)}), root
        self.champions, self.writes, self._crash_at, self._after = [1], 0, crash_at, after
        self.counts = {"blue": seen(0), "green": seen(0)}
        self.down, self.told = False, Status(seen={})
        self.states: list[State] = []

    def _writing(self, write: Callable[[], None]) -> None:
        crash = self.writes == self._crash_at
        self.writes += 1
        if crash and not self._after:
            raise Crash
        write()
        if crash:
            raise Crash

    def state(self) -> State:
        return copy.deepcopy(self.stored)

    def apply(self, state: State) -> None:
        state.check()
        self._writing(lambda: setattr(self, "stored", copy.deepcopy(state)))
        self.states.append(copy.deepcopy(state))

    def status(self) -> Status:
        if self.down:
            raise Fault("nothing is served")
        counts = {name: copy.deepcopy(self.counts[name]) for name in self.stored.deployments}
        return msgspec.structs.replace(self.told, seen=counts)

    def get(self, version: int) -> Version:
        return Version(version=version, run="r", line="one" if version < 9 else "two", digest="", tags={})

    def promote(self, version: int) -> None:
        if self.champions[-1] != version:
            self._writing(lambda: self.champions.append(version))

    def champion(self) -> Version:
        return self.get(self.champions[-1])

    def serve(self, errors: float = 0.0, slow: bool = False, shifted: bool = False, worse: bool | None = None) -> None:
        """Let a thousand requests come, which the deployments answer by their share; the new one as given.

        Where it is said whether the new one is `worse`, outcomes arrive.
        """
        for name, place in self.stored.deployments.items():
            count = 10 * (place.traffic + place.mirror)
            new = place.version != 1
            then, bucket = self.counts[name], 6 if slow and new else 2
            then.requests += count
            then.errors += int(count * errors) if new else 0
            then.seconds[bucket] += count
            asked = []
            for n in range(10 if count else 0):
                scores, ids = RNG.choice(SCORES, 200), [f"{name}-{then.requests}-{n}-{row}" for row in range(200)]
                asked.append((f"{self.writes}-{n}", ids, (scores**0.7 if shifted and new else scores).tolist()))
                if worse is not None:
                    truth = RNG.random(200) < np.clip(8 * (RNG.permutation(scores) if worse and new else scores), 0, 1)
                    told = pl.DataFrame({"id": ids, "bought": truth})
                    (self.root / "data" / "outcomes").mkdir(parents=True, exist_ok=True)
                    told.write_parquet(self.root / "data" / "outcomes" / f"{ids[0]}.parquet")
            self.note(name, place.version, asked)

    def note(self, name: str, version: int, asked: list[tuple[str, list[str], list[float]]]) -> None:
        """Write requests (name, ids, scores) into the prediction log."""
        about = {"deployment": name, "model_version": str(version), "columns": []}
        log = PredictionLog(self.root / "data" / "predictions", about, 64)
        for request, ids, scores in asked:
            log.add(request, ids, [[]], scores)
        log.close()

    def unsettled(self) -> None:
        """It has not yet done what is wanted."""
        self.told = Status(seen={}, settled=False)

    def refuse(self) -> str:
        """It does not do what is wanted; return what it says."""
        self.told = Status(seen={}, refused="green does not start: a file was changed")
        return self.told.refused

    def fail(self, name: str) -> str:
        """A deployment does not run any more; return what is said of it."""
        self.told = Status(seen={}, failed={name: f"{name} does not start"})
        return self.told.failed[name]

    def unlogged(self) -> None:
        """Scores are not kept."""
        self.told = Status(seen={}, logged=False)

    def by_hand(self, name: str, mirror: int) -> None:
        """Somebody changes the share of copies, past all commands."""
        self.stored.deployments[name].mirror = mirror

    def clear(self) -> None:
        """Nothing is served any more."""
        self.stored = State()
