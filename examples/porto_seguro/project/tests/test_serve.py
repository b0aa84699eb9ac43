"""The scoring service: same scores as in batch, clear refusals, limits, metrics, and a log that loses nothing in silence."""

import asyncio
import errno
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from conftest import Command, decoded
from sklearn.metrics import roc_auc_score
from starlette.testclient import TestClient

from porto_seguro import clock
from porto_seguro.artifact import NATIVE, ONNX, load_model
from porto_seguro.clean import read
from porto_seguro.config import TOKEN, Serving, file_hash
from porto_seguro.encode import encode_target
from porto_seguro.errors import Fault
from porto_seguro.pipeline import Project
from porto_seguro.score import score
from porto_seguro.seal import MANIFEST, digest, seal, take_out
from porto_seguro.serving import __main__ as program
from porto_seguro.serving import predictions, upstream
from porto_seguro.serving.app import make_app
from porto_seguro.serving.outcomes import known, take_outcomes
from porto_seguro.serving.payload import Reader
from porto_seguro.serving.predictions import Logged, PredictionLog, newest_scores, read_log
from porto_seguro.serving.service import Deployment

JSON = {"Content-Type": "application/json"}
ABOUT = {"deployment": "blue", "model_version": "1", "columns": ["x"]}
DAY = datetime(2026, 3, 1, tzinfo=UTC)


def deployment(root: Path, **changes: Any) -> Deployment:
    """The champion of a project, as `serve` deploys it."""
    champion, model = Project(root).model(threads=1)
    told: dict[str, Any] = {"model": model, "version": str(champion.version), "digest": champion.digest}
    return Deployment(**told | changes)


def raw(root: Path, rows: int) -> list[dict[str, Any]]:
    """Rows as a client would send them: every column but the target, as it stands in the file."""
    frame = pl.read_csv(root / "rows.csv", infer_schema_length=None, n_rows=rows)
    return frame.drop(Project(root).contract.target.name).to_dicts()


@pytest.fixture
def client(lived: Path) -> Iterator[TestClient]:
    with TestClient(make_app(deployment(lived), Serving())) as found:
        yield found


def post(client: TestClient, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/score", content=content, headers=JSON | headers)
    return answer.status_code, answer.json()


def test_online_and_batch_give_each_row_the_same_score(client: TestClient, lived: Path, tmp_path: Path) -> None:
    rows = raw(lived, 400)
    score(deployment(lived).model, lived / "rows.csv", tmp_path / "out.parquet")
    batch = pl.read_parquet(tmp_path / "out.parquet").head(400)
    ids = [c.name for c in Project(lived).contract.of("identifier")]
    code, together = post(client, {"data": rows})
    assert code == 200
    for n, row in enumerate(rows[:50]):
        assert abs(post(client, {"data": [row]})[1]["result"][0] - together["result"][n]) < 1e-6
    assert np.abs(np.array(together["result"]) - batch["score"].to_numpy()).max() < 1e-6
    if ids:
        assert together["ids"] == batch[ids[0]].cast(pl.String).to_list()


def test_values_that_training_never_saw_are_scored_as_in_batch_and_counted(lived: Path, tmp_path: Path) -> None:
    served = deployment(lived)
    kinds = {c.name: c for c in served.model.contract.of("feature") if c.categories and c.type in ("string", "integer")}
    odd = {n: "never seen" if c.type == "string" else max(c.categories) + 7 for n, c in kinds.items()}
    odd = {n: v for n, v in odd.items() if kinds[n].maximum is None or v <= kinds[n].maximum}
    assert odd
    some = list(odd)[:2]
    rows = [row | {name: odd[name] for name in some[: n % 3]} for n, row in enumerate(raw(lived, 30))]
    pl.DataFrame(rows, infer_schema_length=None).write_csv(tmp_path / "rows.csv")
    told = score(served.model, tmp_path / "rows.csv", tmp_path / "out.parquet")
    assert told.unseen == {name: 20 if n == 0 else 10 for n, name in enumerate(some)}
    with TestClient(make_app(served, Serving())) as client:
        for sent in ([rows[:15], rows[15:]], [[row] for row in rows]):  # together, and each for itself
            answers = [post(client, {"data": part})[1]["result"] for part in sent]
            batch = pl.read_parquet(tmp_path / "out.parquet")["score"].to_numpy()
            assert np.abs(np.concatenate(answers) - batch).max() < 1e-6
        for name in some:
            counted = "scoring_unseen_values_total{" + f'column="{name}",deployment="blue"' + "} "
            assert f"{counted}{2.0 * told.unseen[name]}" in client.get("/metrics").text


def test_every_shape_gives_the_same_answer_and_carries_ids(client: TestClient, lived: Path) -> None:
    needs = deployment(lived).model.needs
    rows = raw(lived, 3)
    lists = [[row[name] for name in needs] for row in rows]
    turned = needs[::-1]
    split = {"columns": turned, "index": [7, 8, 9], "data": [[row[name] for name in turned] for row in rows]}
    answers = [
        post(client, body, **{"X-Request-ID": "mine"})
        for body in ({"data": lists}, {"data": rows}, {"input_data": split}, {"data": lists, "ids": ["a", "b", 3]})
    ]
    assert {code for code, _ in answers} == {200}
    assert len({json.dumps(told["result"]) for _, told in answers}) == 1
    assert answers[0][1]["ids"] == ["mine/0", "mine/1", "mine/2"]
    assert answers[3][1]["ids"] == ["a", "b", "3"]
    assert set(answers[0][1]) == {"result", "ids", "model_version", "deployment", "request_id"}


def test_the_short_way_gives_the_matrix_of_the_long_one(lived: Path) -> None:
    reader = Reader(deployment(lived).model, 1000)
    rng = random.Random(0)
    rows = [[row[name] for name in reader._names] for row in raw(lived, 300)]
    optional = [not c.required for c in reader._columns]
    rows = [[None if o and rng.random() < 0.1 else v for v, o in zip(r, optional, strict=True)] for r in rows]
    taken = 0
    for row in rows:
        short = reader.quickly([row])
        if short is not None:
            taken += 1
            np.testing.assert_array_equal(short, reader._slowly([row])[0])
    assert taken > 100


def wrong_rows(root: Path) -> list[tuple[Any, int, str]]:
    """Bodies that must be refused: body, status, and what the answer must name."""
    row = raw(root, 1)[0]
    contract = Project(root).contract
    number = next(c.name for c in contract.of("feature") if c.type in ("integer", "number") and not c.categories)
    least = next((c for c in contract.of("feature") if c.minimum is not None and not c.sentinels), None)
    low = [({"data": [row, row | {least.name: least.minimum - 5}]}, 422, least.name)] if least else []
    return [
        (b"{", 400, "JSON"),
        (b"\xff\xfe", 400, "JSON"),
        (b'{"data":' + b"[" * 100_000, 400, "JSON"),
        ([], 422, "shape"),
        ({}, 422, "data"),
        ({"data": []}, 422, "no rows"),
        ({"data": "rows"}, 422, "shape"),
        ({"data": [[1]]}, 422, "cells"),
        ({"data": [row, 5]}, 422, "Row 1"),
        ({"data": [{k: v for k, v in row.items() if k != number}]}, 422, number),
        ({"data": [row | {number: "many"}]}, 422, number),
        ({"data": [row | {number: {"a": 1}}]}, 422, number),
        ({"data": [row], "ids": ["a", "b"]}, 422, "ids"),
        ({"data": [row], "more": 1}, 422, "more"),
        ({"input_data": {"columns": [number], "data": [[1]]}}, 422, "lack"),
        *low,
    ]


def test_a_bad_request_is_told_what_is_wrong_and_where(client: TestClient, lived: Path) -> None:
    for body, status, named in wrong_rows(lived):
        code, told = post(client, body)
        assert code == status, (str(body)[:200], told)
        assert {"type", "title", "status", "detail", "request_id"} <= set(told)
        assert named in json.dumps(told), told
        assert "Traceback" not in json.dumps(told)
    row = raw(lived, 1)[0]
    name = deployment(lived).model.needs[0]
    told = post(client, {"data": [row, {k: v for k, v in row.items() if k != name}]})[1]
    assert told["errors"] == [{"row": 1, "column": name, "rule": "must be there"}]


def test_odd_bodies_never_make_a_fault(client: TestClient, lived: Path) -> None:
    rng = random.Random(0)
    rows = raw(lived, 2)
    good = json.dumps({"data": rows}).encode()
    odd: list[Any] = [None, True, -1, 1e308, 10**30, "", "NaN", "\u0000", [], {}, [None], {"a": {}}, "9" * 5000]
    for n in range(600):
        if n % 2:
            body = bytearray(good)
            for _ in range(rng.randint(1, 8)):
                body[rng.randrange(len(body))] = rng.randrange(256)
            content = bytes(body[: rng.randrange(len(body))] if n % 4 == 1 else body)
        else:
            row = dict(rows[0])
            row[rng.choice(list(row))] = rng.choice(odd)
            content = json.dumps({"data": [row]}).encode()
        code, _ = post(client, content)
        assert code in (200, 400, 422), content


def test_limits_are_kept(lived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = raw(lived, 3)
    monkeypatch.setenv(TOKEN, "secret")
    tight = Serving(max_rows=2, max_body_mb=0.01)
    with TestClient(make_app(deployment(lived), tight)) as client:
        assert post(client, {"data": rows[:1]})[0] == 401
        assert post(client, {"data": rows[:1]}, Authorization="Bearer wrong")[0] == 401
        assert post(client, {"data": rows[:1]}, Authorization="Bearer secret")[0] == 200
        known = {"api-key": "secret"}
        assert post(client, {"data": rows[:1]}, **known)[0] == 200
        assert post(client, {"data": rows}, **known)[0] == 413
        assert post(client, b" " * 20_000, **known)[0] == 413
        streamed = client.post("/score", content=iter([b" " * 9_000] * 3), headers=JSON | known)
        assert streamed.status_code == 413
        assert client.post("/score", content=b"{}", headers=known | {"Content-Type": "text/csv"}).status_code == 415
        assert client.get("/score").status_code == 405
        assert client.get("/nowhere").headers["content-type"] == "application/problem+json"
        client.app.state.service.metrics.in_flight = 64  # type: ignore[attr-defined]
        busy = client.post("/score", content=b"{}", headers=JSON | known)
        assert (busy.status_code, busy.headers["retry-after"]) == (429, "1")
        assert client.get("/readyz").status_code == 503
        assert client.get("/livez").status_code == 200


def test_a_token_guards_scores_and_lineage_but_not_what_probes_ask(
    lived: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = ("/model", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json")
    with TestClient(make_app(deployment(lived), Serving())) as client:
        assert [client.get(page).status_code for page in pages] == [200] * 6
    monkeypatch.setenv(TOKEN, "secret")
    with TestClient(make_app(deployment(lived), Serving())) as client:
        refused = client.get("/model", headers={"api-key": "wrong"})
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "lineage" not in refused.text
        assert [client.get(page).status_code for page in pages] == [401] + [200] * 5
        for known in ({"Authorization": "bearer secret"}, {"api-key": "secret"}):
            assert client.get("/model", headers=known).json()["lineage"]
        paths = client.get("/openapi.json").json()["paths"]
        guarded = [path for path, told in paths.items() if "security" in next(iter(told.values()))]
        assert guarded == ["/score", "/model"]
        assert 'id="token"' in client.get("/docs").text


class Features:
    """A `model.py` that makes a new frame."""

    def __init__(self, code: Any) -> None:
        self._features = code.features

    def features(self, rows: pl.DataFrame) -> pl.DataFrame:
        found: pl.DataFrame = self._features(rows)
        return found.with_columns()


@pytest.mark.parametrize("own", [False, True], ids=["short way", "features of its own"])
def test_rows_that_arrive_together_are_each_answered_alone(lived: Path, own: bool) -> None:
    rows = raw(lived, 24)
    served = deployment(lived)
    if own:
        served.model.code = Features(served.model.code)  # type: ignore[assignment]
    app = make_app(served, Serving(max_in_flight=100))
    service = app.state.service
    single = Reader(deployment(lived).model, 10)
    wrong = {"data": [dict.fromkeys(rows[0], "\u0000")]}

    async def ask(body: Any) -> list[Any]:
        content, sent = json.dumps(body).encode(), []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "query_string": b"", "headers": [(b"content-type", b"application/json")]}
        await service.score(scope, receive, send)
        return [sent[0]["status"], json.loads(sent[1]["body"])]

    async def at_once(bodies: list[Any]) -> list[list[Any]]:
        async with service.life(app):
            return await asyncio.gather(*map(ask, bodies))

    for odd in ([], [wrong]):  # one that is refused sends the others a longer way, and does them no harm
        told = asyncio.run(at_once([{"data": [row]} for row in rows] + odd))
        assert [status for status, _ in told] == [200] * 24 + [422] * len(odd)
        model = deployment(lived).model
        for row, (_, answer) in zip(rows, told, strict=False):
            (alone,) = model.scores_of(single.encode(single.read(json.dumps({"data": [row]}).encode()).cells)[0])
            assert answer["result"] == pytest.approx([alone], abs=1e-6)
        assert len({answer["request_id"] for _, answer in told}) == len(told)


def test_a_body_that_does_not_arrive_is_not_waited_for(lived: Path) -> None:
    service = make_app(deployment(lived), Serving(body_seconds=0.1)).state.service
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(10)
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def ask() -> None:
        async with service.life(None):
            headers = [(b"content-type", b"application/json"), (b"content-length", b"10")]
            await service.score({"type": "http", "query_string": b"", "headers": headers}, receive, send)

    asyncio.run(ask())
    assert sent[0]["status"] == 408


def test_what_happens_can_be_watched(client: TestClient, lived: Path) -> None:
    post(client, {"data": raw(lived, 3)})
    post(client, b"{")
    lines = client.get("/metrics").text.splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert found['scoring_requests_total{code="200",deployment="blue"}'] == "1.0"
    assert found['scoring_errors_total{cause="body",deployment="blue"}'] == "1.0"
    assert found['scoring_rows_total{deployment="blue"}'] == "3.0"
    assert found['scoring_request_seconds_count{deployment="blue"}'] == "2.0"
    assert found['scoring_prediction_bucket{deployment="blue",le="+Inf"}'] == "3.0"
    about = client.get("/model").json()
    assert about["lineage"]["data_version"] == Project(lived).store.latest().version
    assert about["digest"] == deployment(lived).digest


def test_the_description_is_that_of_the_contract(client: TestClient, lived: Path) -> None:
    spec = client.get("/openapi.json").json()
    row = spec["components"]["schemas"]["Row"]
    assert row["required"] == deployment(lived).model.needs
    for example in spec["paths"]["/score"]["post"]["requestBody"]["content"]["application/json"]["examples"].values():
        assert post(client, example["value"])[0] == 200
    page = client.get("/docs").text
    assert all(name in page for name in row["required"])
    assert "://" not in page
    assert 'id="token"' not in page


def test_the_api_is_the_one_that_callers_know(client: TestClient, lived: Path) -> None:
    """Whoever changes one of these sets breaks somebody's client: that takes another version of the API."""
    spec = client.get("/openapi.json").json()
    assert (spec["info"]["version"], client.get("/model").json()["api"]) == ("1.0", "1.0")
    operation = spec["paths"]["/score"]["post"]
    assert [(p["in"], p["name"]) for p in operation["parameters"]] == [
        ("query", "explain"), ("header", "azureml-model-deployment"),
    ]  # fmt: skip
    codes = {"200", "400", "401", "404", "408", "413", "415", "422", "429", "500", "503", "504"}
    assert set(operation["responses"]) == codes
    assert {c for c, r in operation["responses"].items() if "application/problem+json" in r["content"]} == codes - {
        "200"
    }
    schemas = spec["components"]["schemas"]
    assert set(schemas) == {"objects", "lists", "input_data", "Row", "Answer", "Problem"}
    answer = {"result", "ids", "model_version", "deployment", "request_id"}
    assert set(schemas["Answer"]["required"]) == answer
    assert set(post(client, {"data": raw(lived, 1)})[1]) == answer
    assert set(spec["paths"]) == {"/score", "/livez", "/readyz", "/metrics", "/model"}


def test_what_each_feature_adds_sums_to_the_raw_score(client: TestClient, lived: Path) -> None:
    answer = client.post("/score?explain=true", json={"data": raw(lived, 5)}).json()
    told = answer["explanation"]
    sums = np.array(told["contributions"]).sum(axis=1) + np.array(told["base"])
    np.testing.assert_allclose(sums, told["raw"], atol=1e-9)
    np.testing.assert_allclose(1 / (1 + np.exp(-sums)), answer["result"], atol=1e-6)
    assert client.post("/score?explain=perhaps", json={"data": raw(lived, 1)}).status_code == 422
    assert client.post("/score?%F1%84=%C2%B7&explain=false", json={"data": raw(lived, 1)}).status_code == 200


def test_the_log_has_every_row_once(lived: Path, tmp_path: Path) -> None:
    rows = raw(lived, 7)
    with TestClient(make_app(deployment(lived, log=tmp_path), Serving(log_file_mb=0.0001))) as client:
        first = post(client, {"data": rows[:5], "ids": list("abcde")})[1]
        time.sleep(0.5)  # written every fifth of a second; the file is then full
        post(client, {"data": rows[5:]})
    assert len(list(tmp_path.iterdir())) == 2
    logged = list(read_log(tmp_path))
    assert [len(line.ids) for _, line in logged] == [5, 2]
    header, line = logged[0]
    assert (line.ids, line.result) == (list("abcde"), first["result"])
    assert (header.model_version, header.deployment) == ("1", "blue")
    assert line.data[0] == [rows[0][name] for name in header.columns]
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-20])  # as a crash would leave it
    assert [len(line.ids) for _, line in read_log(tmp_path)] == [5]


def test_a_full_disk_costs_log_lines_and_nothing_else(lived: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with TestClient(make_app(deployment(lived, log=tmp_path / "file" / "log"), Serving())) as client:
        assert post(client, {"data": raw(lived, 4)})[0] == 200
        time.sleep(0.5)
        assert 'scoring_log_dropped_total{deployment="blue"} 4.0' in client.get("/metrics").text
    log = PredictionLog(tmp_path / "log", ABOUT, 1, waiting=2)
    log.add("r", ["a", "b", "c"], [[]], [])
    log.close()
    assert (log.kept, log.dropped) == (0, 3)


class Disk:
    """Files that are opened to append share a disk with so many bytes of room, which it takes without a word."""

    def __init__(self, patch: pytest.MonkeyPatch, room: int) -> None:
        self.room, opened = room, Path.open
        disk = self

        class File:
            def __init__(self, file: Any) -> None:
                self._file = file
                self.tell, self.seek, self.close = file.tell, file.seek, file.close

            def write(self, content: Any) -> int:
                some = bytes(content)[: disk.room]
                if not some:
                    raise OSError(errno.ENOSPC, "No space left on device")
                disk.room -= len(some)
                return int(self._file.write(some))

            def truncate(self, size: int) -> None:
                disk.room += self._file.tell() - size
                self._file.truncate(size)

        def open_(path: Path, mode: str = "r", *words: Any, **more: Any) -> Any:
            file = opened(path, mode, *words, **more)
            return File(file) if "a" in mode or "x" in mode else file

        patch.setattr(Path, "open", open_)


def settled(log: PredictionLog, count: int) -> None:
    """Wait until so many rows were written or dropped."""
    log._wake.set()
    end = time.monotonic() + 10
    while log.kept + log.dropped < count:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_disk_that_fills_at_any_byte_leaves_a_log_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for room in range(0, 160, 9):  # within the header, at its end, within the first line, and the second
        folder = tmp_path / str(room)
        with monkeypatch.context() as patch:
            disk = Disk(patch, room)
            log = PredictionLog(folder, ABOUT, 1)
            for n in range(2):
                log.add(f"before {n}", [f"b{n}"], [[1.0]], [0.5])
                settled(log, n + 1)
            disk.room = 10_000
            log.add("after", ["a"], [[2.0]], [0.25])
            log.close()
        found = [i for _, line in read_log(folder) for i in line.ids]
        assert (log.kept, log.dropped) == (len(found), 3 - len(found)), room
        assert found[-1] == "a"
    assert capsys.readouterr().err == ""


def written(folder: Path, name: str, lines: list[Any], deployment: str = "blue") -> Path:
    """Make a file of a log: bytes stand in it as they are, else it is a row's id and hours since DAY."""
    folder.mkdir(exist_ok=True)
    encode = msgspec.json.encode
    texts = [
        line
        if isinstance(line, bytes)
        else encode(Logged(DAY + timedelta(hours=line[1]), "r", [line[0]], [[1]], [line[1]]))
        for line in lines
    ]
    file = folder / f"{name}-{deployment}-1.jsonl"
    file.write_bytes(b"\n".join([encode(ABOUT | {"deployment": deployment}), *texts, b""]))
    return file


def test_a_broken_line_costs_itself_only_and_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    glued = b'["2026-03-01T00:00:00Z","half",["h"],[[["2026-03-01T00:00:00Z","whole",["w"],[[1]],[0.5]]'
    written(
        tmp_path,
        "20260301-000000-000000",
        [("a", 0), glued, b'["2026-03-01T00:00:00Z","\xff",[],[],[]]', ("b", 1)],
    )
    headless = tmp_path / "20260301-010000-000000-blue-1.jsonl"
    headless.write_bytes(msgspec.json.encode(Logged(DAY, "r", ["c"], [[1]], [1])) + b"\n")
    for _ in range(2):
        assert [line.ids for _, line in read_log(tmp_path)] == [["a"], ["b"]]
        assert newest_scores(tmp_path, DAY, {"blue": "1"}, 9) == {"blue": [0, 1]}
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" has ")[1].split(" ")[0] for line in said] == ["2", "1"]


def test_a_window_is_read_by_time_and_other_files_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As a simulated clock writes them: the system's own times of the files say nothing."""
    broken = b"{"  # would be told of, if the file was read
    written(tmp_path, "20260301-000000-000000", [("old", 0), broken, ("older", 9)])
    written(tmp_path, "20260301-100000-000000", [("before", 10), ("first", 30), ("last", 47)])
    written(tmp_path, "20260301-110000-000000", [("other", 11)])  # of a second process; it begins and ends earlier
    written(tmp_path, "20260302-230000-000000", [("edge", 47.5), ("after", 48)])
    written(tmp_path, "20260303-000000-000000", [("next", 48), broken])
    for n, file in enumerate(sorted(tmp_path.iterdir(), reverse=True)):
        os.utime(file, (n, n))
    since, until = DAY + timedelta(hours=24), DAY + timedelta(hours=48)
    assert [line.ids[0] for _, line in read_log(tmp_path, since, until)] == ["first", "last", "edge"]
    assert capsys.readouterr().err == ""
    assert [line.ids[0] for _, line in read_log(tmp_path, until)] == ["after", "next"]


def test_the_newest_scores_are_those_of_the_end(tmp_path: Path) -> None:
    written(tmp_path, "20260301-000000-000000", [(str(n), n) for n in range(2_000)])
    written(tmp_path, "20260701-000000-000000", [(str(n), n) for n in range(3_000, 3_005)])
    written(tmp_path, "20260701-000000-000000", [(str(n), n) for n in range(10)], "green")
    found = newest_scores(tmp_path, DAY + timedelta(hours=5), {"blue": "1", "green": "1", "red": "1"}, 10)
    assert found == {"blue": [*range(1_995, 2_000), *range(3_000, 3_005)], "green": [5, 6, 7, 8, 9], "red": []}


def test_the_log_follows_a_clock_that_is_set(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, ABOUT, 0.00001)  # every file is full at once
    try:
        for day in (0, 0, 40):
            clock.set_now(DAY + timedelta(days=day))
            log.add("r", [f"{day}"], [[1.0]], [0.5])
            clock.set_now(DAY + timedelta(days=day + 20))  # before it is written
            settled(log, log.kept + log.dropped + 1)
    finally:
        clock.set_now(None)
        log.close()
    assert (log.kept, log.dropped) == (3, 0)
    assert [line.ids for _, line in read_log(tmp_path, DAY, DAY + timedelta(days=1))] == [["0"], ["0"]]
    assert [line.ids for _, line in read_log(tmp_path, DAY + timedelta(days=39))] == [["40"]]


def test_what_the_contract_refuses_is_noted_without_its_rows(lived: Path, tmp_path: Path) -> None:
    """So that `monitor` sees what a broken source sends."""
    contract, log = Project(lived).contract, tmp_path / "log"
    row = raw(lived, 1)[0]
    number = next(c.name for c in contract.of("feature") if c.type in ("integer", "number") and not c.categories)
    with TestClient(make_app(deployment(lived, log=log), Serving())) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        assert post(client, {"data": [row], "ids": ["good"]})[0] == 200
        many = {"data": [row | {number: "many"}] * 7 + [row]}
        assert post(client, many, **{"X-Request-ID": "type"})[0] == 422
        bare = {"input_data": {"columns": [number], "data": [[1], [2]]}}
        assert post(client, bare, **{"X-Request-ID": "bare"})[0] == 422
        assert post(client, b"{")[0] == 400
        assert post(client, {"data": []})[0] == 422
    lines = {line.request_id: line for _, line in read_log(log)}
    assert len(lines) == 3
    (told,) = lines["type"].refused
    assert (told[0], told[2]) == (number, 7)
    assert (lines["type"].ids, lines["type"].data, lines["type"].result) == ([], [], [])
    lacking = [name for name in deployment(lived).model.needs if name != number]
    assert lines["bare"].refused == [(name, "must be there", 2) for name in lacking][:20]
    assert (service.log.kept, service.log.refused, service.log.dropped) == (1, 2, 0)
    assert len(newest_scores(log, DAY, {"blue": "1"}, 9)["blue"]) == 1
    pl.DataFrame({"id": ["good"], contract.target.name: contract.classes[:1]}).write_csv(tmp_path / "known.csv")
    take_outcomes(tmp_path / "known.csv", contract, tmp_path / "outcomes")
    assert len(known(contract, tmp_path / "outcomes", log)["blue", "1"][0]) == 1


def test_refusals_that_wait_take_no_memory_without_end(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path / "log", ABOUT, 1, waiting=3)
    for _ in range(1000):
        log.refuse("r", [("x", "is not a number", 1)] * 50)
    log.close()
    found = [line.refused for _, line in read_log(tmp_path / "log")]
    assert log.refused == len(found) < 1000
    assert {len(refused) for refused in found} == {predictions.REFUSALS}


def test_a_model_that_is_not_the_registered_one_is_not_served(lived: Path, tmp_path: Path) -> None:
    registry = Project(lived).registry
    champion = registry.champion()
    assert champion
    for name in ("estimator.joblib", "model.onnx"):
        folder = shutil.copytree(registry.model(champion), tmp_path / name)
        file = folder / "data" / "native" / name
        file.write_bytes(file.read_bytes()[:-1] + b"x")
        with pytest.raises(Fault, match="was changed after it was saved"):
            load_model(folder, champion.digest)
    folder = shutil.copytree(registry.model(champion), tmp_path / "nowhere")
    file = folder / "data" / "native" / "lineage.json"
    file.write_text("{}")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["data/native/lineage.json"] = file_hash(file)
    (folder / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(Fault, match="is not the one that was registered"):
        load_model(folder, champion.digest)
    with pytest.raises(Fault, match="does not say where it comes from"):
        load_model(folder)


def started(patch: pytest.MonkeyPatch, folder: Path, *words: str) -> Any:
    """The service as the container starts it, without the listening."""
    apps: list[Any] = []
    environment = {"MODEL_FOLDER": str(folder), "MODEL_DIGEST": digest(folder), "ENGINE": "onnx", "LOG_FOLDER": ""}
    for key, value in environment.items():
        patch.setenv(key, value)
    patch.setattr(program, "listen", lambda app, *_: apps.append(app))
    patch.setattr(sys, "argv", ["serving", *words])
    patch.chdir(folder.parent)
    shutil.copytree(Path(__file__).parents[1] / "conf", folder.parent / "conf", dirs_exist_ok=True)
    before = signal.getsignal(signal.SIGTERM)
    try:
        program.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    (app,) = apps
    return app


def test_what_the_folder_holds_is_what_serves(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    champion = Project(lived).registry.champion()
    assert champion
    folder = shutil.copytree(Project(lived).registry.model(champion), tmp_path / "model")

    def engine(*words: str) -> str:
        with TestClient(started(monkeypatch, folder, *words)) as client:
            assert post(client, {"data": raw(lived, 2)})[0] == 200
            return str(client.get("/model").json()["engine"])

    assert engine() == "onnx"
    # As the router starts a version that kept a form of which the registry says that it gives other scores.
    assert engine("native") == "native"
    take_out(folder, f"{NATIVE}/{ONNX}")
    assert engine() == "native"
    with pytest.raises(Fault, match="has no ONNX form"):
        load_model(folder, engine="onnx")


@pytest.mark.parametrize("tag", ["onnx", "native"])
def test_the_router_starts_a_version_with_the_engine_that_was_found_right(
    lived: Path, monkeypatch: pytest.MonkeyPatch, tag: str
) -> None:
    champion = Project(lived).registry.champion()
    assert champion
    champion.tags["engine"] = tag
    words: list[Any] = []

    async def start(*given: Any, **more: Any) -> Any:
        words.extend(given)
        raise ConnectionAbortedError

    monkeypatch.setattr(upstream.asyncio, "create_subprocess_exec", start)
    asyncio.run(upstream.Upstream("blue", champion, lived, lived, None, Counter()).start())
    assert words[3:] == (["native"] if tag == "native" else [])


def test_a_model_whose_estimator_cannot_be_read_does_not_start(
    lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = Project(lived).registry.champion()
    assert champion
    folder = shutil.copytree(Project(lived).registry.model(champion), tmp_path / "model")
    (folder / NATIVE / "estimator.joblib").write_bytes(b"of other libraries")
    (folder / NATIVE / ONNX).unlink()
    seal(folder)
    with pytest.raises(SystemExit, match="estimator cannot be loaded"):
        started(monkeypatch, folder)
    with pytest.raises(Fault, match="estimator cannot be loaded"):
        make_app(deployment(lived, model=load_model(folder)), Serving())


def test_a_project_may_change_its_features(lived: Path, tmp_path: Path) -> None:
    """Then every row goes the long way, with the same answers as in batch."""
    model = deployment(lived).model
    reader = Reader(model, 10)
    model.code = Features(model.code)  # type: ignore[assignment]
    slow = Reader(model, 10)
    cells = reader.read(json.dumps({"data": raw(lived, 10)}).encode()).cells
    assert slow.quickly(cells) is None
    np.testing.assert_array_equal(slow.encode(cells)[0], reader.encode(cells)[0])


def test_later_labels_are_joined_by_row(lived: Path, tmp_path: Path, command: Command) -> None:
    root = shutil.copytree(lived, tmp_path / "project")
    contract = Project(root).contract
    rows, target = raw(root, 400), contract.target.name
    frame = pl.read_csv(root / "rows.csv", infer_schema_length=None, n_rows=400)
    ids = [f"row-{n}" for n in range(400)]
    with TestClient(make_app(deployment(root, log=root / "data" / "predictions"), Serving())) as client:
        result = post(client, {"data": rows, "ids": ids})[1]["result"]
    labels = pl.DataFrame({"id": ids, target: frame[target]})
    labels.head(250).write_csv(root / "first.csv")
    labels.tail(150).write_parquet(root / "rest.parquet")
    said = command(root, "outcomes", "first.csv", "--json")[1]
    assert decoded(said)["performance"][0]["rows"] == 250
    told = decoded(command(root, "outcomes", "rest.parquet", "--json")[1])
    y = encode_target(read(root / "rows.csv", contract, [target])[0].head(400), contract)
    assert told["performance"][0]["metrics"]["auc"] == pytest.approx(roc_auc_score(y, result))
    assert not decoded(command(root, "outcomes", "rest.parquet", "--json")[1])["new"]
    labels.rename({"id": "key"}).write_csv(root / "nameless.csv")
    code, said = command(root, "outcomes", "nameless.csv")
    assert (code, "names no rows" in said) == (1, True)
    labels.with_columns(pl.lit("perhaps").alias(target)).write_csv(root / "wrong.csv")
    assert command(root, "outcomes", "wrong.csv")[0] == 1


def test_a_port_that_is_taken_is_a_sentence(lived: Path, command: Command) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, said = command(lived, "serve", "--port", other.getsockname()[1])
    assert (code, "cannot be listened on" in said) == (3, True)
    assert "Traceback" not in said
    assert not (lived / "endpoint.json").exists()
