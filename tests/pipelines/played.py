"""What a played pipeline left behind, and what a pipeline says without being played: the same for both platforms."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

Approve = Callable[[str], bool]


class PipelineError(Exception):
    """The pipeline cannot run as it is written, or uses something the interpreter does not know: where, and what."""


@dataclass
class StepRun:
    """One step of a job. `recipe` is "" outside recipes; `result` is success, failure or skipped."""

    name: str
    recipe: str
    result: str
    output: str
    seconds: float


@dataclass
class JobRun:
    """One job. `result` is success, failure or skipped; `environment` is "" for a job without one."""

    name: str
    result: str
    steps: list[StepRun] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)
    environment: str = ""


@dataclass
class Played:
    """One run of a pipeline.

    Attributes:
        jobs: Every job by name, those of a called workflow among them ("release/staging" is "staging").
        artifacts: The folder of each uploaded artifact.
        asked: Environments whose approval was asked, in order.
        summary: What the steps wrote to the run's summary.
        published: Files that a publishing task took, by title (Azure Pipelines).
    """

    jobs: dict[str, JobRun] = field(default_factory=dict)
    artifacts: dict[str, Path] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    summary: str = ""
    published: dict[str, Path] = field(default_factory=dict)

    @property
    def red(self) -> list[str]:
        """ "job/recipe" of each failed step, in order; the step's name where it is no recipe."""
        return [
            f"{job.name}/{step.recipe or step.name}"
            for job in self.jobs.values()
            for step in job.steps
            if step.result == "failure"
        ]

    @property
    def ran(self) -> list[str]:
        """Names of the jobs that were not skipped."""
        return [job.name for job in self.jobs.values() if job.result != "skipped"]


@dataclass
class FlowJob:
    """A job as written. `recipes` holds each recipe with its commands, spaces and line breaks normalised."""

    name: str
    needs: list[str] = field(default_factory=list)
    environment: str = ""
    condition: str = ""
    recipes: list[tuple[str, list[str]]] = field(default_factory=list)


@dataclass
class Flow:
    """A pipeline as written: what starts it, its inputs with their defaults, its jobs in order.

    Triggers are words of no platform: "push to main", "push to main of conf/** src/**", "pull request to main",
    "schedule 17 4 * * 1", "event drift", "by hand".
    """

    triggers: list[str] = field(default_factory=list)
    inputs: dict[str, str] = field(default_factory=dict)
    jobs: list[FlowJob] = field(default_factory=list)
