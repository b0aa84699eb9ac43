"""One deployment behind the router: its process, and the connections to it."""

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import NamedTuple, cast

import httptools

from .. import clock
from ..errors import Fault
from ..registry import Version
from .endpoint import Seen
from .telemetry import SECONDS, Histogram

HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 90.0, 40.0


class Answer(NamedTuple):
    """What a deployment answered."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class _Connection(asyncio.Protocol):
    """A connection that is kept; it carries one request at a time."""

    def __init__(self) -> None:
        self.open = self.used = False
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self.open = cast(asyncio.Transport, transport), True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the deployment hung up"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self._transport.close()
            self.open = False
        if self._answer and not self._answer.done():
            self._answer.set_result(Answer(self._parser.get_status_code(), self._headers, b"".join(self._parts)))

    async def ask(self, content: bytes) -> Answer:
        """Send a request; the answer is that which comes next."""
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._parts: list[bytes] = []
        self.used = True
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(content)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        self.open = False
        self._transport.abort()


class Upstream:
    """A process that serves one version, started again whenever it ends by itself."""

    def __init__(self, name: str, version: Version, folder: Path, root: Path, log: Path | None) -> None:
        """Prepare; `folder` holds the model, and its manifest must have the digest of the version."""
        self.name, self.version, self._root = name, version, root
        source = str(Path(__file__).parents[2])  # the process may not be told otherwise where the package is
        self._env = {
            "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]),
            "MODEL_FOLDER": str(folder), "MODEL_DIGEST": version.digest, "MODEL_VERSION": str(version.version),
            "ENGINE": version.engine, "DEPLOYMENT": name, "HOST": HOST, "PROJECT_DIR": str(root),
            "LOG_FOLDER": str(log or ""), "STOP_WITH_STDIN": "1", "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        self.in_flight = 0  # kept by the router
        self.requests = self.errors = self.refused = 0
        self.seconds = Histogram(SECONDS)
        self.port, self._idle = 0, list[_Connection]()
        self._stopping = False
        self._said = ""

    async def start(self) -> None:
        """Return when it is ready.

        Raises:
            Fault: it ended, with its reason, or does not become ready.
        """
        await self._launch()
        self._keeper = asyncio.create_task(self._keep())

    async def _launch(self) -> None:
        self.port = _free_port()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __package__, cwd=self._root, env=os.environ | self._env | {"PORT": str(self.port)},
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
            code = await self._process.wait()
            if self._stopping:
                return
            print(f"{self.name}: ended with {code}; it is started again.", file=sys.stderr, flush=True)
            await asyncio.sleep(pause)
            try:
                await self._launch()
                pause = 0.5
            except Fault as error:
                print(str(error), file=sys.stderr, flush=True)
                pause = min(2 * pause, 30.0)

    async def get(self, path: str) -> Answer:
        """Ask for a page.

        Raises:
            OSError: it does not answer.
        """
        return await self._ask(f"GET {path} HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode())

    async def ask(self, content: bytes, counted: bool = True) -> Answer:
        """Pass on a request; count what becomes of it, if it asks for scores.

        Raises:
            OSError: it does not answer.
        """
        start, status = clock.seconds(), 503
        try:
            answer = await self._ask(content)
            status = answer.status
            return answer
        finally:
            if counted:
                self.requests += 1
                self.errors += status >= 500
                self.refused += 400 <= status < 500
                self.seconds.observe(clock.seconds() - start)

    async def _ask(self, content: bytes) -> Answer:
        while True:
            connection = self._idle.pop() if self._idle else None
            if connection is None:
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(_Connection, HOST, self.port)
            if not connection.open:
                continue
            fresh = not connection.used
            try:
                answer = await connection.ask(content)
            except ConnectionResetError:
                if fresh:
                    raise
                continue  # kept for too long: the other side had hung up
            except BaseException:  # given up: what comes on this connection would answer somebody else
                connection.close()
                raise
            if connection.open:
                self._idle.append(connection)
            return answer

    def seen(self) -> Seen:
        """What was counted."""
        return Seen(self.requests, self.errors, self.refused, list(self.seconds.counts))

    async def stop(self) -> None:
        """End it when all that is under way has been answered; it writes out its log."""
        end = clock.seconds() + STOP_SECONDS
        while self.in_flight and clock.seconds() < end:
            await asyncio.sleep(0.02)
        self._stopping = True
        for connection in self._idle:
            connection.close()
        assert self._process.stdin
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
