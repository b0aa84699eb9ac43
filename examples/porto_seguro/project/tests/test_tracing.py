"""Traces and logs of the service: what a collector gets, what it never gets, and that nothing of it costs without one."""

import gzip
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.testclient import TestClient
from test_serve import deployment, post, raw

from porto_seguro.config import Serving
from porto_seguro.errors import UsageError
from porto_seguro.serving.app import make_app
from porto_seguro.serving.service import Service
from porto_seguro.serving.tracing import AZURE, OTLP

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"  # pragma: allowlist secret
CALLER = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Collector:
    """Takes what is posted to it, by path, on a free port of this machine."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        taken = self.taken

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                packed = self.headers.get("Content-Encoding") == "gzip"
                taken.append((self.path, gzip.decompress(body) if packed else body))
                azure = self.path.endswith("/track")
                answer = b'{"itemsReceived": 1, "itemsAccepted": 1, "errors": []}' if azure else b""
                self.send_response(200)
                self.send_header("Content-Type", "application/json" if azure else "application/x-protobuf")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def spans(self) -> list[Any]:
        """All spans."""
        found = [ExportTraceServiceRequest.FromString(body) for path, body in self.taken if path == "/v1/traces"]
        return [span for one in found for of in one.resource_spans for scope in of.scope_spans for span in scope.spans]

    @property
    def logs(self) -> list[Any]:
        """All log records."""
        found = [ExportLogsServiceRequest.FromString(body) for path, body in self.taken if path == "/v1/logs"]
        scopes = [scope for one in found for of in one.resource_logs for scope in of.scope_logs]
        return [log for scope in scopes for log in scope.log_records]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    found = Collector()
    for name in [*os.environ]:
        if name.startswith(("OTEL_", "APPLICATIONINSIGHTS_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv(OTLP, found.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")  # so that nothing is sent but at the end
    monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "60000")
    yield found
    found.server.shutdown()
    found.server.server_close()


def told(record: Any) -> dict[str, Any]:
    """The attributes of a span or log record."""
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in record.attributes}


def test_a_request_is_a_span_below_that_of_its_caller(collector: Collector, lived: Path) -> None:
    rows = raw(lived, 3)
    with TestClient(make_app(deployment(lived, name="green"), Serving())) as client:
        assert post(client, {"data": rows}, **CALLER, **{"X-Request-ID": "mine"})[0] == 200
        assert post(client, {"data": rows[:1]}, **CALLER)[0] == 200
        assert post(client, {"data": rows}, **CALLER, **{"X-Long": "way", "X-Request-ID": "third"})[0] == 200
        code, alone = post(client, {"data": rows[:1]}, traceparent="00-no-trace-at-all")
        assert code == 200
        client.get("/metrics")
        assert collector.taken == []
    assert len(collector.spans) == 4  # none was lost at the end
    first, second, _, fourth = collector.spans
    assert (first.trace_id.hex(), first.parent_span_id.hex(), first.kind) == (TRACE, PARENT, first.SPAN_KIND_SERVER)
    attributes = told(first)
    assert 0 < attributes.pop("scoring.seconds") <= (first.end_time_unix_nano - first.start_time_unix_nano) / 1e9
    assert attributes == {
        "http.request.method": "POST", "http.route": "/score", "url.path": "/score", "url.scheme": "http",
        "http.response.status_code": 200, "scoring.rows": 3, "scoring.model_version": "1",
        "scoring.deployment": "green", "scoring.request_id": "mine",
    }  # fmt: skip
    assert first.name == "POST /score"
    assert first.status.code == first.status.STATUS_CODE_UNSET
    # A request without a name is named after its trace; one whose parent cannot be read begins a trace.
    assert told(second)["scoring.request_id"] == f"{TRACE}-{second.span_id.hex()}"
    assert (fourth.parent_span_id, fourth.trace_id.hex() == TRACE) == (b"", False)
    assert alone["request_id"] == f"{fourth.trace_id.hex()}-{fourth.span_id.hex()}"


def test_what_is_sent_says_who_sends_it(collector: Collector, lived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = []
    for name in ("", "scorer-of-claims"):
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
        with TestClient(make_app(deployment(lived), Serving())) as client:
            post(client, {"data": raw(lived, 1)})
        (of,) = ExportTraceServiceRequest.FromString(collector.taken[-1][1]).resource_spans
        names.append(told(of.resource)["service.name"])
    assert names == [deployment(lived).model.contract.name, "scorer-of-claims"]


def test_a_fault_is_an_error_and_a_refusal_is_none(
    collector: Collector, lived: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = deployment(lived)
    broken.model.scores_of = lambda x: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    with TestClient(make_app(broken, Serving())) as client:
        assert post(client, b"{", **CALLER)[0] == 400
        code, problem = post(client, {"data": raw(lived, 1)}, **CALLER)
    assert code == 500
    refused, fault = collector.spans
    assert (told(refused)["http.response.status_code"], refused.status.code) == (400, refused.status.STATUS_CODE_UNSET)
    assert (told(fault)["http.response.status_code"], fault.status.code) == (500, fault.status.STATUS_CODE_ERROR)
    assert told(fault)["error.type"] == "ZeroDivisionError"
    (log,) = collector.logs
    assert (log.trace_id.hex(), log.span_id, log.severity_text) == (TRACE, fault.span_id, "ERROR")
    assert told(log)["scoring.request_id"] == problem["request_id"]
    printed = capsys.readouterr().out.strip()
    assert log.body.string_value == printed == f"request {problem['request_id']}: ZeroDivisionError: division by zero"
    assert TRACE in printed


def test_no_value_of_a_row_is_sent(collector: Collector, lived: Path) -> None:
    row = raw(lived, 1)[0]
    secret = dict.fromkeys(row, "a-secret-value")
    with TestClient(make_app(deployment(lived), Serving())) as client:
        assert post(client, {"data": [secret]})[0] == 422
        assert client.post("/score?explain=a-secret-value", json={"data": [row]}).status_code == 422
    assert len(collector.spans) == 2
    assert not any(b"a-secret-value" in body for _, body in collector.taken)
    assert not any(span.events for span in collector.spans)


def test_rows_that_are_scored_together_keep_their_own_traces(collector: Collector, lived: Path) -> None:
    rows = raw(lived, 24)
    with TestClient(make_app(deployment(lived), Serving())) as client, ThreadPoolExecutor(8) as threads:
        done = list(threads.map(lambda row: post(client, {"data": [row]})[0], rows))
    assert done == [200] * 24
    assert len({span.trace_id for span in collector.spans}) == 24
    assert [told(span)["scoring.rows"] for span in collector.spans] == [1] * 24


def test_a_collector_that_is_away_costs_no_request(
    collector: Collector, lived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.server.shutdown()
    collector.server.server_close()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with TestClient(make_app(deployment(lived), Serving())) as client:
        assert post(client, {"data": raw(lived, 1)})[0] == 200


def test_azure_monitor_gets_requests_and_faults_where_its_string_says(
    collector: Collector, lived: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv(OTLP)
    key = "12345678-0000-4000-8000-123456789012"
    monkeypatch.setenv(AZURE, f"InstrumentationKey={key};IngestionEndpoint={collector.url}/")
    asked, look_up = [], socket.getaddrinfo

    def noted(host: Any, *more: Any, **named: Any) -> Any:
        asked.append(host)
        return look_up(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    broken = deployment(lived)
    with TestClient(make_app(deployment(lived), Serving())) as client:
        assert post(client, {"data": raw(lived, 2)}, **CALLER)[0] == 200
    broken.model.scores_of = lambda x: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    with TestClient(make_app(broken, Serving())) as client:
        assert post(client, {"data": raw(lived, 2)}, **CALLER)[0] == 500
    assert {path for path, _ in collector.taken} == {"/v2.1/track"}
    items = [item for _, body in collector.taken for item in json.loads(body)]
    assert {item["iKey"] for item in items} == {key}
    assert {item["tags"]["ai.operation.id"] for item in items} == {TRACE}
    good, bad = (item["data"]["baseData"] for item in items if item["data"]["baseType"] == "RequestData")
    assert (good["name"], good["responseCode"], good["success"]) == ("POST /score", "200", True)
    assert good["properties"]["scoring.rows"] == "2"
    assert (bad["responseCode"], bad["success"]) == ("500", False)
    (message,) = (item["data"]["baseData"] for item in items if item["data"]["baseType"] == "MessageData")
    assert "ZeroDivisionError" in message["message"]
    # Nobody else was asked or told, and no thread waits to do so; some would only for an endpoint of Azure's own.
    assert not caplog.records
    azure = "https://westeurope-5.in.applicationinsights.azure.com/"
    monkeypatch.setenv(AZURE, f"InstrumentationKey={key};IngestionEndpoint={azure}")
    make_app(broken, Serving())
    assert set(asked) == {"127.0.0.1"}
    assert {item["data"]["baseType"] for item in items} == {"RequestData", "MessageData"}
    assert not [thread.name for thread in threading.enumerate() if "Metric" in thread.name or "Config" in thread.name]


@pytest.mark.parametrize(
    "wrong",
    [
        (OTLP, "localhost:4318", "give a URL such as http://localhost:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        (AZURE, "InstrumentationKey=none", "Invalid instrumentation key"),
    ],
)
def test_what_cannot_be_heeded_is_a_sentence_and_no_service(
    collector: Collector, lived: Path, command: Command, monkeypatch: pytest.MonkeyPatch, wrong: tuple[str, str, str]
) -> None:
    name, value, said = wrong
    monkeypatch.setenv(name, value)
    code, shown = command(lived, "serve", "--model", 1, "--port", 1)
    assert (code, said in shown, "Traceback" in shown) == (2, True, False), shown


@pytest.mark.parametrize("missing", ["opentelemetry.exporter.otlp.proto.http", "azure.monitor.opentelemetry.exporter"])
def test_missing_packages_are_a_sentence(
    collector: Collector, lived: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setenv(AZURE, "InstrumentationKey=12345678-0000-4000-8000-123456789012")
    for name in [name for name in sys.modules if name.startswith(missing)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError, match=r"needs \S+: run `pip install --require-hashes -r requirements/otel.txt`"):
        make_app(deployment(lived), Serving())


def test_a_switch_turns_it_off(collector: Collector, lived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert type(make_app(deployment(lived), Serving()).state.service) is Service


def test_without_the_variables_nothing_of_it_is_imported(lived: Path) -> None:
    """In a process like that of the container, which answers a request."""
    champion = deployment(lived)
    folder = next(path.parent for path in lived.rglob("manifest.json") if path.parent.name == "model")
    code = (
        "import sys; from pathlib import Path; from starlette.testclient import TestClient;"
        "from porto_seguro.artifact import load_model;"
        "from porto_seguro.config import Serving;"
        "from porto_seguro.serving.app import make_app;"
        "from porto_seguro.serving.service import Deployment;"
        f"model = load_model(Path({str(folder)!r}), {champion.digest!r}, None);"
        f"d = Deployment(model=model, version='1', digest={champion.digest!r});"
        "client = TestClient(make_app(d, Serving())); client.__enter__();"
        "print(client.post('/score', json={}).status_code);"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'azure'))])"
    )
    keep = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "APPLICATIONINSIGHTS_"))}
    keep["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", code], env=keep, capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["422", "[]"], done.stderr
