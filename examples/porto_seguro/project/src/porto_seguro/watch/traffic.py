"""The service of a simulated project, as a process of its own, and the requests that it gets."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct, structs

from .. import clock
from ..contract import Contract
from ..encode import Vector
from ..errors import Fault
from ..synth import to_raw
from . import serving

ROWS = 10  # of a request
CLIENTS = 4
START_SECONDS = 120.0
PACKAGE = __package__.rpartition(".")[0]


class Answers(Struct):
    """What became of rows: the place of each answered one, its scores, and how many requests were refused or failed."""

    places: list[int] = []
    scores: list[Any] = []
    refused: int = 0
    failed: int = 0

    def add(self, other: "Answers", shift: int) -> None:
        """Join; the rows of the other came `shift` places later."""
        self.places += [place + shift for place in other.places]
        self.scores += other.scores
        self.refused += other.refused
        self.failed += other.failed

    def vector(self) -> Vector:
        """The scores, shape (n,) or (n, classes)."""
        return np.array(self.scores, np.float64)


class Service:
    """`serve` in a process of its own."""

    def __init__(self, root: Path) -> None:
        """Prepare for the project in `root`."""
        self._root, self._port = root, 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return when it answers.

        Raises:
            Fault: it ended, or does not answer.
        """
        self._port = serving("upstream").free_port()
        source = str(Path(__file__).parents[2])
        env = os.environ | {"PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
        with (self._root / "serve.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", PACKAGE, "--project", str(self._root), "serve", "--port", str(self._port)],
                env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        end = clock.seconds() + START_SECONDS
        while clock.seconds() < end and self._process.poll() is None:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
                connection.request("GET", "/readyz")
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        said = (self._root / "serve.log").read_text("utf-8", "replace").strip().splitlines()[-1:]
        self.kill()
        raise Fault(f"The simulated service does not answer: {' '.join(said)}")

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it in order."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill()

    def ask(self, rows: pl.DataFrame, contract: Contract, ids: Sequence[str]) -> Answers:
        """Send rows, some in each request, from a few clients at once.

        Args:
            rows: clean or broken, with the features.
            contract: tells how they are written.
            ids: of the rows.
        """
        names = [c.name for c in contract.of("feature")]
        raw = to_raw(rows.select(names), structs.replace(contract, decimal=".")).select(names)
        cells = raw.rows()
        parts = [
            (start, cells[start : start + ROWS], ids[start : start + ROWS]) for start in range(0, len(cells), ROWS)
        ]
        found = Answers()
        with ThreadPoolExecutor(CLIENTS) as pool:
            for answers in pool.map(self._client, [parts[n::CLIENTS] for n in range(CLIENTS)]):
                found.add(answers, 0)
        return found

    def _client(self, parts: Sequence[tuple[int, Sequence[Any], Sequence[str]]]) -> Answers:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        found, headers = Answers(), {"Content-Type": "application/json"}
        for start, cells, ids in parts:
            body = msgspec.json.encode({"data": cells, "ids": ids})
            try:
                connection.request("POST", "/score", body, headers)
                answer = connection.getresponse()
                told = msgspec.json.decode(answer.read())
            except (OSError, http.client.HTTPException, msgspec.DecodeError):
                found.failed += 1
                connection.close()
                continue
            if answer.status == 200:
                found.places += range(start, start + len(cells))
                found.scores += told["result"]
            elif answer.status == 422:
                found.refused += 1
            else:
                found.failed += 1
        connection.close()
        return found


def send_outcomes(root: Path, contract: Contract, sent: Sequence[tuple[str, pl.DataFrame]]) -> None:
    """Have what became of scored rows taken in; `sent` holds, of each block of rows, the beginning of their ids."""
    target = contract.target.name
    known = pl.concat(
        pl.DataFrame({"id": [f"{prefix}{n}" for n in range(frame.height)], target: frame[target]})
        for prefix, frame in sent
    )
    path = root / "outcomes.parquet"
    known.write_parquet(path)
    serving("outcomes").take_outcomes(path, contract, root / "data" / "outcomes")


def drop(root: Path, contract: Contract, name: str, frame: pl.DataFrame) -> None:
    """Put a table into the inbox, as a source would: under another name until it is whole."""
    inbox = root / "data" / "inbox"
    inbox.mkdir(parents=True, exist_ok=True)
    part = inbox / f".{name}.csv"
    to_raw(frame, contract).write_csv(part)
    part.replace(inbox / f"{name}.csv")
