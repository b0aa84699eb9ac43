"""Why a row has its score: what each feature adds to the raw score."""

from typing import Any

import numpy as np

from .artifact import Model
from .encode import Matrix
from .errors import UsageError


def contributions(model: Model, x: Matrix) -> dict[str, Any]:
    """Return what each feature adds; with `base` it sums to the raw score.

    The raw score is the log-odds of the event for a binary task, of each class before normalising for several, and the
    prediction for a regression. For LightGBM these are SHAP values (Lundberg and others, 2020, "From local
    explanations to global understanding with explainable AI for trees"); for a linear model, coefficient times value.

    Args:
        model: with LightGBM or a linear estimator.
        x: encoded rows, shape (n, features).

    Returns:
        `features` (names), `contributions` (n lists, one number a feature; of several classes, a list a class),
        `base` and `raw` (n numbers, or n lists).

    Raises:
        UsageError: the estimator cannot be explained like this.
    """
    width, several = x.shape[1], model.contract.task == "multiclass"
    classes = len(model.contract.classes) if several else 1
    booster = getattr(model.estimator, "booster_", None)
    parts = booster.predict(x, pred_contrib=True) if booster is not None else _linear(model.estimator, x)
    parts = np.asarray(parts, dtype=np.float64).reshape(len(x), classes, width + 1)
    shown = parts if several else parts[:, 0]
    return {
        "features": model.encoder.names,
        "contributions": shown[..., :-1].tolist(),
        "base": shown[..., -1].tolist(),
        "raw": shown.sum(axis=-1).tolist(),
    }


def _linear(pipeline: Any, x: Matrix) -> Any:
    """Coefficient times value, summed over the columns that a feature was coded into; the intercept comes last."""
    try:
        coder, estimator = pipeline[0], pipeline[-1]
        coefficients, intercepts = np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)
        coded = coder.transform(x)
        owners = _owners(coder)
    except (TypeError, AttributeError, IndexError, KeyError):
        raise UsageError("This estimator gives no contributions; LightGBM and linear models do.") from None
    coded = coded.toarray() if hasattr(coded, "toarray") else np.asarray(coded)
    out = np.zeros((len(x), len(coefficients), x.shape[1] + 1))
    for k, (row, intercept) in enumerate(zip(coefficients, intercepts, strict=True)):
        np.add.at(out[:, k].T, owners, (coded * row).T)
        out[:, k, -1] = intercept
    return out


def _owners(coder: Any) -> Any:
    """The feature behind each coded column, of what `model.linear` builds."""
    found: list[int] = []
    for name, step, columns in coder.transformers_:
        if name == "numbers":
            found += columns
        elif name == "categories" and len(columns):
            for column, kinds in zip(columns, step[-1].categories_, strict=True):
                found += [column] * len(kinds)
    return np.array(found, dtype=np.intp)
