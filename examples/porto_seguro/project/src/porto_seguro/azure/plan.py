"""What a retraining takes that nobody asks for: the plan that lies beside the functions, who start it when events come."""

import json
from pathlib import Path
from typing import Any

from ..config import Settings
from ..errors import UsageError
from ..table import replacing
from .az import Az
from .environments import Environment

CONTAINER, PLAN = "functions", "retrain.json"  # as in events/function_app.py and events/handler.py
# How the REST interface of a batch endpoint calls the types of inputs.
TYPES = {"uri_folder": "UriFolder", "uri_file": "UriFile", "custom_model": "CustomModel"}
KINDS = {"uri_folder": "data", "uri_file": "data", "custom_model": "models"}


def plan_of(inputs: dict[str, Any], workspace: str, settings: Settings) -> dict[str, Any]:
    """Return the plan.

    Args:
        inputs: of the retraining pipeline, as `Jobs.inputs` gives them.
        workspace: its id.
        settings: say how long to cool down.

    Raises:
        UsageError: an input is of a type that a batch endpoint does not take.
    """
    return {
        "cool_down_days": settings.retrain.cool_down_days,
        "inputs": {name: _input(name, value, workspace) for name, value in inputs.items()},
    }


def _input(name: str, value: Any, workspace: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {"JobInputType": "Literal", "Value": str(value)}
    kind, path = value["type"], value["path"]
    if kind not in TYPES:
        raise UsageError(
            f"A batch endpoint takes no {kind}, the type of the input {name}; it takes {', '.join(TYPES)}."
        )
    short = path.removeprefix("azureml:")
    if path.startswith("azureml://datastores/"):
        path = f"{workspace}/{path.removeprefix('azureml://')}"
    elif short != path and not short.startswith("//"):
        asset, _, version = short.rpartition(":")
        path = f"{workspace}/{KINDS[kind]}/{asset}/versions/{version}"
    return {"JobInputType": TYPES[kind], "Uri": path}


def publish(az: Az, environment: Environment, inputs: dict[str, Any], settings: Settings, root: Path) -> None:
    """Bring the plan up to date; to be called whenever the newest data version or the champion has changed.

    What came into the inbox since `raw` became an asset is added to it by the retraining.

    Args:
        az: the command line.
        environment: whose plan.
        inputs: as `Jobs.inputs` gives them; `raw` is an asset.
        settings: of the project.
        root: its folder; what was sent stays in `data/azure`.
    """
    about = ("--name", environment.workspace, "--resource-group", environment.resource_group)
    workspace = az.read("ml", "workspace", "show", *about, assume={"id": "WORKSPACE"})["id"]
    name, _, version = inputs["raw"]["path"].removeprefix("azureml:").rpartition(":")
    words = ("--name", name, "--version", version, *environment.scope)
    asset = az.read("ml", "data", "show", *words, assume={})
    since = (asset.get("creation_context") or {}).get("created_at", "")
    more = {"inbox": {"type": "uri_folder", "path": "azureml://datastores/inbox/paths/"}} | (
        {"since": since} if since else {}
    )
    path = environment.sent(root) / PLAN
    with replacing(path) as part:
        text = json.dumps(plan_of(inputs | more, workspace, settings), indent=2)
        part.write_text(text + "\n", "utf-8", newline="\n")
    # Data Factory knows by the type that it may be parsed.
    az.upload(environment.storage_account, CONTAINER, PLAN, path, "--content-type", "application/json")
