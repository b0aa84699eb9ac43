"""The router of this machine: it hands each request to one of the deployments. It stands in for a managed endpoint."""

import asyncio
import contextlib
import json
import os
import random
import secrets
import sys
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ..config import TOKEN, Serving
from ..registry import Registry
from ..table import replacing
from .deployments import Deployments
from .local import ADDRESS, Told, name_of
from .payload import Invalid
from .telemetry import Labelled, RouterMetrics, Written, one_page
from .upstream import Upstream
from .wire import TOKEN_WANTED, Answer, has_token, problem, read_body

HEADER = b"azureml-model-deployment"
ROUTER = "router"  # as a deployment in the metrics, where it answers itself
TRIED = "tried"  # a deployment was asked, and that was counted
MIRRORED = 64  # copies under way; beyond, a request is not copied
LOOK_SECONDS = 0.1
# What concerns one connection only (RFC 9110, 7.6.1), and what is written anew.
HOP = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"expect",
    b"host", b"content-length", b"date", b"server", HEADER,
}  # fmt: skip


class Router:
    """An ASGI application that follows `endpoint.json`."""

    def __init__(self, root: Path, registry: Registry, limits: Serving, url: str, log: Path | None) -> None:
        """Prepare; `url` is where the router answers, `log` the folder of the prediction log."""
        self._root, self._limits, self._url = root, limits, url
        self._name, self._logged = f"{name_of(root)}-{secrets.token_hex(8)}", log is not None
        self._token = os.environ.get(TOKEN, "").encode()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._copies = self._in_flight = 0
        self.metrics = RouterMetrics(int(limits.memory_mb * 1e6))
        self.deployments = Deployments(root, registry, log, self.metrics.lost)
        self._registered = CollectorRegistry()
        self._registered.register(self.metrics)
        self._registered.register(Labelled(ROUTER, ProcessCollector(registry=None)))
        self._written = CollectorRegistry()
        self._written.register(Written(root / "data" / "monitor"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; the lifespan starts and stops the deployments."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        path = scope["path"]
        if path == "/livez":
            response = Response("ok", media_type="text/plain")
        elif path == "/metrics":
            response = Response(await self._pages(), media_type="text/plain; version=0.0.4; charset=utf-8")
        elif path == "/endpoint":
            response = Response(msgspec.json.encode(self._told()), media_type="application/json")
        else:
            return await self._pass(scope, receive, send)
        await response(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        name = headers.setdefault(b"x-request-id", secrets.token_hex(8).encode())
        scores = scope["path"] == "/score" and scope["method"] == "POST"  # nothing else has a body
        self._in_flight += scores
        try:
            if scores:
                self._admit(headers)
            answer = await self._answer(
                scope, headers, await read_body(receive, headers, self._limits) if scores else b""
            )
        except ClientDisconnect:
            return
        except Invalid as error:
            if scores and error.cause != TRIED:
                self.metrics.count(ROUTER, error.status)
            await problem(error.status, error.detail, name.decode("latin-1"))(scope, receive, send)
            return
        finally:
            self._in_flight -= scores
        kept = [(key, value) for key, value in answer.headers if key not in HOP]
        length = (b"content-length", str(len(answer.body)).encode())
        await send({"type": "http.response.start", "status": answer.status, "headers": [*kept, length]})
        await send({"type": "http.response.body", "body": answer.body})

    def _admit(self, headers: dict[bytes, bytes]) -> None:
        """Refuse what need not be read: what waits in memory would be bounded by nothing else."""
        if not has_token(headers, self._token):
            raise Invalid(401, "auth", TOKEN_WANTED)
        if self._in_flight > self._limits.max_in_flight * max(1, len(self.deployments.table.deployments)):
            raise Invalid(429, "busy", "Too many requests at once; try again in a second.")

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], body: bytes) -> Answer:
        table, named = self.deployments.table, headers.get(HEADER, b"").decode("latin-1")
        target = table.deployments.get(named) if named else table.draw()
        if target is None:
            detail = f"There is no deployment {named}." if named else "No deployment answers yet."
            raise Invalid(404 if named else 503, "", detail)
        content = _request(scope, headers, body)
        del body  # it may be large
        counted = scope["path"] == "/score"
        if table.mirror and not named and counted and random.random() < table.mirrored:  # noqa: S311  nobody gains by guessing it
            self._mirror(table.mirror, content)
        try:
            return await self._ask(target, content, counted)
        except OSError:
            # Scoring twice does no harm, so that a deployment that dies costs no caller an answer.
            if not named and (other := self.deployments.table.other(target)):
                with contextlib.suppress(OSError):
                    return await self._ask(other, content, counted)
            raise Invalid(503, TRIED, f"The deployment {target.name} does not answer.") from None

    async def _ask(self, target: Upstream, content: bytes, counted: bool) -> Answer:
        target.in_flight += 1  # at once, so that nobody stops it meanwhile
        status = 503
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                answer = await target.ask(content, counted)
            status = answer.status
            return answer
        except TimeoutError:
            status = 504
            raise Invalid(504, TRIED, f"The deployment {target.name} takes too long.") from None
        finally:
            target.in_flight -= 1
            if counted:
                self.metrics.count(target.name, status)

    def _mirror(self, target: Upstream, content: bytes) -> None:
        """Send a copy whose answer nobody waits for."""
        if self._copies >= MIRRORED:
            self.metrics.dropped += 1
            return

        self._copies += 1
        target.in_flight += 1
        self._spawn(self._copy(target, content))

    async def _copy(self, target: Upstream, content: bytes) -> None:
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                await target.ask(content)
        except (OSError, TimeoutError):
            pass  # the deployment's own count tells
        finally:
            self._copies -= 1
            target.in_flight -= 1
            self.metrics.mirrored += 1

    def _spawn(self, job: Any) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)  # the loop itself keeps no task alive
        task.add_done_callback(self._tasks.discard)

    async def _pages(self) -> bytes:
        """The metrics of all deployments, of the router, and of commands (`data/monitor/*.prom`) on one page."""
        found, up = [], dict.fromkeys(self.deployments.shares, 0.0)
        for target in self.deployments.table.deployments.values():
            with contextlib.suppress(OSError, TimeoutError):
                found.append((await asyncio.wait_for(target.get("/metrics"), 5)).body)
                up[target.name] = 1.0
        self.metrics.shares, self.metrics.up = self.deployments.shares, up
        written = await asyncio.to_thread(generate_latest, self._written)
        return one_page([generate_latest(self._registered), *found, written])

    def _told(self) -> Told:
        """What commands want to know."""
        found = self.deployments
        return Told(
            router=self._name, url=self._url, serial=found.serial, refused=found.refused, failed=found.failed,
            seen={name: target.seen() for name, target in found.table.deployments.items()}, logged=self._logged,
        )  # fmt: skip

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self.deployments.follow()
        if self.deployments.refused:
            await self.deployments.end()
            return await send({"type": "lifespan.startup.failed", "message": self.deployments.refused})
        for name, reason in self.deployments.failed.items():
            print(f"{name} does not run: {reason}", file=sys.stderr, flush=True)
        with replacing(self._root / "data" / ADDRESS) as part:
            part.write_text(json.dumps({"url": self._url, "router": self._name}), "utf-8")
        watcher = asyncio.create_task(self._watch())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        watcher.cancel()
        for task in list(self._tasks):
            with contextlib.suppress(Exception):
                await task
        await self.deployments.end()
        await send({"type": "lifespan.shutdown.complete"})

    async def _watch(self) -> None:
        told = ""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.deployments.follow()
            if self.deployments.refused != told:
                told = self.deployments.refused
                print(told or "All is well again.", file=sys.stderr, flush=True)


def _request(scope: Scope, headers: dict[bytes, bytes], body: bytes) -> bytes:
    """The request as the deployment gets it."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    method = scope["method"].replace("HEAD", "GET")  # the web server leaves the body out
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"host: deployment"]
    lines += [name + b": " + value for name, value in headers.items() if name not in HOP]
    lines.append(b"content-length: " + str(len(body)).encode())
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
