"""What the online endpoint collected of requests and answers, turned into our prediction log.

Azure ML writes a JSON line for each request and each answer (CloudEvents: `time`, `data`, `correlationid`) to
`modelDataCollector/ENDPOINT/DEPLOYMENT/request|response/yyyy/MM/dd/HH/INSTANCE.jsonl` in the workspace's blob store.
Our answers tell version, ids and scores themselves; the request adds the cells.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from ... import clock
from ...contract import Contract
from ...serving.predictions import STAMP, Header
from ...table import replacing
from ..az import Az
from ..environments import Environment

LATE = timedelta(hours=2)  # after a day's end, nothing more is written into its folders
Line = tuple[Any, ...]  # as `predictions.Logged`


class Event(Struct):
    """A line of what was collected; whatever else it says is left alone."""

    time: datetime
    data: Any = None
    correlationid: str = ""
    xrequestid: str = ""


class Known(Struct):
    """What was fetched before: days that are whole, and the size that each file had when it was last read."""

    whole: list[str] = []
    sizes: dict[str, int] = {}


def fetch(az: Az, environment: Environment, contract: Contract, root: Path, since: datetime) -> int:
    """Bring the prediction log in `root/data/predictions` up to date; return how many new files were read.

    Args:
        az: the command line.
        environment: whose endpoint.
        contract: names the columns.
        root: the project's folder; what was downloaded stays in `data/azure`.
        since: days before this one are not asked for.
    """
    raw = environment.sent(root) / "collected"
    noted = raw / "known.json"
    known = msgspec.json.decode(noted.read_bytes(), type=Known) if noted.is_file() else Known()
    store = az.read("ml", "datastore", "show", "--name", "workspaceblobstore", *environment.scope)
    new = 0
    for day in _days(since):
        name = f"{day:%Y/%m/%d}"
        if name in known.whole:
            continue
        raw.mkdir(parents=True, exist_ok=True)
        az.read(
            "storage", "blob", "download-batch", "--auth-mode", "login", "--account-name", store["account_name"],
            "--source", store["container_name"], "--destination", str(raw), "--overwrite", "true", "--no-progress",
            "--pattern", f"modelDataCollector/{environment.endpoint}/*/{name}/*", seconds=3600,
        )  # fmt: skip
        for path in sorted(raw.glob(f"modelDataCollector/{environment.endpoint}/*/response/{name}/*/*.jsonl")):
            key, size = path.relative_to(raw).as_posix(), path.stat().st_size
            if known.sizes.get(key) != size:
                known.sizes[key], new = size, new + 1
                _convert(path, key, contract, root / "data" / "predictions")
        if clock.now() > day.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1) + LATE:
            known.whole.append(name)
            known.sizes = {key: size for key, size in known.sizes.items() if f"/{name}/" not in key}
        with replacing(noted) as part:
            part.write_bytes(msgspec.json.encode(known))
    return new


def convert(collected: Path, contract: Contract, folder: Path, since: datetime) -> int:
    """Write the prediction log of what one endpoint collected; return how many files of answers were read.

    Args:
        collected: the endpoint's folder, `modelDataCollector/ENDPOINT`.
        contract: names the columns.
        folder: of the prediction log.
        since: days before this one are not read.
    """
    found = [p for day in _days(since) for p in sorted(collected.glob(f"*/response/{day:%Y/%m/%d}/*/*.jsonl"))]
    for path in found:
        _convert(path, path.relative_to(collected).as_posix(), contract, folder)
    return len(found)


def _days(since: datetime) -> Iterator[datetime]:
    day = since
    while day.date() <= clock.now().date():
        yield day
        day += timedelta(days=1)


def _convert(path: Path, key: str, contract: Contract, folder: Path) -> None:
    """Write the answers of one file as files of the prediction log, one for each version, in place of earlier ones."""
    *_, deployment, _response, _year, _month, _day, hour, _file = path.parts
    asked = _requests(path, int(hour))
    columns = [column.name for column in contract.of("feature")]
    found: dict[str, list[Line]] = {}
    refused: list[Line] = []
    for event in _events(path):
        told = _json(event.data)
        if not isinstance(told, dict):
            continue
        if "result" in told and "model_version" in told:
            cells = _cells(asked.get(event.correlationid or event.xrequestid), contract, columns)
            ids, result = [str(i) for i in told["ids"]], told["result"]
            line = (event.time, told["request_id"], ids, cells if len(cells) == len(ids) else [], result)
            found.setdefault(str(told["model_version"]), []).append(line)
        elif told.get("errors"):
            wrong = Counter((str(e.get("column")), str(e.get("rule"))) for e in told["errors"])
            broken = [(column, rule, count) for (column, rule), count in wrong.items()]
            refused.append((event.time, str(told.get("request_id", "")), [], [], [], broken))
    if found:  # which version refused a request, its answer does not tell
        found[max(found, key=lambda version: len(found[version]))] += refused
    suffix = hashlib.sha256(key.encode()).hexdigest()[:12]
    made = set()
    for version, lines in found.items():
        lines.sort(key=lambda line: line[0])
        target = folder / f"{lines[0][0].strftime(STAMP)}-{deployment}-{version}-{suffix}.jsonl"
        made.add(target)
        parts: list[Any] = [Header(deployment, version, columns), *lines]
        with replacing(target) as part:
            part.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in parts))
    for old in folder.glob(f"*-{suffix}.jsonl"):
        if old not in made:
            old.unlink()


def _requests(path: Path, hour: int) -> dict[str, Any]:
    """What was asked in the hour of a file of answers and in the one before, by correlation id."""
    day = path.parents[1]
    twin = Path(*("request" if part == "response" else part for part in day.parts))
    found: dict[str, Any] = {}
    for folder in (twin / f"{hour - 1:02d}", twin / f"{hour:02d}"):
        for file in sorted(folder.glob("*.jsonl")):
            found |= {event.correlationid or event.xrequestid: event.data for event in _events(file)}
    return found


def _events(path: Path) -> Iterator[Event]:
    """The lines that can be read; the last one may be half written."""
    with path.open("rb") as file:
        for text in file:
            try:
                yield msgspec.json.decode(text, type=Event)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue


def _json(data: Any) -> Any:
    """What was sent, where it was collected as text."""
    try:
        return msgspec.json.decode(data) if isinstance(data, str) else data
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _cells(body: Any, contract: Contract, columns: list[str]) -> list[list[Any]]:
    """The cells of a request in the order of the columns; none where it was not collected or cannot be read."""
    body = _json(body)
    if not isinstance(body, dict):
        return []
    table = body.get("input_data") or {}
    rows, names = body.get("data") or table.get("data") or [], table.get("columns")
    orders = {len(columns): columns}
    for roles in (("feature", "identifier"), ("feature", "identifier", "ignored")):
        order = [column.name for column in contract.columns if column.role in roles]
        orders.setdefault(len(order), order)
    try:
        found = []
        for row in rows:
            cells = row if isinstance(row, dict) else dict(zip(names or orders[len(row)], row, strict=True))
            found.append([cells[name] for name in columns])
        return found
    except (KeyError, TypeError, ValueError):
        return []
