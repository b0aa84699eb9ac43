"""What every step shares: output folders, the MLflow run of its job, settings with changes on top, what comes from outside."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import polars as pl
import yaml

from .. import show
from ..artifact import Model, load_model
from ..config import Settings, load_settings
from ..contract import Contract, load_contract
from ..errors import Fault, UsageError
from ..ingest import DATA, MANIFEST, Manifest
from ..parts import HIDDEN, parts
from ..registry import Version
from ..seal import digest as digest_of

# Environment variables that Azure ML sets in a job: the tracking server, the run of this step, and that of its pipeline.
TRACKING, RUN_ID, ROOT_RUN = "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "AZUREML_ROOT_RUN_ID"

T = TypeVar("T")


@contextmanager
def filling(out: Path) -> Iterator[Path]:
    """Give the path of a folder to make; what is in it goes to `out` if all goes well.

    The outputs of a cloud job are mounted: they are there already, and nothing can take their place at once.

    Raises:
        Fault: `out` cannot be written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "out")
        yield folder
        try:
            shutil.copytree(folder, out, dirs_exist_ok=True)
        except OSError as error:
            raise Fault(f"{out} cannot be written: {error.strerror or error}.") from None


def write(path: Path, content: Any) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))


def read(path: Path) -> dict[str, Any]:
    """Read what another step wrote.

    Raises:
        UsageError: it is not there, or is none of ours.
    """
    return _decoded(path, dict)


def rows_of(path: Path) -> Path:
    """Return where the rows are: of a data version in its file, else where `path` says."""
    return path / DATA if (path / MANIFEST).is_file() else path


def data_of(version: Path) -> Path:
    """Return the rows of a data version; raises as `read` does."""
    manifest_of(version)
    return version / DATA


def manifest_of(folder: Path) -> Manifest:
    """Read what is known of a data version; raises as `read` does."""
    return _decoded(folder / MANIFEST, Manifest)


def _decoded(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be read ({said}): give the folder that the step before has written.") from None


def contract() -> Contract:
    """Read the project's contract."""
    return load_contract(show.root() / "conf" / "contract.yaml")


def settings(changes: Sequence[str] = ()) -> Settings:
    """Read the project's settings; `changes` are other values of the estimator's parameters, `NAME=VALUE`.

    Raises:
        UsageError: a change is none.
    """
    found = load_settings(show.root() / "conf")
    parameters = dict(found.model.parameters)
    for change in changes:
        name, equals, text = change.partition("=")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            value = None
        if not name.isidentifier() or not equals or value is None:
            raise UsageError(f"--set {change} changes nothing; write NAME=VALUE, for example learning_rate=0.05.")
        parameters[name] = value
    replaced = msgspec.structs.replace
    return replaced(found, model=replaced(found.model, parameters=parameters))


def job() -> str:
    """Return the name of the job that a model belongs to: the whole pipeline's, if there is one."""
    return os.environ.get(ROOT_RUN) or os.environ.get(RUN_ID) or "local"


def note(
    metrics: Mapping[str, float],
    parameters: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    step: int = 0,
) -> None:
    """Log to the MLflow run of the job; without one, do nothing."""
    run = os.environ.get(RUN_ID)
    if not run or not os.environ.get(TRACKING):
        return
    from mlflow.tracking import MlflowClient

    client = MlflowClient(os.environ[TRACKING])  # whatever this process used before
    for name, number in metrics.items():
        client.log_metric(run, name, number, step=step)
    for name, value in (parameters or {}).items():
        client.log_param(run, name, value)
    for name, text in (tags or {}).items():
        client.set_tag(run, name, text)


def load(folder: Path, digest: str) -> Model:
    """Load a model that scores: in its ONNX form where its folder has one."""
    return load_model(folder, digest or None, None)


def champion_of(folder: Path, digest: str) -> Version:
    """Return what a champion's own folder says it is; its number stands nowhere in it."""
    lineage = load_model(folder, digest or None).lineage
    tags = {"synthetic": "yes" if lineage.get("synthetic") else "no"}
    known = {key: str(lineage.get(key, "")) for key in ("run", "line")}
    return Version(version=0, digest=digest or digest_of(folder), tags=tags, **known)


def truth_of(outcomes: Path | None, about: Contract) -> pl.DataFrame | None:
    """Return the outcomes in a folder of tables: columns `id` and `truth`; None if there are none.

    Raises:
        DataError: a table names no rows, or has another target.
    """
    if outcomes is None or all(path.name.startswith(HIDDEN) for path in outcomes.iterdir()):
        return None
    from ..watch import serving

    module = serving("outcomes")
    with tempfile.TemporaryDirectory() as scratch:
        for table in parts(outcomes):
            module.take_outcomes(table, about, Path(scratch))
        found: pl.DataFrame | None = module.known_outcomes(about, Path(scratch))
    return found
