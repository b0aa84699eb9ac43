"""Play the pipelines of a project as Azure Pipelines documents them, with the real commands; and read their flow.

The reference is Microsoft's documentation of the YAML schema, expressions, conditions, variables, deployment jobs and
logging commands. Where a run on this machine cannot know what the service would do, it is an error, never a guess.
"""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import azure_tasks
from pipelines.azure_agent import Agent
from pipelines.azure_expressions import RUNTIME, Scope, evaluate, plain, truth
from pipelines.azure_plan import Job, Stage, code_of, plan, variables
from pipelines.azure_templates import FOLDER, Step, declared, expand, read
from pipelines.github_reading import glob
from pipelines.played import Flow, FlowJob, JobRun, PipelineError, Played

NOTHING: Mapping[str, Any] = {}
REASONS = {
    "push": "IndividualCI",
    "pull_request": "PullRequest",
    "schedule": "Schedule",
    "workflow_dispatch": "Manual",
    "repository_dispatch": "Manual",  # there is no such event: drift and new data start a run by REST
}
RESULTS = {"success": "Succeeded", "failure": "Failed", "skipped": "Skipped"}


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
    """Play a pipeline.

    Args:
        project: a git repository; its HEAD is what is checked out. A pull request is built merged into main.
        pipeline: the name of a file in .azuredevops, without its ending.
        event: what starts it: push, pull_request, schedule, workflow_dispatch or repository_dispatch (by hand here).
        inputs: its parameters, where it is started by hand.
        environ: further variables of the machine, for stand-ins.
        bin: a folder of stand-ins, first on the PATH.
        approve: says whether an environment's approvers approve; it is called `test`, where the service says
            `<project>-test`. A stage that they refuse is not run ("skipped"), but counts as failed.
        variables: "" holds further variables of the run. Environments have none on this platform: theirs are not used.
        folder: an empty place for clones, artifacts and whatever else a run leaves.
        only: play just these jobs; others count as succeeded.
        given: outputs of jobs that are not played, by job and by the variable's name.

    Raises:
        PipelineError: the event does not start the pipeline, or something in it is wrong or not known.
    """
    project, folder = project.resolve(), folder.resolve()
    path = project / FOLDER / f"{pipeline}.yml"
    event, _, _ = event.partition("/")
    started(project, read(path), event, inputs)
    clone, ref, known = _repository(project, pipeline, event, folder)
    expanded = expand(project, path, inputs, known)
    stages = plan(expanded.document)
    names = [_plain(name) for stage in stages.values() for name in stage.jobs]
    if twice := {name for name in names if names.count(name) > 1}:
        raise PipelineError(f"{path.name}: two stages have a job {', '.join(sorted(twice))}")
    if strange := set(only) - set(names):
        raise PipelineError(f"{path.name}: there is no job {', '.join(sorted(strange))} to play")
    known = {**known, **variables.get("", {})}
    run = _Run(clone, ref, folder, bin, environ, approve, only, given, expanded.document, stages, known)
    for stage in stages.values():
        run.stage(stage)
    return run.played


def started(project: Path, document: Mapping[str, Any], event: str, inputs: Mapping[str, str]) -> None:
    """Check that an event starts a pipeline.

    Raises:
        PipelineError: it does not.
    """
    if event not in REASONS:
        raise PipelineError(f"the event {event} is not known to the interpreter: {', '.join(REASONS)}")
    if inputs and REASONS[event] != "Manual":
        raise PipelineError(f"{event} takes no parameters")
    key = {"push": "trigger", "pull_request": "pr", "schedule": "schedules"}.get(event)
    if key is None:
        return
    told = document.get(key, "none")
    if told == "none" or not told:
        raise PipelineError(f"{event} does not start this pipeline: {key} is none")
    filters = told if isinstance(told, dict) else {"branches": {"include": told}}
    branches = filters.get("branches", {}) if key != "schedules" else told[0].get("branches", {})
    included = branches.get("include", ["main"]) if isinstance(branches, dict) else branches
    if not any(glob(pattern).fullmatch("main") for pattern in included):
        raise PipelineError(f"{event} to main does not start this pipeline, only to {', '.join(included)}")
    paths = filters.get("paths", {}).get("include", []) if key != "schedules" else []
    changed = _git(project, "show", "--name-only", "--format=", "--first-parent", "-m", "HEAD").splitlines()
    if paths and not any(glob(pattern).fullmatch(name) for pattern in paths for name in changed):
        raise PipelineError(f"this {event} does not start the pipeline: nothing in {', '.join(paths)} was changed")


def _git(project: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise PipelineError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def _repository(project: Path, pipeline: str, event: str, folder: Path) -> tuple[Path, str, dict[str, str]]:
    """Return a copy of the repository, what of it is built, and the variables that tell of the run."""
    clone = folder / "repository.git"
    _git(project, "clone", "--quiet", "--bare", "--no-local", project.as_uri(), str(clone))
    head, ref = _git(project, "rev-parse", "HEAD"), "refs/heads/main"
    branch = _git(project, "rev-parse", "--abbrev-ref", "HEAD")
    known: dict[str, str] = {}
    if event == "pull_request":
        ref, source = "refs/pull/7/merge", "change" if branch in ("main", "HEAD") else branch
        main = _git(project, "rev-parse", "--verify", "refs/heads/main")
        if main != head:
            merged = _git(clone, "merge-tree", "--write-tree", main, head).splitlines()[0]
            who = ["-c", "user.name=Azure", "-c", "user.email=azure@example.com"]
            message = f"Merge pull request 7 from {source} into main"
            head = _git(clone, *who, "commit-tree", "-p", main, "-p", head, "-m", message, merged)
        known = {
            "System.PullRequest.PullRequestId": "7",
            "System.PullRequest.SourceBranch": f"refs/heads/{source}",
            "System.PullRequest.TargetBranch": "refs/heads/main",
            "System.PullRequest.TargetBranchName": "main",
            "System.PullRequest.IsFork": "False",
        }
    built = "refs/heads/built" if ref == "refs/heads/main" else ref
    _git(clone, "update-ref", built, head)
    organisation = "https://dev.azure.com/organisation/"
    known |= {
        "Build.Reason": REASONS[event], "Build.SourceBranch": ref, "Build.SourceBranchName": ref.rpartition("/")[2],
        "Build.SourceVersion": head, "Build.BuildId": "1001", "Build.BuildNumber": "20260101.1",
        "Build.DefinitionName": pipeline, "Build.Repository.Name": project.name, "Build.Repository.ID": "repository",
        "Build.Repository.Provider": "TfsGit", "Build.RequestedFor": "someone", "System.TeamProject": project.name,
        "System.TeamProjectId": "project", "System.CollectionUri": organisation, "System.StageAttempt": "1",
        "System.TeamFoundationCollectionUri": organisation, "System.JobAttempt": "1",
    }  # fmt: skip
    return clone, built, known


def _plain(name: str) -> str:
    """Return a job's name as both platforms have it."""
    return name.replace("_", "-")


def _short(environment: str) -> str:
    """Return an environment's name without the project's: environments are shared by all that is in an organisation."""
    return environment.rpartition("-")[2]


class _Given(dict[str, Any]):
    """Outputs of a job that is not played: asked for by their whole name, given by the variable's."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).rpartition(".")[2])

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name.rpartition(".")[2])


@dataclass
class _Run:
    """One run of a pipeline."""

    clone: Path
    ref: str
    folder: Path
    bin: Path | None
    environ: Mapping[str, str]
    approve: Callable[[str], bool]
    only: Collection[str]
    given: Mapping[str, Mapping[str, str]]
    document: Mapping[str, Any]
    stages: Mapping[str, Stage]
    known: Mapping[str, str]
    results: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)  # by stage and job
    ends: dict[str, str] = field(default_factory=dict)  # how stages ended
    played: Played = field(default_factory=Played)

    def stage(self, stage: Stage) -> None:
        """Play a stage: its approvals first, then its jobs."""
        done = self.results[stage.name] = {}
        wanted = [job for job in stage.jobs.values() if not self.only or _plain(job.name) in self.only]
        if not wanted:
            for job in stage.jobs.values():
                done[job.name] = self._handed(job)
            self.ends[stage.name] = "success"
            return
        names = {
            "variables": {**self.known, **variables(self.document, stage.body)},
            "dependencies": {
                need: {"result": RESULTS[self.ends[need]], "outputs": self._outputs(need)} for need in stage.needs
            },
        }
        before = {need: self.ends[need] for need in _ancestors(stage.name, self.stages)}
        if not _holds(stage.body.get("condition"), names, before):
            return self.end(stage, "skipped")
        for environment in dict.fromkeys(_short(job.environment) for job in wanted if job.environment):
            self.played.asked.append(environment)
            if not self.approve(environment):
                return self.end(stage, "failure")
        for job in stage.jobs.values():
            done[job.name] = self.job(job, stage) if job in wanted else self._handed(job)
        ended = {one["end"] for one in done.values()}
        self.ends[stage.name] = "failure" if "failure" in ended else "success" if "success" in ended else "skipped"

    def end(self, stage: Stage, result: str) -> None:
        """Note a stage none of whose jobs is run."""
        self.ends[stage.name] = result
        for job in stage.jobs.values():
            self.results[stage.name][job.name] = {"result": RESULTS[result], "outputs": {}, "end": result}
            self.note(JobRun(_plain(job.name), "skipped", environment=_short(job.environment)))

    def job(self, job: Job, stage: Stage) -> dict[str, Any]:
        """Play a job once its needs are done, unless its condition says no."""
        done = self.results[stage.name]
        names: dict[str, Any] = {
            "dependencies": {need: done[need] for need in job.needs},
            "stageDependencies": {need: self.results[need] for need in stage.needs},
        }
        try:
            values = self.variables(job, stage, names)
            before = {need: done[need]["end"] for need in _ancestors(job.name, stage.jobs)}
            noted = JobRun(_plain(job.name), "skipped", environment=_short(job.environment))
            self.note(noted)
            if not _holds(job.body.get("condition"), {**names, "variables": values}, before):
                return {"result": "Skipped", "outputs": {}, "end": "skipped"}
            agents = self.agents(job, values, noted)
        except PipelineError as error:
            raise PipelineError(f"job {job.name}: {error}") from error
        noted.result = "failure" if any(agent.failed for agent in agents) else "success"
        outputs = {name: value for agent in agents for name, value in agent.outputs.items()}
        noted.outputs |= {name.rpartition(".")[2]: value for name, value in outputs.items()}
        prefix = f"{job.name}." if job.deployment else ""
        result = RESULTS[noted.result]
        if noted.result == "success" and any(agent.issues for agent in agents):
            result = "SucceededWithIssues"
        continued = job.body.get("continueOnError", "false").lower() == "true"
        end = "success" if continued else noted.result
        return {"result": result, "outputs": {prefix + name: one for name, one in outputs.items()}, "end": end}

    def variables(self, job: Job, stage: Stage, names: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables with which a job begins, `$[ ]` computed."""
        made = dict(self.known)
        for name, value in variables(self.document, stage.body, job.body).items():
            found = RUNTIME.fullmatch(value.strip())
            made[name] = plain(evaluate(found[1], Scope({**names, "variables": made}))) if found else value
        more = {"Environment.Name": job.environment} if job.deployment else {}
        return {**made, **more, "System.JobName": job.name, "System.StageName": stage.name or "__default"}

    def agents(self, job: Job, values: Mapping[str, str], noted: JobRun) -> list[Agent]:
        """Play a job on its agent; each part of a deployment has one of its own."""
        deadline = time.monotonic() + 60 * (float(job.body.get("timeoutInMinutes", 60)) or 360)
        agents: list[Agent] = []
        for hook, steps in job.hooks.items():
            failed = any(agent.failed for agent in agents)
            if failed if hook in ("on success", *_parts(job)) else hook == "on failure" and not failed:
                continue
            root = self.folder / "jobs" / f"{len(self.played.jobs):02}-{job.name}{hook.replace(' ', '-') and '-'}{hook}"
            agent = Agent(
                self.clone, self.ref, root, self.folder / "artifacts", self.bin, self.environ, self.played,
                dict(values), deadline, noted.steps, azure_tasks.do,
            )  # fmt: skip
            agents.append(agent)
            # As the agent does, unless a step says otherwise: a job has the repository, a deployment the artifacts.
            first: dict[str, Any] = {"download": "current"} if job.deployment else {"checkout": "self"}
            missing = next(iter(first)) not in {key for step in steps for key in step}
            agent.play([*([Step(first)] if missing else []), *steps])
            for python in root.glob("python-*"):
                shutil.rmtree(python)
        return agents

    def note(self, job: JobRun) -> None:
        """Enter a job into what was played."""
        self.played.jobs[job.name] = job

    def _handed(self, job: Job) -> dict[str, Any]:
        outputs = _Given(self.given.get(_plain(job.name), {}))
        return {"result": "Succeeded", "outputs": outputs, "end": "success"}

    def _outputs(self, stage: str) -> dict[str, Any]:
        """Return the outputs of a stage's jobs, as the condition of another stage names them."""
        made: dict[str, Any] = {}
        for name, job in self.results[stage].items():
            outputs = job["outputs"]
            if isinstance(outputs, _Given):
                for step in self.stages[stage].jobs[name].steps:
                    for key, value in outputs.items():
                        prefix = f"{name}." * (1 + self.stages[stage].jobs[name].deployment)
                        made[f"{prefix}{step.get('name', '')}.{key}"] = value
            else:
                made |= {f"{name}.{key}": value for key, value in outputs.items()}
        return made


def _parts(job: Job) -> list[str]:
    return [hook for hook in job.hooks if not hook.startswith("on ")]


def _ancestors(name: str, ones: Mapping[str, Any]) -> set[str]:
    return {one for need in ones[name].needs for one in {need} | _ancestors(need, ones)}


def _holds(condition: str | None, names: Mapping[str, Any], before: Mapping[str, str]) -> bool:
    """Tell whether the condition of a stage or job holds, given how what goes before it ended."""

    def status(name: str, which: Sequence[str]) -> bool:
        if strange := set(which) - set(before):
            raise PipelineError(f"{name}({', '.join(sorted(strange))}): it does not depend on that")
        ends = [before[one] for one in which] if which else list(before.values())
        return {
            "always": True,
            "canceled": False,
            "succeeded": all(end == "success" for end in ends),
            "failed": "failure" in ends,
            "succeededorfailed": not which or any(end != "skipped" for end in ends),
        }[name]

    return truth(evaluate(condition or "succeeded()", Scope(names, status)))


def flow(project: Path, pipeline: str) -> Flow:
    """Read what a pipeline does without playing it: all jobs there are, with the defaults of its parameters."""
    path = project / FOLDER / f"{pipeline}.yml"
    document = read(path)
    inputs = {one["name"]: str(one.get("default", "")) for one in declared(document, path.name)}
    return Flow(list(_triggers(document)), inputs, list(_flow_jobs(plan(expand(project, path).document))))


def _triggers(document: Mapping[str, Any]) -> Iterator[str]:
    for key, name in (("trigger", "push"), ("pr", "pull request")):
        told = document.get(key, "none")
        if isinstance(told, dict):
            paths = told.get("paths", {}).get("include", [])
            yield f"{name} to {' '.join(told['branches']['include'])}" + (
                f" of {' '.join(sorted(paths))}" * bool(paths)
            )
        elif told != "none":
            yield f"{name} to {' '.join(told)}"
    yield from (f"schedule {one['cron']}" for one in document.get("schedules", []))
    yield "by hand"


def _flow_jobs(stages: Mapping[str, Stage]) -> Iterator[FlowJob]:
    for stage in stages.values():
        before = [_plain(name) for need in stage.needs for name in _last(stages[need])]
        for job in stage.jobs.values():
            needs = [_plain(need) for need in job.needs] or before
            conditions = [one for one in (stage.body.get("condition"), job.body.get("condition")) if one]
            recipes: list[tuple[str, list[str]]] = []
            use = 0
            for step in job.steps:
                lines = _commands(code_of(step))
                if step.recipe and step.use == use:
                    recipes[-1][1].extend(lines)
                elif step.recipe or lines:
                    recipes.append((step.recipe, lines))
                use = step.use
            yield FlowJob(_plain(job.name), needs, _short(job.environment), " and ".join(conditions), recipes)


def _last(stage: Stage) -> list[str]:
    """Return the jobs of a stage that no other one there waits for."""
    needed = {need for job in stage.jobs.values() for need in job.needs}
    return [name for name in stage.jobs if name not in needed]


def _commands(script: str) -> list[str]:
    """Return the commands of a script; that it stops at an error is what the other platform does by itself."""
    lines = [" ".join(line.split()) for line in script.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#") and not re.fullmatch(r"set -\w+( \w+)?", line)]
