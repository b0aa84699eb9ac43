"""HTTP as service and router need it: bodies, tokens and refusals, and connections that are kept."""

import asyncio
import hmac
from typing import Any, NamedTuple, cast

import httptools
import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive

from ..config import Serving
from .payload import Invalid

TITLES = {
    400: "Not JSON", 401: "Not allowed", 404: "Not found", 405: "Wrong method", 408: "Too slow", 413: "Too large",
    415: "Wrong content type", 422: "Against the contract", 429: "Too many requests", 500: "Fault", 503: "Not ready",
    504: "Too slow",
}  # fmt: skip
TOKEN_WANTED = "Send the token as `Authorization: Bearer ...` or `api-key: ...`."  # noqa: S105  a sentence
HOST = "127.0.0.1"  # of the deployments behind a router
_LATE = "the body is late"
_encode = msgspec.json.Encoder().encode


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


class Connections:
    """Connections to a port of this machine, kept for the next request."""

    def __init__(self) -> None:
        self.port, self._idle = 0, list[_Connection]()  # port 0: nobody is there

    async def ask(self, content: bytes) -> Answer:
        """Send a request over one that is free, or over a new one.

        Raises:
            OSError: nobody answers.
        """
        while True:
            connection = self._idle.pop() if self._idle else None
            if connection is None:
                if not self.port:
                    raise ConnectionRefusedError
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

    def close(self) -> None:
        """Hang up those that are free."""
        for connection in self._idle:
            connection.close()


class Answered(msgspec.Struct):
    """Of an answer of `POST /score`, as much as it takes to find it in the prediction log."""

    request_id: str
    result: list[msgspec.Raw]


answered = msgspec.json.Decoder(Answered).decode


def has_token(headers: dict[bytes, bytes], token: bytes) -> bool:
    """Whether a caller knows the token; how long that takes does not tell how much of it was right."""
    if not token:  # none is asked for
        return True
    scheme, _, bearer = headers.get(b"authorization", b"").partition(b" ")
    given = bearer if scheme.lower() == b"bearer" else headers.get(b"api-key", b"")
    return hmac.compare_digest(given, token)


async def read_body(receive: Receive, headers: dict[bytes, bytes], limits: Serving) -> bytes:
    """Return the body of a request.

    Raises:
        Invalid: it is too large (413), or takes too long to arrive (408).
        ClientDisconnect: nobody waits for an answer any more.
    """
    most = int(limits.max_body_mb * 1e6)
    size = headers.get(b"content-length", b"0")
    if size.isdigit() and int(size) > most:
        raise _too_large(limits)
    # `asyncio.timeout` would cost a third of what the model costs.
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    assert task
    timer = loop.call_later(limits.body_seconds, task.cancel, _LATE)
    parts, total = [], 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            parts.append(message.get("body", b""))
            total += len(parts[-1])
            if total > most:
                raise _too_large(limits)
            if not message.get("more_body"):
                return parts[0] if len(parts) == 1 else b"".join(parts)
    except asyncio.CancelledError as error:
        if error.args != (_LATE,):
            raise
        task.uncancel()
        raise Invalid(408, "body", f"The body took more than {limits.body_seconds:g} s to arrive.") from None
    finally:
        timer.cancel()


def _too_large(limits: Serving) -> Invalid:
    return Invalid(413, "size", f"The body is larger than {limits.max_body_mb:g} MB.")


def problem(status: int, detail: str, request_id: str, errors: list[dict[str, Any]] | None = None) -> Response:
    """Answer with problem details (RFC 9457)."""
    told: dict[str, Any] = {"type": "about:blank", "title": TITLES.get(status, "Error"), "status": status}
    told |= (
        {"detail": detail} | ({"request_id": request_id} if request_id else {}) | ({"errors": errors} if errors else {})
    )
    headers = {"Retry-After": "1"} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(_encode(told), status, headers, "application/problem+json")
