"""Traces and logs by OpenTelemetry, where the environment names who takes them; else nothing of it is imported.

A variable that cannot be heeded stops the service before it listens: a deployment that does not start is seen at once
and gets no traffic, while traces that were never sent are missed on the day that somebody needs them. Later, a collector
that is away costs traces, and nothing else. OpenTelemetry's other variables (name, sampler, headers, timeouts) hold too.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.types import Message, Receive, Scope, Send

from .. import clock
from ..config import Serving
from ..errors import UsageError
from .scorer import Scored
from .service import Deployment, Service

OTLP, AZURE = "OTEL_EXPORTER_OTLP_ENDPOINT", "APPLICATIONINSIGHTS_CONNECTION_STRING"
# Azure's exporter tells of its own use, and asks Microsoft for settings, unless it is told not to.
OFF = ("STATSBEAT_DISABLED_ALL", "SDKSTATS_DISABLED", "CONTROLPLANE_DISABLED", "OPENTELEMETRY_RESOURCE_METRIC_DISABLED")


def make_service(deployment: Deployment, limits: Serving) -> Service:
    """Return the service, with traces where the environment asks for them; a UsageError where they cannot be had."""
    named = [name for name in (OTLP, AZURE) if os.environ.get(name)]
    if not named or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Service(deployment, limits)
    try:
        return Traced(deployment, limits)
    except ImportError as error:
        needs = f"{error.name}: run `pip install --require-hashes -r requirements/otel.txt`, or unset it"
        raise UsageError(f"{' and '.join(named)} needs {needs}.") from None


def _exporters() -> Iterator[tuple[Any, Any]]:
    """Those of spans and of log records."""
    if url := os.environ.get(OTLP):
        from opentelemetry.exporter.otlp.proto.http import _log_exporter, trace_exporter

        wire = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
        if not url.lower().startswith(("http://", "https://")) or wire != "http/protobuf":
            raise UsageError(f"{OTLP}: give a URL such as http://localhost:4318, where http/protobuf is taken.")
        yield trace_exporter.OTLPSpanExporter(), _log_exporter.OTLPLogExporter()
    if string := os.environ.get(AZURE):
        os.environ.update({f"APPLICATIONINSIGHTS_{name}": "true" for name in OFF})
        from azure.monitor.opentelemetry.exporter import AzureMonitorLogExporter, AzureMonitorTraceExporter

        known: dict[str, Any] = {"connection_string": string, "disable_offline_storage": True}  # nothing on the disk
        try:
            yield AzureMonitorTraceExporter(**known), AzureMonitorLogExporter(**known)
        except ValueError as error:
            raise UsageError(f"{AZURE}: {error}") from None


class Traced(Service):
    """Tells of each request in a span, and of a fault in a log record too; never of a row's values.

    How long scoring took is one of the span's attributes: as a span of its own it would double the cost.
    """

    def __init__(self, deployment: Deployment, limits: Serving) -> None:
        """Prepare; see `make_service`."""
        from opentelemetry import trace
        from opentelemetry._logs import SeverityNumber
        from opentelemetry.sdk._logs import LoggerProvider, export
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        super().__init__(deployment, limits)
        own = Resource.create({"service.name": deployment.model.contract.name}).merge(OTELResourceDetector().detect())
        spans, logs = TracerProvider(resource=own), LoggerProvider(resource=own)
        for of_spans, of_logs in _exporters():
            spans.add_span_processor(BatchSpanProcessor(of_spans))
            logs.add_log_record_processor(export.BatchLogRecordProcessor(of_logs))
        self._ends, self._failed = (spans.shutdown, logs.shutdown), trace.StatusCode.ERROR
        self._parent, self._current = TraceContextTextMapPropagator().extract, trace.get_current_span
        self._log = partial(logs.get_logger(__name__).emit, severity_number=SeverityNumber.ERROR, severity_text="ERROR")
        # What an exception says may hold a value of a row.
        begin = partial(spans.get_tracer(__name__).start_as_current_span, record_exception=False)
        about = {"scoring.model_version": deployment.version, "scoring.deployment": deployment.name}
        about |= {"http.request.method": "POST", "http.route": "/score", "url.path": "/score"}
        kind = trace.SpanKind.SERVER
        self._span = partial(begin, "POST /score", kind=kind, attributes=about, set_status_on_exception=False)

    @contextlib.asynccontextmanager
    async def life(self, app: Starlette) -> AsyncIterator[None]:
        """As without traces; what was not sent yet is sent in the end."""
        async with super().life(app):
            yield
        for end in self._ends:
            await run_in_threadpool(end)

    async def score(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `POST /score` within a span, a child of the caller's where a `traceparent` tells of one."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._span(context=self._parent(headers)) as span:
            name = headers.get("x-request-id", "")[:64]
            if not name:  # then it gets one by which its trace is found
                name = "{0.trace_id:032x}-{0.span_id:016x}".format(span.get_span_context())
                scope = {**scope, "headers": [*scope["headers"], (b"x-request-id", name.encode())]}
            span.set_attributes({"scoring.request_id": name, "url.scheme": scope["scheme"]})

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(self._failed)
                await send(message)

            await super().score(scope, receive, watched)

    async def _scored(self, body: bytes, explain: bool) -> Scored:
        start = clock.seconds()
        scored = await super()._scored(body, explain)
        took = clock.seconds() - start
        self._current().set_attributes({"scoring.rows": len(scored.rows.cells), "scoring.seconds": took})
        return scored

    def _fault(self, name: str, error: Exception) -> str:
        line = super()._fault(name, error)
        self._current().set_attribute("error.type", type(error).__qualname__)
        self._log(body=line, attributes={"scoring.request_id": name})
        return line
