"""One deployment behind the router: its process, and the connections to it."""

import asyncio
import contextlib
import os
import secrets
import socket
import sys
from collections import Counter, deque
from datetime import timedelta
from pathlib import Path

from .. import clock
from ..errors import Fault
from ..registry import Version
from .endpoint import Seen
from .predictions import read_log
from .telemetry import SECONDS, Histogram
from .wire import HOST, Answer, Answered, Connections, answered

START_SECONDS, STOP_SECONDS = 90.0, 40.0
TAIL_SECONDS = 5.0  # what was answered before is in the log by now: it is written five times a second


class Upstream:
    """A process that serves one version, started again whenever it ends by itself."""

    def __init__(
        self, name: str, version: Version, folder: Path, root: Path, log: Path | None, lost: Counter[str]
    ) -> None:
        """Prepare; rows that a dying process did not log are counted in `lost`, by the deployment's name.

        `folder` holds the model, and its manifest must have the digest of the version.
        """
        self.name, self.version, self._root, self._log, self._lost = name, version, root, log, lost
        source = str(Path(__file__).parents[2])  # the process may not be told otherwise where the package is
        self._env = {
            "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]),
            "MODEL_FOLDER": str(folder), "MODEL_DIGEST": version.digest, "MODEL_VERSION": str(version.version),
            "DEPLOYMENT": name, "HOST": HOST, "PROJECT_DIR": str(root),
            "LOG_FOLDER": str(log or ""), "STOP_WITH_STDIN": "1", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        self.in_flight = 0  # kept by the router
        self.requests = self.errors = self.refused = 0
        self.seconds = Histogram(SECONDS)
        self._counter = secrets.token_hex(8)
        self._connections = Connections()
        self._process: asyncio.subprocess.Process | None = None
        self._tail = deque[tuple[float, str, int]]()  # newest answers: moment, request, rows
        self.failed = self._said = ""

    @property
    def runs(self) -> bool:
        """Whether its process is there and was ready."""
        return not self.failed and self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Return when it is ready, or `failed` says why it is not; then it is tried again until it is stopped."""
        await self._launch()
        self._keeper = asyncio.create_task(self._keep())

    async def _launch(self) -> None:
        try:
            await self._begin()
            self.failed = ""
        except (Fault, OSError) as error:
            self._connections.port, self.failed = 0, str(error)

    async def _begin(self) -> None:
        self._connections.port = port = free_port()
        native = ["native"] if self.version.engine == "native" else []
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __package__, *native, cwd=self._root,
            env=os.environ | self._env | {"PORT": str(port)},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl+C is for the router, which lets them finish
        )  # fmt: skip
        pump = asyncio.create_task(self._pump(self._process.stdout))
        end = clock.seconds() + START_SECONDS
        while clock.seconds() < end:
            if self._process.returncode is not None:
                await pump
                raise Fault(f"The deployment {self.name} (version {self.version.version}) does not start: {self._said}")
            with contextlib.suppress(OSError):
                if (await self.get("/readyz")).status == 200:
                    return
            await asyncio.sleep(0.05)
        self._process.kill()
        raise Fault(f"The deployment {self.name} (version {self.version.version}) does not become ready.")

    async def _pump(self, lines: asyncio.StreamReader | None) -> None:
        """Pass on what the process says."""
        assert lines
        async for line in lines:
            self._said = line.decode("utf-8", "replace").rstrip() or self._said
            print(f"{self.name}: {self._said}", file=sys.stderr, flush=True)

    async def _keep(self) -> None:
        pause = 0.5
        while True:
            if self._process and not self.failed:
                code = await self._process.wait()
                self._connections.port = 0  # which may soon be somebody else's
                print(f"{self.name}: ended with {code}; it is started again.", file=sys.stderr, flush=True)
            died = clock.seconds()
            await asyncio.sleep(pause)
            await self._count_lost(died)
            await self._launch()
            if self.failed:
                print(self.failed, file=sys.stderr, flush=True)
            pause = min(2 * pause, 30.0) if self.failed else 0.5

    async def _count_lost(self, died: float) -> None:
        """Count the rows that the process had answered and not yet logged when it died."""
        logged, start = await asyncio.to_thread(self._logged), died - TAIL_SECONDS
        self._lost[self.name] += sum(rows for at, name, rows in self._tail if at > start and name not in logged)
        self._tail.clear()

    def _logged(self) -> set[str]:
        """The names of the requests of the last minute in the prediction log."""
        who, since = (self.name, str(self.version.version)), clock.now() - timedelta(minutes=1)
        found = read_log(self._log, since) if self._log and self._tail else ()
        return {line.request_id for header, line in found if (header.deployment, header.model_version) == who}

    async def get(self, path: str) -> Answer:
        """Ask for a page.

        Raises:
            OSError: it does not answer.
        """
        return await self._connections.ask(f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode())

    async def ask(self, content: bytes, counted: bool = True) -> Answer:
        """Pass on a request; count what becomes of it, if it asks for scores.

        Raises:
            OSError: it does not answer.
        """
        start, status = clock.seconds(), 503
        try:
            answer = await self._connections.ask(content)
            status = answer.status
            if counted and status == 200 and self._log:
                self._note(answered(answer.body), clock.seconds())
            return answer
        finally:
            if counted:
                self.requests += 1
                self.errors += status >= 500
                self.refused += 400 <= status < 500
                self.seconds.observe(clock.seconds() - start)

    def _note(self, told: Answered, at: float) -> None:
        self._tail.append((at, told.request_id, len(told.result)))
        while self._tail[0][0] < at - TAIL_SECONDS:
            self._tail.popleft()

    def seen(self) -> Seen:
        """What was counted."""
        return Seen(self.requests, self.errors, self.refused, list(self.seconds.counts), self._counter)

    async def stop(self) -> None:
        """End it when all that is under way has been answered; it writes out its log."""
        end = clock.seconds() + STOP_SECONDS
        while self.in_flight and clock.seconds() < end:
            await asyncio.sleep(0.02)
        self._keeper.cancel()
        self._connections.close()
        if self._process and self._process.stdin:
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
            except TimeoutError:
                self._process.kill()
            if self._process.returncode:
                await self._count_lost(clock.seconds())


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
