"""What a running service tells Prometheus."""

import contextlib
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ..encode import Vector
from ..metrics import watched
from .predictions import PredictionLog

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
MEMORY_LIMIT = "Memory that the process may take; 0 for none."
CAUSES = ("body", "type", "size", "contract", "auth", "busy", "model")


class Histogram:
    """Counts by bucket; `observe` takes one value, `observe_all` an array."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = list(bounds)
        self.counts, self.total = [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_all(self, values: Vector) -> None:
        found = np.bincount(np.searchsorted(self.bounds, values), minlength=len(self.counts))
        self.counts = [a + int(b) for a, b in zip(self.counts, found, strict=True)]
        self.total += float(values.sum())

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulated counts by upper bound, as Prometheus wants them."""
        names = [repr(float(b)) for b in self.bounds] + ["+Inf"]
        return list(zip(names, np.cumsum(self.counts).astype(float).tolist(), strict=True))


class Metrics(Collector):
    """The numbers of one deployment. Written by one thread (the event loop), read when Prometheus asks."""

    def __init__(
        self, deployment: str, model_version: str, engine: str, trained: float, bounds: Sequence[float], limit: int
    ) -> None:
        """Begin at zero.

        Args:
            deployment, model_version, engine: who answers.
            trained: when the model was trained, in seconds since 1970.
            bounds: upper bounds of the prediction histogram.
            limit: bytes of memory that the process may take; 0 for none.
        """
        self.deployment, self._model = deployment, (model_version, engine)
        self._trained, self._limit = trained, limit
        # Known from the start: Prometheus does not see the first step of a series that begins with it.
        self.codes: Counter[int] = Counter(dict.fromkeys((200, 422, 500), 0))
        self.errors: Counter[str] = Counter(dict.fromkeys(CAUSES, 0))
        self.unseen: Counter[str] = Counter()
        self.seconds, self.predictions = Histogram(SECONDS), Histogram(bounds)
        self.in_flight = self.rows = 0
        self.log: PredictionLog | None = None

    def answered(self, code: int, seconds: float) -> None:
        """Count a request."""
        self.codes[code] += 1
        self.seconds.observe(seconds)

    def scored(self, scores: Vector, unseen: dict[str, int]) -> None:
        """Count rows."""
        values = watched(scores)
        self.rows += len(values)
        self.predictions.observe_all(values) if len(values) > 1 else self.predictions.observe(float(values[0]))
        if unseen:
            self.unseen.update(unseen)

    def collect(self) -> Iterator[Metric]:
        """Give all metrics to the exposition of prometheus_client."""
        who = [self.deployment]

        def counter(name: str, text: str, labels: list[str], values: dict[Any, float]) -> Metric:
            family = CounterMetricFamily(name, text, labels=["deployment", *labels])
            for key, value in values.items():
                family.add_metric([*who, *key], value)
            return family

        def gauge(name: str, text: str, value: float, **labels: str) -> Metric:
            family = GaugeMetricFamily(name, text, labels=["deployment", *labels])
            family.add_metric([*who, *labels.values()], value)
            return family

        def histogram(name: str, text: str, found: Histogram) -> Metric:
            family = HistogramMetricFamily(name, text, labels=["deployment"])
            family.add_metric(who, found.buckets(), found.total)
            return family

        codes = {(str(code),): float(n) for code, n in self.codes.items()}
        yield counter("scoring_requests", "Requests for scores, by HTTP status.", ["code"], codes)
        yield histogram("scoring_request_seconds", "Time from the request to its answer.", self.seconds)
        errors = {(cause,): float(n) for cause, n in self.errors.items()}
        yield counter("scoring_errors", "Refused or failed requests, by cause.", ["cause"], errors)
        yield gauge("scoring_in_flight", "Requests that are being answered.", self.in_flight)
        yield counter("scoring_rows", "Rows scored.", [], {(): float(self.rows)})
        unseen = {(name,): float(n) for name, n in self.unseen.items()}
        yield counter("scoring_unseen_values", "Values that are no known category.", ["column"], unseen)
        yield histogram("scoring_prediction", "Scores that were given.", self.predictions)
        version, engine = self._model
        yield gauge("scoring_model_info", "The model that answers.", 1, model_version=version, engine=engine)
        yield gauge("scoring_model_trained_timestamp_seconds", "When the model was trained.", self._trained)
        kept, dropped = (self.log.kept, self.log.dropped) if self.log else (0, 0)
        yield counter("scoring_log_rows", "Rows in the prediction log.", [], {(): float(kept)})
        yield counter("scoring_log_dropped", "Rows that the prediction log lost.", [], {(): float(dropped)})
        yield gauge("scoring_memory_limit_bytes", MEMORY_LIMIT, self._limit)


class Labelled(Collector):
    """Metrics of other collectors with the deployment as a label, so that several deployments can share a page."""

    def __init__(self, deployment: str, *collectors: Collector) -> None:
        """Give the deployment and the collectors."""
        self._deployment, self._collectors = deployment, collectors

    def collect(self) -> Iterator[Metric]:
        """Give their metrics."""
        for collector in self._collectors:
            for metric in collector.collect():
                metric.samples = [
                    s._replace(labels={"deployment": self._deployment} | s.labels) for s in metric.samples
                ]
                yield metric


class RouterMetrics(Collector):
    """The numbers of the router; where it answers itself, it counts as the deployment `router`."""

    def __init__(self, limit: int) -> None:
        """Begin at zero; `limit` is as in `Metrics`."""
        self.requests: Counter[tuple[str, str]] = Counter()
        self.shares: dict[str, float] = {}
        self.up: dict[str, float] = {}
        self.lost: Counter[str] = Counter()
        self.mirrored = self.dropped = 0
        self._limit = limit

    def count(self, deployment: str, code: int) -> None:
        """Count a live request that a deployment answered, or did not."""
        self.requests[(deployment, str(code))] += 1

    def collect(self) -> Iterator[Metric]:
        """Give all metrics."""
        requests = CounterMetricFamily(
            "router_requests", "Live requests, by deployment and status.", labels=["deployment", "code"]
        )
        for key, value in self.requests.items():
            requests.add_metric(key, value)
        yield requests
        for name, text, values in (
            ("router_traffic_percent", "Share of the live requests.", self.shares),
            ("router_deployment_up", "Whether the deployment answers.", self.up),
        ):
            family = GaugeMetricFamily(name, text, labels=["deployment"])
            for deployment, number in values.items():
                family.add_metric([deployment], number)
            yield family
        lost = CounterMetricFamily(
            "router_log_lost_rows",
            "Answered rows that a deployment had not logged when it ended.",
            labels=["deployment"],
        )
        for deployment in {**self.shares, **self.lost}:
            lost.add_metric([deployment], self.lost[deployment])
        yield lost
        limit = GaugeMetricFamily("scoring_memory_limit_bytes", MEMORY_LIMIT, labels=["deployment"])
        limit.add_metric(["router"], self._limit)
        yield limit
        yield CounterMetricFamily("router_mirrored", "Copies of requests that were sent.", value=self.mirrored)
        yield CounterMetricFamily(
            "router_mirror_dropped", "Copies that were not sent, for too many were under way.", value=self.dropped
        )


class Written(Collector):
    """What commands wrote into text files `*.prom`; one that cannot be read is left out."""

    def __init__(self, folder: Path) -> None:
        """Give the folder, which need not be there."""
        self._folder = folder

    def collect(self) -> Iterator[Metric]:
        """Give what there is now."""
        for path in sorted(self._folder.glob("*.prom")):
            with contextlib.suppress(Exception):  # the parser raises whatever happens to it
                yield from list(text_string_to_metric_families(path.read_text("utf-8")))


def one_page(pages: Sequence[bytes]) -> bytes:
    """Join pages of metrics: what has the same name must stand together."""
    families: dict[bytes, list[bytes]] = {}
    for page in pages:
        name = b""
        for line in page.splitlines():
            if line.startswith(b"# HELP "):
                name = line.split(b" ")[2]
            lines = families.setdefault(name, [])
            # One `# HELP name` and one `# TYPE name`, whatever they say.
            if not line.startswith(b"#") or line.split(b" ")[:3] not in (known.split(b" ")[:3] for known in lines):
                lines.append(line)
    return b"\n".join(line for lines in families.values() for line in lines) + b"\n"
