"""Play the steps of one job as a runner of GitHub does: each in order, until one fails."""

import functools
import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines import github_actions, memory
from pipelines.github_expressions import Closed, as_text, condition, substitute
from pipelines.github_reading import Yaml, action, at, inputs_of_action, steps
from pipelines.machine import clean, execute
from pipelines.played import PipelineError, Played, StepRun

LOCAL = ("./", "$/")  # how an action of the same repository begins
SHELLS = {
    "": ["bash", "-e"],
    "bash": ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail"],
    "sh": ["sh", "-e"],
    "python": ["python"],
}
# Commands that the runner no longer obeys, or that no pipeline of ours should need.
REFUSED = re.compile(r"^::(set-output|save-state|set-env|add-path)\b", re.MULTILINE)


@dataclass
class Scope:
    """Where steps stand: in a job, or in a composite action that a step of it uses."""

    contexts: dict[str, Any]
    env: dict[str, str] = field(default_factory=dict)
    recipe: str = ""
    folder: Path | None = None
    steps: Closed = field(default_factory=Closed)
    failed: bool = False
    defaults: dict[str, str] = field(default_factory=dict)


@dataclass
class Job:
    """One job on its runner: a clean machine, an empty workspace."""

    name: str
    project: Path
    committed: Path  # a checkout of the commit that is played
    sha: str
    root: Path  # an empty folder of this job's own
    shelf: Path
    bin: Path | None
    environ: Mapping[str, str]
    played: Played
    permissions: Mapping[str, str]
    environment: str
    variables: dict[str, str]  # env of the workflow and the job, and what GITHUB_ENV was told
    deadline: float = float("inf")
    path: list[str] = field(default_factory=list)
    done: list[StepRun] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.workspace, self.home, self.temp = self.root / "workspace", self.root / "home", self.root / "temp"
        for folder in (self.workspace, self.home, self.temp):
            folder.mkdir(parents=True)

    @property
    def artifacts(self) -> dict[str, Path]:
        """The run's artifacts."""
        return self.played.artifacts

    def play(self, given: list[Yaml], scope: Scope) -> None:
        """Play steps; `scope` tells afterwards whether one failed, and their outputs."""
        for step in given:
            title = str(step.get("name") or step.get("uses") or step["run"].strip().splitlines()[0])
            with at(f"step {title!r}"):
                self.step(step, scope, title)

    def step(self, step: Yaml, scope: Scope, title: str) -> None:
        """Play one step, and note its result."""
        functions = {
            "success": lambda: not scope.failed,
            "failure": lambda: scope.failed,
            "always": lambda: True,
            "cancelled": lambda: False,
        }
        env = {**self.variables, **scope.env}
        contexts = {**scope.contexts, "steps": scope.steps, "env": env, "job": {"status": self._status(scope)}}
        local = str(step.get("uses", "")).startswith(LOCAL)
        recipe = scope.recipe or (Path(step["uses"]).name if local else "")
        began, output, outputs = time.monotonic(), "", Closed() if local else {}
        hashing = {"hashFiles": self.hash_files}
        own = {name: as_text(value) for name, value in substitute(step.get("env", {}), contexts, hashing).items()}
        contexts["env"] = {**env, **own}
        without = {name: value for name, value in contexts.items() if name != "secrets"}
        if not condition(step.get("if"), without, {**functions, **hashing}):
            outcome, conclusion, outputs = "skipped", "skipped", {}
        else:
            title = as_text(substitute(title, contexts, hashing))
            compute = functools.partial(substitute, contexts=contexts, functions=hashing)
            if "run" in step:
                ok, output, outputs = self.run(compute(step), {**scope.env, **own}, scope)
            else:
                given = {name: as_text(value) for name, value in compute(step.get("with", {})).items()}
                if local:
                    ok, outputs = self.composite(step["uses"], given, {**scope.env, **own}, scope, recipe)
                else:
                    ok, output, outputs = self.action(step["uses"], given)
            outcome = "success" if ok else "failure"
            conclusion = "success" if compute(step.get("continue-on-error", False)) is True else outcome
        if not local or outcome == "skipped":
            self.done.append(StepRun(title, recipe, conclusion, output, time.monotonic() - began))
        if "id" in step:
            scope.steps[step["id"]] = Closed(outcome=outcome, conclusion=conclusion, outputs=outputs)
        scope.failed = scope.failed or conclusion == "failure"

    @staticmethod
    def _status(scope: Scope) -> str:
        return "failure" if scope.failed else "success"

    def hash_files(self, *patterns: str) -> str:
        """Return the hash of the files that match, and nothing where none does."""
        files = sorted({path for one in patterns for path in self.workspace.glob(one) if path.is_file()})
        digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files))
        return digest.hexdigest() if files else ""

    def action(self, uses: str, given: dict[str, str]) -> tuple[bool, str, dict[str, str]]:
        """Play a published action."""
        try:
            return True, "", github_actions.play(uses, given, self)
        except github_actions.Failed as error:
            return False, str(error), {}

    def composite(
        self, uses: str, given: dict[str, str], env: dict[str, str], outer: Scope, recipe: str
    ) -> tuple[bool, Closed]:
        """Play an action of the repository: as it stands in the workspace (./), or as it was committed ($/)."""
        folder = (self.committed if uses.startswith("$") else self.workspace) / uses[2:]
        read = action(folder)
        inputs = inputs_of_action(read.get("inputs") or {}, given, uses)
        github = Closed(outer.contexts["github"], action_path=str(folder))
        kept = {name: outer.contexts[name] for name in ("runner", "strategy", "matrix")}
        scope = Scope({**kept, "github": github, "inputs": inputs}, env, recipe, folder)
        self.play(steps(read["runs"], f"{recipe}/action.yml"), scope)
        contexts = {**scope.contexts, "steps": scope.steps, "env": {**self.variables, **env}}
        with at(f"outputs of {recipe}"):
            values = {
                name: as_text(substitute(one["value"], contexts)) for name, one in (read.get("outputs") or {}).items()
            }
        return not scope.failed, Closed(values)

    def run(self, step: Yaml, own: Mapping[str, str], scope: Scope) -> tuple[bool, str, dict[str, str]]:
        """Run a script, and take in what it wrote for the runner."""
        shell = as_text(step.get("shell") or scope.defaults.get("shell"))
        if shell not in SHELLS:
            raise PipelineError(f"the shell {shell} is not known to the interpreter")
        where = self.workspace / as_text(step.get("working-directory") or scope.defaults.get("working-directory"))
        self.number += 1
        base = self.temp / f"{self.number:03}"
        files = {name: Path(f"{base}-{name}") for name in ("OUTPUT", "ENV", "PATH", "STEP_SUMMARY")}
        for path in files.values():
            path.touch()
        script = Path(f"{base}.sh")
        script.write_text(as_text(step["run"]) + "\n", "utf-8")
        told = {**self.variables, **own}
        environment = {
            **clean(self.bin, self.path, self.home, self.environ),
            "CI": "true",
            **told,
            **self.runner(scope),
        }
        environment |= {f"GITHUB_{name}": str(path) for name, path in files.items()}
        minutes = float(as_text(step.get("timeout-minutes", 360)))
        until = min(minutes * 60, self.deadline - time.monotonic())
        words = [*SHELLS[shell], str(script)]
        if not where.is_dir():
            return False, f"the folder {where.name} is not there", {}
        # Where this run happens to stand makes no difference to a check.
        settings = {name: value for name, value in {**told, **self.environ}.items() if not Path(value).is_absolute()}
        text = as_text(step["run"])
        code, output = memory.run(text, self.workspace, settings, lambda: execute(words, where, environment, until))
        if REFUSED.search(output):
            raise PipelineError(f"it prints a command that runners no longer obey: {REFUSED.findall(output)[0]}")
        try:
            self.variables |= assignments(files["ENV"])
            outputs = assignments(files["OUTPUT"])
        except ValueError as error:
            return False, f"{output}\n{error}", {}
        self.path[:0] = reversed(files["PATH"].read_text("utf-8").split())
        self.played.summary += files["STEP_SUMMARY"].read_text("utf-8")
        return code == 0, output, outputs

    def runner(self, scope: Scope) -> dict[str, str]:
        """Return the variables that tell a script of its run; no step can set them."""
        github = {
            f"GITHUB_{name.upper()}": as_text(value)
            for name, value in scope.contexts["github"].items()
            if name not in ("event", "token")
        }
        runner = {f"RUNNER_{name.upper()}": as_text(value) for name, value in scope.contexts["runner"].items()}
        return {**github, **runner, "GITHUB_ACTIONS": "true"}


def assignments(path: Path) -> dict[str, str]:
    """Read name=value and name<<END blocks.

    Raises:
        ValueError: a line is neither.
    """
    found: dict[str, str] = {}
    lines = iter(path.read_text("utf-8").splitlines())
    for line in lines:
        block, plain = re.fullmatch(r"([^=]+?)<<(.+)", line), re.fullmatch(r"([^=]+)=(.*)", line)
        if block:
            inside: list[str] = []
            for inner in lines:
                if inner == block[2]:
                    break
                inside.append(inner)
            else:
                raise ValueError(f"{path.name}: {line!r} has no end")
            found[block[1]] = "\n".join(inside)
        elif plain:
            found[plain[1]] = plain[2]
        elif line.strip():
            raise ValueError(f"{path.name}: invalid format {line!r}")
    return found
