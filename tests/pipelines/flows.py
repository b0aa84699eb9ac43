"""What two platforms do, side by side: where they differ, and a picture of it for docs/ci-cd.md of a project."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from .played import Flow, FlowJob

Difference = tuple[str, str, object, object]  # pipeline, what, what GitHub says, what Azure DevOps says
GATES = ("models", "test", "prod")  # environments that people open; a job in `dev` waits for nobody
# These have a platform's own words for commands: who is logged in, and where reviewers read. They are compared by name.
OWN_WORDS = ("login", "comment")
# Lines by which a step tells the runner something, and does nothing to the project.
TO_THE_RUNNER = re.compile(r"##vso|##\[|::error|GITHUB_(PATH|OUTPUT|STEP_SUMMARY)|^exit \d")


def differences(pipeline: str, github: Flow, azure: Flow) -> Iterator[Difference]:
    """Compare a pipeline of the two platforms, and yield each difference."""
    for what, one, other in (
        ("triggers", sorted(github.triggers), sorted(azure.triggers)),
        ("inputs", _inputs(github), _inputs(azure)),
        ("jobs", sorted(job.name for job in github.jobs), sorted(job.name for job in azure.jobs)),
    ):
        if one != other:
            yield pipeline, what, one, other
    twins = {job.name: job for job in azure.jobs}
    for job in github.jobs:
        if twin := twins.get(job.name):
            for what, here, there in (
                ("comes after", sorted(before(github, job)), sorted(before(azure, twin))),
                ("gate", gate(job), gate(twin)),
                ("recipes", recipes(job), recipes(twin)),
            ):
                if here != there:
                    yield pipeline, f"{job.name}: {what}", here, there


def _inputs(flow: Flow) -> dict[str, str]:
    # A parameter of Azure DevOps cannot be left empty: `none` says the same.
    return {name: "" if default == "none" else default for name, default in flow.inputs.items()}


def before(flow: Flow, job: FlowJob) -> set[str]:
    """Return every job that has ended when this one begins."""
    there = {one.name: one for one in flow.jobs}
    return set(job.needs).union(*(before(flow, there[name]) for name in job.needs if name in there))


def gate(job: FlowJob) -> str:
    """Return the environment whose approval a job waits for, or nothing."""
    return job.environment if job.environment in GATES else ""


def recipes(job: FlowJob) -> dict[str, list[str]]:
    """Return the recipes of a job in order, each with what it does to the project; other steps are the platform's."""
    return {name: [] if name in OWN_WORDS else plain(commands) for name, commands in job.recipes if name}


def plain(commands: list[str]) -> list[str]:
    """Return what commands do to the project, without how a platform writes the value of a variable."""
    kept = [line.replace('"', "") for line in commands if not TO_THE_RUNNER.search(line)]
    kept = [re.sub(r"\$\{\w+:\+([^}]+)\}", r"[\1]", line) for line in kept]
    return [re.sub(r"\$\{?\w+\}?|\$\(\w+\)", "X", line).strip() for line in kept]


def picture(flow: Flow) -> str:
    """Draw the jobs of a pipeline for mermaid; an approval is a rhombus before its job."""
    lines = ["flowchart LR"]
    for job in flow.jobs:
        steps = [name for name in recipes(job) if name not in ("setup", "login")]
        lines.append(f'    {job.name}["{"<br>".join([f"<b>{job.name}</b>", *steps])}"]')
        entry = job.name
        if gate(job):
            entry = f"{job.name}_gate"
            lines += [f'    {entry}{{"approval: {gate(job)}"}}', f"    {entry} --> {job.name}"]
        lines += [f"    {name} --> {entry}" for name in nearest(flow, job)]
    return "\n".join(["```mermaid", *lines, "```"])


def nearest(flow: Flow, job: FlowJob) -> list[str]:
    """Return the jobs right before this one: those that come before no other one of them."""
    there = {one.name: one for one in flow.jobs}
    earlier = set().union(*(before(flow, there[name]) for name in job.needs))
    return [name for name in job.needs if name not in earlier]


def table(flow: Flow) -> str:
    """Return the jobs of a pipeline as a table in Markdown."""
    rows = ["| job | after | approval | recipes, and what they call |", "|---|---|---|---|"]
    for job in flow.jobs:
        told = [
            f"{name}: {', '.join(f'`{line}`' for line in commands)}" if commands else name
            for name, commands in recipes(job).items()
            if name not in ("setup", "login")
        ]
        rows.append(f"| `{job.name}` | {', '.join(nearest(flow, job))} | {gate(job)} | {'<br>'.join(told)} |")
    return "\n".join(rows)


def called(flow: Flow, other: Flow, name: str) -> Flow:
    """Return a pipeline with the jobs of another one, which it goes on with, as one."""
    names = {job.name for job in other.jobs}
    own = [job for job in flow.jobs if job.name not in names]
    needs = [need for job in flow.jobs if job.name in names for need in job.needs if need not in names]
    return Flow(flow.triggers, flow.inputs, [*own, FlowJob(name, list(dict.fromkeys(needs)))])


def of_page(flow: Callable[[Path, str], Flow], project: Path, block: str) -> str:
    """Return what a block of docs/ci-cd.md says; its name begins with that of a pipeline."""
    pipeline = block.split(",")[0]
    found = flow(project, pipeline)
    return drawn(called(found, flow(project, "release"), "release") if pipeline == "train" else found)


def drawn(flow: Flow) -> str:
    """Return a pipeline as text: what starts it, its picture and its table."""
    inputs = ", ".join(f"`{name}`" + (f" ({default})" if default else "") for name, default in flow.inputs.items())
    starts = "; ".join(text.replace("*", "\\*") for text in flow.triggers)
    return f"Starts: {starts}. Inputs: {inputs or 'none'}.\n\n{picture(flow)}\n\n{table(flow)}"
