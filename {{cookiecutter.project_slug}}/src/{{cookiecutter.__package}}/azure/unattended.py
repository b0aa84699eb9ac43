"""What runs without a person: data stores, batch endpoints, functions, schedules; made, or brought up to date."""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..registry import Version
from ..table import replacing
from . import functions
from .az import Az
from .environments import Environment
from .fill import filled
from .jobs import PARENT

STORES = ("inbox", "data", "scores")


def stores(az: Az, environment: Environment, root: Path) -> None:
    """Make the containers of the storage account known in the workspace."""
    for name in STORES:
        path = root / "azureml" / "datastores" / f"{name}.yml"
        account = f"account_name={environment.storage_account}"
        az.write("ml", "datastore", "create", "--file", str(path), *environment.scope, "--set", account)


def endpoints(az: Az, environment: Environment, root: Path) -> None:
    """Publish the training and the scoring pipeline behind batch endpoints, as they are now.

    An endpoint that is there already is left as it is, for its tags remember things.
    """
    for pipeline, name in (("training", environment.training_endpoint), ("scoring", environment.batch_endpoint)):
        folder = root / "azureml" / "batch"
        if az.find("ml", "batch-endpoint", "show", "--name", name, *environment.scope) is None:
            path = folder / f"{pipeline}-endpoint.yml"
            tags = [f"tags.{key}={value}" for key, value in environment.tags.items()]
            words = ("--file", str(path), "--name", name, *environment.scope, "--set", *tags)
            az.write("ml", "batch-endpoint", "create", *words)
        told = (f"endpoint_name={name}", f"settings.default_compute=azureml:{environment.compute.name}")
        path = folder / f"{pipeline}.yml"
        words = ("--file", str(path), "--set-default", *environment.scope, "--set", *told)
        az.write("ml", "batch-deployment", "create", *words)


def schedules(
    az: Az,
    environment: Environment,
    root: Path,
    inputs: dict[str, Any],
    champion: Version | None,
    reference: str,
    native: bool = False,
) -> list[Path]:
    """Make the schedules anew: each keeps data, champion and code as they were when it was made.

    Args:
        az: the command line.
        environment: where.
        root: the project's folder; what was sent stays in `data/azure`.
        inputs: of a training, as `Jobs.inputs` gives them.
        champion: what is to be monitored; None: there is nothing yet.
        reference: how YAML names it.
        native: whether Azure's own monitor watches, too.

    Returns:
        The files of the schedules.

    Raises:
        UsageError: Azure's own monitor cannot watch: there is no champion, no online endpoint, or not the rows that the
            champion learnt from.
    """
    online = (root / "azureml" / "online").is_dir()
    if native and not (champion and online):
        raise UsageError("Azure's own monitor needs an online endpoint and a champion; leave --native out.")
    if native and champion and reference.startswith("azureml://"):
        raise UsageError(
            f"Version {champion.version} came from the registry, and the rows that it learnt from stay in the environment "
            "where it was trained: Azure's own monitor can watch it only there; leave --native out."
        )
    retrain: dict[str, Any] = {}
    for name, value in inputs.items():
        retrain |= {f"inputs.{name}": value, f"jobs.retraining.inputs.{name}": PARENT % name}
    retrain |= _component(root, "retraining", "components/retraining.yml")
    made = [_schedule(az, environment, root, "retrain", retrain)]
    if champion:
        about: dict[str, Any] = {
            "inputs.model": {"type": "custom_model", "path": reference},
            "inputs.digest": champion.digest,
            "jobs.monitor.inputs.digest": PARENT % "digest",
            "inputs.version": champion.version,
            "inputs.evaluation": {"type": "uri_folder", "path": _decision(reference)},
        }
        about |= _component(root, "monitor", "components/monitor.yml")
        about |= _component(root, "window", "online/traffic.yml" if online else "components/newest.yml")
        if online:
            about["inputs.collected.path"] = _begun(az, environment, root)
        made.append(_schedule(az, environment, root, "monitor", about))
        if native:
            monitor = import_module(f"{__package__}.online.native")  # by name: not every project has it
            made.append(monitor.schedule(az, environment, root, champion, reference))
    return made


def _decision(reference: str) -> str:
    """Name what the gate decided about a version as YAML names it: it lies where the version does."""
    if reference.startswith("azureml://"):
        return re.sub("/models/([^/]+)/", r"/data/\1-decision/", reference)
    kind, name, version = reference.split(":")
    return f"{kind}:{name}-decision:{version}"


def _begun(az: Az, environment: Environment, root: Path) -> str:
    """Make the folders that the monitor reads before anybody wrote there, for what is not there cannot be mounted.

    Returns:
        The address of what the endpoint's collector writes.
    """
    name = "workspaceblobstore"
    assumed = {"account_name": "ACCOUNT", "container_name": "CONTAINER"}
    store = az.read("ml", "datastore", "show", "--name", name, *environment.scope, assume=assumed)
    mark = environment.sent(root) / ".keep"
    with replacing(mark) as part:
        part.write_text("So that this folder is there.\n", "utf-8")
    collected = f"modelDataCollector/{environment.endpoint}"
    for account, container, folder in (
        (store["account_name"], store["container_name"], collected),
        (environment.storage_account, "data", "monitor"),
        (environment.storage_account, "data", "outcomes"),
    ):
        az.upload(account, container, f"{folder}/{mark.name}", mark)
    return f"azureml://datastores/{name}/paths/{collected}/"


def _component(root: Path, step: str, file: str) -> dict[str, str]:
    """Name a component by its whole path: the pipeline that is sent lies in another folder."""
    return {f"jobs.{step}.component": str(root.resolve() / "azureml" / file)}


def _schedule(az: Az, environment: Environment, root: Path, name: str, values: dict[str, Any]) -> Path:
    folder, files = environment.sent(root) / "schedules", root / "azureml"
    compute = {"settings.default_compute": f"azureml:{environment.compute.name}"}
    job = filled(files / "pipelines" / f"{name}.yml", folder / f"{name}-job.yml", values | compute)
    path = filled(files / "schedules" / f"{name}.yml", folder / f"{name}.yml", {"create_job.job": f"./{job.name}"})
    az.write("ml", "schedule", "create", "--file", str(path), *environment.scope)
    return path


def publish(az: Az, environment: Environment, root: Path) -> None:
    """Publish all but the schedules, which need a data version; safe to repeat."""
    stores(az, environment, root)
    endpoints(az, environment, root)
    functions.deploy(az, environment, root)
