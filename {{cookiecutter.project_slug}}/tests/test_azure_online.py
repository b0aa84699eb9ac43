"""The online endpoint on Azure ML: deploying, what a release finds there, and what its log of answers becomes."""

import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import yaml
from azure_endpoint import NAME, Collecting, OnAzure, deployed, dev, registered
from azure_stand_in import NETWORK, THROTTLED, Cloud, Refused
from conftest import ROOT, Command, decoded, made_up, new_project
from release_places import Crash

from {{ cookiecutter.__package }} import clock
from {{ cookiecutter.__package }}.azure import az
from {{ cookiecutter.__package }}.azure.az import Az
from {{ cookiecutter.__package }}.azure.endpoint_tags import Kept, pack
from {{ cookiecutter.__package }}.azure.environments import Online
from {{ cookiecutter.__package }}.azure.online.serving_image import content
from {{ cookiecutter.__package }}.azure.online.traffic_log import fetch
from {{ cookiecutter.__package }}.contract import Contract, save_contract
from {{ cookiecutter.__package }}.errors import Fault, UsageError
from {{ cookiecutter.__package }}.infer import infer
from {{ cookiecutter.__package }}.pipeline import Project
from {{ cookiecutter.__package }}.serving.endpoint import Deployed, State
from {{ cookiecutter.__package }}.serving.predictions import newest_scores, read_log
from {{ cookiecutter.__package }}.serving.release import Releases
from {{ cookiecutter.__package }}.serving.telemetry import SECONDS

BOTH = State({"blue": Deployed(1, 90), "green": Deployed(2, 10)})


@pytest.fixture
def shop(tmp_path: Path) -> Contract:
    """A contract, whatever the team predicts."""
    made_up(500, 1).write_csv(tmp_path / "rows.csv")
    return infer(tmp_path / "rows.csv", "bought", NAME).contract


def test_a_release_goes_by_what_the_endpoint_collects_of_its_answers(tmp_path: Path, shop: Contract) -> None:
    conf = Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))
    save_contract(shop, conf / "contract.yaml")
    given = yaml.safe_load((conf / "project.yaml").read_text("utf-8"))
    (conf / "project.yaml").write_text(yaml.safe_dump(given | {"goal": {"metric": "auc"}}), "utf-8")
    for shifted, ends in ((True, "rolled back"), (False, "done")):
        azure = Collecting(tmp_path)
        machine = Releases(Project(tmp_path), azure, azure.registry)
        machine.start(2)
        for _ in range(12):
            azure.serve(shifted=shifted)
            step = machine.step()
            if step.release.status != "running":
                break
        assert (step.did, any("PSI" in f.name for f in step.findings) or ends == "done") == (ends, True)
        found = azure.stored.deployments
        assert found == ({"blue": Deployed(1, 100)} if shifted else {"blue": Deployed(1), "green": Deployed(2, 100)})
        shutil.rmtree(tmp_path / "data")


def test_one_update_changes_traffic_copies_and_what_is_remembered(tmp_path: Path) -> None:
    azure = OnAzure(tmp_path)
    azure.apply(State({"blue": Deployed(1, 100), "green": Deployed(2, 0, 50)}))
    azure.apply(BOTH)
    updates = [line for line in azure.cloud.commands if "online-endpoint update" in line]
    assert len(updates) == 2
    assert "--traffic blue=90 green=10 --mirror-traffic green=0 --set tags.state=" in updates[1]
    assert "--force-string" in updates[1]
    assert azure.here["tags"]["owner"] == "us", "the environment's own tags stay"
    file = yaml.safe_load((tmp_path / "data" / "azure" / "dev" / "green.yml").read_text("utf-8"))
    wanted = {"MODEL_DIGEST": f"{2:064x}", "MODEL_VERSION": "2", "DEPLOYMENT": "green", "MODEL_FOLDER": "/model"}
    assert file["environment_variables"] == wanted
    assert (file["model"], file["environment"]) == (f"azureml:{NAME}:2", f"azureml:{NAME}-serving:1")
    assert file["instance_count"] == 1
    creates = sum("online-deployment create" in line for line in azure.cloud.commands)
    azure.apply(State({"blue": Deployed(1, 50), "green": Deployed(2, 50)}))
    assert sum("online-deployment create" in line for line in azure.cloud.commands) == creates, (
        "autoscaling owns the rest"
    )


def test_instances_follow_the_load_whatever_the_command_that_said_so_came_to(tmp_path: Path) -> None:
    online = Online(instance_type="Standard_DS3_v2", instances=1, max_instances=4)
    environment = msgspec.structs.replace(dev(), online=online)
    wanted = json.loads((ROOT / "azureml" / "online" / "autoscale.json").read_text("utf-8"))["rules"]
    writes = 1 + 2 * (1 + len(wanted))  # a deployment, and the scaling of two
    for crash_at in range(writes):
        azure = OnAzure(tmp_path, crash_at, after=crash_at % 2 == 0, environment=environment)
        with pytest.raises(Crash):
            azure.apply(BOTH)
        assert azure.here["traffic"] == {"blue": 100}, "nothing moves before all is ready"
        azure.apply(BOTH)
        found = azure.cloud.state["scaling"]
        assert [len(one["profiles"][0]["rules"]) for one in found.values()] == [len(wanted)] * 2
        assert found[f"{dev().endpoint}-green"]["targetResourceUri"].endswith(f"{dev().endpoint}/deployments/green")
        azure.apply(State({"blue": Deployed(1, 100)}))
        assert list(azure.cloud.state["scaling"]) == [f"{dev().endpoint}-blue"]


def test_a_version_that_does_not_start_is_removed_and_its_log_is_told(tmp_path: Path) -> None:
    azure = OnAzure(tmp_path)
    azure.cloud.state["failing"]["2"] = "loading\n\nThe manifest in /model is not the one that was registered"
    before = json.dumps(azure.here)
    with pytest.raises(Fault, match=r"green does not start \(version 2\).*\| The manifest in /model is not the one"):
        azure.apply(BOTH)
    assert json.dumps(azure.here) == before
    assert list(azure.cloud.state["deployments"][dev().endpoint]) == ["blue"]


def test_a_deployment_that_a_dead_command_was_making_is_waited_for_and_a_broken_one_made_anew(tmp_path: Path) -> None:
    azure = OnAzure(tmp_path)
    there = azure.cloud.state["deployments"][dev().endpoint]
    there["green"] = deployed(2) | {"name": "green", "provisioning_state": "Creating"}
    azure.endpoint._places._pause = lambda seconds: there["green"].update(provisioning_state="Succeeded")
    azure.apply(BOTH)
    assert not any("deployment create" in line for line in azure.cloud.commands)
    for wrong in ({"provisioning_state": "Failed"}, {"tags": {"model_version": "2", "digest": "x"}}):
        azure.apply(State({"blue": Deployed(1, 100)}))
        there["green"] = deployed(2) | {"name": "green"} | wrong
        azure.apply(BOTH)
        assert azure.cloud.state["deployments"][dev().endpoint]["green"]["tags"]["digest"] == f"{2:064x}"


def test_a_connection_that_breaks_makes_no_second_deployment(tmp_path: Path) -> None:
    azure = OnAzure(tmp_path)
    create = azure.cloud._ml_online_deployment_create

    def arrives_and_breaks(one: Any, options: Any) -> Any:
        create(one, options)
        azure.cloud._ml_online_deployment_create = create  # type: ignore[method-assign]
        raise Refused(NETWORK)

    azure.cloud._ml_online_deployment_create = arrives_and_breaks  # type: ignore[method-assign]
    azure.apply(BOTH)
    assert azure.here["traffic"] == {"blue": 90, "green": 10}
    assert sum("deployment create" in line for line in azure.cloud.commands) == 2


def test_what_nobody_here_deployed_is_not_guessed_at(tmp_path: Path) -> None:
    azure = OnAzure(tmp_path)
    azure.cloud.state["deployments"][dev().endpoint]["red"] = deployed(3) | {"name": "red"}
    assert azure.endpoint.shown()[1] == ["red runs, though nothing asks for it: azure promote 1 removes it"]
    azure.here["traffic"] = {"blue": 50, "red": 50}
    with pytest.raises(Fault, match="red gets requests, but was not deployed by these commands"):
        azure.state()
    azure.here["traffic"] = {"blue": 100}
    azure.endpoint.serve_only(1)
    assert list(azure.cloud.state["deployments"][dev().endpoint]) == ["blue"], "the next change tidies up"
    del azure.cloud.state["deployments"][dev().endpoint]["blue"]
    assert azure.status().failed == {"blue": "blue was removed, though not by these commands"}


def test_a_cluster_gets_no_copies(tmp_path: Path) -> None:
    azure = OnAzure(tmp_path)
    azure.endpoint._kubernetes = True
    with pytest.raises(UsageError, match="take `mirror` out"):
        azure.apply(State({"blue": Deployed(1, 100), "green": Deployed(2, 0, 10)}))
    assert azure.writes == 0


def test_requests_are_counted_by_kind_and_by_time_since_the_stage_began(tmp_path: Path) -> None:
    azure = OnAzure(tmp_path)
    lines = azure.cloud.state["traffic"]
    release = {"version": 2, "candidate": "green", "base": "blue", "stage": "10", "status": "running"}
    began = (clock.now() - timedelta(hours=1)).isoformat(timespec="milliseconds")
    kept = Kept(deployments={"blue": 1, "green": 2}, release=release | {"since": began, "began": began})
    azure.here["tags"] |= pack(kept)
    azure.cloud.state["deployments"][dev().endpoint]["green"] = deployed(2) | {"name": "green"}
    early = (clock.now() - timedelta(hours=2)).isoformat(timespec="milliseconds")
    times = np.random.default_rng(0).gamma(2, 4, 500)
    for when, name, code, ms in (
        *((began, "blue", 200, float(ms)) for ms in times),
        (began, "blue", 500, 9000), (began, "blue", 404, 1), (began, "blue", 429, 1), (began, "red", 200, 1),
        (early, "blue", 500, 1),
    ):  # fmt: skip
        lines.append([when, dev().endpoint, name, code, ms, 1])
    lines.append([began, "another-endpoint", "blue", 500, 1, 1])
    found = azure.status().seen
    blue = found["blue"]
    assert (blue.requests, blue.errors, blue.refused, blue.counter) == (503, 1, 2, began)
    counts = np.bincount(np.searchsorted(SECONDS, [*times / 1000, 9, 0.001, 0.001]), minlength=len(SECONDS) + 1)
    assert blue.seconds == counts.tolist()
    assert (found["green"].requests, sum(found["green"].seconds)) == (0, 0)
    assert set(found) == {"blue", "green"}


# What the endpoint collected


class Payload:
    """Requests and answers as Azure ML collects them."""

    def __init__(self, root: Path, contract: Contract) -> None:
        self.root, self.contract, self.cloud = root, contract, Cloud()
        self.now = clock.now().replace(minute=30)
        self.columns = [column.name for column in contract.of("feature")]

    def add(self, kind: str, data: Any, name: str, seconds: int = 0, hour: int = 0, **more: Any) -> None:
        when = self.now + timedelta(hours=hour, seconds=seconds)
        key = f"modelDataCollector/{dev().endpoint}/blue/{kind}/{when:%Y/%m/%d/%H}/i-1.jsonl"
        event = {
            "specversion": "1.0", "id": name, "type": f"azureml.inference.{kind}", "datacontenttype": "application/json",
            "time": f"{when:%Y-%m-%dT%H:%M:%SZ}", "data": data, "correlationid": name, "xrequestid": name,
        }  # fmt: skip
        blobs = self.cloud.state["blobs"]
        blobs[key] = blobs.get(key, "") + json.dumps(event | more) + "\n"

    def answer(self, name: str, ids: list[str], version: int = 1, **more: Any) -> None:
        told = {"result": [0.5] * len(ids), "ids": ids, "request_id": name, "model_version": str(version)}
        self.add("response", told | {"deployment": "blue"}, name, **more)

    def fetch(self) -> int:
        return fetch(
            Az(runner=self.cloud, tell=lambda text: None),
            dev(),
            self.contract,
            self.root,
            self.now - timedelta(hours=30),
        )

    def lines(self) -> list[tuple[str, Any]]:
        found = list(read_log(self.root / "data" / "predictions"))
        assert all(header.columns == self.columns for header, _ in found)
        return [(header.model_version, line) for header, line in found]


def test_every_form_of_request_becomes_cells_in_the_order_of_the_contract(tmp_path: Path, shop: Contract) -> None:
    payload = Payload(tmp_path, shop)
    row: dict[str, Any] = {"id": 7, "amount": 1.5, "colour": "red", "age": 30}
    named = [column.name for column in shop.columns if column.role in ("feature", "identifier")]
    cells = [row[name] for name in payload.columns]
    bodies: list[Any] = [
        {"data": [row]},
        {"data": [cells]},
        {"data": [[row[name] for name in named]]},
        {"input_data": {"columns": list(row), "data": [list(row.values())], "index": [0]}},
        json.dumps({"data": [row]}),
    ]
    for n, body in enumerate(bodies):
        payload.add("request", body, f"r{n}", seconds=n)
        payload.answer(f"r{n}", [f"id{n}"], seconds=n)
    assert payload.fetch() == 1
    found = payload.lines()
    assert [line.data for _, line in found] == [[cells]] * len(bodies)
    assert [(line.request_id, line.ids, line.result) for _, line in found] == [
        (f"r{n}", [f"id{n}"], [0.5]) for n in range(len(bodies))
    ]


def test_scores_count_though_a_request_was_not_collected_and_refusals_are_kept(tmp_path: Path, shop: Contract) -> None:
    payload = Payload(tmp_path, shop)
    payload.add("request", "https://account.blob.core.windows.net/x", "big", datainblob="true")
    payload.answer("big", ["a", "b"])
    payload.answer("alone", ["c"], seconds=1)
    wrong = [{"row": 0, "column": "age", "rule": "must be a number", "value": "x"}] * 2
    payload.add("response", {"title": "Refused", "status": 422, "errors": wrong, "request_id": "bad"}, "bad", seconds=2)
    payload.add("response", "Bad gateway", "gone", seconds=3)
    payload.cloud.state["blobs"] = {key: text + '{"half' for key, text in payload.cloud.state["blobs"].items()}
    payload.fetch()
    assert [(line.request_id, line.data, len(line.result), line.refused) for _, line in payload.lines()] == [
        ("big", [], 2, []), ("alone", [], 1, []), ("bad", [], 0, [("age", "must be a number", 2)]),
    ]  # fmt: skip


def test_the_log_grows_with_what_is_collected_and_whole_days_are_not_asked_for_again(
    tmp_path: Path, shop: Contract
) -> None:
    payload = Payload(tmp_path, shop)
    payload.answer("old", ["o"], hour=-26)
    payload.answer("b", ["b"], seconds=5)
    assert payload.fetch() == 2
    asked = len(payload.cloud.commands)
    assert payload.fetch() == 0
    again = payload.cloud.commands[asked:]
    days = sum("download-batch" in line for line in payload.cloud.commands[:asked])
    assert sum("download-batch" in line for line in again) < days, "the day before is whole"
    payload.answer("a", ["a"], seconds=1)
    payload.answer("c", ["c"], version=2, seconds=9)
    assert payload.fetch() == 1
    assert [(version, line.request_id) for version, line in payload.lines()] == [
        ("1", "old"), ("1", "a"), ("1", "b"), ("2", "c"),
    ]  # fmt: skip
    since = payload.now - timedelta(minutes=1)
    folder = tmp_path / "data" / "predictions"
    assert newest_scores(folder, since, {"blue": "2"}, 10) == {"blue": [0.5]}
    assert newest_scores(folder, since, {"blue": "1"}, 10) == {"blue": [0.5, 0.5]}


# As a user types it


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> tuple[Cloud, Callable[..., tuple[int, str]], Path]:
    """A cloud, what runs a command of `azure` over it, and the project."""
    root = new_project(tmp_path / "project")
    for folder in ("azureml", "src"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Dockerfile", root)
    cloud = Cloud()
    name = Project(root).settings.name
    cloud.state["models"] = {str(n): registered(n) | {"name": name} for n in (1, 2)}
    monkeypatch.setattr(az, "process", cloud)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return cloud, lambda *words: command(root, "azure", *words), root


def test_the_first_version_the_next_one_and_the_way_back(
    typed: tuple[Cloud, Callable[..., tuple[int, str]], Path],
) -> None:
    cloud, run, root = typed
    code, said = run("deploy", 1)
    assert (code, "azure image --env dev" in said) == (2, True), said
    cloud.state["endpoints"].clear()
    assert decoded(run("image", "--json")[1]) == {"image": content(root), "new": True}
    assert decoded(run("image", "--json")[1])["new"] is False
    cloud.crash_at, cloud.after = cloud.writes + 2, True  # the command line dies once the deployment is made
    assert run("deploy", 1)[0] == 3
    cloud.fail("ml online-endpoint update", THROTTLED)
    code, said = run("deploy", 1)
    assert (code, "answers at https://" in said) == (0, True), said
    endpoint = cloud.state["endpoints"][dev().endpoint]
    identity = endpoint["identity"]["user_assigned_identities"][0]["resource_id"]
    assert (endpoint["traffic"], identity.split("/")[2].count("1") > 7) == ({"blue": 100}, True)
    assert "AmlOnlineEndpointTrafficLog" in cloud.state["log_categories"], "what a release counts its requests by"
    assert run("deploy", 2)[0] == 2, "the next ones come by a release"
    code, said = run("release", "start", 2, "--wait", 0)
    assert (code, "copies of requests" in said or "started" in said) == (3, True), said
    assert run("promote", 1)[0] == 2, "a release is under way"
    found = decoded(run("release", "status", "--json")[1])
    assert found["deployments"]["green"] == {"version": 2, "traffic": 0, "mirror": 50}
    assert run("release", "abort")[0] == 0
    assert run("promote", 2)[0] == 0
    assert endpoint["traffic"] != cloud.state["endpoints"][dev().endpoint]["traffic"]
    assert decoded(run("models", "--json")[1])["champion"] == 2
    assert decoded(run("rollback", "--json")[1]) == {"champion": 1, "was": 2}
    assert cloud.state["endpoints"][dev().endpoint]["traffic"] == {"blue": 100, "green": 0}
    assert decoded(run("models", "--json")[1])["champion"] == 1


def test_the_same_code_has_the_same_image(typed: tuple[Cloud, Callable[..., tuple[int, str]], Path]) -> None:
    _, _, root = typed
    before = content(root)
    (root / "README.md").write_text("other words", "utf-8")
    (root / "src" / "__pycache__").mkdir()
    (root / "src" / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert content(root) == before
    path = root / "conf" / "project.yaml"
    path.write_text(path.read_text("utf-8") + "\n", "utf-8")
    assert content(root) != before


def test_the_container_finds_the_model_where_azure_mounts_it(tmp_path: Path) -> None:
    from {{ cookiecutter.__package }}.serving.__main__ import _model_in

    mounted = tmp_path / "shop" / "1" / "model"
    mounted.mkdir(parents=True)
    assert _model_in(tmp_path) == tmp_path, "there is none: the loader says so"
    (mounted / "manifest.json").write_text("{}")
    assert _model_in(tmp_path) == _model_in(mounted) == mounted
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("{}")
    assert _model_in(tmp_path) == tmp_path, "of two, none is chosen"
