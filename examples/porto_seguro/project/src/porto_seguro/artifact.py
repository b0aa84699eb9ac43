"""A saved model: one folder with all that scoring needs, checksummed, loadable by us and by MLflow."""

import hashlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import msgspec
import polars as pl

from . import model as current
from .clean import clean
from .config import file_hash
from .contract import Contract, load_contract, save_contract
from .encode import Encoder, Matrix, Vector, from_json, to_json
from .errors import DataError, Fault
from .export import Runner
from .table import replacing

MANIFEST, ONNX = "manifest.json", "model.onnx"
LINEAGE = ("data_version", "contract", "settings", "trained_at")
Engine = Literal["native", "onnx"]
_NATIVE = Path("data", "native")  # where MLflow puts what its loader is given


class Model:
    """A fitted model that takes rows as the contract describes them."""

    def __init__(
        self,
        contract: Contract,
        encoder: Encoder,
        estimator: Any,
        code: ModuleType = current,
        lineage: Mapping[str, Any] | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            contract, encoder: how rows become a matrix.
            estimator: fitted; or the path of its file, which is then read when it is first needed.
            code: the `model.py` that the estimator was trained with.
            lineage: where it comes from.
        """
        self.contract, self.encoder, self.lineage = contract, encoder, dict(lineage or {})
        self._estimator, self.code = estimator, code
        self.runner: Runner | None = None  # an ONNX model that scores in the place of the estimator

    @property
    def estimator(self) -> Any:
        """The fitted estimator."""
        if isinstance(self._estimator, Path):
            import joblib

            self._estimator = joblib.load(self._estimator)
        return self._estimator

    @property
    def needs(self) -> list[str]:
        """The columns that a row must have."""
        return [column.name for column in self.contract.of("feature")]

    def features(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the features of clean rows."""
        out: pl.DataFrame = self.code.features(rows.select(self.needs))
        if out.height != rows.height:
            raise DataError(
                f"features() in model.py returned {out.height} rows for {rows.height}; it must keep each row."
            )
        return out

    def predict(self, rows: pl.DataFrame) -> Vector:
        """Score clean rows (types of the contract); shapes as in `model.scores`."""
        return self.scores_of(self.encoder.transform(self.features(rows)))

    def scores_of(self, x: Matrix) -> Vector:
        """Score encoded rows, shape (n, features)."""
        if self.runner:
            return self.runner.scores(x)
        scores: Vector = self.code.scores(self.estimator, x, self.contract.task)
        return scores

    def predict_raw(self, rows: Any) -> Vector:
        """Score rows as people have them: a pandas or Polars frame in any types.

        Raises:
            DataError: a column is missing, or a value is not of the contract's type.
        """
        frame = rows if isinstance(rows, pl.DataFrame) else pl.from_pandas(rows)
        if absent := [name for name in self.needs if name not in frame.columns]:
            raise DataError(f"The rows lack {', '.join(absent[:5])}.")
        clean_rows, problems = clean(frame, self.contract.of("feature"), self.contract.decimal)
        if problems:
            raise DataError("; ".join(map(str, problems)))
        return self.predict(clean_rows)


def save_model(model: Model, folder: Path, onnx: bytes | None = None) -> None:
    """Write a model folder: an MLflow `python_function` model whose manifest lists the checksum of each file.

    Args:
        model: what to save.
        folder: where; it must not exist.
        onnx: the estimator as ONNX, if it could be converted.
    """
    import joblib
    import mlflow.pyfunc

    # No MLflow signature: it refuses an integer where a float was declared. `predict_raw` checks against the contract.
    with replacing(folder) as part:
        native = part.parent / "native"
        native.mkdir()
        joblib.dump(model.estimator, native / "estimator.joblib")
        if onnx:
            (native / ONNX).write_bytes(onnx)
        (native / "encoder.json").write_bytes(to_json(model.encoder))
        (native / "lineage.json").write_bytes(msgspec.json.format(msgspec.json.encode(model.lineage)))
        (native / "model.py").write_bytes(Path(current.__file__).read_bytes())
        save_contract(model.contract, native / "contract.yaml")
        mlflow.pyfunc.save_model(
            part,
            loader_module=__name__,
            data_path=str(native),
            code_paths=[str(Path(__file__).parent)],
            pip_requirements=_requirements(),
        )
        for litter in part.rglob("__pycache__"):
            shutil.rmtree(litter)
        (part / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(_checksums(part))))


def _requirements() -> list[str]:
    from importlib.metadata import version

    return [
        f"{name}=={version(name)}"
        for name in (
            "joblib",
            "lightgbm",
            "msgspec",
            "numpy",
            "onnxruntime",
            "pandas",
            "polars",
            "pyarrow",
            "pyyaml",
            "scikit-learn",
        )
    ]


def _checksums(folder: Path) -> dict[str, str | None]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST and "__pycache__" not in p.parts)
    return {file.relative_to(folder).as_posix(): file_hash(file) for file in files}


def digest(folder: Path) -> str:
    """Return the SHA-256 of the manifest: it stands for the whole model."""
    return file_hash(folder / MANIFEST) or ""


def size_mb(folder: Path) -> float:
    """Return the size of a model folder in megabytes."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def load_model(folder: Path, expected: str | None = None, engine: Engine = "native", threads: int = 0) -> Model:
    """Read a model folder, after every file was compared with the manifest and before anything is unpickled.

    Args:
        folder: what `save_model` wrote.
        expected: the digest of the manifest, where it is known.
        engine: what scores: the estimator itself, or its ONNX form.
        threads: of the ONNX form, for one call; 0 takes every core.

    Raises:
        Fault: a file is missing or changed.
    """
    try:
        wanted = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError):
        raise Fault(
            f"{folder} is no model folder, or its {MANIFEST} is broken. Roll back to another version, or train again."
        ) from None
    if expected and digest(folder) != expected:
        raise Fault(
            f"The manifest in {folder} is not the one that was registered: the model was exchanged. Nothing was loaded."
        )
    found = _checksums(folder)
    if wrong := sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k)):
        raise Fault(
            f"The model in {folder} was changed after it was saved ({', '.join(wrong[:3])}). Nothing was loaded."
        )
    model = _load_native(folder / _NATIVE)
    if gone := [key for key in LINEAGE if not model.lineage.get(key)]:
        raise Fault(f"The model in {folder} does not say where it comes from ({', '.join(gone)}). Nothing was loaded.")
    if engine == "onnx":
        try:
            model.runner = Runner((folder / _NATIVE / ONNX).read_bytes(), model.contract.task, threads)
        except Exception as error:  # the runtime's own kinds
            raise Fault(f"The ONNX form of the model in {folder} cannot be loaded: {error}.") from None
    return model


def _load_native(native: Path) -> Model:
    return Model(
        load_contract(native / "contract.yaml"),
        from_json((native / "encoder.json").read_bytes()),
        native / "estimator.joblib",
        _code_of(native / "model.py"),
        msgspec.json.decode((native / "lineage.json").read_bytes()),
    )


def _code_of(path: Path) -> ModuleType:
    """The `model.py` of the saved model: an old version keeps its own features, whatever was edited since."""
    source = path.read_bytes()
    if source == Path(current.__file__).read_bytes():
        return current
    name = f"{__package__}.model_{hashlib.sha256(source).hexdigest()[:12]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


class _Pyfunc:
    """The face that MLflow expects."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def predict(self, rows: Any, params: Mapping[str, Any] | None = None) -> Any:
        """Score a pandas frame."""
        return self._model.predict_raw(rows)


def _load_pyfunc(path: str) -> _Pyfunc:
    """Called by MLflow with the folder of our own files."""
    return _Pyfunc(_load_native(Path(os.fspath(path))))
