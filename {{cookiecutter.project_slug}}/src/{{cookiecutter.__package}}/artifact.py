"""A saved model: one folder with all that scoring needs, checksummed, loadable by us and by MLflow."""

import hashlib
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
from .contract import Contract, parse_contract, save_contract
from .encode import Encoder, Matrix, Vector, from_json, to_json
from .errors import DataError, Fault
from .export import Runner
from .seal import Pickled, digest, read_sealed, seal, unpickled
from .table import replacing

NATIVE = "data/native"  # where MLflow puts what its loader is given
ONNX, PROFILE, ESTIMATOR = "model.onnx", "profile.json", "estimator.joblib"
LINEAGE = ("data_version", "contract", "settings", "trained_at")
Engine = Literal["native", "onnx"]


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
            estimator: fitted; or where it is saved, to be read when it is first needed.
            code: the `model.py` that the estimator was trained with.
            lineage: where it comes from.
        """
        self.contract, self.encoder, self.lineage = contract, encoder, dict(lineage or {})
        self._estimator, self.code = estimator, code
        self.runner: Runner | None = None  # an ONNX model that scores in the place of the estimator

    @property
    def estimator(self) -> Any:
        """The fitted estimator; raises as `Pickled.load` does."""
        if isinstance(self._estimator, Pickled):
            self._estimator = self._estimator.load()
        return self._estimator

    @property
    def engine(self) -> Engine:
        """What scores."""
        return "onnx" if self.runner else "native"

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


def save_model(model: Model, folder: Path, onnx: bytes | None = None, profile: bytes | None = None) -> None:
    """Write a model folder: an MLflow `python_function` model whose manifest lists the checksum of each file.

    Args:
        model: what to save.
        folder: where; it must not exist.
        onnx: the estimator as ONNX, if it could be converted.
        profile: how the features of the training rows are spread, for `monitor`.
    """
    import joblib
    import mlflow.pyfunc

    # No MLflow signature: it refuses an integer where a float was declared. `predict_raw` checks against the contract.
    with replacing(folder) as part:
        native = part.parent / "native"
        native.mkdir()
        joblib.dump(model.estimator, native / ESTIMATOR)
        if onnx:
            (native / ONNX).write_bytes(onnx)
        if profile:
            (native / PROFILE).write_bytes(profile)
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
        seal(part)


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


def size_mb(folder: Path) -> float:
    """Return the size of a model folder in megabytes."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def load_model(folder: Path, expected: str | None = None, engine: Engine | None = "native", threads: int = 0) -> Model:
    """Read a model folder, after every file was compared with the manifest and before anything is unpickled or run.

    Args:
        folder: what `save_model` wrote.
        expected: the digest of the manifest, where it is known.
        engine: what scores: the estimator itself, or its ONNX form; None takes the ONNX form where the folder has it.
        threads: of the ONNX form, for one call; 0 takes every core.

    Raises:
        Fault: a file is missing or changed, or the model does not say where it comes from.
    """
    expected = expected or digest(folder)
    names = ["contract.yaml", "encoder.json", "lineage.json", "model.py", *([ONNX] if engine != "native" else [])]
    content = read_sealed(folder, expected, [f"{NATIVE}/{name}" for name in names])
    model = _put_together(content, Pickled(folder, expected, f"{NATIVE}/{ESTIMATOR}"), folder)
    onnx = content.get(f"{NATIVE}/{ONNX}")
    if engine == "onnx" and not onnx:
        raise Fault(f"The model in {folder} has no ONNX form.")
    if onnx:
        try:
            model.runner = Runner(onnx, model.contract.task, threads)
        except Exception as error:  # the runtime's own kinds
            raise Fault(f"The ONNX form of the model in {folder} cannot be loaded: {error}.") from None
    return model


def _put_together(content: Mapping[str, bytes], estimator: Any, folder: Path) -> Model:
    def part(name: str) -> bytes:
        return content[f"{NATIVE}/{name}"]

    try:
        lineage = msgspec.json.decode(part("lineage.json"), type=dict[str, Any])
        gone = [key for key in LINEAGE if not lineage.get(key)]
        if gone:  # before its code is run
            raise Fault(
                f"The model in {folder} does not say where it comes from ({', '.join(gone)}). Nothing was loaded."
            )
        contract = parse_contract(part("contract.yaml"), folder / NATIVE / "contract.yaml")
        code = _code_of(part("model.py"), folder / NATIVE / "model.py")
        return Model(contract, from_json(part("encoder.json")), estimator, code, lineage)
    except (KeyError, msgspec.MsgspecError) as error:
        raise Fault(f"The model in {folder} is not whole: {error}. Nothing was loaded.") from None


def _code_of(source: bytes, path: Path) -> ModuleType:
    """The `model.py` of the saved model: an old version keeps its own features, whatever was edited since."""
    if source == Path(current.__file__).read_bytes():
        return current
    name = f"{__package__}.model_{hashlib.sha256(source).hexdigest()[:12]}"
    if name not in sys.modules:
        module = ModuleType(name)
        module.__package__, module.__file__ = __package__, str(path)
        sys.modules[name] = module  # where dataclasses look
        try:
            exec(compile(source, path, "exec"), module.__dict__)  # noqa: S102  of this project: its checksum was compared
        except Exception as error:  # of code that somebody wrote for another time
            del sys.modules[name]
            raise Fault(f"{path} cannot be run: {type(error).__name__}: {error}.") from None
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
    native = Path(os.fspath(path))
    content = {f"{NATIVE}/{file.name}": file.read_bytes() for file in native.iterdir()}
    return _Pyfunc(_put_together(content, unpickled(content[f"{NATIVE}/{ESTIMATOR}"]), native.parents[1]))
