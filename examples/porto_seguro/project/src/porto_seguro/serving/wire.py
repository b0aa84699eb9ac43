"""What service and router do alike: read the body of a request, and say why it is refused."""

import asyncio
from typing import Any

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
_LATE = "the body is late"
_encode = msgspec.json.Encoder().encode


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
