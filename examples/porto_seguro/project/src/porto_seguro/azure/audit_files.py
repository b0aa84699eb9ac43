"""Whether what the files for Azure ML refer to is there: code, commands and their options, other files, assets."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .audit import Document, Files, Found, Rule, part, walk
from .audit_wiring import BINDING, OPTIONAL, kind_of, line_of

# What some keys name that is no versioned asset.
UNVERSIONED = ("compute", "default_compute", "default_datastore", "datastore", "endpoint_deployment_id", "target")
# Keys whose value is a path from the file's own folder.
PATHS = ("code", "conda_file", "trial", "component", "job", "schema")
SCRIPTS = ("entry_script", "scoring_script")  # from the folder `code` beside them

OURS = {"environment": "environment", "component": "Component", "trial": "Component"}  # what our own files define


def options(document: Document, files: Files) -> Found:
    """Each command line is one that our own code takes."""
    where, line = line_of(document.content)
    if document.kind == "commandComponent" and line:
        for text in (OPTIONAL.sub(r"\1", line), OPTIONAL.sub("", line)):
            if said := refused(BINDING.sub(lambda one: _example(document, one[1]), text), files.root):
                yield where, said
                return
    script = part(document.content, "entry").get("file") or part(document.content, "task").get("entry_script")
    folder = document.content.get("code") or part(document.content, "task").get("code")
    path = document.path.parent / str(folder) / str(script)
    if script and folder and path.is_file():
        code = path.read_text("utf-8")
        for option in re.findall(r"(?<![\w-])--[\w-]+", line):
            if f'"{option}"' not in code:
                yield where, f"{script} knows no option {option}"


def _example(document: Document, name: str) -> str:
    side, _, key = name.partition(".")
    about = part(document.content, side, key)
    default = about.get("default", (about.get("enum") or [None])[0])
    return str(default) if default is not None else {"integer": "1", "number": "0.5"}.get(kind_of(about), "x")


def refused(line: str, root: Path) -> str:
    """Hold a command line against the command that it runs; return what is wrong with it, in words."""
    words = shlex.split(line)
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words.pop(0)
    if words[:2] != ["python", "-m"]:
        return f"it must run a module: python -m ..., not {' '.join(words[:3])}"
    package = __package__.partition(".")[0]
    if words[2].partition(".")[0] != package:
        return f"{words[2]} is no module of {package}"
    import typer

    try:
        found: Any = typer.main.get_command(importlib.import_module(words[2]).app)
    except (ImportError, AttributeError) as error:
        return f"there is no command {words[2]}: {error}"
    rest = words[3:]
    try:
        while below := getattr(found, "commands", None):
            if not rest or rest[0] not in below:
                return f"{words[2]} has no command {' '.join(rest[:1])}; it has {', '.join(below)}"
            found, rest = below[rest[0]], rest[1:]
        found.make_context(words[2], rest)
    except Exception as error:  # of the library that Typer brings with it
        told = getattr(error, "format_message", None)
        return str(told() if told else error)
    return ""


def files_there(document: Document, files: Files) -> Found:
    """Every path leads to something, and what a job runs is in the copy of the code that it gets."""
    folder = document.path.parent
    for where, key, value in walk(document.content):
        if not isinstance(value, str) or value.startswith(("azureml:", "http", "$")):
            continue
        if key == "environment" or value.startswith("file:"):
            if not value.startswith("file:"):
                yield where, f"{value} is neither azureml:NAME:VERSION nor file:PATH"
            elif not (folder / value.removeprefix("file:")).is_file():
                yield where, f"there is no file {value.removeprefix('file:')}"
        elif (key in PATHS or where in ("build.path", "path")) and not (folder / value).exists():
            yield where, f"there is no {value}"
    if build := part(document.content, "build"):
        name = build.get("dockerfile_path", "Dockerfile")
        if not (folder / str(build.get("path")) / name).is_file():
            yield "build.dockerfile_path", f"there is no {name} in {build.get('path')}"
    for place, script, code in _scripts(document):
        path = (folder / code / script).resolve()
        if not path.is_file():
            yield place, f"there is no {script} in {code}"
        elif left_out(folder / code, path):
            yield place, f"{script} is left out of the code by .amlignore"


def _scripts(document: Document) -> Iterator[tuple[str, str, str]]:
    content = document.content
    for place in (content, part(content, "task"), part(content, "code_configuration")):
        for key in SCRIPTS:
            if key in place:
                yield key, str(place[key]), str(place.get("code", "."))
    if file := part(content, "entry").get("file"):
        yield "entry.file", str(file), str(content.get("code", "."))
    where, line = line_of(content)
    for module in re.findall(r"python -m ([\w.]+)", line) if where == "command" else ():
        yield where, f"src/{module.replace('.', '/')}.py", str(content.get("code", "."))


def left_out(folder: Path, path: Path) -> bool:
    """Return whether Azure ML leaves a file out when it copies a folder."""
    from azure.ai.ml._utils._asset_utils import get_ignore_file

    return bool(get_ignore_file(folder).is_file_excluded(path))


def references(document: Document, files: Files) -> Found:
    """Assets are named with a version that stays, and our own ones are ours to find."""
    for where, key, value in walk(document.content):
        if not isinstance(value, str) or not value.startswith("azureml:") or key in UNVERSIONED:
            continue
        if re.search(r"@|/labels/", value):
            yield where, f"{value} is another asset tomorrow; name a version: azureml:NAME:VERSION"
        elif not re.fullmatch(r"azureml:[\w.-]+:[\w.-]+|azureml://.+", value):
            yield where, f"{value} must be azureml:NAME:VERSION"
        elif key in OURS and not value.startswith("azureml://") and not files.named(value, OURS[key]):
            yield where, f"no file defines the {key} {value}"


FILES: tuple[Rule, ...] = (options, files_there, references)
