"""How the scoring service answers: one deployment of one model version."""

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from .. import clock
from ..artifact import Model
from ..config import TOKEN, Serving
from .openapi import document, page
from .payload import Invalid
from .predictions import PredictionLog
from .scorer import Scored, Scorer
from .telemetry import Labelled, Metrics
from .wire import TOKEN_WANTED, has_token, problem, read_body

API = "1.0"  # of the requests and answers; it does not change with the model
_encode = msgspec.json.Encoder().encode


class Deployment(msgspec.Struct, kw_only=True):
    """Which model answers, under which name, and where its predictions are logged (None: nowhere)."""

    model: Model
    version: str
    digest: str
    name: str = "blue"
    log: Path | None = None


class Service:
    """The handlers of one deployment."""

    def __init__(self, deployment: Deployment, limits: Serving) -> None:
        """Prepare; the log begins when the service starts.

        Raises:
            Fault: the estimator is what scores, and cannot be loaded.
        """
        self.deployment, self.limits = deployment, limits
        model = deployment.model
        if model.engine == "native":
            _ = model.estimator  # now, and not when somebody waits for an answer
        self.scorer = Scorer(model, limits.max_rows)
        trained = datetime.fromisoformat(model.lineage["trained_at"]).timestamp()
        bounds = model.lineage.get("score_bounds", [])  # older versions have none
        memory = int(limits.memory_mb * 1e6)
        self.metrics = Metrics(deployment.name, deployment.version, model.engine, trained, bounds, memory)
        self.registry = CollectorRegistry()
        self.registry.register(self.metrics)
        self.registry.register(
            Labelled(deployment.name, ProcessCollector(registry=None), PlatformCollector(registry=None))
        )
        self.log: PredictionLog | None = None
        self._prefix, self._count = secrets.token_hex(6) + "-", 0  # names of requests that bring none
        self._head = [(b"content-type", b"application/json"), (b"x-deployment", deployment.name.encode())]
        self._token = os.environ.get(TOKEN, "").encode()
        self._spec = document(model.contract, deployment.version, API, bool(self._token))

    @contextlib.asynccontextmanager
    async def life(self, app: Starlette) -> AsyncIterator[None]:
        """Open the prediction log, and write it out in the end."""
        if self.deployment.log:
            about = {
                "deployment": self.deployment.name,
                "model_version": self.deployment.version,
                "columns": self.deployment.model.needs,
            }
            self.log = self.metrics.log = PredictionLog(self.deployment.log, about, self.limits.log_file_mb)
        yield
        if self.log:
            await run_in_threadpool(self.log.close)

    async def score(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `POST /score`; plain ASGI, for the objects of a framework would cost as much as the model."""
        start = clock.seconds()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        name = headers.get(b"x-request-id", b"")[:64].decode("latin-1")
        if not name.isprintable() or not name.isascii() or not name:
            self._count += 1
            name = f"{self._prefix}{self._count:x}"
        self.metrics.in_flight += 1
        status, refusal = 200, None
        try:
            self._admit(headers)
            answer = await self._answer(await read_body(receive, headers, self.limits), scope["query_string"], name)
        except Invalid as error:
            self.metrics.errors[error.cause] += 1
            if self.log and error.cells:
                self.log.refuse(name, error.cells)
            status, refusal = error.status, problem(error.status, error.detail, name, error.errors)
        except ClientDisconnect:
            return
        except Exception as error:  # of ours or of the machine: the caller gets no details, the operator does
            self._fault(name, error)
            self.metrics.errors["model"] += 1
            status, refusal = 500, problem(500, "The service failed to answer; its log has the details.", name)
        finally:
            self.metrics.in_flight -= 1
        self.metrics.answered(status, clock.seconds() - start)
        if refusal:
            await refusal(scope, receive, send)
        else:
            length = (b"content-length", str(len(answer)).encode())
            await send({"type": "http.response.start", "status": 200, "headers": [*self._head, length]})
            await send({"type": "http.response.body", "body": answer})

    def _fault(self, name: str, error: Exception) -> str:
        line = f"request {name}: {type(error).__name__}: {error}"
        print(line, flush=True)
        return line

    async def _answer(self, body: bytes, query: bytes, name: str) -> bytes:
        explain = parse_qs(query.decode("latin-1")).get("explain", ["false"])[-1] if query else "false"
        if explain not in ("true", "false"):
            raise Invalid(422, "type", "explain is true or false.")
        scored = await self._scored(body, explain == "true")
        self.metrics.scored(scored.scores, scored.unseen)
        rows, result = scored.rows, scored.scores.tolist()
        ids = [str(i) for i in rows.ids] if rows.ids else [f"{name}/{n}" for n in range(len(rows.cells))]
        told: dict[str, Any] = {
            "result": result, "ids": ids, "request_id": name,
            "model_version": self.deployment.version, "deployment": self.deployment.name,
        }  # fmt: skip
        if scored.scores.ndim == 2:
            told["classes"] = self.deployment.model.contract.classes
        if scored.why:
            told["explanation"] = scored.why
        if self.log:
            self.log.add(name, ids, rows.cells, result)
        return _encode(told)

    async def _scored(self, body: bytes, explain: bool) -> Scored:
        return await self.scorer.score(body, explain)

    def _admit(self, headers: dict[bytes, bytes]) -> None:
        """Refuse what need not be read."""
        if not has_token(headers, self._token):
            raise Invalid(401, "auth", TOKEN_WANTED)
        if self.metrics.in_flight > self.limits.max_in_flight:
            raise Invalid(429, "busy", "Too many requests at once; try again in a second.")
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
            raise Invalid(415, "type", "Send `Content-Type: application/json`.")

    async def live(self, request: Request) -> Response:
        """Answer `GET /livez`: the process runs."""
        return Response("ok", media_type="text/plain")

    async def ready(self, request: Request) -> Response:
        """Answer `GET /readyz`: the model is loaded, and there is room for more requests."""
        if self.metrics.in_flight >= self.limits.max_in_flight:
            return problem(503, "Too many requests are being answered.", "")
        return Response("ready", media_type="text/plain")

    async def tell_metrics(self, request: Request) -> Response:
        """Answer `GET /metrics`."""
        return Response(generate_latest(self.registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def model(self, request: Request) -> Response:
        """Answer `GET /model`: what answers, and where it comes from; for whoever may ask for scores."""
        if not has_token(dict(request.headers.raw), self._token):
            return problem(401, TOKEN_WANTED, "")
        d = self.deployment
        contract = d.model.contract
        about = {
            "deployment": d.name, "model_version": d.version, "digest": d.digest, "engine": d.model.engine, "api": API,
            "task": contract.task, "target": contract.target.name, "classes": contract.classes,
            "features": d.model.needs, "lineage": d.model.lineage,
        }  # fmt: skip
        return Response(_encode(about), media_type="application/json")

    async def openapi(self, request: Request) -> Response:
        """Answer `GET /openapi.json`."""
        return Response(_encode(self._spec), media_type="application/json")

    async def docs(self, request: Request) -> Response:
        """Answer `GET /docs`: the same for people, in one page without anything from elsewhere."""
        return HTMLResponse(page(self._spec))
