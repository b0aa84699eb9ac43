"""Which model versions there are and which one is the champion: local MLflow (sqlite file and plain folders)."""

import contextlib
import logging
import sqlite3
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from .artifact import Engine
from .errors import Fault, UsageError
from .record import finished

HISTORY = "champions"
OURS = {"run", "line", "digest", "folder"}  # tags without which nobody knows what a version is
_VERSIONS = """
    SELECT version, key, value FROM model_versions LEFT JOIN model_version_tags USING (name, version)
    WHERE name = ? AND current_stage <> 'Deleted_Internal' ORDER BY version
"""


class Version(Struct, kw_only=True):
    """A registered model version; `line` tells with which others it can be compared."""

    version: int
    run: str
    line: str
    digest: str
    tags: dict[str, str]

    @property
    def engine(self) -> Engine:
        """What scores with it: ONNX where that was found to give the same scores.

        Where it was not, the folder holds no ONNX form; that of an older version may still do.
        """
        return "onnx" if self.tags.get("engine") == "onnx" else "native"


class Registry:
    """Model versions and experiment runs of one project.

    The truth about champions is one tag of the registered model, the list of all champions so far, because one write is
    all or nothing. The aliases champion, previous and challenger are made from it for people to see.

    All is written by MLflow, which takes seconds and a lot of memory to import; versions are read without it.
    """

    def __init__(self, root: Path, name: str) -> None:
        """Look after `root/mlflow.db`; the files of runs and models lie in `root/runs`."""
        self._db, self._runs, self._name = root / "mlflow.db", root / "runs", name

    @cached_property
    def _client(self) -> Any:
        """MLflow over the database, which is made where it is missing."""
        import mlflow
        from mlflow.tracking import MlflowClient

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        uri = f"sqlite:///{self._db.resolve().as_posix()}"
        mlflow.set_tracking_uri(uri)
        with self._opening():
            client = MlflowClient(uri)
            self._runs.mkdir(exist_ok=True)
            found = client.get_experiment_by_name(self._name)
            self._experiment = (
                found.experiment_id if found else client.create_experiment(self._name, self._runs.resolve().as_uri())
            )
            with contextlib.suppress(OSError):
                Path("mlruns").rmdir()  # MLflow makes an empty folder wherever one stands
        return client

    @contextlib.contextmanager
    def _opening(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever lies below: sqlite, the disk, permissions
            raise Fault(f"The registry {self._db} cannot be opened: {str(error).splitlines()[0]}") from None

    def _read(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        """Ask the database itself, if there is one."""
        if not self._db.is_file():
            return []
        uri = f"{self._db.resolve().as_uri()}?mode=rw"  # not made, but a write that was cut off may be taken back
        with self._opening(), contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
            try:
                return db.execute(query, values).fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" in str(error):  # cut off while it was made; MLflow goes on with it
                    return []
                raise

    def start_run(self, data_version: str) -> str:
        """Begin an experiment run and return its id; runs that were cut off before are marked as killed."""
        for run in self.runs():
            if run["status"] == "RUNNING":
                self._client.set_terminated(run["run"], "KILLED")
        run_id: str = self._client.create_run(self._experiment, tags={"data_version": data_version}).info.run_id
        self.folder(run_id).mkdir(parents=True, exist_ok=True)
        return run_id

    def folder(self, run: str) -> Path:
        """Return the folder with the files of a run; found by name, so that a project can be moved."""
        return self._runs / run / "artifacts"

    def log(self, run: str, metrics: dict[str, float], parameters: dict[str, Any], tags: dict[str, str]) -> None:
        """Note what a run gave."""
        for metric, number in metrics.items():
            self._client.log_metric(run, metric, number)
        for parameter, value in parameters.items():
            self._client.log_param(run, parameter, value)
        for tag, text in tags.items():
            self._client.set_tag(run, tag, text)

    def end_run(self, run: str, ok: bool = True) -> None:
        """Close a run."""
        self._client.set_terminated(run, "FINISHED" if ok else "FAILED")

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs, newest first: `run`, `status`, `started` (ms), and its metrics, parameters and tags."""
        found = self._client.search_runs([self._experiment], order_by=["attributes.start_time DESC"], max_results=1000)
        return [
            {
                "run": r.info.run_id,
                "status": r.info.status,
                "started": r.info.start_time,
                "metrics": dict(r.data.metrics),
                "parameters": dict(r.data.params),
                "tags": {k: v for k, v in r.data.tags.items() if not k.startswith("mlflow.")},
            }
            for r in found
        ]

    def register(self, run: str, model: Path, line: str, tags: dict[str, str]) -> Version:
        """Make the model of a run a version (see `finished`); the same run twice gives the same version."""
        for version in self.versions():
            if version.run == run:
                return version
        if not self._client.search_registered_models(f"name = '{self._name}'"):
            self._client.create_registered_model(self._name)
        every = finished(run, model, line, tags)
        made = self._client.create_model_version(self._name, model.resolve().as_uri(), run, tags=every)
        self._client.set_registered_model_alias(self._name, "challenger", made.version)
        return self.get(int(made.version))

    def versions(self) -> list[Version]:
        """Return all versions that were registered here, oldest first."""
        return [
            Version(version=version, run=told["run"], line=told["line"], digest=told["digest"], tags=told)
            for version, told in self._tags().items()
            if told.keys() >= OURS
        ]

    def foreign(self) -> list[int]:
        """Return the versions that somebody registered in MLflow by hand; nothing here makes use of them."""
        return [version for version, told in self._tags().items() if not told.keys() >= OURS]

    def _tags(self) -> dict[int, dict[str, str]]:
        found: dict[int, dict[str, str]] = {}
        for version, key, value in self._read(_VERSIONS, self._name):
            known = found.setdefault(version, {})
            if key:
                known[key] = value
        return found

    def get(self, version: int) -> Version:
        """Return one version.

        Raises:
            UsageError: there is no such version.
        """
        for found in self.versions():
            if found.version == version:
                return found
        known = ", ".join(str(v.version) for v in self.versions()) or "none yet"
        raise UsageError(f"There is no model version {version}; known: {known}.")

    def model(self, version: Version) -> Path:
        """Return the model folder of a version."""
        return self.folder(version.run) / version.tags["folder"]

    def history(self) -> list[int]:
        """Return the champions so far, the present one last."""
        found = self._read("SELECT value FROM registered_model_tags WHERE name = ? AND key = ?", self._name, HISTORY)
        return msgspec.json.decode(found[0][0], type=list[int]) if found else []

    def champion(self) -> Version | None:
        """Return the present champion."""
        history = self.history()
        return self.get(history[-1]) if history else None

    def promote(self, version: int) -> None:
        """Make a version the champion; its predecessor is kept for `rollback`."""
        self.get(version)
        history = self.history()
        if history[-1:] != [version]:
            self._set([*history, version][-100:])  # a tag holds 5,000 characters

    def previous(self) -> Version:
        """Return the champion before the present one.

        Raises:
            UsageError: there is no previous champion, or it belongs to another model line.
        """
        history = self.history()
        if len(history) < 2:
            raise UsageError("There is no previous champion to go back to.")
        now, before = self.get(history[-1]), self.get(history[-2])
        if now.line != before.line:
            raise UsageError(
                f"The previous champion, version {before.version}, answers another question (other target, columns or split); "
                "restore the contract and settings it was trained with, then: promote " + str(before.version)
            )
        return before

    def rollback(self) -> tuple[int, int]:
        """Make the previous champion the champion again; return (from, to).

        Raises:
            UsageError: as in `previous`.
        """
        before, history = self.previous(), self.history()
        self._set(history[:-1])
        return history[-1], before.version

    def _set(self, history: list[int]) -> None:
        self._client.set_registered_model_tag(self._name, HISTORY, msgspec.json.encode(history).decode())
        wanted = {"champion": history[-1:], "previous": history[-2:-1]}
        newest = self.versions()[-1].version
        wanted["challenger"] = [newest] if newest not in history else []
        for alias, version in wanted.items():
            if version:
                self._client.set_registered_model_alias(self._name, alias, str(version[0]))
            else:
                self._client.delete_registered_model_alias(self._name, alias)
