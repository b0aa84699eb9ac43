"""Run a pipeline of Azure ML on this machine: its YAML as Azure's own library reads it, and its commands as processes.

Bindings, order, optional inputs and the copy of the code are resolved as the service documents them. What it does not
play is what only Azure has: images, identities, mounts, the cache of steps.
"""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

BINDING = re.compile(r"\$\{\{\s*([\w.]+)\s*\}\}")
OPTIONAL = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
# What the service does for a parallel step: it loads the script by its path in each worker, and gives it mini-batches.
WORKER = """
import importlib.util, json, sys
script, batches = sys.argv[1], json.loads(sys.argv[2])
sys.argv = [script, *sys.argv[3:], "--of_the_service", "1"]
spec = importlib.util.spec_from_file_location("entry", script)
entry = importlib.util.module_from_spec(spec)
spec.loader.exec_module(entry)
entry.init()
for batch in batches:
    told = entry.run(batch)
    assert len(told) == len(batch), told
entry.shutdown()
"""


class Failed(Exception):
    """A step ended with another code than 0; the message has its name and what it said."""


def load_job(path: Path, given: Mapping[str, str], step: str = "training") -> Any:
    """Load a pipeline job with inputs as `azure submit` and `azure schedule` give them.

    An input is an address of a file or folder, else a literal. What the job does not name goes on to `step`.
    """
    named = yaml.safe_load(path.read_text("utf-8"))["inputs"]
    overrides: list[dict[str, Any]] = []
    for key, value in given.items():
        kind = "custom_model" if key in ("champion", "model") else "uri_folder"
        overrides.append({f"inputs.{key}": {"type": kind, "path": value} if Path(value).is_absolute() else value})
        if key not in named:
            overrides.append({f"jobs.{step}.inputs.{key}": f"${{{{parent.inputs.{key}}}}}"})
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from azure.ai.ml.entities import _load_functions as sdk

        job = sdk.load_job(path, params_override=overrides)
    logging.disable(logging.NOTSET)
    return job


def execute(
    path: Path, folder: Path, given: Mapping[str, str], environment: Mapping[str, str] = {}, step: str = "training"
) -> dict[str, Path]:
    """Run a pipeline job.

    Args:
        path: its file.
        folder: an empty one, for copies of the code and for outputs; `commands.txt` in it says what was run.
        given: values of its inputs; paths are absolute.
        environment: further variables of the steps.
        step: gets the inputs that the file does not name.

    Returns:
        The folders of its outputs.

    Raises:
        Failed: a step failed, or is bound to what is not there.
    """
    job = load_job(path, given, step)
    outputs = {name: _made(folder / "outputs" / name) for name in job.outputs}
    values = {name: given.get(name, str(value._data)) for name, value in job.inputs.items()}
    _Run(folder, environment).pipeline(job.jobs, values, outputs, folder)
    return outputs


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)  # as a mounted output is there already
    return folder


class _Run:
    """One run of a job; its steps share one copy of the code, which no output is part of."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._code = folder / "code"
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        ours = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PROJECT_DIR")}
        self._environment = ours | {"PATH": path, **environment}

    def pipeline(
        self, steps: Mapping[str, Any], values: Mapping[str, Any], outputs: Mapping[str, Path], folder: Path
    ) -> None:
        """Run the steps of a pipeline, each when what it is bound to is there."""
        known = {f"parent.inputs.{name}": value for name, value in values.items()}
        known |= {f"parent.outputs.{name}": str(value) for name, value in outputs.items()}
        waiting = dict(steps)
        while waiting:
            ready = [n for n, s in waiting.items() if not any(f"parent.jobs.{o}." in _text(s.inputs) for o in waiting)]
            if not ready:
                raise Failed(f"{', '.join(waiting)} wait for each other")
            for name in ready:
                step = waiting.pop(name)
                inputs = {k: _value(name, v._data, known, step.component.inputs[k]) for k, v in step.inputs.items()}
                made = {
                    key: Path(_bound(name, one._data, known)) if one._data else _made(folder / name / key)
                    for key, one in step.outputs.items()
                }
                known |= {f"parent.jobs.{name}.outputs.{key}": str(place) for key, place in made.items()}
                if step.type == "pipeline":
                    self.pipeline(step.component.jobs, inputs, made, folder / name)
                else:
                    self._run(name, step.component, inputs, made)

    def _run(self, name: str, component: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Path]) -> None:
        """Run a command, or the script of a parallel step over the files of its folder, in mini-batches."""
        given = {f"inputs.{key}": str(value) for key, value in inputs.items() if value is not None}
        given |= {f"outputs.{key}": str(value) for key, value in outputs.items()}

        def kept(part: re.Match[str]) -> str:
            return part[1] if all(one in given for one in BINDING.findall(part[1])) else ""

        parallel = component.type == "parallel"
        line = component.task.program_arguments if parallel else component.command
        line = BINDING.sub(lambda one: _bound(name, one[0], given), OPTIONAL.sub(kept, line))
        code = component.task.code if parallel else component.code
        if not self._code.exists():
            snapshot((Path(component.base_path) / code).resolve(), self._code)
        words = ["bash", "-c", line]
        if parallel:
            files = sorted(
                path for path in Path(_bound(name, component.input_data, given)).rglob("*") if path.is_file()
            )
            size = int(component.mini_batch_size)
            batches = [[str(path) for path in files[n : n + size]] for n in range(0, len(files), size)]
            script = str(self._code / component.task.entry_script)
            words = [sys.executable, "-c", WORKER, script, json.dumps(batches), *line.split()]
        with (self._code.parent / "commands.txt").open("a", encoding="utf-8") as file:
            file.write(f"{name}: {line}\n")
        done = subprocess.run(words, cwd=self._code, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"{name} ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")


def _text(inputs: Mapping[str, Any]) -> str:
    return " ".join(str(value._data) for value in inputs.values())


def _bound(name: str, text: Any, known: Mapping[str, Any]) -> Any:
    found = BINDING.fullmatch(str(text))
    if not found or found[1] not in known:
        raise Failed(f"{name} is bound to {text}, which is not there")
    return known[found[1]]


def _value(name: str, text: Any, known: Mapping[str, str], declared: Any) -> Any:
    """What an input of a step gets: a literal, what it is bound to, its default; or None, where it is optional."""
    if text is None:
        return declared.get("default")
    if not BINDING.search(str(text)):
        return text
    value = _bound(name, text, known)
    if value is None and not declared.optional:
        raise Failed(f"{name} needs {text}, which has no value")
    return value


def snapshot(code: Path, target: Path) -> Path:
    """Copy a folder as Azure's library would send it: without what its .amlignore leaves out."""
    from azure.ai.ml._utils._asset_utils import get_ignore_file, get_upload_files_from_folder

    files: Any = get_upload_files_from_folder(code, ignore_file=get_ignore_file(code))  # its type is wrong: pairs
    for source, name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target / name)
    return target
