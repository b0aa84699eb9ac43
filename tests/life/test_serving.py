"""A served model under real clients: odd ones, many at once, a watching Prometheus, and a sudden death."""

import contextlib
import http.client
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake
from running import free_port, running
from validate.test_monitoring import METRICS, WATCHED, dashboard_exprs, exposition, hurried, prometheus, rules, until

JSON = {"Content-Type": "application/json"}
ODD: list[Any] = [None, True, "", "many", "NaN", "\u0000", [], {}, [None], {"a": {}}, -1e9, 1e308, 10**30, "9" * 5000]


@dataclass
class Served:
    """A running service: its project, process and port, and a body that it can score."""

    project: Path
    process: subprocess.Popen[bytes]
    port: int
    body: dict[str, Any]

    def post(self, content: bytes, **headers: str) -> tuple[int, bytes]:
        """Send bytes to /score."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", "/score", content, JSON | headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def metrics(self) -> dict[str, float]:
        """What /metrics says now."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if x[0] != "#")}

    def memory(self) -> list[float]:
        """Resident memory in MB: of the deployment, and of the router."""
        (router,) = re.findall(r"VmRSS:\s+(\d+) kB", Path("/proc", str(self.process.pid), "status").read_text())
        return [self.metrics()['process_resident_memory_bytes{deployment="blue"}'] / 1e6, int(router) / 1e3]


def environment(project: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(project / "src"), "OMP_WAIT_POLICY": "PASSIVE"}


def command(project: Path, *words: object) -> list[str]:
    return [sys.executable, "-m", "porto_seguro", *map(str, words)]


@pytest.fixture(scope="module")
def trained(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a champion."""
    project = Path(shutil.copytree(bake(), tmp_path_factory.mktemp("serving") / "project"))
    for words in (("data", "sample"), ("run", "--data", "data/inbox/sample.csv", "--json")):
        done = subprocess.run(command(project, *words), cwd=project, env=environment(project), capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
    return project


@contextlib.contextmanager
def serving(project: Path, *more: str, **variables: str) -> Iterator[Served]:
    """Serve the champion on a free port."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with running(
        command(project, "serve", "--port", port, *more), url + "/readyz", project, environment(project) | variables
    ) as process:
        with urllib.request.urlopen(url + "/openapi.json") as answer:
            content = json.load(answer)["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]
        yield Served(project, process, port, content["examples"]["objects"]["value"])


@pytest.fixture(scope="module")
def served(trained: Path) -> Iterator[Served]:
    with serving(trained) as found:
        yield found


def logged(project: Path) -> list[str]:
    """The ids in the prediction log, as the project itself reads them."""
    code = "from pathlib import Path; from porto_seguro.serving.predictions import read_log; import json;"
    code += "print(json.dumps([i for _, line in read_log(Path('data/predictions')) for i in line.ids]))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=environment(project), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found


def test_the_endpoint_passes_its_own_checks_and_a_wrong_one_does_not(served: Served, tmp_path: Path) -> None:
    def check(url: str, *more: str) -> tuple[int, str]:
        words = command(served.project, "check", "endpoint", url, "--junit", tmp_path / "junit.xml", *more)
        done = subprocess.run(
            words, cwd=served.project, env=environment(served.project), capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    url = f"http://127.0.0.1:{served.port}"
    code, said = check(url)
    assert code == 0, said
    assert 'failures="0"' in (tmp_path / "junit.xml").read_text()
    code, said = check(url, "--latency-ms", "0.001")
    assert code == 1
    assert "the budget is 0.001 ms" in said
    assert 'failures="1"' in (tmp_path / "junit.xml").read_text()
    code, said = check("http://127.0.0.1:9")
    assert code == 3
    assert "does not answer" in said


def odd_bodies(good: dict[str, Any]) -> Iterator[bytes]:
    """A good body with bytes that changed or are cut off; and in each of the three shapes, with cells that changed."""
    rng = random.Random(0)
    row, text = good["data"][0], json.dumps(good).encode()
    while True:
        body = bytearray(text)
        for _ in range(rng.randint(1, 10)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        yield bytes(body[: rng.randrange(len(body))] if rng.random() < 0.5 else body)
        rows = [dict(row) for _ in range(rng.randint(1, 3))]
        for _ in range(rng.randint(1, 3)):
            rng.choice(rows)[rng.choice(list(row))] = rng.choice(ODD)
        if rng.random() < 0.05:
            rng.choice(rows).pop(rng.choice(list(row)))
        lists = [list(one.values()) for one in rows]
        split = {"columns": list(row), "data": lists}
        yield json.dumps(rng.choice([{"data": rows}, {"data": lists}, {"input_data": split}])).encode()


def test_ten_thousand_odd_bodies_are_refused_without_a_fault_and_memory_stays_flat(served: Served) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    refused = 'scoring_errors_total{cause="contract",deployment="blue"}'
    before, start, answers = [0.0, 0.0], served.metrics()[refused], Counter[int]()
    for content in odd_bodies(served.body):
        connection.request("POST", "/score", content, JSON)
        answer = connection.getresponse()
        answer.read()
        # Some changes, such as another digit, leave a row that may be scored.
        assert answer.status in (200, 400, 422), content
        answers[answer.status] += 1
        if answers.total() == 2_000:
            before = served.memory()
        if answers[400] + answers[422] == 10_000:
            break
        assert answers.total() < 20_000
    assert [now < then + 15 for now, then in zip(served.memory(), before, strict=True)] == [True, True]
    found = served.metrics()
    assert found[refused] - start > 3_000, "cells reach the contract"
    assert found['scoring_errors_total{cause="model",deployment="blue"}'] == 0


def test_schemathesis_finds_no_fault(served: Served) -> None:
    program = Path(sys.executable).with_name("schemathesis")
    assert program.exists(), "schemathesis is missing: it is in the kit's requirements"
    done = subprocess.run(
        [
            str(program), "run", f"http://127.0.0.1:{served.port}/openapi.json", "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--max-examples", "60", "--seed", "1", "--no-color",
        ],
        capture_output=True, text=True, cwd=served.project.parent, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_prometheus_sees_the_service_and_its_rules_work_on_it(served: Served, tmp_path: Path) -> None:
    monitoring = served.project / "monitoring"
    folder = hurried(monitoring, f"127.0.0.1:{served.port}", tmp_path / "monitoring")
    # As `monitor` and `loop` leave them; that they write all of this is tested where they are.
    found = served.project / "data" / "monitor"
    found.mkdir(parents=True, exist_ok=True)
    (found / "monitor.prom").write_text(exposition(0, WATCHED), "utf-8")
    names = {name.partition("{")[0] for name in served.metrics()}
    ends = {"counter": "_total", "histogram": "_bucket", "gauge": ""}
    told = {name if name.endswith(ends[kind]) else name + ends[kind] for name, (kind, _) in METRICS.items()}
    assert sorted(told - names - {"scoring_unseen_values_total"}) == []
    with prometheus(folder, free_port()) as query:
        content = json.dumps(served.body).encode()

        def seen() -> bool:
            served.post(content)
            return all(query(rule["record"]) for rule in rules(monitoring, "record"))

        until(seen, "every recording rule has a value")
        shown = {expr: bool(query(expr)) for expr in dashboard_exprs(monitoring)}
        assert [expr for expr, found in shown.items() if not found and "unseen" not in expr] == []
        assert [a["alert"] for a in rules(monitoring, "alert") if query(a["expr"])] == []


@pytest.fixture
def another(trained: Path, tmp_path: Path) -> Path:
    """A copy of the project, with an empty log; a project is served once only."""
    project = Path(shutil.copytree(trained, tmp_path / "project"))
    shutil.rmtree(project / "data" / "predictions", ignore_errors=True)
    return project


def test_a_project_is_served_once(served: Served) -> None:
    words = command(served.project, "serve", "--port", free_port())
    done = subprocess.run(words, cwd=served.project, env=environment(served.project), capture_output=True, text=True)
    assert (done.returncode, f"served already: http://127.0.0.1:{served.port}" in done.stderr) == (3, True)


def test_a_killed_service_loses_at_most_the_last_moment_of_its_log(another: Path) -> None:
    answered: list[str] = []
    with serving(another, "--model", "1") as served:
        content = json.dumps(served.body).encode()
        last = time.monotonic()

        def client(name: int) -> None:
            nonlocal last
            for n in range(100_000):
                try:
                    code, _ = served.post(content, **{"X-Request-ID": f"{name}-{n}"})
                except OSError:
                    return
                assert code == 200
                answered.append(f"{name}-{n}/0")
                last = time.monotonic()

        clients = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for one in clients:
            one.start()
        time.sleep(2)
        early = len(answered)
        time.sleep(1)
        served.process.send_signal(signal.SIGKILL)
        for one in clients:
            one.join()
    found = logged(another)
    assert len(found) == len(set(found))
    assert set(answered[:early]) <= set(found), "what was answered a second before is in the log"
    assert len(answered) > early > 100


def test_a_stopped_service_loses_nothing(another: Path) -> None:
    with serving(another) as served:
        for n in range(300):
            assert served.post(json.dumps(served.body).encode(), **{"X-Request-ID": str(n)})[0] == 200
    assert sorted(logged(another)) == sorted(f"{n}/0" for n in range(300))


def test_the_router_passes_on_the_token_and_the_trace_of_a_caller(another: Path) -> None:
    taken: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    collector = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_address[1]}", "NO_PROXY": "127.0.0.1"}
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with serving(another, SCORING_TOKEN="secret", **traces) as served:

        def status(path: str, **headers: str) -> int:
            request = urllib.request.Request(f"http://127.0.0.1:{served.port}{path}", headers=headers)
            try:
                with urllib.request.urlopen(request) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        content = json.dumps(served.body).encode()
        for wrong in ({}, {"Authorization": "Bearer wrong"}, {"api-key": "wrong"}):
            assert (served.post(content, **wrong)[0], status("/model", **wrong)) == (401, 401)
        assert served.post(content, Authorization="Bearer secret", traceparent=f"00-{trace}-{parent}-01")[0] == 200
        assert status("/model", **{"api-key": "secret"}) == 200
        for path in ("/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/endpoint"):
            assert status(path) == 200
    collector.shutdown()
    collector.server_close()
    sent = b"".join(taken)  # protobuf holds the two as they are
    assert sent.count(bytes.fromhex(trace)) == 1
    assert sent.count(bytes.fromhex(parent)) == 1


def test_a_full_disk_leaves_a_log_that_can_be_read(another: Path) -> None:
    """The system refuses what goes beyond a limit, in the header of a file and in the midst of a line."""
    code = """
import resource, time
from pathlib import Path
from porto_seguro.serving.predictions import PredictionLog

def limited(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, -1))

def add(*ids):
    before = log.kept + log.dropped
    log.add("r", list(ids), [[1.0]] * len(ids), [0.5] * len(ids))
    while log.kept + log.dropped == before:
        time.sleep(0.01)

log = PredictionLog(Path("data/predictions"), {"deployment": "blue", "model_version": "1", "columns": ["x"]}, 1)
for name, size in (("header", 30), ("first", 100_000), ("line", 200), ("second", 100_000)):
    limited(size)
    add(*(f"{name} {n}" for n in range(10)))
log.close()
print(log.kept, log.dropped)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=another, env=environment(another), capture_output=True, text=True
    )
    assert done.stdout.split() == ["20", "20"], done.stderr
    assert logged(another) == [f"{name} {n}" for name in ("first", "second") for n in range(10)]
