"""What the published actions do that our pipelines use, as far as a run on this machine can tell."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pipelines.github_reading import check
from pipelines.machine import make_python, system
from pipelines.played import PipelineError

Inputs = Mapping[str, str]


class Job(Protocol):
    """What an action sees of the job that it runs in."""

    workspace: Path
    home: Path
    project: Path
    environment: str
    sha: str
    permissions: Mapping[str, str]

    @property
    def artifacts(self) -> dict[str, Path]:
        """The run's artifacts."""

    shelf: Path  # where artifacts are kept
    variables: dict[str, str]  # for later steps
    path: list[str]  # first for later steps


class Failed(Exception):
    """The action failed, as it would have on the runner."""


@dataclass
class Action:
    """A published action: what it does, its inputs, and the permissions that it needs.

    `pin` is the commit of the version whose inputs these are; "" where any commit will do.
    """

    do: Callable[[Job, Inputs], dict[str, str]]
    inputs: set[str]
    required: set[str] = field(default_factory=set)
    permissions: dict[str, str] = field(default_factory=dict)
    pin: str = ""


def known(uses: str, given: Inputs) -> Action:
    """Return what is known of an action, at its version and with its inputs."""
    name, _, version = uses.partition("@")
    action = ACTIONS.get(name.lower())
    if action is None:
        raise PipelineError(f"the action {name} is not known to the interpreter")
    if len(version) != 40 or (action.pin and version != action.pin):
        raise PipelineError(f"{name} is known at the commit {action.pin or 'SHA'} only, not at {version or 'none'}")
    check(given, action.inputs | action.required, f"with of {name}", action.required)
    return action


def play(uses: str, given: Inputs, job: Job) -> dict[str, str]:
    """Do what an action does, and return its outputs.

    Raises:
        PipelineError: the action, its version or an input is not known.
        Failed: the action fails.
    """
    name, action = uses.partition("@")[0], known(uses, given)
    if missing := sorted(one for one in action.required if not given.get(one)):
        raise Failed(
            f"{name}: {', '.join(missing)} is empty; was the variable set for environment {job.environment!r}?"
        )
    for right, level in action.permissions.items():
        if job.permissions.get(right) not in (level, "write"):
            raise Failed(f"{name}: the job has not the permission {right}: {level}")
    return action.do(job, given)


def _run(*words: str, cwd: Path) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _checkout(job: Job, given: Inputs) -> dict[str, str]:
    """Fetch one commit, or with fetch-depth 0 every branch and tag; what was in the workspace goes."""
    where = job.workspace / given.get("path", "")
    for entry in where.iterdir() if where.is_dir() else ():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    where.mkdir(parents=True, exist_ok=True)
    depth, wanted = given.get("fetch-depth", "1"), given.get("ref") or job.sha
    _run("git", "init", "--quiet", "--initial-branch", "main", cwd=where)
    _run("git", "remote", "add", "origin", job.project.absolute().as_uri(), cwd=where)
    fetch = ["git", "fetch", "--quiet", "--no-tags"]
    if depth == "0":
        _run("git", "fetch", "--quiet", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*", cwd=where)
        _run(*fetch, "origin", wanted, cwd=where)
    else:
        _run(*fetch, "--depth", depth, "origin", wanted, cwd=where)
    _run("git", "checkout", "--quiet", "--detach", "FETCH_HEAD", cwd=where)
    return {"commit": _run("git", "rev-parse", "HEAD", cwd=where), "ref": wanted}


def _python(job: Job, given: Inputs) -> dict[str, str]:
    """Put a fresh Python of the wanted version first on the PATH, as if nothing was ever installed into it."""
    version = given.get("python-version") or ""
    if name := given.get("python-version-file"):
        version = (job.workspace / name).read_text("utf-8").strip()
    if not version:
        raise PipelineError("setup-python must be told a version")
    folder = job.home / f"python-{version}"
    make_python(version, folder)
    job.path[:0] = [str(folder / "bin"), str(system(folder))]
    job.variables["pythonLocation"] = str(folder)
    return {"python-version": version, "python-path": str(folder / "bin" / "python"), "cache-hit": "false"}


def _cache(job: Job, given: Inputs) -> dict[str, str]:
    return {"cache-hit": "false"}


def _upload(job: Job, given: Inputs) -> dict[str, str]:
    """Keep files below the folder that they have in common."""
    name = given.get("name") or "artifact"
    if name in job.artifacts and given.get("overwrite") != "true":
        raise Failed(f"upload-artifact: there is an artifact {name} already")
    files: dict[Path, None] = {}
    roots: list[Path] = []
    for line in filter(None, (line.strip() for line in given["path"].splitlines())):
        matched = list(job.workspace.glob(line.removeprefix("!")))
        inside = [one for path in matched for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file()]
        if line.startswith("!"):
            files = {path: None for path in files if path not in inside}
        else:
            files |= dict.fromkeys(inside)
            roots += [path if path.is_dir() else path.parent for path in matched]
    if given.get("include-hidden-files") != "true":
        hidden = [p for p in files if any(part.startswith(".") for part in p.relative_to(job.workspace).parts)]
        files = {path: None for path in files if path not in hidden}
    if not files:
        if given.get("if-no-files-found", "warn") == "error":
            raise Failed(f"upload-artifact: there is no file at {given['path'].strip()}")
        return {}
    root, target = Path(os.path.commonpath(roots)), job.shelf / name
    shutil.rmtree(target, ignore_errors=True)
    for path in files:
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
    job.artifacts[name] = target
    return {"artifact-id": str(len(job.artifacts)), "artifact-url": f"https://github.com/artifacts/{name}"}


def _download(job: Job, given: Inputs) -> dict[str, str]:
    """Copy one artifact into a folder; without a name all of them, each into a folder of its own."""
    where = job.workspace / given.get("path", ".")
    wanted = [given["name"]] if given.get("name") else list(job.artifacts)
    for name in wanted:
        if name not in job.artifacts:
            raise Failed(f"download-artifact: there is no artifact {name}")
        target = where if given.get("name") else where / name
        shutil.copytree(job.artifacts[name], target, dirs_exist_ok=True)
    return {"download-path": str(where)}


def _login(job: Job, given: Inputs) -> dict[str, str]:
    """Note who is signed in, for stand-ins of az: the file is gone with the job, as a login is."""
    note = job.home / ".azure" / "login.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({**given, "environment": job.environment}), "utf-8")
    return {}


CONTENTS, TOKEN = {"contents": "read"}, {"id-token": "write"}
LOGIN = {"client-id", "tenant-id", "subscription-id"}
UPLOAD = {"name", "if-no-files-found", "retention-days", "overwrite", "include-hidden-files", "compression-level"}
ACTIONS = {
    "actions/checkout": Action(
        _checkout, {"ref", "path", "fetch-depth", "fetch-tags", "persist-credentials"}, set(), CONTENTS,
        "3d3c42e5aac5ba805825da76410c181273ba90b1",
    ),
    "actions/setup-python": Action(
        _python, {"python-version", "python-version-file", "cache", "cache-dependency-path"},
        pin="5fda3b95a4ea91299a34e894583c3862153e4b97",
    ),
    "actions/upload-artifact": Action(_upload, UPLOAD, {"path"}, pin="bbbca2ddaa5d8feaa63e36b76fdaad77386f024f"),
    "actions/download-artifact": Action(_download, {"name", "path"}),
    "actions/cache": Action(_cache, {"restore-keys"}, {"path", "key"}),
    "azure/login": Action(_login, set(), LOGIN, TOKEN, "f5d393ae46f8fde4be8b75f32e3fc50e654ad0ca"),
}  # fmt: skip
