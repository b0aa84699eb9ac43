"""The scoring service as an ASGI application; the same one answers on a laptop and in the container."""

import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .artifact import Engine, load_model
from .config import Serving, load_settings
from .errors import Fault, ProjectError, UsageError
from .service import TITLES, Deployment, Service, problem


def make_app(deployment: Deployment, limits: Serving) -> Starlette:
    """Return the ASGI application."""
    service = Service(deployment, limits)

    async def refused(request: Request, error: Exception) -> Response:
        status = getattr(error, "status_code", 500)
        response = problem(status, f"{request.method} {request.url.path}: {TITLES.get(status, 'Error').lower()}.", "")
        response.headers.update(getattr(error, "headers", None) or {})
        return response

    def get(path: str, handler: Callable[[Request], Awaitable[Response]]) -> Route:
        return Route(path, handler, methods=["GET"])

    routes = [
        Route("/score", _Endpoint(service.score), methods=["POST"]),
        get("/livez", service.live), get("/readyz", service.ready), get("/metrics", service.tell_metrics),
        get("/model", service.model), get("/openapi.json", service.openapi), get("/docs", service.docs),
    ]  # fmt: skip
    app = Starlette(routes=routes, lifespan=service.life, exception_handlers={404: refused, 405: refused})
    app.state.service = service
    return app


class _Endpoint:
    """A bare ASGI application, which Starlette does not wrap."""

    def __init__(self, call: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._call = call

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._call(scope, receive, send)


def run(deployment: Deployment, limits: Serving, host: str, port: int) -> None:
    """Serve until told to stop; what is under way is finished, and the log is written out.

    Raises:
        Fault: somebody else listens there, or the address is not of this machine.
    """
    import uvicorn

    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise Fault(f"{host}:{port} cannot be listened on: {error.strerror or error}. Give another port.") from None
    uvicorn.run(
        make_app(deployment, limits), host=host, port=port, access_log=False, log_level="warning",
        timeout_graceful_shutdown=30, server_header=False, h11_max_incomplete_event_size=65_536,
    )  # fmt: skip


def main() -> None:
    """Serve the model that the environment names, as the container does.

    MODEL_FOLDER (or AZUREML_MODEL_DIR) and MODEL_DIGEST say which model, and nothing else is loaded; MODEL_VERSION,
    ENGINE, DEPLOYMENT, HOST, PORT, LOG_FOLDER and PROJECT_DIR have defaults.
    """
    # The first process of a container gets no signal that it does not ask for; uvicorn asks only once it listens.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    env = os.environ
    folder, digest = env.get("MODEL_FOLDER") or env.get("AZUREML_MODEL_DIR"), env.get("MODEL_DIGEST")
    try:
        if not folder or not digest:
            raise UsageError("Set MODEL_FOLDER and MODEL_DIGEST: the service loads one model, and only that one.")
        limits = load_settings(Path(env.get("PROJECT_DIR", ".")) / "conf").serving
        engine: Engine = "native" if env.get("ENGINE") == "native" else "onnx"
        deployment = Deployment(
            model=load_model(Path(folder), digest, engine, threads=1), version=env.get("MODEL_VERSION", "0"),
            digest=digest, engine=engine, name=env.get("DEPLOYMENT", "blue"),
            log=Path(env["LOG_FOLDER"]) if env.get("LOG_FOLDER") else None,
        )  # fmt: skip
        run(deployment, limits, env.get("HOST", "127.0.0.1"), int(env.get("PORT", "8000")))
    except ProjectError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
