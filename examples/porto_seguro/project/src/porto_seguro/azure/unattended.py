"""What runs without a person: data stores, batch endpoints, functions, schedules; made, or brought up to date."""

from pathlib import Path
from typing import Any

from ..registry import Version
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
    az: Az, environment: Environment, root: Path, inputs: dict[str, Any], champion: Version | None, reference: str
) -> list[Path]:
    """Make the schedules anew: each keeps data, champion and code as they were when it was made.

    Args:
        az: the command line.
        environment: where.
        root: the project's folder; what was sent stays in `data/azure`.
        inputs: of a training, as `Jobs.inputs` gives them.
        champion: what is to be monitored; None: there is nothing yet.
        reference: how YAML names it.

    Returns:
        The files of the schedules.
    """
    retrain: dict[str, Any] = {}
    for name, value in inputs.items():
        retrain |= {f"inputs.{name}": value, f"jobs.retraining.inputs.{name}": PARENT % name}
    made = [_schedule(az, environment, root, "retrain", retrain | _component(root, "retraining", "retraining"))]
    if champion:
        about: dict[str, Any] = {
            "inputs.model": {"type": "custom_model", "path": reference},
            "inputs.version": champion.version,
            "inputs.evaluation": {"type": "uri_folder", "path": f"azureml://jobs/{champion.run}/outputs/decision"},
        }
        made.append(_schedule(az, environment, root, "monitor", about | _component(root, "monitor", "monitor")))
    return made


def _component(root: Path, step: str, name: str) -> dict[str, str]:
    """Name a component by its whole path: the pipeline that is sent lies in another folder."""
    return {f"jobs.{step}.component": str(root.resolve() / "azureml" / "components" / f"{name}.yml")}


def _schedule(az: Az, environment: Environment, root: Path, name: str, values: dict[str, Any]) -> Path:
    folder, files = root / "data" / "azure" / environment.name / "schedules", root / "azureml"
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
