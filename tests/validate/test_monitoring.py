"""What a project brings to be watched with is held against Prometheus and Alertmanager themselves.

`apt-get install --no-install-recommends prometheus prometheus-alertmanager` brings the four programs.
"""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Bake, tree
from running import free_port

# What the commands `monitor` and `loop` tell by way of files, which the router puts on its page.
WATCHED: dict[str, tuple[str, dict[str, str]]] = {
    "monitor_last_run_timestamp_seconds": ("gauge", {}),
    "monitor_window_seconds": ("gauge", {}),
    "monitor_rows": ("gauge", {}),
    "monitor_labelled_ratio": ("gauge", {}),
    "monitor_severity": ("gauge", {"kind": "drift"}),
    "monitor_feature_distance": ("gauge", {"feature": "ps_car_01_cat"}),
    "monitor_feature_psi": ("gauge", {"feature": "ps_car_01_cat"}),
    "monitor_feature_missing_ratio": ("gauge", {"feature": "ps_car_01_cat"}),
    "monitor_metric": ("gauge", {"metric": "auc", "part": "window"}),
    "model_age_limit_seconds": ("gauge", {}),
    "loop_last_pass_timestamp_seconds": ("gauge", {}),
    "loop_failed": ("gauge", {}),
    "loop_waiting_files": ("gauge", {}),
    "loop_quarantined_files": ("gauge", {}),
    "loop_retrain_wanted": ("gauge", {}),
}
# What the service tells at /metrics: kind and labels of each metric.
METRICS: dict[str, tuple[str, dict[str, str]]] = {
    "scoring_requests_total": ("counter", {"deployment": "blue", "code": "200"}),
    "scoring_request_seconds": ("histogram", {"deployment": "blue"}),
    "scoring_errors_total": ("counter", {"deployment": "blue", "cause": "contract"}),
    "scoring_in_flight": ("gauge", {"deployment": "blue"}),
    "scoring_rows_total": ("counter", {"deployment": "blue"}),
    "scoring_unseen_values_total": ("counter", {"deployment": "blue", "column": "ps_car_01_cat"}),
    "scoring_prediction": ("histogram", {"deployment": "blue"}),
    "scoring_model_info": ("gauge", {"deployment": "blue", "model_version": "1", "engine": "onnx"}),
    "scoring_model_trained_timestamp_seconds": ("gauge", {"deployment": "blue"}),
    "scoring_log_rows_total": ("counter", {"deployment": "blue"}),
    "scoring_log_dropped_total": ("counter", {"deployment": "blue"}),
    "scoring_memory_limit_bytes": ("gauge", {"deployment": "blue"}),
    "process_resident_memory_bytes": ("gauge", {"deployment": "blue"}),
    "process_start_time_seconds": ("gauge", {"deployment": "blue"}),
    "process_cpu_seconds_total": ("counter", {"deployment": "blue"}),
    "router_requests_total": ("counter", {"deployment": "blue", "code": "200"}),
    "router_traffic_percent": ("gauge", {"deployment": "blue"}),
    "router_deployment_up": ("gauge", {"deployment": "blue"}),
    "router_log_lost_rows_total": ("counter", {"deployment": "blue"}),
    **WATCHED,
}
BUCKETS = {
    "scoring_request_seconds": (
        "0.001",
        "0.0025",
        "0.005",
        "0.01",
        "0.025",
        "0.05",
        "0.1",
        "0.25",
        "0.5",
        "1.0",
        "2.5",
    ),
    "scoring_prediction": tuple(str(number / 20) for number in range(1, 21)),
}
FAMILY = {"histogram": ("_bucket", "_sum", "_count")}
# Prometheus' own, beside the names and labels of METRICS.
SERIES = {"up"}
LABELS = {"job", "instance", "le", "quantile"}

ALERTS = (
    "BiasFound",
    "DataQualityBad",
    "DeploymentDown",
    "Down",
    "DriftFound",
    "ErrorRateHigh",
    "InboxStuck",
    "LabelsOverdue",
    "LatencyBudgetBurnFast",
    "LatencyBudgetBurnSlow",
    "LoopFailed",
    "MemoryHigh",
    "ModelStale",
    "MonitorSilent",
    "NoTraffic",
    "PerformanceDropped",
    "PredictionLogDropping",
    "RetrainBlocked",
)
# What keeps an alert from crying too early, or from being silenced by a series that is not there.
CLAUSES = {
    "Down": (' or absent(up{job="scoring"})',),
    "ErrorRateHigh": (" and deployment:scoring_errors:ratio_rate1h > 0.01",),
    "LatencyBudgetBurnFast": (" and deployment:scoring_slow:ratio_rate1h > 14.4 * 0.01",),
    "LatencyBudgetBurnSlow": (" and deployment:scoring_slow:ratio_rate6h > 6 * 0.01",),
    "DriftFound": (
        'monitor_severity{kind=~"drift|prediction"} == 2\nor ',
        '\nor monitor_severity{kind=~"attribution|calibration|proxy"} > 0',
    ),
    "InboxStuck": ("min_over_time(loop_waiting_files[1d]) > 0 and ", " and loop_waiting_files offset 1d"),
    "ModelStale": (
        'or on (job, instance) (up{job="scoring"} == 1) * -Inf',
        '\n  or on (job, instance) 0 * up{job="scoring"} + 30 * 86400',
        "max by (job, instance) (model_age_limit_seconds)\n  or on (job, instance) ",
    ),
    "PredictionLogDropping": (
        "sum by (deployment) (increase(scoring_log_dropped_total[15m])) > 0\nor ",
        "\nor sum by (deployment) (increase(router_log_lost_rows_total[15m])) > 0",
    ),
    "NoTraffic": (
        " == 1",
        "unless on (job, instance) sum by (job, instance) (increase(scoring_requests_total[30m])) > 0",
        "unless on (job, instance) time() - process_start_time_seconds < 30 * 60",
    ),
}
FILES = {"alertmanager.yml", "dashboard.json", "dashboard.py", "prometheus.yml", "rules.yml", "rules_test.yml"}
Query = Callable[[str], list[dict[str, Any]]]


def program(name: str) -> str:
    """Return where a program of Prometheus is; without it nothing here is checked, so that its absence is a failure."""
    path = shutil.which(name)
    if path is None:
        pytest.fail(f"{name} is missing: apt-get install --no-install-recommends prometheus prometheus-alertmanager")
    return path


def call(name: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run a program of Prometheus."""
    command = [program(name), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120)


@pytest.fixture(scope="module")
def monitoring(bake: Bake) -> Path:
    """Return the folder of a project, to be read only."""
    return bake() / "monitoring"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def rules(folder: Path, kind: str) -> list[dict[str, Any]]:
    """Return the recording rules (`record`) or the alerts (`alert`)."""
    return [rule for group in load(folder / "rules.yml")["groups"] for rule in group["rules"] if kind in rule]


def filled(expr: str) -> str:
    """Put in what Grafana would, everything chosen; the span is short enough for a Prometheus of seconds."""
    return expr.replace("$deployment", ".*").replace("$__rate_interval", "5m")


def dashboard_exprs(folder: Path) -> list[str]:
    panels = json.loads((folder / "dashboard.json").read_text("utf-8"))["panels"]
    return [filled(target["expr"]) for panel in panels for target in panel["targets"]]


def all_exprs(folder: Path) -> list[str]:
    return [rule["expr"] for kind in ("record", "alert") for rule in rules(folder, kind)] + dashboard_exprs(folder)


# --- what Prometheus and Alertmanager accept


def test_the_project_brings_these_files(monitoring: Path) -> None:
    assert set(tree(monitoring)) == FILES


def test_prometheus_accepts_its_configuration_and_rules(monitoring: Path, tmp_path: Path) -> None:
    for command in (("check", "config", "prometheus.yml"), ("check", "rules", "rules.yml")):
        done = call("promtool", *command[:2], monitoring / command[2])
        assert done.returncode == 0, done.stdout + done.stderr
    config = load(monitoring / "prometheus.yml")
    assert config["rule_files"] == ["rules.yml"]
    assert [job["job_name"] for job in config["scrape_configs"]] == ["scoring"]

    folder = shutil.copytree(monitoring, tmp_path / "monitoring")
    text = (folder / "rules.yml").read_text("utf-8")
    (folder / "rules.yml").write_text(text.replace("rate(", "rat(", 1), "utf-8")
    assert call("promtool", "check", "config", folder / "prometheus.yml").returncode != 0


def test_alertmanager_accepts_its_configuration_which_holds_no_secret(monitoring: Path, tmp_path: Path) -> None:
    path = monitoring / "alertmanager.yml"
    done = call("amtool", "check-config", path)
    assert done.returncode == 0, done.stdout + done.stderr
    config = load(path)
    urls = [hook["url"] for receiver in config["receivers"] for hook in receiver["webhook_configs"]]
    assert all(url.startswith("http://127.0.0.1:") for url in urls)
    assert {key for receiver in config["receivers"] for key in receiver} == {"name", "webhook_configs"}

    broken = tmp_path / "alertmanager.yml"
    broken.write_text(path.read_text("utf-8").replace("receiver: page", "receiver: nobody"), "utf-8")
    assert call("amtool", "check-config", broken).returncode != 0


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (["severity=page", "alertname=Down"], "page"),
        (["severity=ticket", "alertname=NoTraffic"], "ticket"),
        (["severity=invented"], "page"),
        (["alertname=WithoutSeverity"], "page"),
    ],
)
def test_alertmanager_routes_by_severity_and_wakes_somebody_in_doubt(
    monitoring: Path, labels: list[str], receiver: str
) -> None:
    def routed(to: str) -> bool:
        arguments = (f"--config.file={monitoring / 'alertmanager.yml'}", f"--verify.receivers={to}")
        return call("amtool", "config", "routes", "test", *arguments, *labels).returncode == 0

    assert routed(receiver)
    assert not routed({"page": "ticket", "ticket": "page"}[receiver])


def test_every_alert_tells_what_is_wrong_and_goes_somewhere(monitoring: Path) -> None:
    alerts = rules(monitoring, "alert")
    assert sorted(alert["alert"] for alert in alerts) == sorted(ALERTS)
    for alert in alerts:
        assert alert["labels"]["severity"] in ("page", "ticket"), alert["alert"]
        assert set(alert["annotations"]) == {"summary", "description", "runbook"}, alert["alert"]
    inhibitions = yaml.safe_dump(load(monitoring / "alertmanager.yml")["inhibit_rules"])
    assert set(re.findall(r'alertname="(\w+)"', inhibitions)) <= set(ALERTS)


# --- when the alerts fire: the project's own tests, and whether these can fail


def test_the_rules_keep_their_tests(monitoring: Path) -> None:
    done = call("promtool", "test", "rules", monitoring / "rules_test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent(monitoring: Path, name: str) -> None:
    groups = [group.get("alert_rule_test", []) for group in load(monitoring / "rules_test.yml")["tests"]]
    cases = [bool(case["exp_alerts"]) for group in groups for case in group if case["alertname"] == name]
    assert set(cases) == {True, False}
    # Silent for good, and not only at first: a group that never fires.
    assert any({bool(c["exp_alerts"]) for c in group if c["alertname"] == name} == {False} for group in groups)


def times(duration: str, factor: float) -> str:
    seconds = float(duration[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[duration[-1]]
    return f"{int(seconds * factor)}s"


def replaced(text: str, found: re.Match[str], new: str) -> str:
    return text[: found.start(1)] + new + text[found.end(1) :]


def mutants(alert: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return variants of an alert that are wrong: each threshold, window and patience, up and down, and each clause."""
    expr = alert["expr"]
    for found in re.finditer(r"[<>=]=? *(\d+(?:\.\d+)?)", expr):
        number = float(found[1])
        for wrong in (number * 2, number / 2) if number else (-1.0, 1e9):
            yield {**alert, "expr": replaced(expr, found, f"{wrong:g}")}
    for found in re.finditer(r"(\d+) \* 86400", expr):
        for factor in (2, 0.5):
            yield {**alert, "expr": replaced(expr, found, f"{int(found[1]) * factor:g}")}
    for found in re.finditer(r"(?:\[|offset )(\w+)", expr):
        for factor in (2, 0.5):
            yield {**alert, "expr": replaced(expr, found, times(found[1], factor))}
    for found in re.finditer(r'kind=~?("[^"]*")', expr):
        kinds = found[1].strip('"').split("|")
        fewer = ["|".join(other for other in kinds if other != kind) for kind in kinds if len(kinds) > 1]
        for others in (".+", *fewer):
            yield {**alert, "expr": replaced(expr, found, f'"{others}"').replace('kind="', 'kind=~"')}
    for found in re.finditer(r"[^<>=]([<>]|==) ", expr):
        yield {**alert, "expr": replaced(expr, found, {"<": ">", ">": "<", "==": "!="}[found[1]])}
    for clause in CLAUSES.get(alert["alert"], ()):
        assert clause in expr
        yield {**alert, "expr": expr.replace(clause, "")}
    if "for" in alert:
        yield {**alert, "for": times(alert["for"], 3)}
        yield {key: value for key, value in alert.items() if key != "for"}
    other = {"page": "ticket", "ticket": "page"}[alert["labels"]["severity"]]
    yield {**alert, "labels": {"severity": other}}


def survives(folder: Path, scratch: Path, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Say whether the project's tests of one rule accept another in its place."""
    document = load(folder / "rules.yml")
    # Only what it needs, for a day of minutes takes its time.
    recorded = "record" in old or ":" in re.sub(r"\{.*?\}", "", new["expr"])
    for group in document["groups"]:
        kept = (rule for rule in group["rules"] if rule == old or (recorded and "record" in rule))
        group["rules"] = [new if rule == old else rule for rule in kept]
    (scratch / "rules.yml").write_text(yaml.safe_dump(document), "utf-8")
    # A mutant must be refused for what it does, not because Prometheus cannot read it.
    checked = call("promtool", "check", "rules", scratch / "rules.yml")
    assert checked.returncode == 0, f"{new}\n{checked.stdout}{checked.stderr}"

    # Only the cases of this rule, and few evaluations where nothing waits: the rest costs seconds.
    tests = load(folder / "rules_test.yml")
    if "record" in old:
        tests["evaluation_interval"] = "10m"
    for group in tests["tests"]:
        cases = group.pop("alert_rule_test", [])
        if "alert" in old:
            group.pop("promql_expr_test", None)
            group["alert_rule_test"] = [case for case in cases if case["alertname"] == old["alert"]]
    tests["tests"] = [
        group for group in tests["tests"] if group.get("alert_rule_test") or group.get("promql_expr_test")
    ]
    (scratch / "rules_test.yml").write_text(yaml.safe_dump(tests), "utf-8")
    done = call("promtool", "test", "rules", scratch / "rules_test.yml")
    assert "FAILED" in done.stdout + done.stderr or done.returncode == 0, done.stdout + done.stderr
    return done.returncode == 0


@pytest.mark.parametrize("name", ALERTS)
def test_the_tests_of_an_alert_refuse_it_when_it_is_changed(monitoring: Path, tmp_path: Path, name: str) -> None:
    (alert,) = (rule for rule in rules(monitoring, "alert") if rule["alert"] == name)
    assert survives(monitoring, tmp_path, alert, alert)
    wrong = list(mutants(alert))
    assert len(wrong) >= 5
    assert [new for new in wrong if survives(monitoring, tmp_path, alert, new)] == []


def test_the_tests_of_a_recording_rule_refuse_it_when_it_is_changed(monitoring: Path, tmp_path: Path) -> None:
    recorded = rules(monitoring, "record")
    assert recorded
    assert survives(monitoring, tmp_path, recorded[0], recorded[0])
    for rule in recorded:
        assert not survives(monitoring, tmp_path, rule, {**rule, "expr": f"({rule['expr']}) * 2"}), rule
        if "> 0)" in rule["expr"]:
            by_zero = {**rule, "expr": rule["expr"].replace("> 0)", ">= 0)")}
            assert not survives(monitoring, tmp_path, rule, by_zero), rule


# --- the dashboard


def test_the_dashboard_is_what_its_source_writes(monitoring: Path, tmp_path: Path) -> None:
    source = tmp_path / "dashboard.py"
    shutil.copy(monitoring / source.name, source)
    subprocess.run([sys.executable, str(source)], check=True)
    assert (tmp_path / "dashboard.json").read_bytes() == (monitoring / "dashboard.json").read_bytes()


def test_the_panels_lie_side_by_side_and_name_no_data_source(monitoring: Path) -> None:
    dashboard = json.loads((monitoring / "dashboard.json").read_text("utf-8"))
    assert [variable["name"] for variable in dashboard["templating"]["list"]] == ["datasource", "deployment"]
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + column, place["y"] + row) for column in range(place["w"]) for row in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["targets"], panel["title"]
        for part in (panel, *panel["targets"]):
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for key in ("id", "title"):
        values = [panel[key] for panel in dashboard["panels"]]
        assert len(set(values)) == len(values)


# --- expressions: they parse, and name what the service tells


def accepted(exprs: list[str], scratch: Path) -> bool:
    """Let Prometheus read expressions, each as a recording rule."""
    listed = [{"record": f"expression:{number}", "expr": expr} for number, expr in enumerate(exprs)]
    path = scratch / "expressions.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "expressions", "rules": listed}]}), "utf-8")
    return call("promtool", "check", "rules", path).returncode == 0


def test_prometheus_reads_every_expression(monitoring: Path, tmp_path: Path) -> None:
    exprs = all_exprs(monitoring)
    assert len(exprs) > 40
    assert accepted(exprs, tmp_path)
    for broken in ("rate(up)", "sum by (", "invented(up)", "up{"):
        assert not accepted([*exprs, broken], tmp_path)


def samples(metrics: dict[str, tuple[str, dict[str, str]]]) -> set[str]:
    """Return the names under which Prometheus keeps metrics."""
    return {name + end for name, (kind, _) in metrics.items() for end in FAMILY.get(kind, ("",))}


def named(expr: str) -> tuple[set[str], set[str]]:
    """Return the series and the labels that an expression names."""
    labels: set[str] = set()

    def note(text: str) -> None:
        labels.update(re.findall(r"[a-z_]\w*", text))

    # The label that label_replace adds is the dashboard's own.
    expr = re.sub(r', "line", "[^"]*", "", ""\)', ")", expr)
    for inner in re.findall(r"\{(.*?)\}", expr):
        note(" ".join(re.findall(r"(\w+) *(?:=~|!~|!=|=)", inner)))
    expr = re.sub(r"\{.*?\}|\[.*?\]", "", expr)
    modifiers = r"\b(by|without|on|ignoring|group_left|group_right) *\((.*?)\)"
    for found in re.finditer(modifiers, expr):
        note(found[2])
    expr = re.sub(modifiers, "", expr)
    words = set(re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?! *\(|[\w:])", expr))
    return words - {"and", "or", "unless", "bool", "Inf", "offset"}, labels


def test_rules_and_dashboard_name_only_what_there_is(monitoring: Path) -> None:
    series = samples(METRICS) | SERIES | {rule["record"] for rule in rules(monitoring, "record")}
    known = LABELS | {label for _, labels in METRICS.values() for label in labels}
    used: set[str] = set()
    for expr in all_exprs(monitoring):
        names, labels = named(expr)
        assert names, expr
        assert names <= series, expr
        assert labels <= known, expr
        used |= names
    # And all that the service tells is looked at somewhere.
    assert {name for name in METRICS if not any(seen.startswith(name) for seen in used)} == set()


def test_an_invented_name_would_be_seen() -> None:
    names, labels = named('sum by (invented) (rate(scoring_oops_total{code=~"5..|429", nobody="x y"}[5m])) / a:b > 1e3')
    assert names == {"scoring_oops_total", "a:b"}
    assert labels == {"invented", "code", "nobody"}


# --- a real Prometheus beside something that tells all the metrics


def fetched(url: str) -> dict[str, Any]:
    """Return an answer of Prometheus; a refusal speaks JSON as well."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return dict(json.load(answer))
    except urllib.error.HTTPError as error:
        return dict(json.load(error))


@contextlib.contextmanager
def prometheus(config_folder: Path, port: int) -> Iterator[Query]:
    """Run Prometheus on a folder with a prometheus.yml; yield `query(expr)`, which returns the samples of now."""
    data = config_folder / "tsdb"
    url = f"http://127.0.0.1:{port}"
    command = [
        program("prometheus"),
        f"--config.file={config_folder / 'prometheus.yml'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--storage.tsdb.path={data}",
    ]

    def query(expr: str) -> list[dict[str, Any]]:
        answer = fetched(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}")
        assert answer["status"] == "success", f"{expr}: {answer.get('error')}"
        assert not answer.get("warnings"), f"{expr}: {answer['warnings']}"
        return list(answer["data"]["result"])

    log_path = config_folder / "prometheus.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        for _ in range(300):
            assert process.poll() is None, log_path.read_text("utf-8")
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/-/ready", timeout=1):
                break
            time.sleep(0.1)
        else:
            pytest.fail("Prometheus was not ready in 30 seconds:\n" + log_path.read_text("utf-8"))
        yield query
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def exposition(age: float, metrics: dict[str, tuple[str, dict[str, str]]] = METRICS) -> str:
    """Return metrics as the service would tell them, counters and histograms growing with their age in seconds."""
    now, day = time.time(), 86_400.0
    values = {
        "scoring_memory_limit_bytes": 1e9,
        "monitor_last_run_timestamp_seconds": now,
        "monitor_window_seconds": 30 * day,
        "model_age_limit_seconds": 365 * day,
        "loop_last_pass_timestamp_seconds": now,
    } | dict.fromkeys(("monitor_severity", "loop_failed", "loop_waiting_files", "loop_retrain_wanted"), 0.0)
    lines = []
    for name, (kind, labels) in metrics.items():
        lines.append(f"# TYPE {name} {kind}")

        def line(end: str, value: float, name: str = name, labels: dict[str, str] = labels, **more: str) -> str:
            pairs = ",".join(f'{label}="{text}"' for label, text in {**labels, **more}.items())
            return f"{name}{end}{{{pairs}}} {value}"

        if kind == "histogram":
            limits = (*BUCKETS[name], "+Inf")
            lines += [line("_bucket", age * (number + 1), le=limit) for number, limit in enumerate(limits)]
            lines += [line("_sum", age), line("_count", age * len(limits))]
        elif kind == "counter":
            lines.append(line("", 10 * age))
        else:
            lines.append(line("", values.get(name, 1.0)))
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def exporter() -> Iterator[int]:
    """Serve METRICS at /metrics; yield the port."""
    start = time.monotonic()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = exposition(time.monotonic() - start).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def hurried(monitoring: Path, target: str, folder: Path) -> Path:
    """Return a copy that looks at another target, every half second, and tells nobody."""
    shutil.copytree(monitoring, folder)
    config = load(folder / "prometheus.yml")
    config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
    del config["alerting"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
    return folder


def until(found: Callable[[], bool], what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, f"{what}: not in {seconds} seconds"
        time.sleep(0.25)


def test_every_expression_works_in_a_running_prometheus(monitoring: Path, tmp_path: Path) -> None:
    recorded, alerts = rules(monitoring, "record"), rules(monitoring, "alert")
    port = free_port()
    with exporter() as target:
        folder = hurried(monitoring, f"127.0.0.1:{target}", tmp_path / "monitoring")
        with prometheus(folder, port) as query:

            def value(rule: dict[str, Any]) -> list[float]:
                pairs = ",".join(f'{label}="{text}"' for label, text in rule.get("labels", {}).items())
                return [float(sample["value"][1]) for sample in query(f"{rule['record']}{{{pairs}}}")]

            for rule in recorded:
                until(lambda rule=rule: len(value(rule)) > 0, rule["record"])  # type: ignore[misc]
                assert [number for number in value(rule) if not 0 <= number < float("inf")] == [], rule
            for expr in dashboard_exprs(monitoring):
                assert query(expr), f"shows nothing: {expr}"
            # The model is from 1970, many requests are slow, and the log drops rows; all else is well.
            firing = {alert["alert"] for alert in alerts if query(alert["expr"])}
            slow = {"LatencyBudgetBurnFast", "LatencyBudgetBurnSlow"}
            assert firing == {"ModelStale", "PredictionLogDropping", *slow}

            groups = fetched(f"http://127.0.0.1:{port}/api/v1/rules")["data"]["groups"]
            states = [(rule["health"], rule.get("lastError")) for group in groups for rule in group["rules"]]
            assert states == [("ok", None)] * (len(recorded) + len(alerts))


def test_a_running_prometheus_sees_a_service_that_is_down(monitoring: Path, tmp_path: Path) -> None:
    (down,) = (rule["expr"] for rule in rules(monitoring, "alert") if rule["alert"] == "Down")
    folder = hurried(monitoring, f"127.0.0.1:{free_port()}", tmp_path / "monitoring")
    with prometheus(folder, free_port()) as query:
        until(lambda: [sample["metric"].get("instance") for sample in query(down)] not in ([], [None]), "Down")
