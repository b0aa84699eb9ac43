"""Events of Azure start retrainings, once: the function app itself, with a real Azurite as its memory and as the inbox.

What stands for Azure: `Service` answers as the batch endpoint and as the source of access tokens, `Azure.deliver` sorts
events by infra/events.json as Event Grid does.
"""

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlparse
from urllib.request import Request, urlopen

import pytest
import yaml
from azure.core.exceptions import AzureError
from azure.functions.eventgrid import EventGridEventInConverter
from azure.functions.meta import Datum
from azure.storage.blob import BlobServiceClient, ContainerClient
from azurite import azurite
from conftest import Bake

START = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)
VIOLATED = "porto_drift has failed due to one or more features violating metric thresholds."
PLAN: dict[str, Any] = {
    "cool_down_days": 7,
    "inputs": {
        "raw": {"JobInputType": "UriFolder", "Uri": "/subscriptions/s/data/porto-seguro-data/versions/0123456789ab"},
        "inbox": {"JobInputType": "UriFolder", "Uri": "/subscriptions/s/datastores/inbox/paths/"},
        "champion": {"JobInputType": "CustomModel", "Uri": "/subscriptions/s/models/porto-seguro/versions/3"},
        "champion_digest": {"JobInputType": "Literal", "Value": "abc"},
        "since": {"JobInputType": "Literal", "Value": "2026-02-01T00:00:00+00:00"},
    },
}


class Service:
    """The endpoint `/jobs`, and the managed identity's `/token`; `answers` are the next status codes."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.tokens = True
        service = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked = parse_qs(urlparse(self.path).query)
                right = self.headers["X-IDENTITY-HEADER"] == "secret" and asked["resource"] == ["https://ml.azure.com"]
                if not (right and service.tokens):
                    return self.send(400, {"error": "invalid_request"})
                self.send(
                    200, {"access_token": "t0ken", "expires_on": "1999999999", "resource": "r", "token_type": "Bearer"}
                )

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = service.answers.pop(0) if service.answers else 202
                if self.headers["Authorization"] != "Bearer t0ken" or self.path != "/jobs":
                    status = 401
                if status == 202:
                    service.calls.append(body)
                self.send(status, {"name": f"job-{len(service.calls)}"} if status == 202 else {"error": "no"})

            def send(self, status: int, told: dict[str, str]) -> None:
                content = json.dumps(told).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


class Azure:
    """A project's functions, what they remember, and the two services."""

    def __init__(self, project: Path, storage: BlobServiceClient, app: Any, service: Service) -> None:
        self.project, self.service, self.app = project, service, app
        self.memory, self.inbox = (storage.get_container_client(name) for name in ("functions", "inbox"))
        self.functions = {f.get_function_name(): f for f in app.app.get_functions()}
        self.subscriptions = json.loads((project / "infra" / "events.json").read_text("utf-8"))
        self.now = START
        app.handler().now = lambda: self.now

    def plan(self, **changes: Any) -> None:
        self.memory.upload_blob("retrain.json", json.dumps(PLAN | changes), overwrite=True)

    def deliver(self, event: dict[str, Any]) -> int:
        """Give an event to the functions that are subscribed to it; return how many want it again."""
        failed = 0
        for name in [s["function"] for s in self.subscriptions if subscribed(s, event)]:
            decoded = EventGridEventInConverter.decode(Datum(json.dumps(event), "json"), trigger_metadata={})
            try:
                self.functions[name].get_user_function()(decoded)
            except Exception:
                failed += 1
        return failed

    @property
    def jobs(self) -> int:
        return len(self.service.calls)


def subscribed(subscription: dict[str, Any], event: dict[str, Any]) -> bool:
    """Whether Event Grid delivers an event."""
    if event["eventType"] not in subscription["types"]:
        return False
    if not event["subject"].startswith(subscription["subject_begins_with"]):
        return False
    tests: dict[str, Callable[[str, str], bool]] = {
        "StringContains": lambda text, part: part.lower() in text.lower(),
        "StringIn": lambda text, part: part.lower() == text.lower(),
        "StringEndsWith": lambda text, part: text.lower().endswith(part.lower()),
    }
    for one in subscription["filters"]:
        value: Any = event
        for key in one["key"].split("."):
            value = {k.lower(): v for k, v in value.items()}.get(key.lower(), {}) if isinstance(value, dict) else {}
        if not any(isinstance(value, str) and tests[one["operator"]](value, part) for part in one["values"]):
            return False
    return True


def event(kind: str, subject: str, data: dict[str, Any], number: str = "1", minutes: float = 0) -> dict[str, Any]:
    return {
        "id": f"e-{number}",
        "topic": "/subscriptions/s/resourceGroups/r/providers/Microsoft.X/y/z",
        "subject": subject,
        "eventType": kind,
        "eventTime": (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S.1234567Z"),
        "data": data,
        "dataVersion": "1.0",
        "metadataVersion": "1",
    }


def run(status: str, tags: dict[str, Any], run: str = "r1", **more: Any) -> dict[str, Any]:
    data = {"experimentName": "x", "runId": run, "runType": "azureml.StepRun", "runTags": tags, "runStatus": status}
    return event("Microsoft.MachineLearningServices.RunStatusChanged", f"experiments/x/runs/{run}", data, **more)


def drift(**more: Any) -> dict[str, Any]:
    """Of Azure ML's own monitor."""
    return run("Completed", {"azureml_modelmonitor_threshold_breached": VIOLATED}, **more)


def alarm(**more: Any) -> dict[str, Any]:
    """Of our own monitor."""
    return run("Failed", {"purpose": "monitor", "alarm": "drift"}, **more)


def blob(path: str = "in/t.csv.json", etag: str = "0x8D1", container: str = "inbox", **more: Any) -> dict[str, Any]:
    data = {
        "api": "PutBlob", "eTag": etag, "contentLength": 0, "blobType": "BlockBlob",
        "url": f"https://st.blob.core.windows.net/{container}/{quote(path)}",
    }  # fmt: skip
    return event(
        "Microsoft.Storage.BlobCreated", f"/blobServices/default/containers/{container}/blobs/{path}", data, **more
    )


def registered(**data: Any) -> dict[str, Any]:
    told = {"modelName": "porto-seguro", "modelVersion": "4", "modelTags": {}, "modelProperties": {}} | data
    return event("Microsoft.MachineLearningServices.ModelRegistered", "models/porto-seguro:4", told)


@pytest.fixture(scope="module")
def project(bake: Bake) -> Path:
    return bake(platform="azure-ml")


@pytest.fixture(scope="module")
def package(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is brought to the function app, unpacked."""
    folder = tmp_path_factory.mktemp("functions")
    words = (
        "import sys; from pathlib import Path; from porto_seguro.azure.functions import package; "
        "package(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    told = [sys.executable, "-c", words, str(project), str(folder / "functions.zip")]
    subprocess.run(told, env=os.environ | {"PYTHONPATH": str(project / "src")}, check=True)
    shutil.unpack_archive(folder / "functions.zip", folder / "app")
    return folder / "app"


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, BlobServiceClient]]:
    with azurite(tmp_path_factory.mktemp("azurite")) as connection:
        client = BlobServiceClient.from_connection_string(connection(""))
        for name in ("functions", "inbox"):
            client.create_container(name)
        yield connection(""), client


@pytest.fixture
def azure(
    project: Path, package: Path, storage: tuple[str, BlobServiceClient], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Azure]:
    service = Service()
    settings = {
        "AZURE_STORAGE_CONNECTION_STRING": storage[0],
        "BATCH_ENDPOINT": f"{service.url}/jobs",
        "IDENTITY_ENDPOINT": f"{service.url}/token",
        "IDENTITY_HEADER": "secret",
        "AZURE_CLIENT_ID": "00000000-0000-0000-0000-000000000000",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(package))
    for name in ("function_app", "handler"):
        sys.modules.pop(name, None)
    made = Azure(project, storage[1], importlib.import_module("function_app"), service)
    made.plan()
    yield made
    service.server.shutdown()
    for container in (made.memory, made.inbox):
        for name in list(container.list_blob_names()):
            container.delete_blob(name)


def test_the_package_installs_what_is_locked(package: Path) -> None:
    assert json.loads((package / "host.json").read_bytes())["version"] == "2.0"
    lock = (package / "requirements.txt").read_text("utf-8")
    for name in ("azure-functions", "azure-identity", "azure-storage-blob"):
        assert re.search(rf"(?m)^{name}==\S+ \\\n    --hash=sha256:", lock)


def test_each_subscription_has_its_function(azure: Azure) -> None:
    assert {s["function"] for s in azure.subscriptions} == azure.functions.keys()
    for function in azure.functions.values():
        assert function.get_trigger().get_binding_name() == "eventGridTrigger"


def capital() -> dict[str, Any]:
    """As older services write it."""
    made = alarm()
    return made | {"data": {name[0].upper() + name[1:]: value for name, value in made["data"].items()}}


@pytest.mark.parametrize(
    "of",
    [drift, alarm, capital, blob, lambda: blob("in/run/_SUCCESS"), lambda: blob("in/May 2026.csv.json")],
    ids=["drift", "alarm", "capital letters", "file", "parts", "blank"],
)
def test_a_reason_starts_the_training_pipeline_with_what_the_plan_says(azure: Azure, of: Callable[[], Any]) -> None:
    assert azure.deliver(of()) == 0
    assert azure.service.calls == [{"properties": {"InputData": PLAN["inputs"]}}]
    component = yaml.safe_load((azure.project / "azureml" / "components" / "retraining.yml").read_text("utf-8"))
    assert PLAN["inputs"].keys() <= component["inputs"].keys()


@pytest.mark.parametrize(
    "events",
    [
        [drift(), drift(), drift()],
        [drift(), run("Finalizing", {"azureml_modelmonitor_threshold_breached": VIOLATED}, number="2", minutes=1)],
        [run("Failed", {"azureml_modelmonitor_threshold_breached": VIOLATED, "purpose": "monitor"}, minutes=9)],
        [blob(), blob(number="2"), blob(number="3", minutes=1)],
    ],
    ids=["delivered three times", "one run, two changes", "two subscriptions", "one file, three events"],
)
def test_what_tells_the_same_starts_one_job_even_without_a_cool_down(
    azure: Azure, events: list[dict[str, Any]]
) -> None:
    azure.plan(cool_down_days=0)
    for one in events:
        azure.now += timedelta(seconds=1)
        assert azure.deliver(one) == 0
    assert azure.jobs == 1


def test_a_file_that_is_written_anew_is_another_one(azure: Azure) -> None:
    azure.plan(cool_down_days=0)
    assert azure.deliver(blob()) == 0
    azure.now += timedelta(minutes=2)
    assert azure.deliver(blob(etag="0x8D2", minutes=1)) == 0
    assert azure.jobs == 2


def test_many_at_the_same_moment_start_one_job(azure: Azure) -> None:
    waiting = [drift(), drift(), alarm(run="r2", number="2"), blob(number="3")] * 2
    with ThreadPoolExecutor(len(waiting)) as pool:
        for _ in range(5):
            wanted = pool.map(azure.deliver, waiting)
            waiting = [one for one, again in zip(waiting, wanted, strict=True) if again]
    assert (azure.jobs, waiting) == (1, [])


@pytest.mark.parametrize("before", [0, 1], ids=["first", "another"])
def test_of_two_that_saw_the_same_one_starts_a_job_and_the_other_comes_again(
    azure: Azure, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    late = 8 * 1440.0 * before
    if before:
        assert azure.deliver(drift()) == 0
        azure.now += timedelta(days=8)
    blobs, together = azure.app.handler().blobs, threading.Barrier(2)
    read = blobs.read

    def slowly(name: str) -> Any:
        found = read(name)
        if name == "retraining.json":
            together.wait(20)
        return found

    events = [alarm(run=f"r{n}", minutes=late) for n in (8, 9)]
    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(blobs, "read", slowly)
        assert sorted(pool.map(azure.deliver, events)) == [0, 1]
    assert azure.jobs == before + 1
    assert [azure.deliver(one) for one in events] == [0, 0]
    assert azure.jobs == before + 1


def test_a_retraining_cools_down_and_nothing_is_lost(azure: Azure) -> None:
    assert azure.deliver(drift()) == 0
    azure.now += timedelta(days=6)
    assert azure.deliver(alarm(run="r2", minutes=6 * 1440)) == 0
    assert azure.deliver(blob(minutes=6 * 1440)) == 0
    assert azure.jobs == 1
    azure.now += timedelta(days=2)
    assert azure.deliver(alarm(run="r3", minutes=8 * 1440)) == 0
    assert azure.jobs == 2
    assert "inbox" in azure.service.calls[1]["properties"]["InputData"]  # with the file that led to nothing by itself
    assert azure.deliver(blob(minutes=6 * 1440)) == 0
    assert azure.jobs == 2


def test_what_happened_before_the_newest_retraining_is_answered_by_it(azure: Azure) -> None:
    azure.plan(cool_down_days=0)
    azure.now = START + timedelta(minutes=10)
    assert azure.deliver(alarm(run="r2", number="2", minutes=9)) == 0
    azure.now += timedelta(minutes=10)
    assert azure.deliver(drift(minutes=8)) == 0
    assert azure.jobs == 1
    assert azure.deliver(drift(run="r3", minutes=12)) == 0
    assert azure.jobs == 2


@pytest.mark.parametrize("fault", [429, 500, 403, "no token", "no answer", "no plan"])
def test_a_call_that_fails_is_made_again_when_the_event_is_delivered_again(azure: Azure, fault: int | str) -> None:
    handler = azure.app.handler()
    url = handler.url
    if isinstance(fault, int):
        azure.service.answers = [fault]
    elif fault == "no token":
        azure.service.tokens = False
    elif fault == "no answer":
        handler.url = "http://127.0.0.1:9/jobs"
    else:
        azure.memory.delete_blob("retrain.json")
    assert azure.deliver(drift()) == 1
    assert azure.jobs == 0
    azure.service.tokens, handler.url = True, url
    azure.plan()
    assert azure.deliver(drift()) == 0
    assert azure.jobs == 1


def test_a_failed_call_forgets_nothing_of_the_retraining_before(azure: Azure) -> None:
    azure.plan(cool_down_days=1)
    assert azure.deliver(drift()) == 0
    azure.now += timedelta(days=2)
    azure.service.answers = [500]
    assert azure.deliver(drift(run="r2", minutes=2880)) == 1
    azure.plan(cool_down_days=9)
    assert azure.deliver(drift(run="r2", minutes=2880)) == 0
    assert azure.jobs == 1


def test_killed_while_it_calls_it_starts_again_after_ten_minutes(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = azure.app.handler()

    def killed(*_: Any) -> str:
        raise KeyboardInterrupt  # nothing after this is run, as in a process that is gone

    with monkeypatch.context() as patch:
        patch.setattr(handler, "_call", killed)
        with pytest.raises(KeyboardInterrupt):
            azure.deliver(drift())
    assert azure.deliver(drift()) == 1
    azure.now += timedelta(minutes=9)
    assert azure.deliver(alarm(run="r2", minutes=1)) == 1
    assert azure.jobs == 0
    azure.now += timedelta(minutes=2)
    assert azure.deliver(drift()) == 0
    assert azure.deliver(alarm(run="r2", minutes=1)) == 0
    assert azure.jobs == 1


def _without(event: dict[str, Any], *names: str) -> dict[str, Any]:
    return event | {"data": {k: v for k, v in event["data"].items() if k not in names}}


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (_without(alarm(), "runId"), "has no runId"),
        (_without(blob(), "url"), "has no url"),
        (_without(blob(), "eTag"), "has no eTag"),
        (blob() | {"subject": "/blobServices/default/containers/inbox/other.json"}, "does not name the blob"),
        (_without(registered(), "modelVersion"), "has no modelVersion"),
        (registered() | {"data": []}, "has no data or no time"),
        (alarm() | {"eventTime": None}, "has no data or no time"),
        (_without(alarm(), "runTags") | {"data": alarm()["data"] | {"runTags": "x"}}, "are no object"),
    ],
    ids=["run", "url", "etag", "subject", "model", "no data", "no time", "tags"],
)
def test_a_broken_event_is_refused_once_and_for_all(
    azure: Azure, broken: dict[str, Any], says: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert azure.deliver(broken) == 0
    assert azure.jobs == 0
    errors = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert len(errors) == 1
    assert says in errors[0]


@pytest.mark.parametrize(
    ("other", "level", "says"),
    [
        (registered(), "WARNING", "Version 4 of the model porto-seguro was registered"),
        (run("Failed", {"purpose": "retraining"}), "WARNING", "The run r1 (retraining) failed"),
        (run("Failed", {}), "WARNING", "az ml job show --name r1"),
        (run("Failed", {"purpose": "monitor"}), "WARNING", "The run r1 (monitor) failed"),
        (blob("archive/run/_SUCCESS"), "INFO", "does not lie in the inbox"),
        (blob("in/quarantine/1/t.csv.json"), "INFO", "does not lie in the inbox"),
    ],
    ids=["registered", "retraining failed", "some run failed", "monitor broke", "archive", "quarantine"],
)
def test_what_is_no_reason_is_only_told(
    azure: Azure, other: dict[str, Any], level: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    """To people, by a warning that an alert finds, or to nobody."""
    caplog.set_level("INFO")
    assert azure.deliver(other) == 0
    assert azure.jobs == 0
    told = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "root"]
    assert [(name, says in text) for name, text in told] == [(level, True)]


@pytest.mark.parametrize(
    "other", [run("Running", {}), run("Completed", {"purpose": "monitor"}), blob("in/t.csv"), blob(container="data")]
)
def test_what_is_nobodys_business_reaches_nobody(azure: Azure, other: dict[str, Any]) -> None:
    assert not any(subscribed(one, other) for one in azure.subscriptions)


def _mount(container: ContainerClient, folder: Path) -> Path:
    """The container as a job sees it."""
    for one in container.list_blobs():
        path = folder / one.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(container.download_blob(one.name).readall())
        os.utime(path, (one.last_modified.timestamp(),) * 2)
    return folder


def test_what_is_dropped_becomes_a_version_and_the_version_is_trained_on(azure: Azure, tmp_path: Path) -> None:
    """From the container to the rows that the training gets: the step `gather` runs as the job would run it."""
    project = Path(shutil.copytree(azure.project, tmp_path / "project"))
    conf = project / "conf" / "project.yaml"
    conf.write_text(conf.read_text("utf-8").replace("ready: settled", "ready: marker"), "utf-8")

    def words(module: str, *words: object) -> str:
        done = subprocess.run(
            [sys.executable, "-m", f"porto_seguro{module}", *map(str, words)],
            cwd=project,
            env={**os.environ, "PYTHONPATH": "src"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    words("", "data", "sample", "--rows", 3000, "--output", tmp_path / "all.csv")
    head, *lines = (tmp_path / "all.csv").read_bytes().splitlines(keepends=True)
    first, second = (b"".join([head, *lines[n : n + 1000]]) for n in (0, 1000))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "first.csv").write_bytes(first)
    words(".azure.steps", "ingest", "--raw", tmp_path / "raw", "--out", tmp_path / "base")

    def put(name: str, content: bytes) -> None:
        made = azure.inbox.upload_blob(name, content, overwrite=True).get_blob_properties()
        azure.now += timedelta(minutes=1)
        minutes = (azure.now - START) / timedelta(minutes=1)
        assert azure.deliver(blob(name, made.etag, number=made.etag, minutes=minutes)) == 0

    put("second.csv", second)
    put("broken.csv", second.replace(b"ps_ind_01", b"x", 1))
    for n in range(2):
        put(f"run/part-{n}.csv", b"".join([head, *lines[2000 + 500 * n : 2500 + 500 * n]]))
    assert azure.jobs == 0
    put("second.csv.json", json.dumps({"sha256": hashlib.sha256(second).hexdigest()}).encode())
    assert azure.jobs == 1
    put("broken.csv.json", json.dumps({"sha256": "0" * 64}).encode())
    put("run/_SUCCESS", b"")
    assert azure.jobs == 1

    def gather(out: str, *more: object) -> dict[str, Any]:
        inbox = _mount(azure.inbox, tmp_path / f"inbox-{out}")
        told = ("--base", tmp_path / "base", "--out", tmp_path / out, "--refused", tmp_path / f"refused-{out}")
        words(".azure.gather", "gather", *told, "--inbox", inbox, *more)
        manifest: dict[str, Any] = json.loads((tmp_path / out / "manifest.json").read_bytes())
        return manifest

    one = gather("one")
    assert one["rows"] == 3000  # what does not have the checksum of its marker waits
    put(
        "broken.csv.json",
        json.dumps({"sha256": hashlib.sha256(second.replace(b"ps_ind_01", b"x", 1)).hexdigest()}).encode(),
    )
    two = gather("two", "--since", "2020-01-01")
    assert (two["rows"], two["version"]) == (3000, one["version"])
    reasons = list((tmp_path / "refused-two").rglob("reasons.txt"))
    assert ["lacks the column ps_ind_01" in path.read_text("utf-8") for path in reasons] == [True]
    old = json.loads((tmp_path / "base" / "manifest.json").read_bytes())
    assert gather("none", "--since", "2090-01-01T00:00:00+00:00") == old

    words(".azure.steps", "ingest", "--raw", tmp_path / "one", "--out", tmp_path / "taken")
    taken = json.loads((tmp_path / "taken" / "manifest.json").read_bytes())
    assert taken["version"] == one["version"]
    words(".azure.steps", "split", "--data", tmp_path / "taken", "--out", tmp_path / "parts")


def test_the_plan_that_the_commands_publish_is_the_one_that_is_followed(
    azure: Azure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(azure.project / "src"))
    names = ("azure.az", "azure.environments", "azure.plan", "config")
    az, environments, plan, config = (importlib.import_module(f"porto_seguro.{name}") for name in names)
    said: list[list[str]] = []

    def answer(words: list[str], seconds: float) -> tuple[int, str, str]:
        said.append(words)
        if "upload" in words:
            azure.memory.upload_blob(
                "retrain.json", Path(words[words.index("--file") + 1]).read_bytes(), overwrite=True
            )
        told = {
            "workspace": {"id": "/subscriptions/s/w"},
            "data": {"creation_context": {"created_at": "2026-02-01T00:00:00Z"}},
        }
        return 0, json.dumps(told.get(words[1], {})), ""

    inputs = {
        "raw": {"type": "uri_folder", "path": "azureml:porto-seguro-data:0123456789ab"},
        "champion": {"type": "custom_model", "path": "azureml:porto-seguro:3"},
        "champion_digest": "abc",
    }
    settings, here = config.load_settings(azure.project / "conf"), environments.load(azure.project, "dev")
    plan.publish(az.Az(runner=answer, tell=lambda text: None), here, inputs, settings, tmp_path)
    assert here.storage_account in said[-1]
    assert azure.deliver(drift()) == 0
    assert azure.service.calls[0]["properties"]["InputData"] == {
        "raw": {"JobInputType": "UriFolder", "Uri": "/subscriptions/s/w/data/porto-seguro-data/versions/0123456789ab"},
        "champion": {"JobInputType": "CustomModel", "Uri": "/subscriptions/s/w/models/porto-seguro/versions/3"},
        "champion_digest": {"JobInputType": "Literal", "Value": "abc"},
        "inbox": {"JobInputType": "UriFolder", "Uri": "/subscriptions/s/w/datastores/inbox/paths/"},
        "since": {"JobInputType": "Literal", "Value": "2026-02-01T00:00:00Z"},
    }
    shared = {"champion": {"type": "custom_model", "path": "azureml://registries/r/models/m/versions/3"}}
    assert plan.plan_of(shared, "w", settings)["inputs"]["champion"]["Uri"] == shared["champion"]["path"]
    component = yaml.safe_load((azure.project / "azureml" / "components" / "retraining.yml").read_text("utf-8"))
    assert azure.service.calls[0]["properties"]["InputData"].keys() <= component["inputs"].keys()
    azure.now += timedelta(days=settings.retrain.cool_down_days - 0.1)
    assert azure.deliver(drift(run="r2", minutes=10_000)) == 0
    assert azure.jobs == 1


@pytest.fixture(scope="module")
def factory(bake: Bake) -> Path:
    """What a project with Data Factory says of its infrastructure."""
    return bake(platform="azure-ml", extras="data-factory") / "infra"


class Told(dict[str, Any]):
    """An object in an expression of Data Factory, where `.name` asks for what is called name."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def data_factory(azure: Azure, text: str, plan: str) -> None:
    """Do what Data Factory does with infra/data_factory.json, until the job is started.

    Storage stands for Azure's: it gives a blob to whoever brings a token for it and a version that knows tokens.

    Raises:
        AssertionError, KeyError: an activity begins too early, or a service refuses what it asks.
    """
    parameters = Told(plan=f"https://st.blob.core.windows.net/{plan}", endpoint=f"{azure.service.url}/jobs")
    done: dict[str, Any] = {}
    known = {
        "pipeline": lambda: Told(parameters=parameters),
        "activity": lambda name: Told(output=done[name]),
        "concat": lambda *texts: "".join(texts),
        "string": json.dumps,
    }

    def of(expression: str) -> str:
        """The expressions in use read the same in Python."""
        assert expression.startswith("@")
        return str(eval(expression[1:], {"__builtins__": {}}, known))

    def ask(call: dict[str, Any]) -> Any:
        url, headers, by = of(call["url"]), call["headers"], call["authentication"]
        assert by["type"] == "MSI"
        if call["method"] == "GET":
            assert by["resource"] == "https://storage.azure.com/"
            assert headers["x-ms-version"] >= "2017-11-09"
            name = url.removeprefix("https://st.blob.core.windows.net/functions/")
            return json.loads(azure.memory.download_blob(name).readall(), object_hook=Told)
        assert (url, by["resource"]) == (parameters.endpoint, "https://ml.azure.com")
        request = Request(url, of(call["body"]).encode(), headers | {"Authorization": "Bearer t0ken"})
        with urlopen(request, timeout=10) as answer:
            return json.load(answer, object_hook=Told)

    waiting = {one["name"]: one for one in json.loads(text)["activities"] if one["type"] == "WebActivity"}
    while waiting:
        succeeded = [{"activity": name, "dependencyConditions": ["Succeeded"]} for name in done]
        ready = [name for name, one in waiting.items() if all(before in succeeded for before in one["dependsOn"])]
        assert ready
        done |= {name: ask(waiting[name]["typeProperties"]) for name in ready}
        waiting = {name: one for name, one in waiting.items() if name not in done}


def plan_of(factory: Path) -> str:
    """Container and name of the blob from which Data Factory takes what to train with."""
    bicep = (factory / "bicep" / "data_factory.bicep").read_text("utf-8")
    (found,) = re.findall(r"primaryEndpoints\.blob}(\S+)'", bicep)
    return str(found)


@pytest.mark.parametrize("without", [[], ["since"], ["champion", "champion_digest"]], ids=["all", "no since", "first"])
def test_data_factory_starts_what_the_functions_start(azure: Azure, factory: Path, without: list[str]) -> None:
    """The same call, whatever the plan has; the activity made for Azure ML runs pipelines of its first version only."""
    azure.plan(inputs={name: value for name, value in PLAN["inputs"].items() if name not in without})
    assert azure.deliver(drift()) == 0
    text = (factory / "data_factory.json").read_text("utf-8")
    data_factory(azure, text, plan_of(factory))
    ours, its = azure.service.calls
    assert its == ours
    assert "raw" in its["properties"]["InputData"]
    assert "ExecutePipeline" not in text


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string(activity('ReadPlan').output.inputs)", "'{}'"),
        ("output.inputs", "output"),
        ("InputData", "inputs"),
        ('[{"activity": "ReadPlan", "dependencyConditions": ["Succeeded"]}]', "[]"),
        ('{"x-ms-version": "2024-11-04"}', "{}"),
        ("https://storage.azure.com/", "https://ml.azure.com"),
        ('"https://ml.azure.com"', '"https://management.azure.com/"'),
        ("parameters.plan", "parameters.endpoint"),
        ("parameters.endpoint", "parameters.plan"),
    ],
)
def test_data_factory_starting_something_else_is_found(azure: Azure, factory: Path, old: str, new: str) -> None:
    text = (factory / "data_factory.json").read_text("utf-8")
    assert old in text
    try:
        data_factory(azure, text.replace(old, new), plan_of(factory))
    except (AssertionError, KeyError, OSError, AzureError):
        return
    assert azure.service.calls != [{"properties": {"InputData": PLAN["inputs"]}}]


@pytest.mark.parametrize(
    "path", ["in/t.csv.json", "t.csv.json", "in/run/_SUCCESS", "in/t.csv", "in/run/part-0.csv", "_SUCCESS.csv"]
)
def test_data_factory_is_started_by_what_starts_the_functions(azure: Azure, factory: Path, path: str) -> None:
    """By one trigger, for a trigger takes one ending; and the functions leave files alone then."""
    triggers = json.loads((factory / "data_factory.json").read_text("utf-8"))["triggers"]
    subject = f"/inbox/blobs/{path}"
    started = [one for one in triggers if subject.startswith(one["begins_with"]) and subject.endswith(one["ends_with"])]
    assert azure.deliver(blob(path)) == 0
    assert len(started) == azure.jobs
    subscriptions = json.loads((factory / "events.json").read_text("utf-8"))
    assert "file_arrived" not in {one["function"] for one in subscriptions}


def test_autoscale_grows_and_shrinks(azure: Azure) -> None:
    told = json.loads((azure.project / "azureml" / "online" / "autoscale.json").read_text("utf-8"))
    rules = {rule["direction"]: rule["scale"].split()[0] for rule in told["rules"]}
    assert rules == {"Increase": "out", "Decrease": "in"}
    bars = {rule["direction"]: float(rule["condition"].split()[2]) for rule in told["rules"]}
    assert bars["Decrease"] < bars["Increase"] - 20  # or it would go up and down all day


LIES = "azureml://subscriptions/s/resourcegroups/g/workspaces/w/datastores/workspaceblobstore/paths/uploaded"


@pytest.mark.filterwarnings("ignore")  # of the SDK's own making
def test_what_runs_without_a_person_is_published_for_its_environment(
    azure: Azure, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The commands name the environment's own resources, and the files that they send can be loaded by Azure's SDK."""
    from azure.ai.ml.entities._load_functions import load_schedule

    root = Path(shutil.copytree(azure.project, tmp_path / "project"))
    monkeypatch.syspath_prepend(str(azure.project / "src"))
    names = ("azure.az", "azure.environments", "azure.unattended", "registry")
    az, environments, unattended, registry = (importlib.import_module(f"porto_seguro.{name}") for name in names)
    said: list[str] = []

    def answer(words: list[str], seconds: float) -> tuple[int, str, str]:
        said.append(" ".join(words))
        if words[:3] == ["ml", "datastore", "show"]:
            return 0, json.dumps({"account_name": "account", "container_name": "azureml-blobstore"}), ""
        if words[:3] == ["ml", "data", "show"]:
            return 0, json.dumps({"path": f"{LIES}/"}), ""
        if "show" in words:
            return 3, "", "(ResourceNotFound) Code: ResourceNotFound"
        return 0, "{}", ""

    here, told = environments.load(root, "prod"), az.Az(runner=answer, tell=lambda text: None)
    unattended.publish(told, here, root)
    creates = [one for one in said if " create " in one or "config-zip" in one]
    assert len(creates) == 3 + 2 * 2 + 1
    assert all(here.workspace in one or here.function_app in one for one in creates)
    assert all("-dev" not in one.replace(str(root), "") for one in creates)
    assert [one for one in creates if "batch-deployment" in one and "--set-default" not in one] == []

    inputs = {
        "raw": {"type": "uri_folder", "path": "azureml:porto-seguro-data:0123456789ab"},
        "champion": {"type": "custom_model", "path": "azureml:porto-seguro:3"},
        "champion_digest": "abc",
        "commit": "unknown",
    }
    champion = registry.Version(version=3, run="job-3", line="l", digest="abc", tags={"data_version": "0123456789ab"})
    said.clear()
    retrain, monitor, drift = unattended.schedules(told, here, root, inputs, champion, "azureml:porto-seguro:3", True)
    job = load_schedule(retrain).create_job
    assert job.inputs["raw"].path.endswith("porto-seguro-data:0123456789ab")
    assert str(job.jobs["retraining"].inputs["champion"]._data) == "${{parent.inputs.champion}}"
    assert job.settings.force_rerun
    watched = yaml.safe_load((monitor.parent / yaml.safe_load(monitor.read_text())["create_job"]["job"]).read_text())
    assert (watched["inputs"]["version"], watched["tags"]["purpose"]) == (3, "monitor")
    assert watched["inputs"]["evaluation"]["path"] == "azureml:porto-seguro-decision:3"
    assert Path(watched["jobs"]["monitor"]["component"]).is_file()
    # What the champion needs beside its number, and what the collector of this environment's endpoint wrote.
    assert watched["inputs"]["digest"] == "abc"
    assert watched["jobs"]["monitor"]["inputs"]["digest"] == "${{parent.inputs.digest}}"
    collected = f"modelDataCollector/{here.endpoint}"
    assert watched["inputs"]["collected"]["path"] == f"azureml://datastores/workspaceblobstore/paths/{collected}/"
    assert load_schedule(monitor).create_job.jobs["window"].component.display_name == "traffic"
    # A folder that is not there cannot be mounted: all that is read are made before anybody wrote into them.
    marks = [one.split("--name ")[1].split()[0] for one in said if " blob upload " in one]
    assert marks == [f"{collected}/.keep", "monitor/.keep", "outcomes/.keep"]
    # Azure's own monitor: our table of the window, and the rows that the champion learnt from.
    native: Any = load_schedule(drift)
    native = native.create_monitor
    (signal,) = native.monitoring_signals.values()
    assert native.monitoring_target.model_id.endswith("porto-seguro:3")
    assert signal.reference_data.input_data.path.endswith("porto-seguro-reference:0123456789ab")
    assert signal.production_data.input_data.path == watched["outputs"]["table"]["path"]
    assert signal.production_data.data_window.lookback_window_size == "P30D"
    table = yaml.safe_load((drift.parents[1] / "reference" / "MLTable").read_text("utf-8"))
    assert table["paths"] == [{"file": f"{LIES}/data.parquet"}]
    assert any(" data create " in one and "--type mltable" in one for one in said)
    # A version of another environment: its evaluation came along in the registry, the rows that it learnt from did not.
    shared = "azureml://registries/mlr-shop/models/porto-seguro/versions/3"
    _, monitor = unattended.schedules(told, here, root, inputs, champion, shared)
    watched = yaml.safe_load((monitor.parent / yaml.safe_load(monitor.read_text())["create_job"]["job"]).read_text())
    lies = "azureml://registries/mlr-shop/data/porto-seguro-decision/versions/3"
    assert (watched["inputs"]["model"]["path"], watched["inputs"]["evaluation"]["path"]) == (shared, lies)
    assert load_schedule(monitor).create_job.inputs["evaluation"].path == lies
    with pytest.raises(Exception, match="Version 3 came from the registry, and the rows"):
        unattended.schedules(told, here, root, inputs, champion, shared, True)


def test_azures_own_monitor_needs_somebody_to_watch(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(azure.project / "src"))
    unattended = importlib.import_module("porto_seguro.azure.unattended")
    with pytest.raises(Exception, match="needs an online endpoint and a champion"):
        unattended.schedules(None, None, azure.project, {}, None, "", True)
