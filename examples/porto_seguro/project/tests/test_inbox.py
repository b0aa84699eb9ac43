"""The inbox, here and remote: what is dropped becomes a version exactly once, and nothing is lost, whatever happens."""

import copy
import errno
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import fsspec
import polars as pl
import pytest
import yaml
from conftest import Command, decoded, made_up, table

from porto_seguro import clock
from porto_seguro.config import Inbox as Settings
from porto_seguro.contract import Contract
from porto_seguro.errors import Fault, UsageError
from porto_seguro.infer import infer
from porto_seguro.store import Store
from porto_seguro.watch.inbox import Inbox, Taken
from porto_seguro.watch.place import Place


@dataclass
class Box:
    """An inbox of a project of its own."""

    root: Path
    url: str
    contract: Contract

    def __post_init__(self) -> None:
        self.store = Store(self.root)
        self.fs, self.path = fsspec.core.url_to_fs(self.url if "://" in self.url else str(self.root / self.url))
        self.fs.makedirs(self.path, exist_ok=True)
        self.area = self.path if "://" in self.url else str(self.root / "data")

    def open(self, **settings: Any) -> Inbox:
        return Inbox(self.store, Settings(**{"url": self.url, "settle_seconds": 0} | settings))

    def take(
        self, now: bool = False, screen: Callable[[pl.DataFrame], str] | None = None, **settings: Any
    ) -> list[Taken]:
        return list(self.open(**settings).take(self.contract, now=now, screen=screen))

    def put(self, name: str, content: bytes, **marker: str) -> None:
        """Drop a file; with a marker if `as_of` or `sha256` is given."""
        self.fs.makedirs(f"{self.path}/{name}".rpartition("/")[0], exist_ok=True)
        self.fs.pipe_file(f"{self.path}/{name}", content)
        if marker:
            about = {"sha256": hashlib.sha256(content).hexdigest()} | marker
            self.fs.pipe_file(f"{self.path}/{name}.json", json.dumps(about).encode())

    def folder(self, name: str, *parts: bytes, whole: bool = True) -> None:
        """Drop a folder of parts as a cluster writes it."""
        for n, content in enumerate(parts):
            self.put(f"{name}/part-{n:05d}.csv", content)
        self.put(f"{name}/.part-00000.csv.crc", b"crc")
        if whole:
            self.put(f"{name}/_SUCCESS", b"")

    def left(self) -> list[str]:
        """What lies in the inbox, by name."""
        self.fs.invalidate_cache()
        inside = [p.removeprefix(self.path + "/") for p in self.fs.find(self.path)]
        return [name for name in inside if not name.startswith(("archive/", "quarantine/"))]

    def kept(self, where: str) -> dict[str, bytes]:
        """What lies in the archive or the quarantine: name of the file -> content."""
        self.fs.invalidate_cache()
        folder = f"{self.area}/{where}"
        return (
            {p.removeprefix(folder + "/"): self.fs.cat_file(p) for p in self.fs.find(folder)}
            if self.fs.exists(folder)
            else {}
        )

    def newest(self) -> pl.DataFrame:
        return pl.read_parquet(self.store.path(self.store.latest().version))


def csv(rows: int, seed: int, drop: str = "") -> bytes:
    frame = made_up(rows, seed)
    return (frame.drop(drop) if drop else frame).write_csv().encode()


@pytest.fixture(scope="session")
def contract(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    path = tmp_path_factory.mktemp("contract") / "t.csv"
    path.write_bytes(csv(2000, 1))
    found = infer(path, "bought", "test").contract
    assert [c.unique for c in found.of("identifier")] == [True]
    return found


@pytest.fixture(params=["local", "remote"])
def box(request: pytest.FixtureRequest, tmp_path: Path, contract: Contract) -> Box:
    return Box(tmp_path, "data/inbox" if request.param == "local" else f"memory://{uuid4().hex}/in", contract)


def test_a_drop_becomes_a_version_and_moves_to_the_archive(box: Box) -> None:
    box.put("one.csv", csv(50, 2))
    assert box.open().waiting() == ["one.csv"]
    (taken,) = box.take()
    assert (taken.file, taken.new, taken.rows, taken.reason) == ("one.csv", True, 50, "")
    assert taken.version == box.store.latest().version
    assert box.kept("archive") == {f"{taken.version}-one.csv": csv(50, 2)}
    assert box.left() == []
    box.put("two.csv", csv(30, 3))
    assert [one.rows for one in box.take()] == [80]
    assert box.store.latest().added == 30
    box.put("three.csv", csv(20, 4))
    assert [one.rows for one in box.take(append=False)] == [20]


def test_a_refused_drop_lies_in_the_quarantine_with_the_reasons_and_stops_no_other(box: Box) -> None:
    box.put("a.csv", csv(40, 2).replace(b"yes", b"perhaps"), as_of="2024-05-01")
    box.put("b.csv", b"\x00\x01")
    box.put("c.json", b'[{"id": 1}]')
    box.put("d.csv", csv(40, 3), as_of="soon")
    box.put("e.csv", csv(40, 3), as_of="2999-01-01")
    box.put("f.csv", csv(40, 3))
    taken = {one.file: one for one in box.take()}
    assert [name for name, one in taken.items() if one.version] == ["f.csv"]
    for name, says in (
        ("a.csv", "bought"),
        ("b.csv", "NUL"),
        ("c.json", "JSON"),
        ("d.csv", "ISO"),
        ("e.csv", "future"),
    ):
        assert says in taken[name].reason
        assert "quarantine/" in taken[name].reason
        assert str(box.root) not in taken[name].reason.partition("The file and")[0]
    kept = {name.partition("/")[2]: content for name, content in box.kept("quarantine").items()}
    assert {"a.csv", "a.csv.json", "b.csv", "c.json", "d.csv", "e.csv", "reasons.txt"} <= kept.keys()
    assert kept["b.csv"] == b"\x00\x01"
    reasons = next(v.decode() for n, v in box.kept("quarantine").items() if n.endswith("-a/reasons.txt"))
    assert reasons.count("is not a boolean") == 2
    assert box.left() == []


def test_what_is_delivered_again_makes_no_second_version(box: Box) -> None:
    box.put("one.csv", csv(50, 2))
    box.put("again.csv", csv(50, 2))
    first = {one.file: one for one in box.take()}
    assert sorted(one.new for one in first.values()) == [False, True]
    assert len({one.version for one in first.values()}) == 1
    other = pl.concat([made_up(50, 2).head(20), made_up(5, 9)]).with_columns(age=pl.lit(33))
    box.put("other.csv", other.write_csv().encode())
    assert [one.new for one in box.take()] == [True]
    newest = box.newest()
    made_up(50, 2).write_parquet(box.root / "same.parquet")
    for name, content in (("one.csv", csv(50, 2)), ("same.parquet", (box.root / "same.parquet").read_bytes())):
        for append in (True, False):
            box.put(name, content)
            (taken,) = box.take(append=append)
            assert (taken.new, taken.version) == (False, first["one.csv"].version)
    box.folder("parts", csv(50, 2))
    assert [one.new for one in box.take()] == [False]
    stricter = copy.deepcopy(box.contract)
    next(c for c in stricter.columns if c.name == "age").maximum = 18
    box.put("one.csv", csv(50, 2))  # it would not be taken today
    assert [one.version for one in box.open().take(stricter)] == [first["one.csv"].version]
    assert len(box.store.versions()) == 2
    assert box.newest().equals(newest)
    assert box.left() == []
    assert {content for name, content in box.kept("archive").items() if name.endswith("one.csv")} == {csv(50, 2)}
    assert any(name.endswith("same.parquet") for name in box.kept("archive"))


def test_a_file_of_other_rows_that_were_all_known_keeps_its_own_place_in_the_archive(box: Box) -> None:
    """A sender may use one name for ever."""
    frame = made_up(50, 2)
    box.put("day.csv", frame.write_csv().encode())
    box.take()
    for rows in (10, 20):
        box.put("day.csv", frame.tail(rows).write_csv().encode())
        assert [one.new for one in box.take()] == [False]
    assert sorted(content.count(b"\n") for content in box.kept("archive").values()) == [11, 21, 51]


def test_somebody_who_appends_a_version_of_its_own_means_it_but_not_twice(box: Box) -> None:
    for n in (2, 3):
        (box.root / f"{n}.csv").write_bytes(csv(30, n))
        assert box.store.add(box.root / f"{n}.csv", box.contract)[1]
    manifest, new = box.store.add(box.root / "2.csv", box.contract, append=True)
    assert (manifest.rows, new) == (60, True)
    (box.root / "4.csv").write_bytes(made_up(30, 2).with_columns(age=pl.lit(44)).write_csv().encode())
    assert box.store.add(box.root / "4.csv", box.contract, append=True)[0].rows == 60
    for n in (2, 3):
        assert not box.store.add(box.root / f"{n}.csv", box.contract, append=True)[1]
    assert (box.newest()["age"] == 44).sum() >= 30


def test_a_file_that_is_still_being_written_waits(box: Box) -> None:
    box.put("slow.csv", csv(50, 2))
    inbox = box.open(settle_seconds=60)
    assert (inbox.waiting(), inbox.unfinished()) == ([], ["slow.csv"])
    assert box.take(settle_seconds=60) == []
    assert box.left() == ["slow.csv"]
    clock.set_now(clock.now() + timedelta(seconds=61))
    try:
        assert inbox.waiting() == ["slow.csv"]
        assert [one.new for one in box.take(settle_seconds=60)] == [True]
    finally:
        clock.set_now(None)
    box.put("slow.csv", csv(50, 3))
    assert [one.new for one in box.take(settle_seconds=60, now=True)] == [True]


def test_a_marker_tells_when_a_file_is_whole(box: Box) -> None:
    whole = csv(50, 2)
    box.put("half.csv", whole[:500], sha256=hashlib.sha256(whole).hexdigest())
    box.put("torn.csv", csv(40, 3))
    box.put("torn.csv.json", b'{"sha25')
    box.put("bare.csv", csv(40, 4))
    box.put("early.csv.json", b'{"sha256": "00"}')  # its file comes later
    inbox = box.open(ready="marker")
    for now in (True, False):
        assert list(inbox.take(box.contract, now=now)) == []
    assert (inbox.waiting(), sorted(inbox.unfinished())) == ([], ["bare.csv", "half.csv", "torn.csv"])
    assert [one.file for one in box.take()] == ["bare.csv"]  # without its marker it is held to have settled
    assert box.kept("quarantine") == {}
    box.put("half.csv", whole, sha256=hashlib.sha256(whole).hexdigest().upper())
    box.put("torn.csv", csv(40, 3), as_of="")
    assert sorted(inbox.waiting()) == ["half.csv", "torn.csv"]
    assert [one.new for one in inbox.take(box.contract)] == [True, True]
    assert box.left() == ["early.csv.json"]
    assert any(name.endswith("-half.csv.json") for name in box.kept("archive"))


def test_a_half_written_file_is_not_fetched_again_and_again(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("half.csv", csv(50, 2), sha256="00")
    inbox, read = box.open(), []
    monkeypatch.setattr(Place, "checksum", lambda *a, real=Place.checksum: read.append(1) or real(*a))
    monkeypatch.setattr(Place, "here", lambda *a, real=Place.here: read.append(1) or real(*a))
    for _ in range(3):
        assert list(inbox.take(box.contract)) == []
        assert inbox.unfinished() == ["half.csv"]
    assert len(read) == 1


def test_the_parts_of_a_folder_are_one_table_once_it_is_whole(box: Box) -> None:
    lines = csv(60, 2).splitlines(keepends=True)
    parts = [b"".join([lines[0], *lines[1 + n : 21 + n]]) for n in (0, 20, 40)]
    box.folder("run", *parts, lines[0], b"", whole=False)
    assert (box.open().waiting(), box.open().unfinished()) == ([], ["run"])
    assert box.take(now=True) == []
    box.put("run/_SUCCESS", b"")
    (taken,) = box.take()
    assert (taken.file, taken.rows) == ("run", 60)
    assert box.store.latest().source_sha256 == hashlib.sha256(b"".join([*parts, lines[0]])).hexdigest()
    assert box.newest()["id"].to_list() == made_up(60, 2)["id"].to_list()
    assert f"{taken.version}-run/part-00002.csv" in box.kept("archive")
    assert box.left() == []
    for again in range(2):
        box.folder("run", *parts, lines[0])
        assert [one.new for one in box.take()] == [False], again
        assert box.left() == []
    box.folder("twice", parts[0], parts[0])
    box.folder("parted/by=1", parts[0])
    box.put("parted/_SUCCESS", b"")
    box.folder("empty")
    taken_ = {one.file: one.reason for one in box.take()}
    assert "stands in more than one row" in taken_["twice"]
    assert "holds a folder" in taken_["parted"]
    assert "no rows" in taken_["empty"]
    assert box.left() == []


def test_drops_are_taken_by_age_and_a_late_one_never_overwrites_younger_rows(box: Box) -> None:
    frame = made_up(30, 2)
    ages = {name: frame.with_columns(age=pl.lit(n)).write_csv().encode() for n, name in enumerate("abcd", 20)}
    box.put("a.csv", ages["c"], as_of="2024-03-01")
    box.put("b.csv", ages["b"], as_of="2024-02-01T12:00:00Z")
    assert [one.file for one in box.take()] == ["b.csv", "a.csv"]
    assert set(box.newest()["age"]) == {22}
    late = pl.concat([frame, made_up(5, 9)]).with_columns(age=pl.lit(20))
    box.put("late.csv", late.write_csv().encode(), as_of="2024-01-01")
    (taken,) = box.take()
    assert (taken.new, taken.rows, box.store.latest().added) == (True, 35, 5)
    assert set(box.newest().head(30)["age"]) == {22}
    assert box.store.latest().as_of == "2024-03-01T00:00:00+00:00"
    box.put("known.csv", ages["a"], as_of="2024-02-15")
    assert [one.new for one in box.take()] == [False]
    box.put("next.csv", ages["d"], as_of="2024-04-01")
    box.take()
    assert (box.newest()["age"] == 23).sum() == 30
    assert box.store.latest().as_of == "2024-04-01T00:00:00+00:00"


def test_a_late_table_of_its_own_is_not_taken_for_the_newest(box: Box) -> None:
    for month in (3, 1, 4, 2):
        box.put("t.csv", csv(30, month), as_of=f"2024-{month:02d}-01")
        assert [one.new for one in box.take(append=False)] == [True]
    assert [m.as_of[5:7] for m in box.store.versions()] == ["01", "02", "03", "04"]
    box.put("plain.csv", csv(30, 5))
    box.take(append=False)
    assert box.store.latest().source == "plain.csv"


def test_only_the_newest_rows_are_kept_where_a_number_says_so(box: Box) -> None:
    for n in (2, 3):
        box.put(f"{n}.csv", csv(30, n))
        box.take(keep_rows=40)
    assert box.newest()["id"].to_list() == [*made_up(30, 2)["id"][-10:], *made_up(30, 3)["id"]]


def test_a_drop_that_is_too_large_is_put_aside_unread(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("huge.csv", csv(500, 2), as_of="2024-01-01")
    box.put("small.csv", csv(20, 3))
    box.folder("parts", csv(200, 4), csv(200, 5))
    for name in ("here", "checksum"):
        real = getattr(Place, name)
        monkeypatch.setattr(
            Place,
            name,
            lambda self, drop, *rest, real=real: real(self, drop, *rest) if drop.name == "small.csv" else 1 / 0,
        )
    taken = {one.file: one for one in box.take(max_mb=0.004)}
    assert taken["small.csv"].new
    for name in ("huge.csv", "parts"):
        assert "inbox.max_mb" in taken[name].reason
    kept = box.kept("quarantine")
    assert csv(500, 2) in kept.values()
    assert sum(b"inbox.max_mb" in content for content in kept.values()) == 2
    assert box.left() == []


def test_what_the_screen_objects_to_is_held_back(box: Box) -> None:
    seen = []

    def screen(frame: pl.DataFrame) -> str:
        seen.append(frame.height)
        return "Too many say yes." if frame.height == 30 else ""

    box.put("1.csv", csv(40, 2))
    box.take(screen=screen)
    box.put("2.csv", csv(30, 3))
    box.put("3.csv", csv(20, 4))
    held, fine = box.take(screen=screen)
    assert "2.csv is held back: Too many say yes." in held.reason
    assert (fine.rows, seen) == (60, [40, 30, 20])
    assert any(b"Too many say yes." in content for content in box.kept("quarantine").values())


def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_time(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.put("a.csv", csv(40, 2))
    real = Store.take_in

    def change(self: Store, *args: Any) -> Any:
        found = real(self, *args)
        box.put("a.csv", csv(40, 3))  # the same name, sent anew
        return found

    monkeypatch.setattr(Store, "take_in", change)
    assert [one.rows for one in box.take()] == [40]
    assert box.left() == ["a.csv"]
    monkeypatch.setattr(Store, "take_in", real)
    assert [one.rows for one in box.take()] == [80]


def test_a_file_that_is_sent_anew_while_it_is_moved_away_is_not_deleted(
    tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path, f"memory://{uuid4().hex}/in", contract)
    box.put("a.csv", csv(40, 2))
    with monkeypatch.context() as patch:
        real = shutil.copyfileobj
        patch.setattr(shutil, "copyfileobj", lambda *a: (real(*a), box.put("a.csv", csv(40, 3))))
        assert [one.rows for one in box.take()] == [40]
    assert [one.rows for one in box.take()] == [80]


def test_a_local_file_that_grows_under_the_reader_makes_no_version(
    tmp_path: Path, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Box(tmp_path, "data/inbox", contract)
    box.put("a.csv", csv(40, 2))

    def grow(frame: pl.DataFrame) -> str:
        box.put("a.csv", csv(50, 2))
        return ""

    assert box.take(screen=grow) == []
    assert (box.store.versions(), box.left(), box.kept("quarantine")) == ([], ["a.csv"], {})
    assert [one.rows for one in box.take()] == [50]


def test_a_failure_that_nobody_foresaw_stops_no_other_drop(box: Box) -> None:
    def screen(frame: pl.DataFrame) -> str:
        raise ZeroDivisionError("odd") if frame.height == 30 else OSError(errno.ENOSPC, "No space left on device")

    box.put("1.csv", csv(30, 2))
    box.put("2.csv", csv(20, 3))
    inbox = box.open().take(box.contract, screen=screen)
    assert "ZeroDivisionError: odd" in next(inbox).reason
    with pytest.raises(Fault, match=r"2\.csv could not be taken in: No space left"):
        next(inbox)
    assert box.left() == ["2.csv"]


class Killed(BaseException):
    """What kill -9 is to a process: nothing that comes after is done."""


def mortal(patch: pytest.MonkeyPatch, fs: Any, at: int, far: bool) -> Callable[[], int]:
    """Let the process die before its step number `at`: whatever changes files is a step. Return how many there were."""
    steps = 0

    def wrap(owner: Any, name: str, counts: Callable[..., bool] = lambda *a, **k: True) -> None:
        real = getattr(owner, name)

        def step(*args: Any, **more: Any) -> Any:
            nonlocal steps
            steps += counts(*args, **more)
            if steps >= at and counts(*args, **more):
                raise Killed
            if far and real is replace and ".part-" not in str(args[0]):
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return real(*args, **more)

        patch.setattr(owner, name, step)

    replace = Path.replace
    for owner, names in (
        (Path, ("replace", "write_bytes", "write_text", "mkdir", "unlink")),
        (shutil, ("rmtree", "copyfileobj")),
        (tempfile, ("mkdtemp",)),
        (pl.DataFrame, ("write_parquet",)),
        (fs, ("rm_file", "pipe_file", "makedirs", "rmdir")),
    ):
        for name in names:
            wrap(owner, name)
    return lambda: steps


@pytest.mark.parametrize("where", ["local", "another disk", "remote"])
def test_killed_at_any_step_it_loses_nothing_and_makes_no_second_version(
    where: str, tmp_path: Path, contract: Contract
) -> None:
    good, parts, bad = csv(20, 3), [csv(20, 4), csv(20, 5)], b"a,b\n1,2\n"
    contents = {good, *parts, bad}
    at, steps = 0, 1
    while at < steps:
        at += 1
        box = Box(tmp_path / str(at), f"memory://{uuid4().hex}/in" if where == "remote" else "data/inbox", contract)
        box.put("bad.csv", bad)
        box.put("good.csv", good, as_of="2024-01-01")
        box.folder("parts", *parts)
        with pytest.MonkeyPatch.context() as patch:
            count = mortal(patch, box.fs, at, where == "another disk")
            try:
                box.take()
                steps = count()
            except Killed:
                steps = at + 1
        found = {name: box.kept(name) for name in ("archive", "quarantine")}
        there = {
            *found["archive"].values(),
            *found["quarantine"].values(),
            *(box.fs.cat_file(f"{box.path}/{n}") for n in box.left()),
        }
        assert contents <= there, f"lost at step {at}"
        with pytest.MonkeyPatch.context() as patch:
            mortal(patch, box.fs, 10**9, where == "another disk")
            box.take()
        inbox = box.open()
        assert inbox.waiting() == inbox.unfinished() == [], at
        assert set(box.left()) <= {"good.csv.json"}, at  # of a file that went
        assert [m.rows for m in box.store.versions()] == [20, 60], at
        assert sorted(box.newest()["id"]) == sorted(i for n in (3, 4, 5) for i in made_up(20, n)["id"])
        archive = box.kept("archive")
        assert {good, *parts} <= {*archive.values()}, at
        assert len([n for n in archive if not n.endswith((".json", ".crc"))]) == 4, at
        aside = box.kept("quarantine")
        assert sorted(name.partition("/")[2] for name in aside) == ["bad.csv", "reasons.txt"], at
        assert bad in aside.values()
        box.put("next.csv", csv(20, 6))
        assert [one.rows for one in box.take()] == [80], at
        swept = [path for path in (box.root / "data").glob("**/.part-*") if path.is_dir()]
        assert swept == [], at
    assert at > 15


def test_a_place_that_does_not_answer_is_told_without_what_is_secret(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.put("a.csv", csv(20, 2))
    real, refuses = box.fs.ls, [True]

    def ls(*args: Any, **more: Any) -> Any:
        if refuses[0]:
            raise ConnectionError("https://host/?sig=SECRET")
        return real(*args, **more)

    monkeypatch.setattr(box.fs, "ls", ls)
    inbox = box.open()
    for ask in (inbox.waiting, inbox.unfinished, lambda: list(inbox.take(box.contract))):
        with pytest.raises(Fault) as told:
            ask()
        assert inbox.place.shown in str(told.value)
        assert "ConnectionError" in str(told.value)
        assert "SECRET" not in str(told.value)
    refuses[0] = False
    assert [one.new for one in inbox.take(box.contract)] == [True]


def test_an_inbox_that_cannot_be_opened_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contract: Contract
) -> None:
    def refuse(error: Exception) -> Any:
        def url_to_fs(url: str) -> None:
            raise error

        return url_to_fs

    for error, says in (
        (ImportError("Install adlfs to access Azure Datalake Gen2"), "pip install -r requirements/blob.txt"),
        (ImportError("Install s3fs to access S3"), "Install s3fs"),
        (ValueError("AccountKey=SECRET is odd"), "AZURE_STORAGE_CONNECTION_STRING"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(fsspec.core, "url_to_fs", refuse(error))
            with pytest.raises(UsageError) as told:
                Inbox(Store(tmp_path), Settings(url="abfs://me:SECRET@drops/in?sig=SECRET"))  # pragma: allowlist secret
        assert says in str(told.value)
        assert "abfs://drops/in" in str(told.value)
        assert "SECRET" not in str(told.value)
    with pytest.raises(UsageError, match="nonsense://x cannot be opened"):
        Inbox(Store(tmp_path), Settings(url="nonsense://x"))
    absent = Inbox(Store(tmp_path), Settings(url=f"memory://{uuid4().hex}/in"))
    with pytest.raises(Fault, match=r"in is not there: make /\w+ first"):
        absent.waiting()
    assert Inbox(Store(tmp_path), Settings()).waiting() == []


@pytest.mark.parametrize("remote", [False, True])
def test_the_command_takes_what_waits_and_says_what_does_not(project: Path, command: Command, remote: bool) -> None:
    url = f"memory://{uuid4().hex}/in" if remote else "data/drops"
    conf = project / "conf" / "project.yaml"
    settings = yaml.safe_load(conf.read_text("utf-8"))
    settings["inbox"] |= {"url": url, "append": True}
    conf.write_text(yaml.safe_dump(settings), "utf-8")
    fs, path = fsspec.core.url_to_fs(url if remote else str(project / url))
    fs.makedirs(path, exist_ok=True)
    code, said = command(project, "ingest")
    assert (code, "is empty; put a table there" in said) == (2, True), said
    rows = table(project, 200, 2, project / "rows.csv").read_bytes()
    fs.makedirs(f"{path}/part")
    fs.pipe_file(f"{path}/part/1.csv", rows)
    code, said = command(project, "ingest")
    assert (code, "part: not whole yet" in said) == (0, True), said
    fs.pipe_file(f"{path}/rows.csv", rows)
    fs.pipe_file(f"{path}/again.csv", rows)
    code, said = command(project, "ingest", "--json")
    assert code == 0
    told = decoded(said)
    assert [one["new"] for one in told["ingested"]] == [True, False]
    assert {*told["ingested"][0]} == {"file", "version", "rows", "new"}
    assert [text.partition(":")[0] for text in told["unfinished"]] == ["part"]
    fs.pipe_file(f"{path}/more.csv", table(project, 100, 3, project / "rows.csv").read_bytes())
    fs.pipe_file(f"{path}/bad.csv", b"a,b\n1,2\n")
    code, said = command(project, "ingest", "--append")
    assert (code, "bad.csv lacks the column" in said) == (1, True), said
    assert Store(project).latest().rows > 200
    fs.pipe_file(f"{path}/own.csv", table(project, 50, 4, project / "rows.csv").read_bytes())
    assert command(project, "ingest")[0] == 0  # without the flag it is a version of its own, whatever the settings say
    assert Store(project).latest().rows == 50
