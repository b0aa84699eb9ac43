"""Microsoft's language service for Azure Pipelines, with the schema that Microsoft's service hands out.

npm (`apt-get install nodejs npm`) brings the one, the package check-jsonschema the other; both are installed once,
beside the kit's other tools.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tools
import yaml

VERSION = "0.9.2"
SCHEMAS = "0.39.0"  # of check-jsonschema
SCRIPT = Path(__file__).with_name("azure_language.cjs")
# Tasks that the schema names and says nothing about, with their inputs as documented: (required, others).
TASKS: Mapping[str, tuple[list[str], list[str]]] = {
    "PublishCodeCoverageResults@2": (["summaryFileLocation"], ["pathToSources", "failIfCoverageEmpty"]),
}


@functools.cache
def home() -> Path:
    """Return the folder of the language service and the schemas, made on first use."""
    service, schemas = f"azure-pipelines-language-service@{VERSION}", f"check-jsonschema=={SCHEMAS}"
    return tools.installed(
        f"azure-pipelines-{VERSION}-{SCHEMAS}",
        lambda folder: [
            ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder), service],
            ["uv", "pip", "install", "--quiet", "--no-deps", "--python", sys.executable,
             "--target", str(folder / "py"), schemas],
        ],
    )  # fmt: skip


@functools.cache
def schema() -> dict[str, Any]:
    """Return the schema of a pipeline, and of a template of variables, which a pipeline's has not at its root."""
    vendored = home() / "py" / "check_jsonschema" / "builtin_schemas" / "vendor" / "azure-pipelines.json"
    made: dict[str, Any] = json.loads(vendored.read_text("utf-8"))
    for name in TASKS:
        made["definitions"]["task"]["anyOf"].append(_task(name))
    return made


def _task(name: str) -> dict[str, Any]:
    required, others = TASKS[name]
    inputs = {
        "properties": {key: {"type": "string", "ignoreCase": "key"} for key in (*required, *others)},
        "additionalProperties": False,
        "required": required,
    }
    task = {"ignoreCase": "value", "pattern": f"^{name}$"}
    return {"properties": {"task": task, "inputs": inputs}, "firstProperty": ["task"], "required": ["task", "inputs"]}


def described(name: str) -> bool:
    """Tell whether Microsoft's schema describes the inputs of a task."""
    patterns = [one["properties"]["task"].get("pattern") for one in schema()["definitions"]["task"]["anyOf"]]
    return patterns.count(f"^{name}$") > (name in TASKS)


def problems(files: Iterable[Path]) -> dict[Path, list[str]]:
    """Return what the language service finds wrong with each file: "line: message"."""
    files = list(files)
    variables = {path for path in files if _only_variables(path)}
    pipelines = [path for path in files if path not in variables]
    return {**_ask(pipelines, schema()["oneOf"]), **_ask(variables, [{"$ref": "#/definitions/variablesTemplate"}])}


def _only_variables(path: Path) -> bool:
    try:
        read = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)
    except yaml.YAMLError:
        return False  # the language service tells what is wrong with it
    return isinstance(read, dict) and "variables" in read and set(read) <= {"variables", "parameters"}


def _ask(files: Iterable[Path], root: list[dict[str, Any]]) -> dict[Path, list[str]]:
    names = [str(path) for path in files]
    if not names:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "schema.json")
        path.write_text(json.dumps({**schema(), "oneOf": root}), "utf-8")
        done = subprocess.run(
            ["node", str(SCRIPT), str(path), *names],
            env={**os.environ, "NODE_PATH": str(home() / "node_modules")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
    if done.returncode:
        pytest.fail(f"the language service ended: {done.stderr[-800:]}")
    return {Path(name): found for name, found in json.loads(done.stdout).items()}


def written(document: Mapping[str, Any], path: Path) -> Path:
    """Write an expanded pipeline to a file: scalars as one writes them by hand, not quoted as texts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.dump(_bare(document), Dumper=_Dumper, sort_keys=False, width=10_000), "utf-8")
    return path


class _Dumper(yaml.SafeDumper):
    """Writes no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _bare(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _bare(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_bare(one) for one in node]
    known = {"true": True, "false": False}
    return known.get(node.lower(), int(node) if node.isdigit() and not node.startswith("0") else node)
