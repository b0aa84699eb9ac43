"""One job on its agent of Azure Pipelines: a clean machine, variables, and the commands that scripts print."""

import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines import memory
from pipelines.azure_expressions import Scope, evaluate, truth
from pipelines.azure_plan import MACRO, known, title
from pipelines.azure_templates import Step
from pipelines.machine import clean, execute
from pipelines.played import PipelineError, Played, StepRun

COMMAND = re.compile(r"##vso\[(\w+\.\w+)\s*([^\]]*)\](.*)")
ESCAPED = {"%3B": ";", "%0D": "\r", "%0A": "\n", "%5D": "]", "%AZP25": "%"}
CONTROL = {"name", "displayName", "condition", "continueOnError", "enabled", "env", "timeoutInMinutes"}
CONTROL |= {"retryCountOnTaskFailure"}
KEYS = {
    "task": {"inputs"},
    "checkout": {"fetchDepth", "persistCredentials", "clean", "fetchTags"},
    "publish": {"artifact"},
    "download": {"artifact", "path"},
    "bash": {"workingDirectory"},
    "script": {"workingDirectory"},
}


class Failed(Exception):
    """A task failed, as it would have on the service."""


@dataclass
class Agent:
    """A job, or one part of a deployment, on a machine of its own.

    Attributes:
        project: The repository.
        ref: What a checkout takes of it.
        root: An empty folder of this agent's own.
        shelf: Where artifacts are kept.
        bin: Stand-ins, first on the PATH.
        environ: Further variables of the machine.
        played: What the run leaves.
        variables: The variables of the job, later steps' too.
        deadline: When the job is stopped, by the monotonic clock.
        steps: Where it notes what it did.
        do: Does a step of a kind, and returns the exit code and what was printed.
    """

    project: Path
    ref: str
    root: Path
    shelf: Path
    bin: Path | None
    environ: Mapping[str, str]
    played: Played
    variables: dict[str, str]
    deadline: float
    steps: list[StepRun]
    do: Callable[["Agent", Step, str], tuple[int, str]]
    outputs: dict[str, str] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)
    failed: bool = False
    issues: bool = False

    def __post_init__(self) -> None:
        self.workspace, self.home, self.temp = self.root / "s", self.root / "home", self.root / "temp"
        for folder in (self.workspace, self.home, self.temp, self.root / "a", self.root / "b"):
            folder.mkdir(parents=True)
        places = {
            "Build.SourcesDirectory": "s", "System.DefaultWorkingDirectory": "s", "Build.ArtifactStagingDirectory": "a",
            "Build.StagingDirectory": "a", "Build.BinariesDirectory": "b", "Agent.TempDirectory": "temp",
            "Agent.BuildDirectory": "", "Pipeline.Workspace": "", "Agent.ToolsDirectory": "tools",
        }  # fmt: skip
        self.declared = set(self.variables)  # what the pipeline says, of whichever run
        self.variables = {
            **self.variables, **{name: str(self.root / place) for name, place in places.items()},
            "Agent.OS": "Linux", "Agent.OSArchitecture": "X64", "Agent.Name": "Hosted Agent",
        }  # fmt: skip
        self.secret = {"System.AccessToken": secrets.token_hex(20)}

    def play(self, steps: Sequence[Step]) -> None:
        """Play steps, each in order; after one failed, only those whose condition says so."""
        for step in steps:
            try:
                self.step(step)
            except PipelineError as error:
                raise PipelineError(f"step {title(step)!r}: {error}") from error

    def status(self, name: str, names: Sequence[str]) -> bool:
        """Tell whether a status function holds for the steps so far."""
        if names:
            raise PipelineError(f"{name} of a step takes no names")
        return {"succeeded": not self.failed, "failed": self.failed, "canceled": False}.get(name, True)

    def step(self, step: Step) -> None:
        """Play one step, and note its result."""
        kind = next((key for key in KEYS if key in step), "")
        if not kind:
            raise PipelineError(f"a step has {', '.join(step)}: the interpreter knows {', '.join(KEYS)}")
        known(step, {kind} | CONTROL | KEYS[kind], "it")
        began = time.monotonic()
        run = StepRun(self.filled(title(step)), step.recipe, "skipped", "", 0.0)
        self.steps.append(run)
        status = "Failed" if self.failed else "SucceededWithIssues" if self.issues else "Succeeded"
        self.variables["Agent.JobStatus"] = status
        scope = Scope({"variables": self.variables}, self.status)
        if step.get("enabled", "true").lower() == "false":
            return
        if not truth(evaluate(step.get("condition", "succeeded()"), scope)):
            return
        result, output = "failure", ""
        for _ in range(1 + int(step.get("retryCountOnTaskFailure", 0))):
            result, said = self.once(step, kind)
            output += said
            if result != "failure":
                break
        if result == "failure" and step.get("continueOnError", "false").lower() == "true":
            result, self.issues = "success", True
        self.failed = self.failed or result == "failure"
        run.result, run.output, run.seconds = result, self.masked(output), time.monotonic() - began

    def once(self, step: Step, kind: str) -> tuple[str, str]:
        """Do what a step says, obey what it prints, and return its result."""
        try:
            code, output = self.do(self, step, kind)
        except Failed as error:
            return "failure", f"##[error]{error}"
        try:
            told = self.obey(output, step.get("name", ""))
        except Failed as error:
            return "failure", f"{output}\n##[error]{error}"
        return "failure" if code or told == "Failed" else "success", output

    def obey(self, output: str, name: str) -> str:
        """Obey the commands in what a step printed, and return the result that `task.complete` tells."""
        result = ""
        for line in output.splitlines():
            if not (found := COMMAND.search(line)):
                if "##vso[" in line:
                    raise PipelineError(f"{line!r} is no command to the agent")
                continue
            command, value = found[1].lower(), _unescaped(found[3])
            pairs = [pair.split("=", 1) for pair in found[2].split(";") if pair.strip()]
            if any(len(pair) != 2 for pair in pairs):
                raise PipelineError(f"{line!r}: properties are name=value;")
            told = {key.strip().lower(): _unescaped(text) for key, text in pairs}
            if command == "task.setvariable":
                self.set(told, value, name)
            elif command == "task.prependpath":
                self.path.insert(0, value)
            elif command == "task.setsecret":
                self.secret[f"secret {len(self.secret)}"] = value
            elif command == "task.uploadsummary":
                if not Path(value).is_file():
                    raise Failed(f"there is no file {value} to put into the summary")
                self.played.summary += Path(value).read_text("utf-8") + "\n"
            elif command == "task.complete":
                result = told.get("result", "Succeeded")
                self.issues = self.issues or result == "SucceededWithIssues"
            elif command == "artifact.upload":
                self.keep(told["artifactname"], Path(value))
            elif command not in ("task.logissue", "task.setprogress"):
                raise PipelineError(f"the command ##vso[{command}] is not known to the interpreter")
        return result

    def set(self, told: Mapping[str, str], value: str, step: str) -> None:
        """Set a variable: an output is called after its step, and later jobs can read it."""
        known(dict(told), {"variable", "isoutput", "issecret", "isreadonly"}, "task.setvariable", ("variable",))
        name = told["variable"]
        if told.get("isoutput", "").lower() == "true":
            name = f"{step}.{name}"
            self.outputs[name] = value
        if told.get("issecret", "").lower() == "true":
            self.secret[name] = value
        else:
            self.variables[name] = value

    def keep(self, name: str, path: Path) -> None:
        """Make a file or folder an artifact of the run."""
        if name in self.played.artifacts:
            raise Failed(f"there is an artifact {name} already")
        if not path.exists():
            raise Failed(f"there is nothing at {path} to publish")
        target = self.shelf / name
        target.mkdir(parents=True)
        if path.is_dir():
            shutil.copytree(path, target, dirs_exist_ok=True)
        else:
            shutil.copy2(path, target)
        self.played.artifacts[name] = target

    def filled(self, text: str) -> str:
        """Put variables in place of `$(name)`; what is not set stays as it is written."""
        all_of_them = {name.lower(): value for name, value in (self.variables | self.secret).items()}
        for _ in range(5):  # a value may name further ones
            made = MACRO.sub(lambda found: all_of_them.get(found[1].lower(), found[0]), text)
            if made == text:
                break
            text = made
        return text

    def masked(self, text: str) -> str:
        """Hide secrets, as logs do."""
        for value in self.secret.values():
            text = text.replace(value, "***") if value else text
        return text

    def environment(self, own: Mapping[str, str]) -> dict[str, str]:
        """Return what a script sees: the machine's variables, the run's in capitals, and those of its step."""
        told = {re.sub(r"[. ]", "_", name).upper(): self.filled(value) for name, value in self.variables.items()}
        machine = {**clean(self.bin, self.path, self.home, self.environ), "TF_BUILD": "True"}
        kept = {name: value for name, value in machine.items() if name in ("PATH", "HOME", "TF_BUILD")}
        return {**machine, **told, **kept, **{name: self.filled(value) for name, value in own.items()}}

    def run(self, script: str, step: Step, where: str = "", more: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run a script by bash, which goes on after an error unless the script says otherwise."""
        text = self.filled(script)
        own = {**step.get("env", {}), **(more or {})}
        folder = self.workspace / self.filled(where)
        if not folder.is_dir():
            raise Failed(f"there is no folder {folder}")
        path = self.temp / f"{len(list(self.temp.iterdir())):03}.sh"
        path.write_text(text + "\n", "utf-8")
        minutes = float(step.get("timeoutInMinutes", 0)) or 360
        seconds = min(60 * minutes, self.deadline - time.monotonic())
        environment = self.environment(own)
        declared = {name: self.filled(self.variables[name]) for name in self.declared if name in self.variables}
        settings = {**declared, **{name: self.filled(value) for name, value in own.items()}, **self.environ}
        settings = {
            name: value for name, value in settings.items() if not Path(value).is_absolute() and "." not in name
        }
        words = ["bash", "--noprofile", "--norc", str(path)]

        def do() -> tuple[int, str]:
            return execute(words, folder, environment, seconds)

        return memory.run(text, self.workspace, settings, do)


def _unescaped(text: str) -> str:
    for code, sign in ESCAPED.items():
        text = text.replace(code, sign)
    return text
