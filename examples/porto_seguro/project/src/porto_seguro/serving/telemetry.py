"""What a running service tells: Prometheus metrics, and the log of its predictions."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from .. import clock
from ..encode import Vector
from ..metrics import watched

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
CAUSES = ("body", "type", "size", "contract", "auth", "busy", "model")


class _Histogram:
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
        self.seconds, self.predictions = _Histogram(SECONDS), _Histogram(bounds)
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

        def histogram(name: str, text: str, found: _Histogram) -> Metric:
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
        yield gauge("scoring_memory_limit_bytes", "Memory that the process may take; 0 for none.", self._limit)


class PredictionLog:
    """Every request's inputs and scores, a line of JSON each, in files that are only ever appended to.

    Lines are written by a thread of their own, off the request path. A line is whole or, after a crash, the last one of
    its file; `read_log` leaves that one out. Where the disk is full, rows are dropped and counted: serving goes on.
    """

    def __init__(self, folder: Path, about: dict[str, Any], megabytes: float, waiting: int = 100_000) -> None:
        """Begin.

        Args:
            folder: where the files are; made if missing.
            about: the first line of each file: deployment, model version, columns.
            megabytes: after which a new file is begun.
            waiting: rows that may wait to be written; beyond, rows are dropped.
        """
        self._folder, self._about, self._size, self._most = folder, about, int(megabytes * 1e6), waiting
        self._lines: list[tuple[datetime, str, list[str], Sequence[Any], list[Any]]] = []
        self._rows = self.kept = self.dropped = 0
        self._wake, self._ended = threading.Event(), False
        self._encode = msgspec.json.Encoder().encode
        self._file: Any = None
        self._thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)
        self._thread.start()

    def add(self, request: str, ids: list[str], cells: Sequence[Any], result: list[Any]) -> None:
        """Note a request; returns at once."""
        if self._rows + len(ids) > self._most:
            self.dropped += len(ids)
            return
        self._rows += len(ids)
        self._lines.append((clock.now(), request, ids, cells, result))

    def close(self) -> None:
        """Write what waits, and end."""
        self._ended = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended:
            self._wake.wait(0.2)
            self._flush()
        self._flush()
        if self._file:
            self._file.close()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        rows = sum(len(line[2]) for line in lines)
        self._rows -= rows
        try:
            text = b"".join(self._line(*line) for line in lines)
            file = self._open()
            before = file.tell()
            try:
                file.write(text)
                file.flush()
            except OSError:
                file.truncate(before)  # no half line
                file.seek(before)
                raise
            self.kept += rows
        except OSError:
            self.dropped += rows

    def _line(self, time: datetime, request: str, ids: list[str], cells: Sequence[Any], result: list[Any]) -> bytes:
        return self._encode((time, request, ids, cells, result)) + b"\n"

    def _open(self) -> Any:
        if self._file and self._file.tell() >= self._size:
            self._file.close()
            self._file = None
        if not self._file:
            self._folder.mkdir(parents=True, exist_ok=True)
            stamp = clock.now().strftime("%Y%m%d-%H%M%S-%f")
            name = f"{stamp}-{self._about['deployment']}.jsonl"
            self._file = (self._folder / name).open("xb", buffering=0)
            self._file.write(self._encode(self._about) + b"\n")
        return self._file


class Header(msgspec.Struct):
    """The first line of a file of the prediction log."""

    deployment: str
    model_version: str
    columns: list[str]


class Logged(msgspec.Struct, array_like=True):
    """A request in the prediction log; `data` in the order of the header's columns."""

    time: datetime
    request_id: str
    ids: list[str]
    data: list[list[Any]]
    result: list[Any]


def read_log(folder: Path) -> Iterator[tuple[Header, Logged]]:
    """Yield the requests of all files, oldest file first; a line that a crash cut off is left out."""
    decode = msgspec.json.Decoder(Logged).decode
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            first = file.readline()
            if first.endswith(b"\n"):
                header = msgspec.json.decode(first, type=Header)
                for line in file:
                    if line.endswith(b"\n"):
                        yield header, decode(line)
