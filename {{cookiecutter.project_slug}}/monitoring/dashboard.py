"""Write dashboard.json for Grafana (Dashboards, New, Import) from the table below: `python monitoring/dashboard.py`."""

import json
from pathlib import Path
from typing import Any, NamedTuple


class Panel(NamedTuple):
    """One panel: its queries, and how Grafana draws them; a name tells a query's lines from those of another."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""


# WHERE and RATE stand for the chosen deployments and for the span that Grafana takes for a rate.
# A legend shows the labels that a query leaves: those that tell its lines apart, and no more.
WHERE, RATE = 'deployment=~"$deployment"', "$__rate_interval"
PANELS = (
    Panel(
        "Requests by status",
        {"": "sum by (deployment, code) (rate(scoring_requests_total{WHERE}[RATE]))"},
        "reqps",
    ),
    Panel(
        "Failed requests",
        {
            "5 minutes": "deployment:scoring_errors:ratio_rate5m{WHERE}",
            "6 hours": "deployment:scoring_errors:ratio_rate6h{WHERE}",
        },
        "percentunit",
        about="Failures of the service, being too busy among them; a caller's bad request does not count. "
        "`router`: what it refused by itself, of all requests.",
    ),
    Panel(
        "Errors by cause",
        {"": "sum by (deployment, cause) (rate(scoring_errors_total{WHERE}[RATE]))"},
        "reqps",
        about="The caller's: body, type, size, contract, auth. The service's: busy, model.",
    ),
    Panel("Latency", {"": "deployment:scoring_request_seconds:quantile_rate5m{WHERE}"}, "s"),
    Panel(
        "Requests slower than 100 ms",
        {
            "1 hour": "deployment:scoring_slow:ratio_rate1h{WHERE}",
            "6 hours": "deployment:scoring_slow:ratio_rate6h{WHERE}",
        },
        "percentunit",
        about="1 % may be.",
    ),
    Panel(
        "Traffic by deployment",
        {"": "sum by (deployment) (router_traffic_percent{WHERE})"},
        "percent",
        about="What is wanted of the router; beside it, what it did.",
    ),
    Panel(
        "Answers of the router",
        {"": "sum by (deployment, code) (rate(router_requests_total{WHERE}[RATE]))"},
        "reqps",
        about="503 and 504: the deployment did not answer, or not in time; of `router`: it refused by itself.",
    ),
    Panel("Requests in flight", {"": "sum by (deployment) (scoring_in_flight{WHERE})"}),
    Panel("Rows per second", {"": "sum by (deployment) (rate(scoring_rows_total{WHERE}[RATE]))"}),
    Panel(
        "Rows per request",
        {
            "": "sum by (deployment) (rate(scoring_rows_total{WHERE}[RATE]))"
            " / (sum by (deployment) (rate(scoring_requests_total{WHERE}[RATE])) > 0)"
        },
    ),
    Panel(
        "Unseen values by column",
        {"": "sum by (deployment, column) (rate(scoring_unseen_values_total{WHERE}[RATE]))"},
        about="Values per second that the model did not meet in training.",
    ),
    Panel(
        "Predictions",
        {"": "sum by (le) (increase(scoring_prediction_bucket{WHERE}[RATE]))"},
        kind="heatmap",
        about="Rows by prediction. Compare the picture with that of the day on which the model went live.",
    ),
    Panel("Mean prediction", {"": "deployment:scoring_prediction:mean5m{WHERE}"}),
    Panel(
        "Instances by model version",
        {"": "count by (deployment, model_version, engine) (scoring_model_info{WHERE})"},
        kind="table",
    ),
    Panel(
        "Age of the oldest model",
        {
            "age": "time() - min by (deployment) (scoring_model_trained_timestamp_seconds{WHERE})",
            "limit": "model_age_limit_seconds",
        },
        "s",
        "stat",
    ),
    Panel(
        "Prediction log, rows per second",
        {
            "written": "sum by (deployment) (rate(scoring_log_rows_total{WHERE}[RATE]))",
            "dropped": "sum by (deployment) (rate(scoring_log_dropped_total{WHERE}[RATE]))",
            "lost": "sum by (deployment) (rate(router_log_lost_rows_total{WHERE}[RATE]))",
        },
        about="None may be dropped, nor lost by a process that died.",
    ),
    # What a process tells of itself names no deployment: `on` takes it from the metric beside it.
    Panel(
        "Memory",
        {
            "used": "process_resident_memory_bytes and on (job, instance) scoring_model_info{WHERE}",
            "limit": "max by (job, instance) (scoring_memory_limit_bytes{WHERE}) > 0",
        },
        "bytes",
    ),
    Panel(
        "Processors in use",
        {"": "rate(process_cpu_seconds_total[RATE]) and on (job, instance) scoring_model_info{WHERE}"},
    ),
    Panel(
        "Running for",
        {"": "time() - process_start_time_seconds and on (job, instance) scoring_model_info{WHERE}"},
        "s",
        "stat",
    ),
    # What `monitor` and `loop` found; they look at the champion, whatever its deployment is called.
    Panel(
        "What monitor found",
        {"": "max by (kind) (monitor_severity)"},
        about="0 fine, 1 a warning, 2 an alarm, -1 too few rows to tell.",
    ),
    Panel(
        "Features that drifted most, by distance",
        {"": "topk(10, max by (feature) (monitor_feature_distance))"},
        about="The largest difference of probability between window and training.",
    ),
    Panel(
        "Features that drifted most, by PSI",
        {"": "topk(10, max by (feature) (monitor_feature_psi))"},
        about="The population stability index; 0.1 is usually called small, 0.25 large.",
    ),
    Panel(
        "Missing values by feature",
        {"": "topk(10, max by (feature) (monitor_feature_missing_ratio))"},
        "percentunit",
        about="Share of the rows of the window.",
    ),
    Panel(
        "Metric on rows with an outcome",
        {"": "max by (metric, part) (monitor_metric)"},
        about="Of the window, and what was known of the same version before.",
    ),
    Panel(
        "Outcomes known",
        {"": "min(monitor_labelled_ratio)"},
        "percentunit",
        about="Share of the rows that were scored long enough ago.",
    ),
    Panel("Rows in the window", {"": "sum(monitor_rows)"}),
    Panel(
        "Since the last look",
        {
            "monitor": "time() - max(monitor_last_run_timestamp_seconds)",
            "too long": "2 * max(monitor_window_seconds)",
            "loop": "time() - max(loop_last_pass_timestamp_seconds)",
        },
        "s",
        "stat",
    ),
    Panel(
        "Files in the inbox",
        {"waiting": "sum(loop_waiting_files)", "in quarantine": "sum(loop_quarantined_files)"},
    ),
    Panel(
        "The loop",
        {"the last pass failed": "max(loop_failed)", "a retraining is held back": "max(loop_retrain_wanted)"},
    ),
)
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS, WIDTH, HEIGHT = 3, 8, 8
FORMATS = {"heatmap": "heatmap", "table": "table"}
CUSTOM = {"timeseries": {"axisSoftMin": 0}}
OPTIONS: dict[str, dict[str, Any]] = {
    # The buckets come ready from the service.
    "heatmap": {"calculate": False, "cellGap": 1, "yAxis": {"unit": "short"}},
    "stat": {"textMode": "value_and_name", "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
    "table": {"showHeader": True},
    "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
}


def target(letter: str, name: str, query: str, kind: str) -> dict[str, Any]:
    """Return one query of a panel."""
    once = kind in ("stat", "table")
    expr = query.replace("WHERE", WHERE).replace("RATE", RATE)
    return {
        "refId": letter,
        "datasource": SOURCE,
        "expr": f'label_replace({expr}, "line", "{name}", "", "")' if name else expr,
        "legendFormat": "__auto",
        "format": FORMATS.get(kind, "time_series"),
        "instant": once,
        "range": not once,
    }


def panel(number: int, row: Panel) -> dict[str, Any]:
    """Return one panel, at its place in the grid."""
    return {
        "id": number + 1,
        "type": row.kind,
        "title": row.title,
        "description": row.about,
        "datasource": SOURCE,
        "gridPos": {"x": number % COLUMNS * WIDTH, "y": number // COLUMNS * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": row.unit, "custom": CUSTOM.get(row.kind, {})}, "overrides": []},
        "options": OPTIONS[row.kind],
        "targets": [
            target(letter, name, query, row.kind)
            for letter, (name, query) in zip("ABCD", row.queries.items(), strict=False)
        ],
    }


def dashboard() -> dict[str, Any]:
    """Return the whole dashboard."""
    deployments = "label_values(scoring_model_info, deployment)"
    return {
        "uid": "scoring-service",
        "title": "Scoring service",
        "tags": ["scoring"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "deployment",
                    "label": "Deployment",
                    "type": "query",
                    "datasource": SOURCE,
                    "definition": deployments,
                    "query": {"query": deployments, "refId": "deployments"},
                    "refresh": 2,
                    "sort": 1,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": ["All"], "value": ["$__all"]},
                },
            ]
        },
        "panels": [panel(number, row) for number, row in enumerate(PANELS)],
    }


if __name__ == "__main__":
    text = json.dumps(dashboard(), indent=1) + "\n"
    Path(__file__).with_name("dashboard.json").write_text(text, encoding="utf-8", newline="\n")
