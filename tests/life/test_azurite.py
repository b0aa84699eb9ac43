"""An inbox in Azure Blob Storage: a project takes what is dropped into a real Azurite, the emulator of that service."""

import base64
import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from azure.storage.blob import ContainerClient
from azurite import azurite
from conftest import Bake

CONNECTION = "AZURE_STORAGE_CONNECTION_STRING"


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """A running emulator; `account(key)` is a connection string, with the right key if it is empty."""
    with azurite(tmp_path_factory.mktemp("azurite")) as connection:
        yield connection


@dataclass
class Cloud:
    """A project whose inbox is the folder `in` of a container."""

    project: Path
    container: ContainerClient
    environment: dict[str, str]

    def words(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "porto_seguro", *map(str, words)]

    def run(self, *words: object, **environment: str) -> tuple[int, str]:
        done = subprocess.run(
            self.words(*words), cwd=self.project, env=self.environment | environment, capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    def ingest(self) -> tuple[int, Any]:
        code, said = self.run("ingest", "--append", "--json")
        return code, json.loads(said.splitlines()[0])

    def put(self, name: str, content: bytes, **marker: str) -> None:
        """Drop a blob, and its marker; `sha256` stands for another one than is right."""
        self.container.upload_blob(f"in/{name}", content, overwrite=True)
        about = {"sha256": hashlib.sha256(content).hexdigest()} | marker
        self.container.upload_blob(f"in/{name}.json", json.dumps(about), overwrite=True)

    def blobs(self, *below: str) -> dict[str, bytes]:
        found = [name for name in self.container.list_blob_names() if name.startswith(below or "")]
        return {name: self.container.download_blob(name).readall() for name in found}

    def versions(self) -> list[int]:
        """How many rows each version has."""
        return sorted(
            json.loads(m.read_bytes())["rows"] for m in self.project.glob("data/versions/[!.]*/manifest.json")
        )


@pytest.fixture(scope="module")
def drawn(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Ten tables of 1,000 rows each, all different."""
    project = Path(shutil.copytree(bake(), tmp_path_factory.mktemp("drawn") / "project"))
    words = [sys.executable, "-m", "porto_seguro", "data", "sample", "--rows", "10000", "--output", "drawn.csv"]
    subprocess.run(words, cwd=project, env={**os.environ, "PYTHONPATH": str(project / "src")}, check=True)
    head, *lines = (project / "drawn.csv").read_bytes().splitlines(keepends=True)
    return [b"".join([head, *lines[1000 * n : 1000 * n + 1000]]) for n in range(10)]


@pytest.fixture
def cloud(account: Callable[[str], str], bake: Bake, tmp_path: Path) -> Iterator[Cloud]:
    project = Path(shutil.copytree(bake(), tmp_path / "project"))
    name = "drops" + secrets.token_hex(4)
    conf = project / "conf" / "project.yaml"
    settings = yaml.safe_load(conf.read_text("utf-8"))
    settings["inbox"] = {"url": f"abfs://{name}/in", "ready": "marker"}
    conf.write_text(yaml.safe_dump(settings), "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), CONNECTION: account("")}
    with ContainerClient.from_connection_string(account(""), name) as container:
        container.create_container()
        yield Cloud(project, container, environment)


def test_what_is_dropped_into_a_container_becomes_a_version_once(cloud: Cloud, drawn: list[bytes]) -> None:
    first, second = drawn[:2]
    cloud.put("first.csv", first, as_of="2024-01-01")
    code, told = cloud.ingest()
    assert (code, [(one["file"], one["rows"], one["new"]) for one in told["ingested"]]) == (
        0,
        [("first.csv", 1000, True)],
    )
    version = told["ingested"][0]["version"]
    archive = f"in/archive/{version}-first.csv"
    assert cloud.blobs() == cloud.blobs(archive)
    assert cloud.blobs()[archive] == first

    cloud.put("second.csv", second[:10_000], sha256=hashlib.sha256(second).hexdigest())  # half of it
    cloud.put("broken.csv", first.replace(b"ps_ind_01", b"x", 1))
    cloud.put("again.csv", first)
    cloud.container.upload_blob("in/unmarked.csv", second)
    for n in (2, 3):
        cloud.container.upload_blob(f"in/run/part-{n:05d}.csv", drawn[n])
    code, told = cloud.ingest()
    assert code == 1
    by = {one["file"]: one for one in told["ingested"]}
    assert by.keys() == {"broken.csv", "again.csv"}
    assert (by["again.csv"]["new"], by["again.csv"]["version"]) == (False, version)
    assert "lacks the column ps_ind_01" in by["broken.csv"]["reason"]
    assert sorted(text.partition(":")[0] for text in told["unfinished"]) == ["run", "second.csv", "unmarked.csv"]
    aside = {name.partition("-broken/")[2]: content for name, content in cloud.blobs("in/quarantine/").items()}
    assert aside.keys() == {"broken.csv", "broken.csv.json", "reasons.txt"}
    assert aside["broken.csv"] == first.replace(b"ps_ind_01", b"x", 1)
    assert b"lacks the column ps_ind_01" in aside["reasons.txt"]
    assert cloud.versions() == [1000]

    cloud.put("second.csv", second)
    cloud.container.delete_blob("in/unmarked.csv")
    cloud.container.upload_blob("in/run/_SUCCESS", b"")
    code, told = cloud.ingest()
    assert (code, {one["file"]: one["new"] for one in told["ingested"]}) == (0, {"second.csv": True, "run": True})
    cloud.put("late.csv", first)
    code, told = cloud.ingest()
    assert (code, told["ingested"][0]["new"], cloud.versions()[-1]) == (0, False, 4000)
    left = [name for name in cloud.blobs() if not name.startswith(("in/archive/", "in/quarantine/"))]
    assert left == []


@pytest.mark.parametrize("moment", ["version", "archive", "parts"])
def test_killed_while_it_takes_a_drop_it_takes_it_once(cloud: Cloud, drawn: list[bytes], moment: str) -> None:
    for n, part in enumerate(drawn):
        cloud.container.upload_blob(f"in/run/part-{n:05d}.csv", part)
    cloud.container.upload_blob("in/run/_SUCCESS", b"")
    sent = {*cloud.blobs().values()}

    def come() -> bool:
        if moment == "version":
            return any((cloud.project / "data" / "versions").glob("[!.]*"))
        names = [*cloud.container.list_blob_names()]
        return any("archive/" in n for n in names) if moment == "archive" else "in/run/part-00000.csv" not in names

    process = subprocess.Popen(
        cloud.words("ingest", "--append"), cwd=cloud.project, env=cloud.environment, stdout=subprocess.DEVNULL
    )
    while process.poll() is None and not come():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert sent <= {*cloud.blobs().values()}
    code, told = cloud.run("ingest", "--append")
    assert code == 0 or "is empty" in told
    assert cloud.versions() == [10_000]
    assert sent <= {*cloud.blobs("in/archive/").values()}
    assert [name for name in cloud.blobs() if not name.startswith("in/archive/")] == []


def test_what_is_wrong_with_the_account_is_told_and_its_key_is_not(cloud: Cloud, account: Callable[[str], str]) -> None:
    wrong = base64.b64encode(secrets.token_bytes(64)).decode()
    url = f"abfs://{cloud.container.container_name}/in"
    code, said = cloud.run("ingest", **{CONNECTION: account(wrong)})
    assert (code, f"The inbox {url} does not answer as it should" in said) == (3, True), said
    assert "AuthorizationFailure" in said or "AuthenticationFailed" in said
    assert wrong not in said
    code, said = cloud.run("ingest", **{CONNECTION: "nonsense"})
    assert (code, CONNECTION in said) == (2, True), said
    cloud.container.delete_container()
    code, said = cloud.run("ingest")
    assert (code, f"make {cloud.container.container_name} first" in said) == (3, True), said


def test_a_drop_leads_to_a_version_and_the_version_to_a_retraining(cloud: Cloud, drawn: list[bytes]) -> None:
    """The loop from the container to the decision: not before there are enough new rows, and once."""
    conf = cloud.project / "conf" / "project.yaml"
    settings = yaml.safe_load(conf.read_text("utf-8"))
    settings["retrain"] |= {"new_rows": 2000, "cool_down_days": 0}
    conf.write_text(yaml.safe_dump(settings), "utf-8")

    def passed() -> dict[str, str]:
        code, said = cloud.run("loop", "--once", "--json")
        assert code == 0, said
        return {event["step"]: event["text"] for event in json.loads(said.splitlines()[0])["events"]}

    cloud.put("first.csv", drawn[0] + b"".join(b"".join(part.splitlines(keepends=True)[1:]) for part in drawn[1:7]))
    first = passed()
    assert first["retraining"].startswith("first")
    assert {"taken in", "promoted"} <= first.keys()
    cloud.put("second.csv", drawn[7])
    second = passed()
    assert "taken in" in second
    assert "retraining" not in second
    code, said = cloud.run("should-retrain", "--json")
    answer = json.loads(said.splitlines()[0])
    assert (code, answer["retrain"]) == (0, False)
    assert "1,000 more rows." in answer["otherwise"]
    cloud.put("third.csv", drawn[8])
    assert passed()["retraining"].startswith("new_rows: 2,000 rows are new")
    assert "taken in" not in passed()
