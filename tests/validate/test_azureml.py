"""Every file for Azure ML loads with Azure's own library and passes the project's own `azure check`, offline.

Each rule of `azure check` has files that break it. What is broken is one value of a good file, so a rule that finds
nothing any more is noticed, and so is a good file that changes its shape.
"""

import importlib
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from conftest import EVERY_PART, Bake, tree

# Pairwise: use case, serving, infrastructure, extras, engine. Each package has a name of its own: all can be imported.
BAKES = [
    ("porto-seguro", "both", "bicep", EVERY_PART, "cookiecutter"),
    ("german-credit", "batch", "terraform", "spark data-factory", "copier"),
    ("own", "online", "bicep", "none", "copier"),
    ("porto-seguro", "batch", "bicep", "none", "cookiecutter"),
    ("own", "both", "terraform", "spark kubernetes private-network", "copier"),
    ("german-credit", "online", "terraform", "kubernetes", "cookiecutter"),
]


def baked(bake: Bake, number: int) -> Path:
    """Return the folder of a project."""
    use_case, serving, iac, extras, engine = BAKES[number]
    return bake(engine, use_case=use_case, serving=serving, iac=iac, extras=extras, project_slug=f"checked-{number}")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Let nothing reach a network; give the attempts."""
    attempts: list[Any] = []

    def refuse(*words: Any, **more: Any) -> None:
        attempts.append(words)
        raise OSError("there is no network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    yield attempts
    assert attempts == []


def audit_of(project: Path) -> Any:
    """Import the audit of a project."""
    source = project / "src"
    if str(source) not in sys.path:
        sys.path.insert(0, str(source))
    return importlib.import_module(f"{next(source.glob('*/cli.py')).parent.name}.azure.audit")


@pytest.mark.parametrize("number", range(len(BAKES)))
def test_every_file_loads_and_fits(bake: Bake, offline: list[Any], number: int) -> None:
    project = baked(bake, number)
    audit = audit_of(project)
    files = {document.name for document in audit.read(project).documents}
    assert {f"azureml/components/{step}.yml" for step in ("ingest", "split", "train", "evaluate", "gate")} <= files
    assert audit.check(project) == []


def test_nothing_is_used_that_azure_has_given_up(bake: Bake) -> None:
    for number in range(len(BAKES)):
        project = baked(bake, number)
        audit_of(project)
        values = importlib.import_module(f"checked_{number}.azure.audit_values")
        for name, content in tree(project, "requirements").items():
            if not name.endswith(("audit_values.py", ".pyc")):
                assert list(values.given_up(content.decode("utf-8", "ignore"))) == [], name


@pytest.mark.parametrize(
    "line",
    [
        "from azureml.core import Workspace", "pip install azureml-core", "az extension add -n azure-cli-ml",
        "run = Run.get_context()", "az ml data import", "DatasetDriftDetected", "image: openmpi4.1.0-ubuntu20.04",
        "opencensus-ext-azure", "max_queue_wait_ms: 5", 'runtime_version: "3.2"', "FROM python:3.9-slim",
        "vm_size: Standard_NC6", "vm_size: Standard_NV12", "AciWebservice", "type: AzureMLExecutePipeline",
        "az ml model package", "creds: AZURE_CREDENTIALS", "issuer: https://vstoken.dev.azure.com",
        "from azureml_datadrift import DataDriftDetector", "azureml-datadrift==1.5", "mlflow run . -P alpha=1",
        "MLproject", "mlflow.projects.run(uri)", "sku: Essential", 'sku = "Essential"', "uses: azure/login@v1",
        "uses: Azure/login@v2.1.0",
    ],
)  # fmt: skip
def test_the_list_of_what_is_given_up_knows_it(bake: Bake, line: str) -> None:
    audit_of(baked(bake, 0))
    values = importlib.import_module("checked_0.azure.audit_values")
    assert [where for where, _ in values.given_up(f"# first\n{line}\n")] == ["line 2"]


# Who writes what no file for Azure ML writes: senders, the endpoint's collector, whoever knows outcomes.
OTHERS = ("inbox/", "workspaceblobstore/modelDataCollector/", "data/outcomes/")
STORE = re.compile(r"azureml://datastores/(\w+)/paths/(.*)")


def unwritten(audit: Any, project: Path) -> list[str]:
    """Return the places in data stores, and the outputs of jobs, that a file reads and nobody writes."""
    read, written, files = list[tuple[str, str]](), set[str](), audit.read(project)
    for document in files.documents:
        for where, _, value in audit.walk(document.content):
            if isinstance(value, str) and (found := STORE.fullmatch(value)):
                place = f"{found[1]}/{found[2]}"
                written.add(place) if where.startswith("outputs.") else read.append((document.name, place))
            elif isinstance(value, str) and value.startswith("azureml://jobs/"):
                read.append((document.name, value.partition("/outputs/")[2]))
    written |= set(next(d for d in files.documents if d.name.endswith("pipelines/train.yml")).content["outputs"])
    return [f"{file}: {place}" for file, place in read if place not in written and not place.startswith(OTHERS)]


@pytest.mark.parametrize("number", range(len(BAKES)))
def test_what_is_read_was_written_by_somebody(bake: Bake, number: int) -> None:
    project = baked(bake, number)
    audit = audit_of(project)
    assert unwritten(audit, project) == []
    stores = {one.content["name"] for one in audit.read(project).documents if one.kind == "azureBlob"}
    assert {place.partition("/")[0] for place in OTHERS} <= stores | {"workspaceblobstore"}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pipelines/monitor.yml", "workspaceblobstore/paths/modelDataCollector/", "data/paths/predictions/"),
        ("pipelines/monitor.yml", "outputs/decision", "outputs/decisions"),
        ("pipelines/monitor.yml", "mode: rw_mount, path: azureml://datastores/data/paths/window/", "mode: rw_mount"),
        ("pipelines/score.yml", "inbox/paths/", "workspaceblobstore/paths/to-score/"),
        ("schedules/drift.yml", "data/paths/window/", "data/paths/windows/"),
    ],
)
def test_what_nobody_writes_is_found(project: Path, file: str, old: str, new: str) -> None:
    path = project / "azureml" / file
    good = path.read_text("utf-8")
    assert old in good
    path.write_text(good.replace(old, new), "utf-8")
    try:
        assert unwritten(audit_of(project), project)
    finally:
        path.write_text(good, "utf-8")


@pytest.fixture(scope="module")
def project(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with every part, to be broken and mended again."""
    return shutil.copytree(baked(bake, 0), tmp_path_factory.mktemp("azureml") / "project")


class Broken(NamedTuple):
    """A value of a file that is changed, and the problem that this must give."""

    file: str
    place: str  # words with points between
    value: Any  # None takes the place out; a function gets the old value
    where: str
    said: str


def replaced(old: str, new: str) -> Callable[[str], str]:
    """Return a function that changes a text, and insists on it."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


TRAINING, TRAIN, SWEEP = "components/training.yml", "components/train.yml", "pipelines/sweep.yml"
JOB, PARALLEL = "pipelines/train.yml", "components/score_parallel.yml"
CRON, ZONE = "schedules/monitor.yml", "trigger.time_zone"
BROKEN = [
    # What Azure's library sees.
    Broken(JOB, "tpye", 1, "tpye", "Unknown field"),
    Broken(TRAIN, "inputs.data.type", "uri_foldr", "inputs.data", "uri_foldr"),
    Broken("environments/job.yml", "build.pth", ".", "build.pth", "Unknown field"),
    Broken("schedules/drift.yml", "create_monitor.monitoring_target.ml_task", "guessing", "", "cannot be loaded"),
    Broken("online/deployment.yml", "data_collector.collections.request.enabled", True, "data_collector", "not in set"),
    Broken(JOB, "$schema", "https://azuremlschemas.azureedge.net/latest/none.schema.json", "$schema", "no schema"),
    # Keys that it drops without a word.
    Broken(TRAIN, "tpye", 1, "tpye", "no such key"),
    Broken(TRAINING, "jobs.train.limit", 1, "jobs.train.limit", "no such key"),
    Broken(SWEEP, "jobs.sweep.objective.metric", "auc", "jobs.sweep.objective.metric", "no such key"),
    Broken(PARALLEL, "retry_settings.retries", 1, "retry_settings.retries", "no such key"),
    Broken("components/score_spark.yml", "entri", 1, "entri", "no such key"),
    # Steps, inputs, outputs.
    Broken(TRAINING, "jobs.train.inputs.dta", "x", "jobs.train.inputs.dta", "has no such input"),
    Broken(TRAINING, "jobs.train.inputs.parts", None, "jobs.train.inputs", "needs the input parts"),
    Broken(TRAINING, "jobs.gate.outputs.modle", "${{parent.outputs.model}}", "jobs.gate.outputs.modle", "no such out"),
    Broken(JOB, "jobs.training.inputs.row", "x", "jobs.training.inputs.row", "has no such input"),
    Broken(SWEEP, "jobs.sweep.search_space.leaves", {"type": "choice", "values": [1]}, "jobs.sweep.search_space.leaves",
           "has no such input"),
    Broken(TRAINING, "jobs.split.inputs.data", "${{parent.jobs.ingest.outputs.dta}}", "jobs.split.inputs.data",
           "the step ingest has no output dta"),
    Broken(TRAINING, "jobs.split.inputs.data", "${{parent.jobs.ingst.outputs.data}}", "jobs.split.inputs.data",
           "nothing called parent.jobs.ingst.outputs.data"),
    Broken(TRAINING, "jobs.ingest.inputs.raw", "${{parent.inputs.rwa}}", "jobs.ingest.inputs.raw", "parent.inputs.rwa"),
    Broken(JOB, "jobs.training.inputs.champion", "${{parent.inputs.champion}}", "jobs.training.inputs.champion",
           "nothing called parent.inputs.champion"),
    Broken(TRAINING, "jobs.gate.outputs.model", "${{parent.outputs.modle}}", "jobs.gate.outputs", "outputs.modle"),
    Broken(TRAINING, "jobs.gate.outputs.model", None, "outputs.model", "no step writes it"),
    Broken(TRAINING, "jobs.evaluate.inputs.champion", "${{parent.inputs.base}}", "jobs.evaluate.inputs.champion",
           "of type custom_model"),
    Broken(TRAINING, "jobs.ingest.inputs.base", "${{parent.jobs.gate.outputs.decision}}", "jobs.ingest", "in a circle"),
    Broken(TRAINING, "jobs.ingest.inputs.synthetic", "maybe", "jobs.ingest.inputs.synthetic", "none of yes, no"),
    Broken(TRAINING, "jobs.train.inputs.log_every", -1, "jobs.train.inputs.log_every", "not between"),
    # Command lines.
    Broken(TRAIN, "command", replaced("inputs.data", "inputs.dta"), "command", "inputs.dta is not declared"),
    Broken(TRAIN, "command", replaced("--log-every ${{inputs.log_every}}", ""), "inputs.log_every", "does not use it"),
    Broken(TRAIN, "command", replaced("--out ${{outputs.models}}", "--out /tmp"), "outputs.models", "does not use it"),
    Broken(TRAIN, "command", replaced("$[[--commit ${{inputs.commit}}]]", "--commit ${{inputs.commit}}"), "command",
           "optional input commit must stand in $[[ ]]"),
    Broken(TRAIN, "command", replaced("--data ${{inputs.data}}", "$[[--data ${{inputs.data}}]]"), "command",
           "but is not optional"),
    Broken(TRAIN, "command", replaced("--log-every", "--log-evry"), "command", "--log-evry"),
    Broken(TRAIN, "command", replaced("steps train", "steps trian"), "command", "no command trian"),
    Broken(TRAIN, "command", replaced(".azure.steps", ".azure.stps"), "command", "no command checked_0.azure.stps"),
    Broken(TRAIN, "command", replaced("python -m checked_0", "python -m other"), "command", "no module of checked_0"),
    Broken(TRAIN, "command", replaced("python -m", "sh -c"), "command", "must run a module"),
    Broken(TRAIN, "inputs.log_every.default", "often", "command", "valid integer"),
    Broken(TRAIN, "command", replaced("--data", "'--data"), "", "cannot be checked (options)"),
    Broken("components/gather.yml", "command", replaced("--refused", "--rejected"), "command", "--rejected"),
    Broken(PARALLEL, "task.program_arguments", replaced("--scores", "--score"), "task.program_arguments", "--score"),
    # Files and assets.
    Broken(TRAIN, "code", "../../nowhere", "code", "there is no ../../nowhere"),
    Broken(TRAIN, "environment", "file:../environments/jbo.yml", "environment", "no file ../environments/jbo.yml"),
    Broken(TRAIN, "environment", "azureml:checked-0-jbo:1", "environment", "no file defines the environment"),
    Broken(TRAIN, "environment", "azureml:checked-0-job@latest", "environment", "another asset tomorrow"),
    Broken(TRAIN, "environment", "azureml://registries/azureml/environments/sklearn-1.5/labels/latest", "environment",
           "another asset tomorrow"),
    Broken(JOB, "inputs.raw.path", "azureml:checked-0-data@latest", "inputs.raw.path", "another asset tomorrow"),
    Broken(JOB, "inputs.raw.path", "azureml:checked-0-data", "inputs.raw.path", "azureml:NAME:VERSION"),
    Broken(TRAINING, "jobs.train.component", "trian.yml", "jobs.train.component", "no trian.yml"),
    Broken(TRAINING, "jobs.train.component", "azureml:checked_0_trian:1", "jobs.train.component", "no file defines"),
    Broken(CRON, "create_job.job", "../pipelines/none.yml", "create_job.job", "no ../pipelines/none.yml"),
    Broken("environments/job.yml", "build.dockerfile_path", "Dockrfile", "build.dockerfile_path", "no Dockrfile"),
    Broken("environments/job.yml", "build.path", "../../nowhere", "build.path", "no ../../nowhere"),
    Broken(PARALLEL, "task.entry_script", "src/none.py", "entry_script", "no src/none.py"),
    Broken(PARALLEL, "task.entry_script", "noxfile.py", "entry_script", "left out of the code by .amlignore"),
    Broken("components/score_spark.yml", "entry.file", "src/none.py", "entry.file", "no src/none.py"),
    # Values.
    Broken(TRAIN, "compute", "azureml:cpu-cluster", "compute", "belongs into the pipeline"),
    Broken("environments/job.yml", "build", None, "image", "either image or build"),
    Broken("environments/job.yml", "", {
        "$schema": "https://azuremlschemas.azureedge.net/latest/environment.schema.json", "name": "job",
        "image": "cr.azurecr.io:443/job"}, "image", "another image tomorrow"),
    Broken(TRAIN, "is_deterministic", None, "is_deterministic", "same inputs"),
    Broken(TRAIN, "name", "checked-0-train", "name", "underscores"),
    Broken(JOB, "settings.continue_on_step_failre", False, "settings.continue_on_step_failre", "no such setting"),
    Broken(JOB, "settings.continue_on_step_failure", None, "settings.continue_on_step_failure", "must be false"),
    Broken(JOB, "settings.default_compute", None, "settings.default_compute", "needs one"),
    Broken("schedules/retrain.yml", "create_job.settings.reuse", True, "create_job.settings.reuse", "no such"),
    Broken("batch/training.yml", "settings.force_rernu", True, "settings.force_rernu", "no such setting"),
    Broken(JOB, "tags.purpose", None, "tags.purpose", "say what it is for"),
    Broken(CRON, "trigger.expression", "99 6 * * *", "trigger.expression", "99 is not in minutes"),
    Broken(CRON, "trigger.expression", "0 6 * *", "trigger.expression", "4 fields"),
    Broken(CRON, "trigger.expression", "0 6 1 * *", "trigger.expression", "days"),
    Broken(CRON, "trigger.expression", "0 6-4 * * *", "trigger.expression", "6-4 is not in hours"),
    Broken(CRON, ZONE, "Mars/Olympus", ZONE, "no time zone"),
    Broken("schedules/drift.yml", ZONE, "CET", ZONE, "no time zone"),
    Broken(CRON, ZONE, None, ZONE, "say which"),
    Broken("online/endpoint.yml", "traffic", {"blue": 60, "green": 20}, "traffic", "must make 0 or 100"),
    Broken("online/endpoint.yml", "traffic", {"blue": 100}, "traffic", "undo a release"),
    Broken("online/endpoint.yml", "mirror_traffic", {"green": 60}, "mirror_traffic", "at most 50 %"),
    Broken("online/endpoint.yml", "mirror_traffic", {"green": 9, "blue": 9}, "mirror_traffic", "to one deployment"),
    Broken(SWEEP, "jobs.sweep.early_termination.slack_amount", 0.1, "jobs.sweep.early_termination", "exactly one"),
    Broken(SWEEP, "jobs.sweep.early_termination.slack_factor", None, "jobs.sweep.early_termination", "exactly one"),
    Broken(SWEEP, "jobs.sweep.sampling_algorithm", "bayesian", "jobs.sweep.early_termination", "use random"),
    Broken(SWEEP, "jobs.sweep.inputs.log_every", None, "jobs.sweep.early_termination", "log_every"),
    Broken(SWEEP, "jobs.sweep.objective.primary_metric", "auc", "jobs.sweep.early_termination", "validation_loss"),
    Broken(SWEEP, "jobs.sweep.search_space.learning_rate", {"type": "loguniform", "min_value": 0.01, "max_value": 0.3},
           "jobs.sweep.search_space.learning_rate", "natural logarithms"),
    Broken(PARALLEL, "error_threshold", -1, "error_threshold", "failures are ignored"),
    Broken(PARALLEL, "mini_batch_error_threshold", None, "mini_batch_error_threshold", "failures are ignored"),
    Broken("batch/scoring.yml", "", {
        "$schema": "https://azuremlschemas.azureedge.net/latest/modelBatchDeployment.schema.json", "name": "v1",
        "endpoint_name": "scoring", "type": "model", "model": "azureml:checked-0:1", "compute": "azureml:cpu-cluster",
        "settings": {"mini_batch_size": 4}}, "settings.error_threshold", "failures are ignored"),
    Broken(JOB, "description", "It uses azureml-core.", "line", "no longer used; use azure-ai-ml"),
]  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: f"{Path(b.file).stem}-{b.place or 'all'}-{b.said or b.where}")
def test_what_is_broken_is_found(project: Path, offline: list[Any], broken: Broken) -> None:
    path = project / "azureml" / broken.file
    good = path.read_text("utf-8")
    *parents, last = broken.place.split(".")
    content = place = yaml.safe_load(good)
    for key in parents:
        place = place[key]
    if not broken.place:
        content = broken.value
    elif broken.value is None:
        del place[last]
    else:
        place[last] = broken.value(place[last]) if callable(broken.value) else broken.value
    path.write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    name = f"azureml/{broken.file}"
    try:
        found = audit_of(project).check(project, {name})
    finally:
        path.write_text(good, "utf-8")
    here = [p for p in found if p.file == name and p.where.startswith(broken.where) and broken.said in p.what]
    assert here, found
    assert all(p.what.strip() for p in found)


def test_all_rules_are_broken_once(project: Path) -> None:
    """A new rule needs a file that breaks it."""
    audit_of(project)
    modules = [importlib.import_module(f"checked_0.azure.audit_{name}") for name in ("wiring", "files", "values")]
    rules = {rule.__name__ for m in modules for rule in getattr(m, m.__name__.rpartition("_")[2].upper())}
    assert rules == {
        "known_inputs", "bindings", "order", "command", "options", "files_there", "references", "components",
        "pipeline_settings", "purposes", "schedules", "traffic", "environments", "known_keys", "sweeps",
        "errors_hidden", "deprecated", "literals",
    }  # fmt: skip


def test_a_file_that_is_no_yaml_is_told_with_its_name(project: Path) -> None:
    path = project / "azureml" / "pipelines" / "broken.yml"
    path.write_text("a: [", "utf-8")
    try:
        found = audit_of(project).check(project, {"azureml/pipelines/broken.yml"})
    finally:
        path.unlink()
    assert [problem.file for problem in found] == ["azureml/pipelines/broken.yml"]


def test_without_the_library_the_command_says_how_to_install_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.ai.ml.entities", None)
    with pytest.raises(Exception, match=r"pip install -r requirements/azure\.txt"):
        audit_of(project).check(project)
