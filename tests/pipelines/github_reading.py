"""Read the YAML of GitHub Actions: workflows, composite actions, what starts a run, and its inputs.

A key that is not known here is an error. So is one that GitHub knows and no pipeline of ours uses yet: add it here
when its meaning is played.
"""

import re
import subprocess
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipelines.github_expressions import Closed, as_text
from pipelines.played import PipelineError

Yaml = dict[str, Any]

WORKFLOW = {"name", "run-name", "on", "permissions", "env", "defaults", "concurrency", "jobs"}
BOTH = {"name", "needs", "if", "permissions", "strategy", "concurrency"}
CALL = BOTH | {"uses", "with"}
JOB = BOTH | {"runs-on", "environment", "outputs", "env", "defaults", "steps", "timeout-minutes"}
STEP = {"id", "name", "if", "env", "continue-on-error"}
KEYS_OF_RUN = STEP | {"run", "shell", "working-directory"}
KEYS_OF_USES = STEP | {"uses", "with"}
ACTION = {"name", "description", "author", "inputs", "outputs", "runs"}
TRIGGERS: dict[str, set[str]] = {
    "push": {"branches", "paths"},
    "pull_request": {"branches", "paths", "types"},
    "schedule": {"cron"},
    "workflow_dispatch": {"inputs"},
    "workflow_call": {"inputs", "outputs"},
    "repository_dispatch": {"types"},
}
INPUT = {"description", "required", "default", "type", "options"}
EMPTY: dict[str, Any] = {"boolean": False, "number": 0, "string": "", "choice": "", "environment": ""}


class _Loader(yaml.SafeLoader):
    """YAML 1.2, where `on` is a word."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regex) for tag, regex in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


@contextmanager
def at(where: str) -> Iterator[None]:
    """Put the place before the message of any error inside."""
    try:
        yield
    except PipelineError as error:
        raise PipelineError(f"{where}: {error}") from error


def load(path: Path) -> Yaml:
    """Read a file of YAML."""
    if not path.is_file():
        raise PipelineError(f"{path.name} is not in {path.parent}")
    read = yaml.load(path.read_text("utf-8"), _Loader)
    if not isinstance(read, dict):
        raise PipelineError(f"{path} holds no mapping")
    return read


def check(given: Any, known: Collection[str], what: str, required: Collection[str] = ()) -> Yaml:
    """Return a mapping whose keys are all known."""
    if not isinstance(given, Mapping):
        raise PipelineError(f"{what} must be a mapping, not {given!r}")
    if strange := sorted(str(key) for key in set(given) - set(known)):
        raise PipelineError(f"{what} has {', '.join(strange)}, which the interpreter does not know")
    if missing := sorted(set(required) - set(given)):
        raise PipelineError(f"{what} lacks {', '.join(missing)}")
    return dict(given)


def workflow(path: Path) -> Yaml:
    """Read a workflow and check its form; what starts it is a mapping afterwards, and so are its jobs."""
    with at(path.name):
        read = check(load(path), WORKFLOW, "the workflow", ("on", "jobs"))
        started = read["on"]
        if isinstance(started, str | list):
            started = dict.fromkeys([started] if isinstance(started, str) else started)
        read["on"] = {event: _trigger(event, said) for event, said in started.items()}
        for name, job in read["jobs"].items():
            with at(f"job {name}"):
                called = "uses" in job
                read["jobs"][name] = job = check(
                    job, CALL if called else JOB, "it", () if called else ("runs-on", "steps")
                )
                needs = job.get("needs", [])
                job["needs"] = [needs] if isinstance(needs, str) else list(needs)
                if strange := sorted(set(job["needs"]) - set(read["jobs"])):
                    raise PipelineError(f"it needs {', '.join(strange)}, and there is no such job")
        return read


def _trigger(event: str, said: Any) -> Yaml:
    if event not in TRIGGERS:
        raise PipelineError(f"on: {event} is not known to the interpreter")
    if event == "schedule":
        return {"cron": [check(one, {"cron"}, "schedule", {"cron"})["cron"] for one in said]}
    read = check(said or {}, TRIGGERS[event], f"on: {event}")
    for name, one in (read.get("inputs") or {}).items():
        kind = check(one or {}, INPUT, f"the input {name}").get("type", "string")
        if kind not in EMPTY:
            raise PipelineError(f"the input {name} has the type {kind}, which is not known")
    return read


def steps(of: Yaml, where: str, more: Collection[str] = ()) -> list[Yaml]:
    """Return the steps of a job or composite action, their form checked, no id twice."""
    seen: set[str] = set()
    for number, step in enumerate(of["steps"], 1):
        with at(f"{where}, step {number}"):
            check(step, {*(KEYS_OF_RUN if "run" in step else KEYS_OF_USES), *more}, "it")
            if ("run" in step) == ("uses" in step):
                raise PipelineError("it must have either run or uses")
            if (name := step.get("id")) in seen:
                raise PipelineError(f"its id {name} was given before")
            seen.add(step.get("id") or f"{number}.")
    return list(of["steps"])


def action(folder: Path) -> Yaml:
    """Read a composite action and check its form."""
    path = next((folder / name for name in ("action.yml", "action.yaml") if (folder / name).is_file()), None)
    if path is None:
        raise PipelineError(f"there is no action in {folder.name}; was the repository checked out before?")
    with at(f"{folder.name}/{path.name}"):
        read = check(load(path), ACTION, "the action", ("name", "description", "runs"))
        runs = check(read["runs"], {"using", "steps"}, "runs", ("using", "steps"))
        if runs["using"] != "composite":
            raise PipelineError(f"runs.using is {runs['using']}, but only composite actions are played")
        for step in steps(runs, "runs"):
            if "run" in step and "shell" not in step:
                raise PipelineError("a run of a composite action must name its shell")
        for name, one in (read.get("inputs") or {}).items():
            check(one or {}, {"description", "required", "default"}, f"the input {name}", {"description"})
        for name, one in (read.get("outputs") or {}).items():
            check(one, {"description", "value"}, f"the output {name}", {"value"})
        return read


def inputs_of_action(known: Mapping[str, Any], given: Mapping[str, str], where: str) -> Closed:
    """Return an action's inputs, with their defaults. (GitHub lets a missing required one pass; this does not.)"""
    check(given, known, f"with of {where}")
    needed = [name for name, one in known.items() if (one or {}).get("required") and "default" not in one]
    check(given, known, f"with of {where}", needed)
    return Closed({name: given.get(name, as_text((one or {}).get("default"))) for name, one in known.items()})


def inputs_of_workflow(known: Mapping[str, Any], given: Mapping[str, Any], by_hand: bool) -> Closed:
    """Return the inputs of a workflow, of their types, with their defaults.

    Args:
        known: `inputs` of workflow_dispatch or workflow_call.
        given: what was given.
        by_hand: workflow_dispatch, where values come as texts.
    """
    needed = [name for name, one in known.items() if (one or {}).get("required") and "default" not in one]
    check(given, known, "inputs", needed)
    return Closed({name: _typed(name, one or {}, given, by_hand) for name, one in known.items()})


def _typed(name: str, one: Mapping[str, Any], given: Mapping[str, Any], by_hand: bool) -> Any:
    kind = one.get("type", "string")
    value = given.get(name, one.get("default", EMPTY[kind]))
    if kind == "boolean" and by_hand and isinstance(value, str):
        value = {"true": True, "false": False}.get(value, value)
    if kind == "number" and by_hand and isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value):
        value = float(value)
    fits = {"boolean": (bool,), "number": (int, float)}.get(kind, (str,))
    if not isinstance(value, fits) or (kind == "number" and isinstance(value, bool)):
        raise PipelineError(f"the input {name} must be a {kind}, not {value!r}")
    if kind == "choice" and value not in one.get("options", ()):
        raise PipelineError(f"the input {name} must be one of {one.get('options')}, not {value!r}")
    return value


def event(project: Path, said: Yaml, name: str, inputs: Mapping[str, str]) -> tuple[Yaml, Yaml]:
    """Return the fields of the github context that tell of an event, and check that it starts the workflow.

    Args:
        project: the repository.
        said: the workflow's `on`.
        name: push, pull_request, schedule, workflow_dispatch or repository_dispatch; "repository_dispatch/drift" tells
            the type, which otherwise is the first that the workflow names.
        inputs: of workflow_dispatch; of repository_dispatch the payload.

    Returns:
        (the fields, with the payload as `event`; the inputs).
    """
    name, _, kind = name.partition("/")
    if name not in said or name == "workflow_call":
        raise PipelineError(f"{name} does not start this workflow, only {', '.join(said)}")
    head, before = git(project, "rev-parse", "HEAD"), git(project, "rev-parse", "--verify", "--quiet", "HEAD~1")
    repository = {"full_name": f"owner/{project.name}", "default_branch": "main"}
    payload: Yaml = {"repository": repository, "sender": {"login": "someone"}}
    fields: Yaml = {
        "event_name": name,
        "event": payload,
        "ref": "refs/heads/main",
        "sha": head,
        "base_ref": "",
        "head_ref": "",
    }
    given: Yaml = {}
    if name == "push":
        payload |= {"ref": "refs/heads/main", "before": before or "0" * 40, "after": head}
    elif name == "pull_request":
        base = git(project, "merge-base", "main", "HEAD")
        base = base if base and base != head else before or head
        branch = git(project, "rev-parse", "--abbrev-ref", "HEAD")
        branch = branch if branch not in ("main", "HEAD") else "change"
        change = {"sha": head, "ref": branch, "repo": {"full_name": repository["full_name"], "fork": False}}
        start = {"sha": base, "ref": "main", "repo": {"full_name": repository["full_name"]}}
        request = {"number": 7, "title": "A change", "body": "", "draft": False, "head": change, "base": start}
        payload |= {"action": "synchronize", "number": 7, "pull_request": request}
        fields |= {"ref": "refs/pull/7/merge", "base_ref": "main", "head_ref": branch}
        before = base
    elif name == "schedule":
        payload["schedule"] = said[name]["cron"][0]
    elif name == "workflow_dispatch":
        given = inputs_of_workflow(said[name].get("inputs") or {}, inputs, by_hand=True)
        payload["inputs"] = {key: as_text(value) for key, value in given.items()}
    elif name == "repository_dispatch":
        types = said[name].get("types", [])
        kind = kind or types[0]
        if types and kind not in types:
            raise PipelineError(f"{kind} does not start this workflow, only {', '.join(types)}")
        payload |= {"action": kind, "client_payload": dict(inputs)}
    if name not in ("workflow_dispatch", "repository_dispatch") and inputs:
        raise PipelineError(f"{name} takes no inputs")
    _filtered(project, said[name], name, before, head)
    return fields, given


def _filtered(project: Path, said: Yaml, name: str, before: str, head: str) -> None:
    """Check that filters let a push or pull request through."""
    if "branches" in said and not _chosen(["main"], said["branches"]):
        raise PipelineError(f"{name} to main does not start this workflow, only to {said['branches']}")
    if "paths" in said and name in ("push", "pull_request"):
        since = [before, head] if before and before != head else [head]
        listed = ["diff", "--name-only", *since] if len(since) == 2 else ["ls-tree", "-r", "--name-only", head]
        if not _chosen(git(project, *listed).splitlines(), said["paths"]):
            raise PipelineError(f"this {name} does not start the workflow: nothing in {said['paths']} was changed")


def _chosen(names: list[str], patterns: list[str]) -> bool:
    def last(name: str) -> bool:
        verdict = False
        for pattern in patterns:
            if glob(pattern.removeprefix("!")).fullmatch(name):
                verdict = not pattern.startswith("!")
        return verdict

    return any(last(name) for name in names)


def glob(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a path filter: ** goes through folders, * does not."""
    signs = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(signs.get(part, re.escape(part)) for part in re.split(r"(\*\*/|\*\*|\*|\?)", pattern)))


def git(project: Path, *args: str) -> str:
    """Return what git says, and nothing where it fails."""
    return subprocess.run(["git", *args], cwd=project, capture_output=True, text=True).stdout.strip()
