"""The scoring service as an ASGI application; the same one answers on a laptop and in the container."""

import socket
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from ..config import Serving
from ..errors import Fault
from .service import Deployment
from .tracing import make_service
from .wire import TITLES, problem


def make_app(deployment: Deployment, limits: Serving) -> Starlette:
    """Return the ASGI application."""
    service = make_service(deployment, limits)

    async def refused(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 500)
        response = problem(status, f"{request.method} {request.url.path}: {TITLES.get(status, 'Error').lower()}.", "")
        response.headers.update(getattr(error, "headers", None) or {})
        return response

    def get(path: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, handler, methods=["GET"])

    routes = [
        get("/livez", service.live), get("/readyz", service.ready), get("/metrics", service.tell_metrics),
        get("/model", service.model), get("/openapi.json", service.openapi), get("/docs", service.docs),
        Route("/score", lambda request: None, methods=["POST"]),  # only for its refusal of other methods
    ]  # fmt: skip
    app = _App(routes=routes, lifespan=service.life, exception_handlers={404: refused, 405: refused})
    app.state.service = service
    return app


class _App(Starlette):
    """Hands requests for scores to the service itself: middleware and routing would cost as much as the model."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/score" and scope["method"] == "POST":
            await self.state.service.score(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def check_port(host: str, port: int) -> None:
    """Say so where nobody can listen there.

    Raises:
        Fault: somebody else listens, or the address is not of this machine.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise Fault(f"{host}:{port} cannot be listened on: {error.strerror or error}. Give another port.") from None


def listen(app: ASGIApp, host: str, port: int) -> None:
    """Serve until told to stop; what is under way is finished first.

    Raises:
        Fault: as in `check_port`.
    """
    import uvicorn

    check_port(host, port)
    uvicorn.run(
        app, host=host, port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=30,
        server_header=False, proxy_headers=False, h11_max_incomplete_event_size=65_536,
    )  # fmt: skip
