"""Cloud jobs: data versions that they read, submitting them, waiting for them, registering what they made."""

import secrets
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import yaml

from .. import clock
from ..errors import DataError, Fault, UsageError
from ..gate import Decision
from ..pipeline import Project
from ..record import comparable, holdout_from
from ..registry import Version
from ..table import replacing
from ..train import DIRTY, git
from .az import Az, Conflict
from .cloud_registry import CloudRegistry
from .environments import Environment
from .job_outputs import fetch_decision, read_output

Purpose = Literal["retraining", "exploration"]
# What Azure ML says of a job. Only the first is success; a status that is not here is none.
DONE = "Completed"
BAD = ("Failed", "Canceled")
UNDER_WAY = (
    "NotStarted", "Queued", "Preparing", "Provisioning", "Starting", "Running", "Finalizing", "CancelRequested",
    "Paused", "NotResponding",
)  # fmt: skip
PARENT = "$" + "{" * 2 + "parent.inputs.%s" + "}" * 2  # how a step of a pipeline names an input of the whole
BLANKS = 5  # looks without any status, after which it is a fault


class Jobs:
    """The jobs of an environment."""

    def __init__(
        self, az: Az, environment: Environment, project: Project, pause: Callable[[float], None] | None = None
    ) -> None:
        """Give where, whose, and what waits for so many seconds."""
        self._az, self._environment, self._project, self._pause = az, environment, project, pause or time.sleep
        self.name = project.settings.name

    def add_data(self, version: str | None) -> tuple[str, bool]:
        """Make a data version of this machine (None: the newest) an asset of the same version; it may be one already.

        Returns:
            How YAML names it, and whether it is new.
        """
        store, scope = self._project.store, self._environment.scope
        manifest = store.manifest(version) if version else store.latest()
        asset, number = f"{self.name}-data", manifest.version
        new = self._az.find("ml", "data", "show", "--name", asset, "--version", number, *scope) is None
        if new:
            told = {"rows": str(manifest.rows), "content": manifest.content or number, "known_as": manifest.known_as}
            tags = [f"tags.{key}={text}" for key, text in (self._environment.tags | told).items() if text]
            try:
                self._az.write(
                    "ml", "data", "create", "--name", asset, "--version", number, "--type", "uri_folder",
                    "--path", str(store.path(number).parent), *scope, "--set", *tags,
                )  # fmt: skip
            except Conflict:  # somebody else was faster; the version is the content's hash, so it is the same
                new = False
        return f"azureml:{asset}:{number}", new

    def data(self, version: str | None) -> str:
        """Return how YAML names a data version: of this machine, or the newest asset where this machine has none, as CI.

        Raises:
            UsageError: there is no such version here; or none was named, and there is no asset either.
        """
        if version or self._project.store.versions():
            return self.add_data(version)[0]
        asset = f"{self.name}-data"
        words = ("--name", asset, *self._environment.scope)
        found: list[dict[str, Any]] = self._az.find("ml", "data", "list", *words) or []
        if self._az.dry:
            return f"azureml:{asset}:VERSION"
        if not found:
            raise UsageError(
                f"There is no data version here, and no asset {asset} in {self._environment.name}. Where the rows are: "
                f"ingest FILE, then azure data --env {self._environment.name}"
            )
        newest = max(found, key=lambda one: str((one.get("creation_context") or {}).get("created_at", "")))
        return f"azureml:{asset}:{newest['version']}"

    def inputs(self, raw: str, registry: CloudRegistry) -> dict[str, Any]:
        """Return the inputs of a training: what the pipeline reads, and the champion that it is compared with."""
        found: dict[str, Any] = {"raw": {"type": "uri_folder", "path": raw}}
        if champion := registry.champion():
            found["champion"] = {"type": "custom_model", "path": registry.reference(champion.version)}
            found["champion_digest"] = champion.digest
        before = holdout_from(registry.versions(), self._project.settings.split.by)
        return found | ({"holdout_from": before} if before else {}) | {"commit": commit_of(self._project.root)}

    def submit(self, inputs: dict[str, Any], purpose: Purpose) -> str:
        """Start the training pipeline, and return the job's name.

        The name is made here: where the connection breaks, asking again does not start a second job.
        """
        name = f"{self.name}-{clock.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
        given = []
        for key, value in inputs.items():
            if isinstance(value, dict):
                given += [f"inputs.{key}.{what}={text}" for what, text in value.items()]
            else:
                given.append(f"inputs.{key}={value}")
            if key != "raw":
                given.append(f"jobs.training.inputs.{key}={PARENT % key}")
        version = inputs["raw"]["path"].rsplit(":", 1)[-1]
        tags = self._environment.tags | {"purpose": purpose, "commit": inputs["commit"], "data_version": version}
        given += [f"tags.{key}={text}" for key, text in tags.items()]
        given.append(f"settings.default_compute=azureml:{self._environment.compute.name}")
        path = self._project.root / "azureml" / "pipelines" / "train.yml"
        words = ("--file", str(path), "--name", name, *self._environment.scope, "--set", *given)
        try:
            self._az.write("ml", "job", "create", *words)
        except Conflict:  # the first try had arrived
            self._show(name)
        return name

    def retrain(self, inputs: dict[str, Any]) -> str:
        """Call the batch endpoint that holds the training pipeline, and return the job's name."""
        path = self._environment.sent(self._project.root) / "retrain.yml"
        with replacing(path) as part:
            told = {k: v if isinstance(v, dict) else {"type": "string", "default": v} for k, v in inputs.items()}
            part.write_text(yaml.safe_dump({"inputs": told}, sort_keys=False), "utf-8", newline="\n")
        words = ("--name", self._environment.training_endpoint, "--file", str(path), *self._environment.scope)
        told = self._az.write("ml", "batch-endpoint", "invoke", *words)
        if self._az.dry:
            return "JOB"
        if not (told or {}).get("name"):
            raise Fault(f"{self._environment.training_endpoint} took the call, but named no job; look at its jobs.")
        return str(told["name"])

    def wait(self, job: str, seconds: float, tell: Callable[[str], None], every: float = 30.0) -> None:
        """Wait until a job has completed.

        Its status is asked for: following its log would end without an error where it is cancelled.

        Raises:
            DataError: it failed or was cancelled; the message names the step.
            Fault: it has not ended in time, or its status is none that is known.
        """
        end, said, blanks = clock.seconds() + seconds, "", 0
        while True:
            status = self._status(job)
            if status == DONE:
                return
            if status in BAD:
                raise DataError(f"The job {job} was not completed: {status}.{self._broken(job)}")
            if status and status not in UNDER_WAY:
                raise Fault(f"The job {job} is {status!r}, of which nothing is known here; look at it in the studio.")
            blanks = 0 if status else blanks + 1
            if blanks >= BLANKS:
                raise Fault(f"Azure tells no status of the job {job}; look at it in the studio.")
            if clock.seconds() >= end:
                raise Fault(f"The job {job} is still {status or 'without status'}; go on with: azure wait {job}")
            if status and status != said:
                tell(f"{job}: {status}")
            said = status or said
            self._pause(every)

    def _show(self, job: str) -> dict[str, Any]:
        shown = self._az.read("ml", "job", "show", "--name", job, *self._environment.scope, assume={"status": DONE})
        return shown or {}

    def _status(self, job: str) -> str:
        return str(self._show(job).get("status") or "")

    def _broken(self, job: str) -> str:
        """The steps that failed, in a sentence. A step may be a pipeline itself."""
        words = ("--parent-job-name", job, *self._environment.scope)
        steps = self._az.read("ml", "job", "list", *words, assume=[]) or []
        wrong = [str(s.get("display_name") or s.get("name")) for s in steps if s.get("status") in BAD]
        inner = [self._broken(str(s["name"])) for s in steps if s.get("status") in BAD and s.get("type") == "pipeline"]
        return f" These steps: {', '.join(wrong)}.{''.join(inner)}" if wrong else ""

    def register(self, job: str, registry: CloudRegistry) -> tuple[Version | None, Decision]:
        """Make the model of a completed job a version, if the gate passed it; the same job twice gives the same version.

        What the gate decided becomes an asset beside it, for the monitor; where that failed, the second time does it.

        Raises:
            UsageError: the job has not completed, was for exploration, or judged against another champion than there is now.
            DataError: its outputs are not those of the training pipeline.
        """
        shown = self._completed(job)
        if (shown.get("tags") or {}).get("purpose") == "exploration":
            raise UsageError(f"The job {job} is an exploration, which is never registered. Train for it: azure submit")
        with tempfile.TemporaryDirectory() as folder:
            decision = fetch_decision(self._az, self._environment, job, Path(folder))
            if decision.decision != "passed":
                return None, decision
            made = self._version(job, read_output(Path(folder), "version.json", dict[str, Any], job), registry)
            asset = ("--name", f"{self.name}-decision", "--version", str(made.version), "--type", "uri_folder")
            path = str(next(Path(folder).rglob("decision.json")).parent)
            with suppress(Conflict):  # it is there: a number is one model, of one job
                self._az.write("ml", "data", "create", *asset, "--path", path, *self._environment.scope)
        return made, decision

    def decision(self, job: str, folder: Path) -> Decision:
        """Fetch what the gate decided about a completed job, with report and measurements, into a folder.

        Raises:
            UsageError: the job has not completed.
            DataError: its outputs are not those of the training pipeline.
        """
        self._completed(job)
        return fetch_decision(self._az, self._environment, job, folder)

    def _completed(self, job: str) -> dict[str, Any]:
        shown = self._show(job)
        status = str(shown.get("status") or "")
        if status != DONE:
            raise UsageError(f"The job {job} is {status or 'without status'}, not {DONE}: azure wait {job}")
        return shown

    def _version(self, job: str, about: dict[str, Any], registry: CloudRegistry) -> Version:
        if known := next((v for v in registry.versions() if v.run == job), None):
            return known
        synthetic = about["tags"].get("synthetic") == "yes"
        champion = comparable(registry.champion(), {"line": about["line"], "synthetic": synthetic})
        if about.get("judged_against") != (champion.digest if champion else None):
            raise UsageError(f"The champion has changed since {job} was judged; train again: azure submit")
        tags = {str(key): str(value) for key, value in about["tags"].items()} | {
            "line": str(about["line"]), "digest": str(about["digest"]), "step": str(about.get("run", "")),
        }  # fmt: skip
        return registry.register(job, f"azureml://jobs/{job}/outputs/model", tags)


def commit_of(root: Path) -> str:
    """Return the commit that is checked out, with -dirty where files differ from it; `unknown` without git."""
    commit, changes = git(root, "rev-parse", "HEAD"), git(root, "status", "--porcelain")
    return "unknown" if commit is None or changes is None else commit + (DIRTY if changes else "")
