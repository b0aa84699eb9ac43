"""The steps in order on this machine: names become paths, and what passed becomes a version."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from . import clock
from .artifact import Model, load_model
from .config import Settings, load_settings
from .contract import Contract, load_contract
from .errors import UsageError
from .evaluate import evaluate
from .gate import Decision, gate
from .ingest import SYNTHETIC
from .record import RUN, begun, comparable, holdout_from, tags_of
from .registry import Registry, Version
from .result import Result, notes_on, result_of, told
from .split import sample_rows, split
from .store import Store, only_one
from .train import train_run

Progress = Callable[[str], None]


class Project:
    """A project on this machine: its settings, contract, data store and registry."""

    def __init__(self, root: Path) -> None:
        """Read the settings in `root/conf`; contract and registry are opened when they are needed."""
        self.root = root
        self.settings: Settings = load_settings(root / "conf")
        self.store = Store(root)
        self._registry: Registry | None = None

    @property
    def contract(self) -> Contract:
        """The contract in `conf/contract.yaml`."""
        return load_contract(self.root / "conf" / "contract.yaml")

    @property
    def registry(self) -> Registry:
        """The local registry."""
        if self._registry is None:
            self._registry = Registry(self.root, self.settings.name)
        return self._registry

    def run(self, data: str | None = None, sample: int | None = None, progress: Progress = lambda step: None) -> Result:
        """Do the whole life of one model: data, split, training, evaluation, gate, registration, promotion.

        Args:
            data: a data version or a file to take in first; None takes the newest version.
            sample: use so many rows only (always the same ones), to try things quickly; such a run is never registered.
            progress: is told the name of each step as it begins.
        """
        with only_one(self.root):
            start = clock.seconds()
            progress("data")
            version = self._data(data)
            run = self._train(version, sample, progress)
            decision = self._judge(run, progress)
            result = result_of(self.registry.folder(run), run, version, decision, self.registry.champion())
            if sample:
                result.notes.append("A run on a sample is never registered.")
            elif decision.decision == "passed":
                progress("register")
                result.model_version = self._register(run, decision).version
                if self._admit(run, result.model_version):
                    result.decision = "promoted"
                else:
                    result.notes.append(f"It becomes champion by its release: release start {result.model_version}")
            result.seconds = round(clock.seconds() - start, 2)
            return result

    def train(self, data: str | None = None, sample: int | None = None, progress: Progress = lambda step: None) -> str:
        """Split and train only; return the run, for `evaluate` and `register` later."""
        with only_one(self.root):
            return self._train(self._data(data), sample, progress)

    def evaluate(self, run: str | None = None, progress: Progress = lambda step: None) -> tuple[str, Decision]:
        """Judge a trained run (None: the newest) on its holdout, against the champion of this moment."""
        with only_one(self.root):
            run = self._run(run)
            return run, self._judge(run, progress)

    def register(self, run: str | None = None) -> Version | None:
        """Make a run's model a version if the gate passed it; None if it did not."""
        with only_one(self.root):
            run = self._run(run)
            path = self.registry.folder(run) / "decision.json"
            if not path.is_file():
                raise UsageError(f"The run {run} was not judged yet: evaluate {run}")
            decision = msgspec.json.decode(path.read_bytes(), type=Decision)
            about = self._about(run)
            if about["sample"] or decision.decision != "passed":
                return None
            champion = self._comparable(about)
            if about["judged_against"] != (champion.version if champion else None):
                raise UsageError(f"The champion has changed since; judge it again: evaluate {run[:8]}")
            return self._register(run, decision)

    def admit(self, run: str, version: int) -> bool:
        """Make a version that passed champion, unless it has to wait for its release; return whether it is."""
        with only_one(self.root):
            return self._admit(run, version)

    def _admit(self, run: str, version: int) -> bool:
        if self.settings.promotion == "staged" and self.served and self._comparable(self._about(run)):
            return False
        self._serve(version)
        self.registry.promote(version)
        return True

    def model(self, version: int | None = None, threads: int = 0) -> tuple[Version, Model]:
        """Return a version (None: the champion) and its model, ready to score with its engine.

        Raises:
            UsageError: there is no such version, or no champion yet.
        """
        chosen = self.registry.get(version) if version else self.registry.champion()
        if chosen is None:
            raise UsageError("There is no champion yet: run")
        return chosen, load_model(self.registry.model(chosen), chosen.digest, chosen.engine, threads)

    def promote(self, version: int) -> None:
        """Make a version the champion, and where one is served, serve it."""
        with only_one(self.root):
            self._serve(self.registry.get(version).version)
            self.registry.promote(version)

    def rollback(self) -> tuple[int, int]:
        """Return to the previous champion."""
        with only_one(self.root):
            self._serve(self.registry.previous().version)
            return self.registry.rollback()

    @property
    def served(self) -> bool:
        """Whether this project has an endpoint, which versions reach by a release."""
        return (self.root / "endpoint.json").exists()

    def _serve(self, version: int) -> None:
        if self.served:
            # Not imported by name: a project that scores files only does not have it.
            import_module(f"{__package__}.serving.local").LocalEndpoint(self.root).serve_only(version)

    def _data(self, data: str | None) -> str:
        if data is None:
            return self.store.latest().version
        if any(m.version == data for m in self.store.versions()):
            return data
        if not Path(data).exists():
            self.store.path(data)
        return self.store.add(Path(data), self.contract)[0].version

    def _run(self, run: str | None) -> str:
        known = [r["run"] for r in self.registry.runs() if (self.registry.folder(r["run"]) / RUN).is_file()]
        if run is None and known:
            return str(known[0])
        found = [r for r in known if run and r.startswith(run)]
        if len(found) != 1:
            raise UsageError(f"There is no run {run}; `runs` lists them." if run else "There is no run yet: train")
        return str(found[0])

    def _about(self, run: str) -> dict[str, Any]:
        return told(self.registry.folder(run) / RUN)

    def _comparable(self, about: dict[str, Any]) -> Version | None:
        return comparable(self.registry.champion(), about)

    @contextmanager
    def _noting_failure(self, run: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.registry.end_run(run, ok=False)
            raise

    def _train(self, version: str, sample: int | None, progress: Progress) -> str:
        contract, settings = self.contract, self.settings
        run = self.registry.start_run(version)
        out = self.registry.folder(run)
        with self._noting_failure(run):
            data = self.store.path(version)
            if sample:
                data = sample_rows(data, sample, out / "sample.parquet")
            progress("split")
            before = holdout_from(self.registry.versions(), settings.split.by)
            parts = split(data, contract, settings.split, out / "split.parquet", before)
            synthetic = self.store.manifest(version).known_as == SYNTHETIC
            about = begun(version, contract, parts, sample, synthetic)
            progress("train")
            learnt = train_run(self.root, run, data, out / "split.parquet", contract, settings, out, about)
            self.registry.log(run, {}, learnt, {"line": about["line"]})
        self.registry.end_run(run)
        return run

    def _judge(self, run: str, progress: Progress) -> Decision:
        about, out, contract = self._about(run), self.registry.folder(run), self.contract
        data = out / "sample.parquet" if about["sample"] else self.store.path(about["data_version"])
        champion = self._comparable(about)
        with self._noting_failure(run):
            progress("evaluate")
            old = self.registry.model(champion) if champion else None
            digest = champion.digest if champion else None
            measured = evaluate(data, out / "split.parquet", out, contract, self.settings, out, old, digest)
            progress("gate")
            decision = gate(
                out / "scores.parquet",
                out / "evaluation.json",
                self.settings,
                out / "decision.json",
                out / "champion.parquet" if champion else None,
            )
            progress("report")
            from .report import report  # matplotlib takes long to import, and only this needs it

            report(out, self.settings.name, out / "report.html")
            self.registry.log(
                run, measured["metrics"]["model"], {}, {"decision": decision.decision, "reason": decision.reasons[0]}
            )
            about["judged_against"] = champion.version if champion else None
            about["notes"] = notes_on(self.registry.champion(), about)
            (out / RUN).write_bytes(msgspec.json.encode(about))
        self.registry.end_run(run)
        return decision

    def _register(self, run: str, decision: Decision) -> Version:
        about, out = self._about(run), self.registry.folder(run)
        tags = tags_of(about, decision, told(out / "evaluation.json"), self.settings)
        return self.registry.register(run, out / decision.candidate, about["line"], tags)
