"""The commands for Azure over a stand-in for `az`: what is asked of it, what its failures come to, what is refused."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from azure_stand_in import EXPIRED, FORBIDDEN, NETWORK, THROTTLED, Cloud, Refused, install, load, parsed
from conftest import ROOT, Command, decoded, new_project, table

from {{ cookiecutter.__package }}.azure import az as az_module
from {{ cookiecutter.__package }}.azure.az import Az, Conflict, Forbidden, NotFound, NoWorkspace, process, safe
from {{ cookiecutter.__package }}.azure.cloud_registry import CloudRegistry
from {{ cookiecutter.__package }}.azure.endpoint_tags import CHUNKS, LENGTH, Kept, pack, unpack
from {{ cookiecutter.__package }}.azure.environments import Environment, differences, load_all
from {{ cookiecutter.__package }}.azure.environments import load as load_environment
from {{ cookiecutter.__package }}.azure.jobs import UNDER_WAY, Jobs
from {{ cookiecutter.__package }}.errors import DataError, Fault, ProjectError, UsageError
from {{ cookiecutter.__package }}.gate import Decision
from {{ cookiecutter.__package }}.pipeline import Project

SHOW = ("account", "show")
DIGEST = "d" * 64


class Told:
    """A command line of Azure that notes how long it was told to wait, and what it shows."""

    def __init__(self, cloud: Cloud, dry: bool = False) -> None:
        self.waited, self.shown = list[float](), list[str]()
        self.az = Az(dry, cloud, self.waited.append, self.shown.append)


@pytest.fixture
def cloud() -> Cloud:
    """Azure, with nothing in it."""
    return Cloud()


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a data version, and nothing else; look, but change nothing."""
    root = new_project(tmp_path_factory.mktemp("azure") / "project")
    for folder in ("azureml", "events", "infra", "src"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    if (ROOT / "Dockerfile").exists():
        shutil.copy(ROOT / "Dockerfile", root)
    here = Project(root)
    here.store.add(table(root, 300, 1, root / "rows.csv"), here.contract)
    return root


@pytest.fixture
def jobs(rows: Path, cloud: Cloud) -> Jobs:
    return Jobs(Told(cloud).az, load_environment(rows, "dev"), Project(rows), lambda seconds: None)


@pytest.fixture
def registry(rows: Path, cloud: Cloud) -> CloudRegistry:
    return CloudRegistry(Told(cloud).az, load_environment(rows, "dev"), Project(rows).settings.name)


# One place that calls az


def test_commands_are_shown_as_they_can_be_typed_and_answers_are_values(cloud: Cloud) -> None:
    told = Told(cloud)
    assert told.az.read(*SHOW)["user"]["name"] == "somebody@example.com"
    assert told.az.find("ml", "job", "show", "--name", "a b", "--resource-group", "rg", "--workspace-name", "w") is None
    assert told.shown[1] == "az ml job show --name 'a b' --resource-group rg --workspace-name w"
    assert cloud.commands[0] == "account show -o json", "whatever the environment says of the output"


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (THROTTLED, [7.0, 7.0]),
        ("ERROR: (429) Too many requests", [2.0, 4.0]),
        (NETWORK, [2.0, 4.0]),
        ("ERROR: (ServiceUnavailable) try again", [2.0, 4.0]),
    ],
)
def test_what_passes_by_itself_is_waited_out(cloud: Cloud, error: str, waits: list[float]) -> None:
    cloud.fail("account", error, times=2)
    told = Told(cloud)
    assert told.az.read(*SHOW)
    assert told.waited == waits


@pytest.mark.parametrize(
    ("error", "kind", "said", "tries"),
    [
        (THROTTLED, Fault, "come back later", 6),
        (NETWORK, Fault, "cannot be reached", 6),
        (EXPIRED, UsageError, "az login", 1),
        (f"{EXPIRED} after: Max retries exceeded", UsageError, "az login", 1),
        (FORBIDDEN, Forbidden, "may not do that", 1),
        ("ERROR: Operation returned an invalid status 'Forbidden'", Forbidden, "may not do that", 1),
        ("ERROR: (ResourceNotFound) The Resource 'M/workspaces/w/onlineEndpoints/e' under resource group 'r' was not found.",
         NotFound, "does not find", 1),
        ("ERROR: (ResourceNotFound) The Resource 'M/workspaces/w' under resource group 'r' was not found.",
         NoWorkspace, "azure infra up", 1),
        ("ERROR: (ResourceGroupNotFound) Resource group 'rg' could not be found.", NoWorkspace, "azure infra up", 1),
        ("ERROR: (Conflict) already exists", Conflict, "exists or changes", 1),
        ("ERROR: 'ml' is misspelled or not recognized by the system.", UsageError, "az upgrade", 1),
        ("ERROR: something else", Fault, "something else", 1),
        ("", Fault, "no reason", 1),
    ],
)  # fmt: skip
def test_each_error_is_a_sentence_of_the_right_kind(
    cloud: Cloud, error: str, kind: type[ProjectError], said: str, tries: int
) -> None:
    cloud.fail("account", error, times=99)
    with pytest.raises(ProjectError, match=said) as raised:
        Told(cloud).az.read(*SHOW)
    assert type(raised.value) is kind
    assert len(cloud.commands) == tries


def test_only_what_does_not_exist_is_taken_for_nothing(cloud: Cloud) -> None:
    for error in (EXPIRED, FORBIDDEN, "ERROR: (ResourceGroupNotFound) Resource group 'rg' could not be found."):
        cloud.fail("account", error)
        with pytest.raises(UsageError):
            Told(cloud).az.find(*SHOW)


def test_no_secret_is_told(cloud: Cloud) -> None:
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"  # pragma: allowlist secret
    for secret in (
        f"Bearer {token}",
        f"token {token}",
        "AccountKey=abc123==;",
        "https://x?sv=1&sig=abc%2B",
        "password=abc123",
    ):
        assert "abc" not in safe(secret)
        assert "eyJ" not in safe(secret)
    cloud.fail("account", f"ERROR: failed with Authorization: Bearer {token}")
    told = Told(cloud)
    with pytest.raises(Fault) as raised:
        told.az.read(*SHOW)
    assert "eyJ" not in str(raised.value)


def test_a_missing_extension_and_a_missing_az_are_told_with_what_to_install(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.fail("ml", "ERROR: 'ml' is misspelled or not recognized by the system.")
    with pytest.raises(UsageError, match="az extension add --upgrade --name ml"):
        Told(cloud).az.read("ml", "job", "show", "--name", "x", "--resource-group", "r", "--workspace-name", "w")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="pip install azure-cli"):
        process(["account", "show"], 5)


def test_a_command_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / ("az.cmd" if os.name == "nt" else "az")
    body = f'"{sys.executable}" -c "import time; time.sleep(60)"\n'
    script.write_text(f"@{body}" if os.name == "nt" else f"#!/bin/sh\nexec {body}", "utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Fault, match=r"not finished after 0 s: az ml job show"):
        process(["ml", "job", "show", "--name", "x"], 0.3)


def test_nothing_is_run_where_commands_are_only_shown(cloud: Cloud) -> None:
    told = Told(cloud, dry=True)
    assert told.az.find(*SHOW) is None
    assert told.az.read(*SHOW, assume={"id": "x"}) == {"id": "x"}
    told.az.write("group", "create")
    with pytest.raises(az_module.Dry):
        told.az.read(*SHOW)
    assert (len(told.shown), cloud.commands) == (4, [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("ml job show --name x --resource-group r --workspace-name w --follow", "unrecognized arguments: --follow"),
        ("ml job show --name x --resource-group r", "required: --workspace-name"),
        ("ml job show --name --resource-group r --workspace-name w", "--name: expected at least one"),
        ("ml endpoint show --name x", "misspelled"),
        ("ml job show x --name x", "unrecognized arguments: x"),
        ("acr build --registry r --image i --build-arg A=1 B=2 .", "unrecognized arguments: ."),
    ],
)
def test_the_stand_in_refuses_what_az_refuses(words: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        parsed(words.split())


# Environments


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("storage_account", "St-dev", "3 to 24 small letters"),
        ("storage_account", "s" * 25, "3 to 24 small letters"),
        ("key_vault", "kv--dev", "single hyphens"),
        ("key_vault", "1kv", "single hyphens"),
        ("container_registry", "cr-dev", "letters and digits"),
        ("endpoint", "e" * 27, "3 to 26"),
        ("endpoint", "an_endpoint", "3 to 26"),
        ("workspace", "w", "3 to 33"),
        ("name", "stage", "Invalid enum value"),
        ("name", "prod", "its name is prod"),
        ("budget", 0, "budget"),
        ("sizes", {}, "unknown field `sizes`"),
        ("compute", {"name": "cpu", "vm_size": "x", "priority": "Cheap", "max_nodes": 1}, "priority"),
        ("compute", {"name": "c", "vm_size": "x", "priority": "Dedicated", "max_nodes": 1}, "3 to 32"),
        ("tags", {"a/b": "c"}, "tag a/b"),
        ("tags", {"a": "c" * 257}, "tag a"),
        ("online", {"instance_type": "x", "instances": 3, "max_instances": 2}, "more than"),
        ("retention_days", "long", "retention_days"),
        ("location", "West Europe", "such as westeurope"),
        ("notify", "the team", "an e-mail address"),
        ("health_url", "http://shop.example.com/health", "begins with https"),
        ("compute", {"name": "cpu", "vm_size": "D4as", "priority": "Dedicated", "max_nodes": 1}, "a size of machine"),
        ("online", {"instance_type": "DS3 v2", "instances": 1, "max_instances": 2}, "a size of machine"),
        ("groups", {"operator": "our operators"}, "groups is 'our operators', but must be an object id"),
    ],
)
def test_an_environment_that_azure_would_refuse_is_refused(project: Path, key: str, value: object, said: str) -> None:
    path = project / "conf" / "environments" / "dev.yaml"
    given = yaml.safe_load(path.read_text("utf-8"))
    path.write_text(yaml.safe_dump(given | {key: value}), "utf-8")
    with pytest.raises(UsageError, match=said):
        load_environment(project, "dev")


def test_environments_do_not_share_what_only_one_can_have(project: Path) -> None:
    assert [one.name for one in load_all(project)] == ["dev", "test", "prod"]
    path = project / "conf" / "environments" / "test.yaml"
    good = yaml.safe_load(path.read_text("utf-8"))
    dev = yaml.safe_load((path.parent / "dev.yaml").read_text("utf-8"))
    for changed, said in (
        ({"storage_account": dev["storage_account"]}, "the same storage_account"),
        ({"registry": "mlr-other"}, "must be the same for all"),
    ):
        path.write_text(yaml.safe_dump(good | changed), "utf-8")
        with pytest.raises(UsageError, match=said):
            load_all(project)
    path.unlink()
    with pytest.raises(UsageError, match="no environment test"):
        load_all(project)


def test_what_differs_between_environments_is_listed_and_names_are_not(rows: Path) -> None:
    found = {row[0]: row[1:] for row in differences(load_all(rows))}
    assert found["compute.priority"] == ("LowPriority", "LowPriority", "Dedicated")
    assert "approvals" in found
    assert not {"workspace", "storage_account", "location", "identities.jobs"} & found.keys()


# What an endpoint remembers


def test_tags_hold_a_state_within_azures_limits() -> None:
    history = [f"2026-11-25T10:{n:02d}:00.000+00:00 a sentence {n * 7919} of what was done" for n in range(60)]
    kept = Kept(deployments={"blue": 1, "green": 2}, release={"version": 2, "history": history}, serial=7)
    tags = pack(kept)
    assert unpack(tags | {"state99": "of a longer one before"}) == kept
    assert all(len(text) <= 256 for text in tags.values())
    endless = pack(Kept(release={"history": [os.urandom(100).hex() for _ in range(2000)]}))
    assert len(endless) <= CHUNKS + 1
    found = unpack(endless)
    assert found
    assert found.release
    assert len(found.release["history"]) > 10, "the newest part is kept"
    with pytest.raises(Fault, match="needs"):
        pack(Kept(release={"words": os.urandom(CHUNKS * LENGTH).hex()}))
    assert unpack({"owner": "us"}) is None
    for wrong in ({"state0": "x"}, {"state": "9"}, {"state": "x"}):
        with pytest.raises(Fault, match="were changed"):
            unpack(tags | wrong)


# Versions


def tags(**more: str) -> dict[str, str]:
    return {"line": "one", "digest": DIGEST, "reason": "better"} | more


def finished(cloud: Cloud, *names: str) -> None:
    for name in names:
        cloud.state["jobs"][name] = {"name": name, "statuses": ["Completed"]}


def test_the_same_job_gives_the_same_version_and_numbers_go_on_from_all_that_are_known(
    cloud: Cloud, registry: CloudRegistry
) -> None:
    finished(cloud, "a", "b", "c")
    first = registry.register("a", "azureml://jobs/a/outputs/model", tags(reason="x" * 300))
    assert (first.version, first.run, first.line, first.digest) == (1, "a", "one", DIGEST)
    assert registry.register("a", "azureml://jobs/a/outputs/model", tags()).version == 1
    cloud.state["shared"]["7"] = {"name": "x", "version": "7", "tags": tags(run="elsewhere")}
    cloud.state["models"]["by hand"] = {"name": "x", "version": "by hand", "tags": {}}
    again = CloudRegistry(registry._az, registry._environment, registry._name)
    assert again.register("b", "azureml://jobs/b/outputs/model", tags()).version == 8
    assert [version.version for version in again.versions()] == [1, 7, 8]
    assert (again.reference(8).split(":")[0], again.reference(7).split("/")[2]) == ("azureml", "registries")
    with pytest.raises(UsageError, match=r"no model version 5 in dev; known: 1, 7, 8"):
        again.get(5)
    cloud.fail("ml model create", "ERROR: (UserError) A model with this name and version already exists.")
    assert again.register("c", "azureml://jobs/c/outputs/model", tags()).version == 9


def test_a_version_is_shared_once_and_is_one_model_everywhere(
    cloud: Cloud, registry: CloudRegistry, rows: Path
) -> None:
    finished(cloud, "a")
    registry.register("a", "azureml://jobs/a/outputs/model", tags())
    with pytest.raises(UsageError, match="azure infra registry"):
        registry.share(1)
    cloud.state["registries"][load_environment(rows, "prod").registry] = {}
    with pytest.raises(UsageError, match="First: azure register a; then again"):
        registry.share(1)
    assert not cloud.state["shared"], "a shared version has what the gate decided"
    cloud.state["data"][f"{registry._name}-decision:1"] = {"name": "x", "version": "1"}
    cloud.fail("ml model share", NETWORK, times=9)
    with pytest.raises(Fault):
        registry.share(1)
    cloud.state["faults"] = []
    assert registry.share(1)
    assert not registry.share(1)
    assert list(cloud.state["shared_data"]) == [f"{registry._name}-decision:1"]
    prod = CloudRegistry(registry._az, load_environment(rows, "prod"), registry._name)
    cloud.state["models"] = {}
    assert "registries/mlr-" in prod.reference(1)
    with pytest.raises(UsageError, match="has no version 1"):
        prod.share(1)
    cloud.state["models"]["1"] = {"name": "x", "version": "1", "tags": tags(run="a", digest="e" * 64)}
    with pytest.raises(Fault, match="is one model in"):
        CloudRegistry(registry._az, load_environment(rows, "dev"), registry._name).versions()


def test_who_may_not_use_the_shared_registry_is_told_who_lets_them_in(cloud: Cloud, registry: CloudRegistry) -> None:
    finished(cloud, "a")
    registry.register("a", "azureml://jobs/a/outputs/model", tags())
    cloud.state["data"][f"{registry._name}-decision:1"] = {"name": "x", "version": "1"}
    for command in ("ml model list", "ml data share", "ml model share"):
        cloud.state |= {"registries": {registry._environment.registry: {}}, "faults": []}
        cloud.fail(command, FORBIDDEN)
        if command == "ml model list":
            registry._known = None
            with pytest.raises(UsageError, match=r"An Owner of it .*azure infra registry --env dev"):
                registry.versions()
        else:
            with pytest.raises(UsageError, match=r"An Owner of it .*azure infra registry --env dev"):
                registry.share(1)


def test_a_batch_endpoint_knows_its_champions(cloud: Cloud, rows: Path) -> None:
    environment = msgspec.structs.replace(load_environment(rows, "dev"), online=None)
    cloud.state["models"] = {
        str(n): {"name": "x", "version": str(n), "tags": tags(run=f"j{n}", line="two" if n == 3 else "one")}
        for n in (1, 2, 3)
    }
    registry = CloudRegistry(Told(cloud).az, environment, "x")
    with pytest.raises(UsageError, match="First: azure publish; then: azure promote 1"):
        registry.promote(1)
    cloud.state["batch"][environment.batch_endpoint] = {"name": environment.batch_endpoint, "tags": {}}
    assert registry.champion() is None
    for number in (1, 2, 2):
        registry.promote(number)
    champion = registry.champion()
    assert champion
    assert (champion.version, registry.history()) == (2, [1, 2])
    assert registry.rollback() == (2, 1)
    with pytest.raises(UsageError, match="no previous champion"):
        registry.rollback()
    registry.promote(3)
    with pytest.raises(UsageError, match="another question"):
        registry.previous()
    for _ in range(150):
        registry.promote(1)
        registry.promote(2)
    assert registry.history()[-3:] == [2, 1, 2]


# Jobs


def test_a_data_version_becomes_an_asset_once(cloud: Cloud, jobs: Jobs, rows: Path) -> None:
    version = Project(rows).store.latest().version
    name, new = jobs.add_data(None)
    assert (name.split(":")[2], new) == (version, True)
    assert jobs.add_data(version) == (name, False)
    cloud.state["data"].clear()
    cloud.fail("ml data create", "ERROR: (UserError) The data asset already exists.")
    assert jobs.add_data(None)[1] is False
    with pytest.raises(UsageError, match="no data version"):
        jobs.add_data("nothing")


def test_a_machine_without_data_takes_the_newest_asset(
    cloud: Cloud, jobs: Jobs, rows: Path, project: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = jobs.data(None)
    elsewhere = Jobs(jobs._az, jobs._environment, Project(project), jobs._pause)
    assert elsewhere.data(None) == there
    old = next(iter(cloud.state["data"].values()))
    when = {"created_at": "2026-02-01T00:00:00+00:00"}
    cloud.state["data"]["newer"] = old | {"version": "2", "creation_context": when}
    assert elsewhere.data(None) == f"azureml:{jobs.name}-data:2"
    assert jobs.data(None) == there, "what is here goes first"
    cloud.state["data"].clear()
    with pytest.raises(UsageError, match="ingest FILE, then azure data --env dev"):
        elsewhere.data(None)
    cloud.state["data"][there.removeprefix("azureml:")] = old
    monkeypatch.setattr(az_module, "process", cloud)
    for folder in ("azureml", "infra"):
        shutil.copytree(ROOT / folder, project / folder)
    cloud.state["batch"][jobs._environment.training_endpoint] = {}
    for words in ("plan", "schedule", "retrain"):
        code, said = command(project, "azure", words)
        assert code == 0, said


def test_a_job_is_told_its_data_its_champion_and_its_purpose(cloud: Cloud, jobs: Jobs) -> None:
    class Known:
        def champion(self) -> Any:
            return None

        def versions(self) -> list[Any]:
            return []

    raw, _ = jobs.add_data(None)
    spec = cloud.state["jobs"][jobs.submit(jobs.inputs(raw, Known()), "exploration")]["spec"]  # type: ignore[arg-type]
    assert spec["inputs"]["raw"]["path"] == raw
    assert "champion" not in spec["inputs"]
    assert (spec["tags"]["purpose"], spec["tags"]["data_version"]) == ("exploration", raw.split(":")[2])
    assert spec["tags"]["commit"]
    assert spec["settings"]["default_compute"] == "azureml:cpu-cluster"
    inputs = {"raw": {"type": "uri_folder", "path": raw}, "commit": "abc", "champion_digest": DIGEST}
    inputs["champion"] = {"type": "custom_model", "path": "azureml:shop:3"}
    spec = cloud.state["jobs"][jobs.submit(inputs, "retraining")]["spec"]
    assert spec["inputs"]["champion"] == inputs["champion"]
    step = spec["jobs"]["training"]["inputs"]
    assert step["champion"] == "$" + "{" * 2 + "parent.inputs.champion" + "}" * 2
    assert step.keys() >= {"raw", "champion_digest", "commit"}


def test_a_connection_that_breaks_does_not_start_a_second_job(cloud: Cloud, jobs: Jobs) -> None:
    raw, _ = jobs.add_data(None)
    inputs = {"raw": {"type": "uri_folder", "path": raw}, "commit": "abc"}
    there = cloud._ml_job_create

    def arrives_and_breaks(one: Any, options: Any) -> Any:
        there(one, options)
        cloud._ml_job_create = there  # type: ignore[method-assign]
        raise Refused(NETWORK)

    cloud._ml_job_create = arrives_and_breaks  # type: ignore[method-assign]
    assert jobs.submit(inputs, "retraining") in cloud.state["jobs"]
    assert len(cloud.state["jobs"]) == 1


def waits(cloud: Cloud, jobs: Jobs, statuses: list[str | None], **more: Any) -> list[str]:
    cloud.state["jobs"]["a"] = {"name": "a", "statuses": statuses} | more
    said: list[str] = []
    jobs.wait("a", 0.02 if statuses[-1] in UNDER_WAY else 60, said.append)
    return said


def test_every_status_is_waited_through_until_it_is_completed(cloud: Cloud, jobs: Jobs) -> None:
    assert waits(cloud, jobs, [*UNDER_WAY, "Running", None, "Completed"]) == [
        f"a: {status}" for status in (*UNDER_WAY, "Running")
    ]
    for status in UNDER_WAY:
        with pytest.raises(Fault, match=f"still {status}; go on with: azure wait a"):
            waits(cloud, jobs, [status])


@pytest.mark.parametrize(
    ("statuses", "kind", "said"),
    [
        (["Running", "Canceled"], DataError, "not completed: Canceled"),
        (["Failed"], DataError, "Failed. These steps: training. These steps: evaluate"),
        (["Running", "Succeeded"], Fault, "'Succeeded', of which nothing is known"),
        (["completed"], Fault, "'completed', of which nothing is known"),
        ([None], Fault, "tells no status"),
        ([""], Fault, "tells no status"),
    ],
)
def test_nothing_but_completed_is_success(
    cloud: Cloud, jobs: Jobs, statuses: list[str | None], kind: type[ProjectError], said: str
) -> None:
    inner = [
        {"name": "s1", "display_name": "train", "status": "Completed"},
        {"name": "s2", "display_name": "evaluate", "status": "Failed"},
    ]
    cloud.state["jobs"]["p"] = {"name": "p", "statuses": ["Failed"], "steps": inner}
    steps = [{"name": "p", "display_name": "training", "status": "Failed", "type": "pipeline"}]
    with pytest.raises(kind, match=said):
        waits(cloud, jobs, statuses, steps=steps if "Failed" in statuses else [])


def judged(cloud: Cloud, name: str, decision: str = "passed", against: str | None = None) -> None:
    """A job that has completed, and what it left."""
    finished(cloud, name)
    empty: dict[str, Any] = {field: {} for field in ("differences", "intervals")}
    told = Decision(decision=decision, candidate="model", metric="auc", reasons=["it is better"], checks=[], **empty)
    files = {"decision.json": msgspec.json.encode(told).decode(), "report.html": "x"}
    if decision == "passed":
        about = {"run": "step", "line": "one", "digest": DIGEST, "judged_against": against}
        files["version.json"] = json.dumps(about | {"tags": {"data_version": "d", "run": "step", "folder": "model"}})
    cloud.state["outputs"][f"{name}/decision"] = files


def test_only_what_passed_is_registered_and_the_same_job_once(
    cloud: Cloud, jobs: Jobs, registry: CloudRegistry
) -> None:
    judged(cloud, "good")
    judged(cloud, "bad", "kept_champion")
    made, decision = jobs.register("good", registry)
    assert made
    assert (made.version, made.run, made.digest, decision.reasons) == (1, "good", DIGEST, ["it is better"])
    assert made.tags["data_version"] == "d"
    assert cloud.state["models"]["1"]["path"] == "azureml://jobs/good/outputs/model"
    asset = f"{jobs.name}-decision:1"
    assert Path(cloud.state["data"][asset]["path"]).name == "decision", "the folder that was downloaded"
    again, _ = jobs.register("good", registry)
    assert again == made
    del cloud.state["data"][asset]  # as where the connection broke between the two
    assert jobs.register("good", registry)[0] == made
    assert asset in cloud.state["data"]
    assert jobs.register("bad", registry)[0] is None
    assert list(cloud.state["models"]) == ["1"]
    judged(cloud, "try")
    cloud.state["jobs"]["try"]["spec"] = {"tags": {"purpose": "exploration"}}
    with pytest.raises(UsageError, match="try is an exploration, which is never registered"):
        jobs.register("try", registry)
    cloud.state["jobs"]["early"] = {"name": "early", "statuses": ["Running"]}
    with pytest.raises(UsageError, match="is Running, not Completed: azure wait early"):
        jobs.register("early", registry)
    judged(cloud, "stale", against="e" * 64)
    with pytest.raises(UsageError, match="champion has changed"):
        jobs.register("stale", registry)
    judged(cloud, "broken")
    cloud.state["outputs"]["broken/decision"] = {"report.html": "x"}
    with pytest.raises(DataError, match=r"no decision\.json"):
        jobs.register("broken", registry)


def test_a_retraining_is_called_with_data_and_champion(cloud: Cloud, jobs: Jobs) -> None:
    raw, _ = jobs.add_data(None)
    inputs = {"raw": {"type": "uri_folder", "path": raw}, "commit": "5e12"}
    with pytest.raises(NotFound):
        jobs.retrain(inputs)
    cloud.state["batch"][jobs._environment.training_endpoint] = {}
    spec = cloud.state["jobs"][jobs.retrain(inputs)]["spec"]
    assert spec["inputs"] == {"raw": inputs["raw"], "commit": {"type": "string", "default": "5e12"}}


# As a user types them


@pytest.fixture
def typed(
    rows: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, command: Command
) -> Callable[..., tuple[int, str]]:
    """Run a command of `azure` as a user types it, over the stand-in."""
    monkeypatch.setattr(az_module, "process", cloud)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return lambda *words: command(rows, "azure", *words)


def test_az_is_found_on_the_path_and_its_end_is_believed(
    rows: Path, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    state = tmp_path / "azure.json"
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("AZ_STAND_IN", str(state))
    monkeypatch.setenv("AZURE_CORE_OUTPUT", "none")  # as CI sets it, so that nothing lands in logs
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    cloud.state["jobs"]["a"] = {"name": "a", "statuses": ["Running", "Canceled"]}
    cloud.fail("ml data show", THROTTLED)
    cloud.crash_at = 0
    install(tmp_path / "bin", state, cloud)
    code, said = command(rows, "azure", "data")
    assert (code, "gave no reason" in said) == (3, True), "the process died before it had written anything"
    assert command(rows, "azure", "data")[0] == 0
    assert len(load(state).state["data"]) == 1
    code, said = command(rows, "azure", "wait", "a", "--json")
    assert (code, "Canceled" in decoded(said)["error"]) == (1, True)
    assert all(line.endswith("-o json") for line in load(state).commands)


def test_the_way_from_rows_to_a_shared_version(typed: Callable[..., tuple[int, str]], cloud: Cloud, rows: Path) -> None:
    assert typed("publish")[0] == 0
    code, said = typed("submit", "--wait")
    assert code == 0, said
    assert "az ml job create" in said
    (job,) = cloud.state["jobs"]
    judged(cloud, job)
    code, said = typed("register", job, "--json")
    told = decoded(said)
    assert (code, told["model_version"], told["decision"]) == (0, 1, "passed")
    assert typed("share", 1)[0] == 2, "there is no registry yet"
    cloud.state["groups"] = [load_environment(rows, "prod").resource_group]
    assert typed("infra", "registry", "--env", "prod")[0] == 0
    assert typed("share", 1)[0] == 0
    found = decoded(typed("models", "--json", "--env", "prod")[1])
    assert [v["version"] for v in found["versions"]] == [1]
    assert [key.rpartition("-")[2] for key in cloud.state["shared_data"]] == ["decision:1"]
    assert typed("plan")[0] == 0
    told = json.loads(cloud.state["blobs"]["functions/retrain.json"])["inputs"]
    assert told["raw"]["Uri"].endswith(f"-data/versions/{next(iter(cloud.state['data'].values()))['version']}")
    code, said = typed("tracking")
    assert (code, "export MLFLOW_TRACKING_URI=azureml://" in said) == (0, True)


def test_what_runs_without_a_person_is_published_and_called(
    typed: Callable[..., tuple[int, str]], cloud: Cloud, rows: Path
) -> None:
    environment = load_environment(rows, "dev")
    for _ in range(2):  # again does no harm
        code, said = typed("publish")
        assert code == 0, said
    assert set(cloud.state["batch"]) == {environment.training_endpoint, environment.batch_endpoint}
    assert typed("retrain")[0] == 0
    assert [job["spec"]["inputs"]["raw"]["type"] for job in cloud.state["jobs"].values()] == ["uri_folder"]
    code, said = typed("schedule", "--json")
    assert (code, decoded(said)["schedules"]) == (0, ["retrain"]), said


def test_exit_codes_say_whose_turn_it_is(typed: Callable[..., tuple[int, str]], cloud: Cloud) -> None:
    for statuses, code, text in (
        (["Running", "Canceled"], 1, "Canceled"),
        (["Running", "Failed"], 1, "Failed"),
        (["Finished"], 3, "nothing is known"),
        (["Completed"], 0, "has completed"),
    ):
        cloud.state["jobs"]["a"] = {"name": "a", "statuses": statuses}
        found = typed("wait", "a")
        assert (found[0], text in found[1]) == (code, True), found
    cloud.fail("ml job show", EXPIRED)
    found = typed("wait", "a", "--json")
    assert (found[0], "az login" in found[1]) == (2, True)
    cloud.fail("ml job show", THROTTLED, times=2)
    assert typed("wait", "a")[0] == 0


def test_names_that_somebody_else_has_are_told(
    typed: Callable[..., tuple[int, str]], cloud: Cloud, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("{{ cookiecutter.__package }}.azure.audit.check", lambda root: [])
    cloud.state["taken"] = [load_environment(rows, "test").storage_account]
    code, said = typed("check", "--names", "--json", "--env", "test")
    assert (code, [one["name"] for one in decoded(said)["taken"]]) == (0, cloud.state["taken"])
    assert decoded(typed("check", "--names", "--json")[1])["taken"] == [], "dev's names are free"


WORDS = [
    "data", "submit", "submit --wait", "wait JOB", "register JOB", "models", "share 3", "promote 3", "rollback", "retrain", "plan",
    "publish", "schedule",
    "tracking", "infra plan", "infra up", "infra registry", "infra down --yes dev",
    *(
        ["deploy 3", "image", "predictions", "release start 3", "release step", "release status", "release abort"]
        if find_spec("{{ cookiecutter.__package }}.azure.online")
        else []
    ),
]  # fmt: skip


@pytest.mark.parametrize("words", WORDS)
def test_each_command_can_be_looked_at_first(
    rows: Path, command: Command, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    monkeypatch.setenv("PATH", "")  # there is no az to run
    code, said = command(rows, "azure", *words.split(), "--dry-run")
    shown = [line for line in said.splitlines() if line.startswith(("az ", "terraform "))]
    assert shown, said
    assert not any(text in said for text in ("Published", "was removed", "Version 3", "was made")), "nothing was done"
    nothing_there = code == 2 and any(text in said for text in ("Nothing is served", "No release"))
    assert nothing_there or (code, "Nothing was run." in said) == (0, True), said
    for line in shown:
        if line.startswith("az "):
            parsed(shlex.split(line)[1:])


def test_the_environment_may_come_from_a_variable(
    rows: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    prod: Environment = load_environment(rows, "prod")
    monkeypatch.setenv("TARGET_ENVIRONMENT", "prod")
    assert prod.workspace in command(rows, "azure", "data", "--dry-run")[1]
    assert load_environment(rows, "dev").workspace in command(rows, "azure", "data", "--dry-run", "--env", "dev")[1]
    assert command(rows, "azure", "data", "--env", "stage")[0] == 2
    assert "compute.priority" in command(rows, "azure", "environments")[1]
