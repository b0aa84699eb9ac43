"""Play the workflows of a project as GitHub Actions documents them, with the real commands; and read their flow.

The reference is GitHub's documentation of workflows, expressions, contexts and variables. Where a run on this machine
cannot know what GitHub would do, it is an error, never a guess.
"""

import itertools
import re
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import github_actions
from pipelines.github_expressions import Closed, as_text, condition, substitute
from pipelines.github_reading import Yaml, action, at, event, inputs_of_action, inputs_of_workflow, steps, workflow
from pipelines.github_steps import LOCAL, Job, Scope
from pipelines.played import Flow, FlowJob, JobRun, PipelineError, Played

RUNNERS = ("ubuntu-24.04", "ubuntu-latest")
Rights = Mapping[str, str]
NOTHING: Mapping[str, Any] = {}


def play(
    project: Path,
    pipeline: str,
    *,
    event: str,
    inputs: Mapping[str, str] = NOTHING,
    environ: Mapping[str, str] = NOTHING,
    bin: Path | None = None,
    approve: Callable[[str], bool] = lambda environment: True,
    variables: Mapping[str, Mapping[str, str]] = NOTHING,
    folder: Path,
    only: Collection[str] = (),
    given: Mapping[str, Mapping[str, str]] = NOTHING,
) -> Played:
    """Play a workflow.

    Args:
        project: a git repository; its HEAD is what is checked out.
        pipeline: the name of a file in .github/workflows, without its ending.
        event: what starts it (see `github_reading.event`).
        inputs: of workflow_dispatch; of repository_dispatch the payload.
        environ: further variables of the machine, for stand-ins.
        bin: a folder of stand-ins, first on the PATH.
        approve: says whether an environment's reviewers approve. A job that they refuse is not run ("skipped"), but
            counts as failed for those that need it.
        variables: of each environment; those of the repository are at "".
        folder: an empty place for clones, artifacts and whatever else a run leaves.
        only: play just these jobs; others count as succeeded.
        given: outputs of jobs that are not played.

    Raises:
        PipelineError: the event does not start the workflow, or something in it is wrong or not known.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = _Run(project.resolve(), folder.resolve(), bin, environ, approve, variables, only, given)
    # What is committed, not what lies about.
    subprocess.run(["git", "clone", "--quiet", "--shared", str(run.project), str(run.committed)], check=True)
    read = workflow(run.committed / ".github" / "workflows" / f"{pipeline}.yml")
    with at(f"{pipeline}.yml"):
        run.github, values = _event(project, read, event, inputs)
        run.github |= {"workflow": read.get("name", pipeline)}
        run.workflow(read, values, None)
        if strange := set(only) - set(run.played.jobs):
            raise PipelineError(f"there is no job {', '.join(sorted(strange))} to play")
    return run.played


def _event(project: Path, read: Yaml, name: str, inputs: Mapping[str, str]) -> tuple[Closed, Closed]:
    fields, values = event(project, read["on"], name, inputs)
    ref = fields["ref"]
    known = {
        "actor": "someone", "triggering_actor": "someone", "repository": f"owner/{project.name}", "job": "",
        "repository_owner": "owner", "run_id": "1001", "run_number": "1", "run_attempt": "1",
        "token": "token-of-the-run",
        "server_url": "https://github.com", "api_url": "https://api.github.com", "ref_type": "branch",
        "ref_name": ref.removeprefix("refs/heads/").removeprefix("refs/pull/"), "workspace": "",
    }  # fmt: skip
    declared = {name: None for kind in read["on"].values() for name in kind.get("inputs") or {}}
    return Closed({**known, **fields}), Closed({**declared, **values})


@dataclass
class _Run:
    """One run of a workflow, and of those that it calls."""

    project: Path
    folder: Path
    bin: Path | None
    environ: Mapping[str, str]
    approve: Callable[[str], bool]
    variables: Mapping[str, Mapping[str, str]]
    only: Collection[str]
    given: Mapping[str, Mapping[str, str]]
    github: Closed = field(default_factory=Closed)
    played: Played = field(default_factory=Played)

    @property
    def committed(self) -> Path:
        """The repository at the commit that is played, where workflows and "$/" actions are read."""
        return self.folder / "repository"

    def workflow(self, read: Yaml, inputs: Closed, granted: Rights | None, skip: bool = False) -> dict[str, Any]:
        """Play the jobs of a workflow.

        Args:
            read: the workflow.
            inputs: its inputs.
            granted: the permissions of the job that calls it; None for the run's own workflow.
            skip: only note its jobs as skipped.

        Returns:
            `result`, and the `outputs` of workflow_call.
        """
        contexts = {"github": self.github, "inputs": inputs, "vars": dict(self.variables.get("", {}))}
        _concurrency(read, contexts)
        results: dict[str, dict[str, Any]] = {}
        for name in _order(read["jobs"]):
            with at(f"job {name}"):
                results[name] = self.job(name, read, contexts, results, granted, skip)
        said = (read["on"].get("workflow_call") or {}).get("outputs") or {}
        jobs = {"jobs": Closed({name: Closed(one) for name, one in results.items()})}
        outputs = {name: as_text(substitute(one["value"], {**contexts, **jobs})) for name, one in said.items()}
        found = {one["result"] for one in results.values()}
        result = "failure" if "failure" in found else "success" if "success" in found else "skipped"
        return {"result": result, "outputs": Closed(outputs)}

    def job(
        self,
        name: str,
        read: Yaml,
        base: Mapping[str, Any],
        results: Mapping[str, Any],
        granted: Rights | None,
        skip: bool,
    ) -> dict[str, Any]:
        """Play a job once its needs are done, unless its condition says no."""
        job: Yaml = read["jobs"][name]
        called = self._called(job)
        outputs = job.get("outputs", {}) if called is None else _outputs_of_call(called)
        chosen = self._chosen(name, called)
        if self.only and not chosen and not skip:
            return {"result": "success", "outputs": Closed({**dict.fromkeys(outputs, ""), **self.given.get(name, {})})}
        before = [results[one]["result"] for one in _ancestors(name, read["jobs"])]
        functions = {
            "success": lambda: all(one == "success" for one in before),
            "failure": lambda: "failure" in before,
            "always": lambda: True,
            "cancelled": lambda: False,
        }
        needs = Closed({one: Closed(results[one]) for one in job["needs"]})
        contexts = {**base, "needs": needs}
        skip = skip or not condition(job.get("if"), contexts, functions)
        usual: Rights = {"contents": "read"} if granted is None else granted
        rights: Any = job.get("permissions", read.get("permissions", usual))
        _granted(rights, granted)
        nothing = {"result": "skipped", "outputs": Closed(dict.fromkeys(outputs, ""))}
        if called is not None:
            handed = NOTHING if skip else substitute(job.get("with", {}), contexts)
            known = called["on"]["workflow_call"].get("inputs") or {}
            values = Closed(dict.fromkeys(known)) if skip else inputs_of_workflow(known, handed, by_hand=False)
            done = self.workflow(called, values, rights, skip)
            return nothing if skip else done
        if skip:
            self._note(JobRun(name, "skipped"))
            return nothing
        _concurrency(job, contexts)
        combinations = _matrix(substitute(job.get("strategy", {}), contexts))
        copies = [self._copy(_title(name, one), job, read, contexts, one, rights) for one in combinations]
        result = "failure" if any(one["result"] == "failure" for one in copies) else "success"
        return {"result": result, "outputs": copies[-1]["outputs"]}

    def _copy(
        self, name: str, job: Yaml, read: Yaml, contexts: Mapping[str, Any], matrix: Mapping[str, Any], rights: Rights
    ) -> dict[str, Any]:
        """Play a job with one combination of its matrix."""
        contexts = {**contexts, "matrix": Closed(matrix), "strategy": Closed()}
        gate = job.get("environment", "")
        gate = gate if isinstance(gate, str) else _only(gate, {"name", "url"}, "environment")["name"]
        environment = as_text(substitute(gate, contexts))
        runner = as_text(substitute(job["runs-on"], contexts))
        if runner not in RUNNERS:
            raise PipelineError(f"it runs on {runner}, but only {', '.join(RUNNERS)} is played")
        if environment:
            self.played.asked.append(environment)
            if not self.approve(environment):
                self._note(JobRun(name, "skipped", environment=environment))
                return {"result": "failure", "outputs": Closed(dict.fromkeys(job.get("outputs", {}), ""))}
        root = self.folder / "jobs" / f"{len(self.played.jobs):02}-{re.sub('[^a-z0-9-]+', '-', name.lower())}"
        contexts = {
            **contexts,
            "vars": {**contexts["vars"], **self.variables.get(environment, {})},
            "secrets": Closed(GITHUB_TOKEN=self.github["token"]),
            "github": Closed(self.github, workspace=str(root / "workspace"), job=name),
            "runner": Closed(os="Linux", arch="X64", temp=str(root / "temp"), environment="github-hosted"),
        }
        early = {one: value for one, value in contexts.items() if one != "runner"}
        env = substitute(read.get("env", {}), {one: early[one] for one in ("github", "secrets", "inputs", "vars")})
        env = {**env, **substitute(job.get("env", {}), early)}
        minutes = float(as_text(substitute(job.get("timeout-minutes", 360), contexts)))
        runs = Job(
            name, self.project, self.committed, self.github["sha"], root, self.folder / "artifacts", self.bin,
            self.environ, self.played, rights, environment, {one: as_text(value) for one, value in env.items()},
            time.monotonic() + 60 * minutes,
        )  # fmt: skip
        scope = Scope(contexts, defaults={**_defaults(read), **_defaults(job)})
        noted = self._note(JobRun(name, "", runs.done, {}, environment))
        runs.play(steps(job, "it", {"timeout-minutes"}), scope)
        last = {**contexts, "steps": scope.steps, "env": runs.variables, "job": {"status": "success"}}
        noted.outputs |= {one: as_text(substitute(value, last)) for one, value in job.get("outputs", {}).items()}
        noted.result = "failure" if scope.failed else "success"
        return {"result": noted.result, "outputs": Closed(noted.outputs)}

    def _called(self, job: Yaml) -> Yaml | None:
        """Return the workflow that a job calls."""
        return called(self.committed, job)

    def _chosen(self, name: str, called: Yaml | None) -> bool:
        """Tell whether `only` names a job, or one of those that it calls."""
        return name in self.only or any(
            self._chosen(one, self._called(job)) for one, job in (called or {"jobs": {}})["jobs"].items()
        )

    def _note(self, job: JobRun) -> JobRun:
        if job.name in self.played.jobs:
            raise PipelineError("another workflow of this run has a job of that name")
        self.played.jobs[job.name] = job
        return job


def called(project: Path, job: Yaml) -> Yaml | None:
    """Return the workflow of the same repository that a job calls; None for a job with steps."""
    if "uses" not in job:
        return None
    if not (inside := re.fullmatch(r"[.$]/(\.github/workflows/[\w-]+\.yml)", job["uses"])):
        raise PipelineError(f"it calls {job['uses']}, but only workflows of the repository are played")
    read = workflow(project / inside[1])
    if "workflow_call" not in read["on"]:
        raise PipelineError(f"it calls {job['uses']}, which has no workflow_call")
    return read


def _outputs_of_call(read: Yaml) -> Mapping[str, Any]:
    outputs: Mapping[str, Any] = read["on"]["workflow_call"].get("outputs") or {}
    return outputs


def _only(given: Mapping[str, Any], known: set[str], what: str) -> Mapping[str, Any]:
    if strange := set(given) - known:
        raise PipelineError(f"{what} has {', '.join(sorted(strange))}, which the interpreter does not know")
    return given


def _defaults(of: Yaml) -> dict[str, str]:
    run = _only(of.get("defaults", {}), {"run"}, "defaults").get("run", {})
    return dict(_only(run, {"shell", "working-directory"}, "defaults.run"))


def _concurrency(of: Yaml, contexts: Mapping[str, Any]) -> None:
    """Compute a concurrency group: what it names must be known. (One run never meets another here.)"""
    if "concurrency" in of:
        found = substitute(of["concurrency"], contexts)
        found = (
            {"group": found} if isinstance(found, str) else _only(found, {"group", "cancel-in-progress"}, "concurrency")
        )
        if not found.get("group") or not isinstance(found.get("cancel-in-progress", False), bool):
            raise PipelineError(f"concurrency must have a group, and cancel-in-progress be true or false: {found}")


def _granted(rights: Any, granted: Rights | None) -> None:
    """Check that a called workflow asks no more than its caller has; else GitHub does not start it."""
    if not isinstance(rights, Mapping):
        raise PipelineError(f"permissions must be named one by one, not {rights!r}")
    levels = ("none", "read", "write")
    for right, level in rights.items():
        if level not in levels:
            raise PipelineError(f"permissions: {right} must be one of {', '.join(levels)}, not {level}")
        if granted is not None and levels.index(level) > levels.index(granted.get(right, "none")):
            raise PipelineError(f"it wants {right}: {level}, but the job that calls it has not got that")


def _title(name: str, combination: Mapping[str, Any]) -> str:
    return f"{name} ({', '.join(map(as_text, combination.values()))})" if combination else name


def _order(jobs: Mapping[str, Yaml]) -> Iterator[str]:
    """Yield jobs, each after those that it needs, otherwise as written."""
    done: list[str] = []
    while len(done) < len(jobs):
        ready = [name for name, job in jobs.items() if name not in done and set(job["needs"]) <= set(done)]
        if not ready:
            raise PipelineError(f"these jobs need each other: {', '.join(name for name in jobs if name not in done)}")
        done.append(ready[0])
        yield ready[0]


def _ancestors(name: str, jobs: Mapping[str, Yaml]) -> set[str]:
    """Return all that a job needs, and what those need."""
    return {one for need in jobs[name]["needs"] for one in {need} | _ancestors(need, jobs)}


def _matrix(strategy: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the combinations of a matrix."""
    matrix = dict(_only(strategy, {"matrix", "fail-fast", "max-parallel"}, "strategy").get("matrix", {}))
    more, less = matrix.pop("include", []), matrix.pop("exclude", [])
    found = [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]
    found = [one for one in found if not any(part.items() <= one.items() for part in less)]
    found = found if matrix or not more else []
    made = list(found)
    for extra in more:
        fitting = [one for one in found if all(one.get(key) == extra[key] for key in matrix if key in extra)]
        for one in fitting:
            one.update({key: value for key, value in extra.items() if key not in matrix})
        if not fitting:
            made.append(dict(extra))
    if not made:
        raise PipelineError("its matrix holds nothing")
    return made


def flow(project: Path, pipeline: str) -> Flow:
    """Read what a workflow does without playing it: the jobs of workflows that it calls stand in their place."""
    read = workflow(project / ".github" / "workflows" / f"{pipeline}.yml")
    hand = read["on"].get("workflow_dispatch") or read["on"].get("workflow_call") or {}
    inputs = {name: as_text((one or {}).get("default")) for name, one in (hand.get("inputs") or {}).items()}
    return Flow(list(_triggers(read["on"])), inputs, list(_flow_jobs(project, read, [])))


def _triggers(said: Yaml) -> Iterator[str]:
    for name, one in said.items():
        if name in ("push", "pull_request"):
            paths = f" of {' '.join(sorted(one['paths']))}" if "paths" in one else ""
            yield f"{name.replace('_', ' ')} to {' '.join(one.get('branches', ['any']))}{paths}"
        elif name == "schedule":
            yield from (f"schedule {cron}" for cron in one["cron"])
        elif name == "repository_dispatch":
            yield from (f"event {kind}" for kind in one.get("types", ["any"]))
        elif name == "workflow_dispatch":
            yield "by hand"


def _flow_jobs(project: Path, read: Yaml, before: list[str]) -> Iterator[FlowJob]:
    ends: dict[str, list[str]] = {}
    for name, job in read["jobs"].items():
        needs = [one for need in job["needs"] for one in ends.get(need, [need])] or before
        if (inner := called(project, job)) is not None:
            needed = {one for other in inner["jobs"].values() for one in other["needs"]}
            ends[name] = [one for one in inner["jobs"] if one not in needed]
            yield from _flow_jobs(project, inner, needs)
            continue
        gate = job.get("environment", "")
        recipes = [found for step in job["steps"] for found in _recipe(project, step)]
        yield FlowJob(
            name, list(needs), gate if isinstance(gate, str) else gate["name"], str(job.get("if", "")), recipes
        )


def _recipe(project: Path, step: Yaml) -> Iterator[tuple[str, list[str]]]:
    """Yield a step's recipe with its commands; "" for a command outside recipes."""
    if "run" in step:
        yield "", _commands(step["run"])
    elif step["uses"].startswith(LOCAL):
        read = action(project / step["uses"][2:])
        inputs_of_action(read.get("inputs") or {}, step.get("with", {}), step["uses"])
        inner = [line for one in read["runs"]["steps"] for _, lines in _recipe(project, one) for line in lines]
        yield Path(step["uses"]).name, inner
    else:
        github_actions.known(step["uses"], step.get("with", {}))


def _commands(script: str) -> list[str]:
    joined = script.replace("\\\n", " ")
    return [" ".join(line.split()) for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]
