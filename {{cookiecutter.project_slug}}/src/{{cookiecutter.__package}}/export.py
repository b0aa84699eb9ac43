"""The estimator as ONNX, which scores a row without scikit-learn or LightGBM; `evaluate` compares it with the original."""

import os
import re
from typing import Any

import numpy as np

from .contract import Task
from .encode import Matrix, Vector

# ONNX Runtime reports its use to its maker unless told not to, before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Of which version of the ONNX operators the file makes use; the runtime understands all older ones.
OPSET = {"": 17, "ai.onnx.ml": 3}


def to_onnx(estimator: Any, features: int) -> bytes:
    """Convert a fitted estimator that takes a float32 matrix of shape (n, features).

    Raises:
        Exception: of many kinds, from the converters; not every estimator can be converted.
    """
    import logging

    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    if type(estimator).__module__.startswith("lightgbm"):
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        kinds = [("x", FloatTensorType([None, features]))]
        made = convert_lightgbm(_rounded_down(estimator), initial_types=kinds, zipmap=False, target_opset=15)
    else:
        from skl2onnx import to_onnx as convert

        options = {} if not hasattr(estimator, "classes_") else {id(estimator): {"zipmap": False}}
        made = convert(estimator, np.zeros((1, features), np.float32), options=options, target_opset=OPSET)
    content: bytes = made.SerializeToString()
    return content


def _rounded_down(estimator: Any) -> Any:
    """The booster with each threshold rounded down to float32.

    ONNX holds thresholds as float32. Rounded to the nearest, as the converter does, one may pass a value that it should
    hold back. A float32 value is at most the threshold if and only if it is at most the threshold rounded down.
    """
    import lightgbm

    def rounded(line: re.Match[str]) -> str:
        exact = np.array(line[1].split(), dtype=np.float64)
        near = exact.astype(np.float32)
        down = np.where(near.astype(np.float64) > exact, np.nextafter(near, np.float32(-np.inf)), near)
        return "threshold=" + " ".join(repr(float(v)) for v in down)

    text = re.sub(
        r"(?m)^tree_sizes=.*\n", "", estimator.booster_.model_to_string()
    )  # sizes of the text, now other ones
    return lightgbm.Booster(model_str=re.sub(r"(?m)^threshold=(.*)$", rounded, text))


class Runner:
    """An ONNX model, ready to score."""

    def __init__(self, content: bytes, task: Task, threads: int = 0) -> None:
        """Load it.

        Args:
            content: what `to_onnx` gave.
            task: says what the outputs mean.
            threads: for one call; 0 takes every core.

        Raises:
            Exception: it is no ONNX model, or asks for what the runtime does not know.
        """
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Threads that spin while they wait would take the processor from the web server beside them.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._outputs = [self._session.get_outputs()[-1].name]  # for classes, the first one is the label
        self._input = self._session.get_inputs()[0].name
        self._task = task

    def scores(self, x: Matrix) -> Vector:
        """Score encoded rows, shape (n, features); shapes of the result as in `model.scores`."""
        out: Any = self._session.run(self._outputs, {self._input: x})[0]
        if self._task == "multiclass":
            return np.asarray(out, dtype=np.float64)
        return np.asarray(out[:, 1] if self._task == "binary" else out.ravel(), dtype=np.float64)
