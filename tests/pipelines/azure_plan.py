"""Stages and jobs of an expanded pipeline, checked: their order, and that what they read of each other is there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipelines.azure_expressions import RUNTIME, Node, parse
from pipelines.azure_templates import PREDEFINED, Step, read
from pipelines.played import PipelineError

ROOT = {"name", "trigger", "pr", "schedules", "resources", "pool", "variables", "stages", "jobs", "steps"}
ROOT |= {"lockBehavior", "appendCommitMessageToRunName"}
BOTH = {"displayName", "dependsOn", "condition", "variables", "pool"}
STAGE = BOTH | {"stage", "jobs", "lockBehavior", "isSkippable"}
ANY_JOB = BOTH | {"continueOnError", "timeoutInMinutes", "cancelTimeoutInMinutes", "workspace"}
JOB, DEPLOYMENT = ANY_JOB | {"job", "steps"}, ANY_JOB | {"deployment", "environment", "strategy"}
HOOKS = ("preDeploy", "deploy", "routeTraffic", "postRouteTraffic")
IMAGES = ("ubuntu-24.04", "ubuntu-latest")
NAME = re.compile(r"[A-Za-z_]\w*")
MACRO = re.compile(r"\$\(([A-Za-z_][\w.]*)\)")
SCRIPTS = ("bash", "script", "pwsh", "powershell")
CODE = (*SCRIPTS, "inlineScript", "arguments")  # where a value would be run


@dataclass
class Job:
    """A job. `hooks` holds the steps of each part of a deployment, or of the job itself at "" ."""

    name: str
    body: dict[str, Any]
    needs: list[str]
    hooks: dict[str, list[Step]]
    deployment: bool = False

    @property
    def environment(self) -> str:
        """Return the environment that a deployment goes to."""
        told = self.body.get("environment", "")
        return str(told if isinstance(told, str) else told["name"])

    @property
    def steps(self) -> list[Step]:
        """Return all its steps."""
        return [step for steps in self.hooks.values() for step in steps]


@dataclass
class Stage:
    """A stage with its jobs in the order in which they run."""

    name: str
    body: dict[str, Any]
    needs: list[str]
    jobs: dict[str, Job] = field(default_factory=dict)


One = TypeVar("One", Job, Stage)


def plan(document: Mapping[str, Any]) -> dict[str, Stage]:
    """Return the stages of an expanded pipeline, each after those that it depends on.

    Raises:
        PipelineError: a key is not known, a name stands twice or nowhere, or something reads what nothing sets.
    """
    known(document, ROOT, "the pipeline")
    for key in ("resources", "workspace"):
        if key in document:
            raise PipelineError(f"{key} is not known to the interpreter")
    bodies = document.get("stages") or [{"stage": "", "jobs": document.get("jobs") or [document_job(document)]}]
    stages: dict[str, Stage] = {}
    for number, body in enumerate(bodies):
        known(body, STAGE, f"stage {body.get('stage')}", ("stage", "jobs"))
        name = _name(body["stage"], "stage", stages) if "stages" in document else ""
        default = [bodies[number - 1]["stage"]] if number else []
        stages[name] = Stage(name, body, _needs(body, default))
        for job in body["jobs"]:
            _job(job, stages[name])
        stages[name].jobs = ordered(stages[name].jobs, f"stage {name}: " if name else "")
    stages = ordered(stages, "")
    for stage in stages.values():
        _check_stage(stage, stages, document)
    return stages


def document_job(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one job of a pipeline that has steps only."""
    return {"job": "Job", "steps": document["steps"]}


def known(given: Any, keys: set[str], what: str, required: tuple[str, ...] = ()) -> None:
    """Check that all keys of a mapping are known.

    Raises:
        PipelineError: one is not, or one is missing.
    """
    if not isinstance(given, dict):
        raise PipelineError(f"{what} is no mapping: {str(given)[:80]!r}")
    if strange := sorted(set(given) - keys):
        raise PipelineError(f"{what} has {', '.join(strange)}, which the interpreter does not know")
    if missing := [key for key in required if key not in given]:
        raise PipelineError(f"{what} lacks {', '.join(missing)}")


def _name(name: str, what: str, others: Mapping[str, Any]) -> str:
    if not NAME.fullmatch(name) or name.lower() == "deploy":
        raise PipelineError(f"{name!r} is no name of a {what}")
    if name in others:
        raise PipelineError(f"there are two {what}s {name}")
    return name


def _needs(body: Mapping[str, Any], default: list[str]) -> list[str]:
    told = body.get("dependsOn", default)
    return [one for one in ([told] if isinstance(told, str) else told) if one]


def _job(body: dict[str, Any], stage: Stage) -> None:
    deployment = "deployment" in body
    kind = "deployment" if deployment else "job"
    known(body, DEPLOYMENT if deployment else JOB, f"job {body.get(kind)}", (kind,))
    name = _name(body[kind], "job", stage.jobs)
    hooks = {"": body.get("steps", [])}
    if deployment:
        known(body, DEPLOYMENT, f"job {name}", ("environment", "strategy"))
        known(body["strategy"], {"runOnce"}, f"job {name}: strategy", ("runOnce",))
        once = body["strategy"]["runOnce"]
        known(once, {*HOOKS, "on"}, f"job {name}: runOnce", ("deploy",))
        last = once.get("on", {})
        known(last, {"success", "failure"}, f"job {name}: on")
        parts = {hook: once[hook] for hook in HOOKS if hook in once} | {f"on {key}": last[key] for key in last}
        for hook, part in parts.items():
            known(part, {"steps", "pool"}, f"job {name}: {hook}", ("steps",))
        hooks = {hook: part["steps"] for hook, part in parts.items()}
    stage.jobs[name] = Job(name, body, _needs(body, []), hooks, deployment)
    for hook, steps in hooks.items():
        if not steps:
            raise PipelineError(f"job {name}: {hook} has no steps")
        if deployment and not any("checkout" in step for step in steps):
            raise PipelineError(f"job {name}: a deployment checks nothing out by itself: say checkout: self, or none")
        names = [step["name"] for step in steps if "name" in step]
        if twice := {one for one in names if names.count(one) > 1}:
            raise PipelineError(f"job {name}: there are two steps {', '.join(twice)}")


def ordered(ones: Mapping[str, One], where: str) -> dict[str, One]:
    """Return jobs or stages, each after those that it depends on, otherwise as written."""
    for one in ones.values():
        if strange := [need for need in one.needs if need not in ones]:
            raise PipelineError(f"{where}{one.name} depends on {', '.join(strange)}, and there is none of that name")
    made: dict[str, One] = {}
    while len(made) < len(ones):
        ready = [one for name, one in ones.items() if name not in made and set(one.needs) <= set(made)]
        if not ready:
            raise PipelineError(f"{where}these depend on each other: {', '.join(set(ones) - set(made))}")
        made[ready[0].name] = ready[0]
    return made


def variables(*bodies: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a pipeline, a stage and a job as written; a later one wins."""
    made: dict[str, str] = {}
    for body in bodies:
        for one in body.get("variables", []):
            known(one, {"name", "value", "readonly"}, "a variable", ("name", "value"))
            made[one["name"]] = one["value"]
    return made


def _check_stage(stage: Stage, stages: Mapping[str, Stage], document: Mapping[str, Any]) -> None:
    for body in (document, stage.body, *(job.body for job in stage.jobs.values())):
        pool = body.get("pool", {})
        image = pool.get("vmImage") if isinstance(pool, dict) else pool
        if pool and image not in IMAGES:
            raise PipelineError(f"{image} is not played, only {', '.join(IMAGES)}")
    if "condition" in stage.body:
        for path in references(parse(stage.body["condition"], status=True)):
            if path[:1] == ["dependencies"]:
                _check_stage_reference(stage, path[1:], stages)
    for job in stage.jobs.values():
        where = f"job {job.name}"
        texts = [(job.body["condition"], True)] if "condition" in job.body else []
        known_here = variables(document, stage.body, job.body)
        texts += [(found[1], False) for one in known_here.values() if (found := RUNTIME.fullmatch(one.strip()))]
        for text, status in texts:
            for path in references(parse(text, status)):
                if path[0] == "dependencies":
                    _check_job_reference(where, job, path[1:], stage.jobs, job.needs)
                elif path[0] == "stageDependencies":
                    if len(path) < 3 or path[1] not in stage.needs:
                        raise PipelineError(f"{where} reads of {path[1:2]}, on which its stage does not depend")
                    _check_job_reference(where, job, path[2:], stages[path[1]].jobs, list(stages[path[1]].jobs))
        for steps in job.hooks.values():
            _check_steps(where, steps, known_here)


def _check_stage_reference(stage: Stage, path: list[str], stages: Mapping[str, Stage]) -> None:
    if not path or path[0] not in stage.needs:
        raise PipelineError(f"stage {stage.name} reads of {path[:1]}, on which it does not depend")
    if path[1:2] == ["outputs"]:
        job, _, rest = path[2].partition(".")
        _check_job_reference(f"stage {stage.name}", None, [job, "outputs", rest], stages[path[0]].jobs, [job])


def _check_job_reference(
    where: str, job: Job | None, path: list[str], jobs: Mapping[str, Job], needs: list[str]
) -> None:
    if not path or path[0] not in jobs or path[0] not in needs:
        raise PipelineError(f"{where} reads of {'.'.join(path[:1])}, which is no job before it")
    if path[1:] == ["result"]:
        return
    if len(path) != 3 or path[1] != "outputs":
        raise PipelineError(f"{where} reads {'.'.join(path)}: a result or outputs[...] is expected")
    other, output = jobs[path[0]], path[2]
    if other.deployment:  # as the service names them in a runOnce deployment
        prefix, _, output = output.partition(".")
        if prefix != other.name:
            raise PipelineError(f"{where} reads {path[2]}: outputs of the deployment {other.name} begin with its name")
    if not any(_sets(step, output) for step in other.steps):
        raise PipelineError(f"{where} reads {path[2]}, an output that no step of {other.name} sets")


def _sets(step: Step, output: str) -> bool:
    """Tell whether a step sets "step.variable": by a command to the agent, or as its recipe's header promises."""
    name, _, variable = output.partition(".")
    told = variable in step.outputs or f"variable={variable};isOutput=true" in code_of(step)
    return step.get("name") == name and told


def code_of(step: Mapping[str, Any]) -> str:
    """Return the script of a step; "" if it has none."""
    found = [step[key] for key in SCRIPTS if key in step]
    found += [step.get("inputs", {}).get(key, "") for key in ("inlineScript", "script")]
    return "\n".join(filter(None, found))


def _check_steps(where: str, steps: list[Step], known_here: Mapping[str, str]) -> None:
    """Check that what a step reads of variables was set before it."""
    names = {name.lower() for name in known_here}
    for number, step in enumerate(steps):
        before = steps[:number]
        if "$(" in (connection := str(step.get("inputs", {}).get("azureSubscription", ""))):
            raise PipelineError(f"{where}: {connection}: a service connection must be known before the run")
        read_names = [found for text in _values(step) for found in MACRO.findall(text)]
        if "condition" in step:
            paths = references(parse(step["condition"], status=True))
            read_names += [path[1] for path in paths if path[0] == "variables" and len(path) == 2]
        for name in read_names:
            fine = PREDEFINED.fullmatch(name) or name.lower() in names
            if not fine and not any(
                _sets(one, name) or re.search(rf"variable={re.escape(name)}[;\]]", code_of(one)) for one in before
            ):
                raise PipelineError(f"{where}: {title(step)} reads {name}, which nothing before it sets")


def _values(node: Any) -> Iterator[str]:
    """Yield the texts of a step in which `$(...)` can only mean a variable: all but scripts."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key not in (*CODE, "condition"):
                yield from _values(value)
    elif isinstance(node, list):
        for one in node:
            yield from _values(one)
    elif isinstance(node, str):
        yield node


def title(step: Mapping[str, Any]) -> str:
    """Return what a step is called."""
    if "displayName" in step:
        return str(step["displayName"])
    kind, what = next(iter(step.items()))
    return str(what).strip().splitlines()[0] if kind in (*SCRIPTS, "task") else f"{kind} {what}"


def references(node: Node) -> list[list[str]]:
    """Return the paths of names that an expression reads: ["dependencies", "a", "outputs", "step.name"]."""
    if node[0] == "call":
        return [path for one in node[2] for path in references(one)]
    path: list[str] = []
    while node[0] == "at" and node[2][0] == "value":
        path.insert(0, str(node[2][1]))
        node = node[1]
    return [[node[1], *path]] if node[0] == "name" else []


def crossed(stages: Mapping[str, Stage]) -> list[str]:
    """Tell of each step that signs in to another environment than its job is for."""
    found: list[str] = []
    for job in (job for stage in stages.values() for job in stage.jobs.values()):
        told = variables(job.body).get("TARGET_ENVIRONMENT", "")
        gate = job.environment.rpartition("-")[2]
        for step in job.steps:
            connection = str(step.get("inputs", {}).get("azureSubscription", "")).rpartition("-")[2]
            if connection and (connection != told or (gate and connection != gate)):
                found.append(f"job {job.name}: {title(step)} signs in to {connection}, in a job for {told or gate}")
    return found


def unsafe(path: Path) -> list[str]:
    """Tell of each script in a file that a value is pasted into, or that goes on after an error.

    A value that is pasted is run: `$(...)` and `${{ }}` belong into `env`. And bash goes on after a failed command.
    """
    found: list[str] = []

    def look(node: Any) -> None:
        if isinstance(node, list):
            for one in node:
                look(one)
        if not isinstance(node, dict):
            return
        for key, value in node.items():
            if key not in CODE or not isinstance(value, str):
                look(value)
                continue
            if "${{" in value or MACRO.search(value):
                found.append(f"{path.name}: a value is pasted into the script {value.strip().splitlines()[0]!r}")
            lines = [line for line in value.splitlines() if line.strip()]
            if len(lines) > 1 and not re.search(r"^set -\w*e|\bexit 1", value, re.MULTILINE):
                found.append(
                    f"{path.name}: the script {lines[0]!r} goes on after an error: begin with set -euo pipefail"
                )

    look(read(path))
    return found
