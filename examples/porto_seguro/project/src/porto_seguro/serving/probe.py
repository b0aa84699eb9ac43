"""Functional tests of a running service, made from the contract: does it do what its callers count on?"""

import ipaddress
import json
import os
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

import msgspec
import polars as pl

from .. import clock
from ..config import TOKEN
from ..contract import Contract
from ..delivery.junit import Check
from ..errors import Fault
from ..synth import sample, to_raw

ROWS, SINGLE = 50, 40
MODEL_ERROR = 424  # what a managed endpoint makes of every refusal of its container


class Endpoint:
    """A service that is reached over HTTP."""

    def __init__(self, url: str, timeout: float = 10.0, token: str | None = None) -> None:
        """Remember the address, with or without `/score` at its end; the token is by default that in SCORING_TOKEN."""
        self.url = url.rstrip("/").removesuffix("/score")
        self._timeout = timeout
        # A proxy that leads out of this machine does not lead to what runs on it.
        proxies: dict[str, str] | None = {} if _is_here(self.url) else None
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler(proxies)).open
        self.median_ms: float | None = None  # of single rows, once it was measured
        token = token or os.environ.get(TOKEN)
        self._headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Return status and decoded answer of a GET, or of a POST if there is a body (bytes go as they are).

        Raises:
            Fault: nobody answers.
        """
        content = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        request = urllib.request.Request(self.url + path, content, self._headers | headers)  # noqa: S310  whoever runs it names the address
        try:
            try:
                with self._open(request, timeout=self._timeout) as answer:
                    status, text = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                status, text = error.code, error.read()
        except (OSError, ValueError) as error:
            raise Fault(f"{self.url} does not answer: {getattr(error, 'reason', error)}.") from None
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text


def _is_here(url: str) -> bool:
    """Whether an address is one of this machine alone."""
    try:
        host = urllib.parse.urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # another name
        return False


def check_endpoint(
    endpoint: Endpoint, contract: Contract, latency_ms: float | None, managed: bool = False
) -> list[Check]:
    """Try a running service; what is sent are synthetic rows.

    Args:
        endpoint: the service.
        contract: what it should score.
        latency_ms: the budget for the median single-row request, round trip included; None: it is not measured.
        managed: it stands behind a managed endpoint, which lets through nothing but requests for scores.

    Raises:
        Fault: nobody answers.
    """
    if not managed:
        endpoint.ask("/livez")
    names, rows = rows_for(contract)
    found = []
    for name, job in _checks(endpoint, contract, rows, names, latency_ms, managed):
        start = clock.seconds()
        try:
            failure = job()
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            failure = f"the answer has another form: {type(error).__name__} {error}"
        found.append(Check(name, round(clock.seconds() - start, 4), failure or ""))
    return found


def rows_for(contract: Contract) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the names of the features, and synthetic rows as a caller sends them."""
    plain = msgspec.structs.replace(contract, decimal=".")  # JSON has numbers, whatever the mark in files
    raw = to_raw(sample(contract, ROWS, 0), plain).drop(contract.target.name)
    names = [c.name for c in contract.of("feature")]
    return names, [{k: v for k, v in row.items() if v is not None or k in names} for row in _plain(raw).to_dicts()]


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Dates and times as text, as JSON has them."""
    return frame.with_columns(pl.col(pl.Date, pl.Datetime).cast(pl.String))


def _checks(
    endpoint: Endpoint, contract: Contract, rows: list[dict[str, Any]], names: list[str], latency_ms: float | None,
    managed: bool,
) -> Iterator[tuple[str, Callable[[], str | None]]]:  # fmt: skip
    def status(path: str, wanted: int, body: Any = None, **headers: str) -> str | None:
        code, told = endpoint.ask(path, body, **headers)
        good = (wanted, MODEL_ERROR) if managed and wanted >= 400 else (wanted,)
        return None if code in good else f"{path} answers {code} instead of {wanted}: {str(told)[:200]}"

    def right(code: int, told: Any, count: int) -> str | None:
        if code != 200:
            return f"it answers {code}: {str(told)[:300]}"
        values = [v for r in told["result"] for v in (r if isinstance(r, list) else [r])]
        if len(told["result"]) != count or len(told["ids"]) != count:
            return f"{count} rows were sent, {len(told['result'])} came back"
        if not all(isfinite(v) for v in values):
            return "a score is not finite"
        if contract.task != "regression" and not all(0 <= v <= 1 for v in values):
            return "a score is no probability"
        return None if told["model_version"] and told["request_id"] else "model_version or request_id is empty"

    def same() -> str | None:
        lists = [[row.get(n) for n in names] for row in rows]
        split = {"columns": names, "index": list(range(len(rows))), "data": lists}
        answers = [endpoint.ask("/score", body) for body in ({"data": rows}, {"data": lists}, {"input_data": split})]
        for code, told in answers:
            if failure := right(code, told, len(rows)):
                return failure
        return None if len({str(told["result"]) for _, told in answers}) == 1 else "the shapes give different scores"

    def steady() -> str | None:
        together = endpoint.ask("/score", {"data": rows[:10]})[1]["result"]
        alone = [endpoint.ask("/score", {"data": [row]})[1]["result"][0] for row in rows[:10]]
        pairs = list(zip(_flat(together), _flat(alone), strict=True))
        worst = max(abs(a - b) / max(1.0, abs(a)) for a, b in pairs)
        return None if worst < 1e-5 else f"a row alone has another score than among others (by {worst:.2g})"

    def fast(budget: float) -> str | None:
        times = []
        for n in range(SINGLE):
            start = clock.seconds()
            endpoint.ask("/score", {"data": [rows[n % len(rows)]]})
            times.append(clock.seconds() - start)
        endpoint.median_ms = median = round(sorted(times)[len(times) // 2] * 1000, 3)
        return None if median <= budget else f"a row takes {median:.1f} ms; the budget is {budget:g} ms"

    def described() -> str | None:
        told = endpoint.ask("/openapi.json")[1]["components"]["schemas"]["Row"]["required"]
        return None if told == names else "the service scores other columns than the contract has"

    first = rows[0]
    if not managed:
        yield "it lives", lambda: status("/livez", 200)
        yield "it is ready", lambda: status("/readyz", 200)
        yield "it tells its model", lambda: status("/model", 200)
        yield "it tells its metrics", lambda: status("/metrics", 200)
        yield "it scores what the contract says", described
    yield "every shape gives the same scores", same
    yield "a row has the same score alone and among others", steady
    if latency_ms is not None:
        yield "it keeps the latency budget", lambda: fast(latency_ms)
    yield "no JSON is refused", lambda: status("/score", 400, b"{")
    yield "another content type is refused", lambda: status("/score", 415, b"a,b", **{"Content-Type": "text/csv"})
    yield "no rows are refused", lambda: status("/score", 422, {"data": []})
    yield "a missing column is refused", lambda: status("/score", 422, {"data": [_without(first, names[0])]})
    yield "a value of another type is refused", lambda: status("/score", 422, {"data": [first | {names[0]: {"a": 1}}]})
    if not managed:
        yield "another method is refused", lambda: status("/score", 405)


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k != name}


def _flat(values: list[Any]) -> list[float]:
    return [v for r in values for v in (r if isinstance(r, list) else [r])]
