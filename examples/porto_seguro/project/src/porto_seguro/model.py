"""What a data scientist edits: the features and the estimator. Everything else takes what stands here."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from .contract import Task
from .encode import Encoder, Matrix, Vector
from .errors import UsageError

# Left alone, LightGBM times two orders of summation and takes the faster one: two runs could then differ in the last
# digits. One of them is therefore fixed; `force_col_wise` is faster where trees are small and see few columns.
DEFAULTS: dict[str, dict[str, Any]] = {
    "lightgbm": {
        "n_estimators": 2000,
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_child_samples": 50,
        "force_row_wise": True,
        "verbose": -1,
    },
    "logistic": {"max_iter": 1000},
}
PATIENCE = 100  # boosting rounds without progress on the early-stopping rows
FEW_ROWS = 50_000
FOLDS = 5
Watch = Callable[[int, float], None]  # is told the number of a boosting round, and the loss on rows not learnt from


def features(rows: pl.DataFrame) -> pl.DataFrame:
    """Make the features from clean rows; the same code runs in training, scoring and serving.

    Add columns with `rows.with_columns(...)`, leave some out with `rows.drop(...)`. Numbers, dates, booleans and texts
    with few different values may be returned; text becomes a category. Each row must stand for itself: no means over
    rows, which would differ from batch to batch.

    Args:
        rows: the contract's feature columns in their types, shape (n, columns); missing values are null.

    Returns:
        The features, shape (n, features).
    """
    return rows


def build(name: str, parameters: dict[str, Any], task: Task, encoder: Encoder, seed: int) -> Any:
    """Return an unfitted estimator.

    Args:
        name: `lightgbm`; `logistic` (classification) or `ridge` (regression); `constant`; or the dotted path of any
            scikit-learn estimator. Estimators that cannot take missing values get the preprocessing of `linear`.
        parameters: keyword arguments of the estimator.
        task: binary, multiclass or regression.
        encoder: tells which columns are categories.
        seed: for estimators that draw random numbers.

    Raises:
        UsageError: there is no such estimator, or it does not take a parameter.
    """
    classify = task != "regression"
    paths = {
        "lightgbm": "lightgbm.LGBMClassifier" if classify else "lightgbm.LGBMRegressor",
        "logistic": "sklearn.linear_model.LogisticRegression",
        "ridge": "sklearn.linear_model.Ridge",
        "constant": "sklearn.dummy.DummyClassifier" if classify else "sklearn.dummy.DummyRegressor",
    }
    defaults = DEFAULTS.get(name, {})
    module, _, kind = paths.get(name, name).rpartition(".")
    if not module:
        raise UsageError(f"conf/project.yaml: there is no estimator {name}; give {', '.join(paths)} or a dotted path.")
    try:
        maker = getattr(importlib.import_module(module), kind)
        given = defaults | parameters
        if "random_state" in inspect.signature(maker).parameters:
            given = {"random_state": seed} | given
        estimator = maker(**given)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise UsageError(f"The estimator {name} in conf/project.yaml cannot be made: {error}.") from None
    if classify and not hasattr(estimator, "predict_proba"):
        raise UsageError(
            f"The estimator {name} gives no probabilities (predict_proba); choose another in conf/project.yaml."
        )
    return estimator if name in ("lightgbm", "constant") or _takes_missing(estimator) else linear(estimator, encoder)


def _takes_missing(estimator: Any) -> bool:
    from sklearn.utils import get_tags

    return bool(get_tags(estimator).input_tags.allow_nan)


def linear(estimator: Any, encoder: Encoder) -> Any:
    """Put imputing, scaling and one-hot coding before an estimator that needs numbers without gaps."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

    names = encoder.categorical
    numbers = [n for n in range(len(encoder.features)) if n not in names]
    # Missing is the median for numbers and a category of its own for categories. A number beyond all that was seen in
    # training counts as the nearest one that was (`clip`), so that a typing error cannot give an absurd score.
    scale = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), MinMaxScaler(clip=True), StandardScaler()
    )
    return make_pipeline(
        ColumnTransformer(
            [
                ("numbers", scale, numbers),
                (
                    "categories",
                    make_pipeline(
                        SimpleImputer(strategy="constant", fill_value=-1), OneHotEncoder(handle_unknown="ignore")
                    ),
                    names,
                ),
            ]
        ),
        estimator,
    )


def fit(
    estimator: Any, x: Matrix, y: Vector, x_stop: Matrix, y_stop: Vector, task: Task, watch: Watch | None = None
) -> Any:
    """Fit an estimator.

    Boosting stops early on the rows kept for it. Where rows are few, that part is too small to trust: the number of
    rounds is then the mean of a five-fold cross-validation, and all rows are learnt from. Other estimators always
    learn from all.

    Args:
        estimator: from `build`.
        x, y: training rows, shapes (n, features) and (n,).
        x_stop, y_stop: rows for early stopping, shapes (m, features) and (m,).
        task: binary, multiclass or regression.
        watch: is told how learning goes on, by those who try many parameters and end early what will not do. Where
            there is a cross-validation, that is its first fold; an estimator without rounds is fitted once more for it.
    """
    boosting = type(estimator).__module__.startswith("lightgbm")
    if boosting and len(x) + len(x_stop) > FEW_ROWS:
        return _fit_stopping(estimator, x, y, x_stop, y_stop, watch)
    from sklearn.base import clone

    every, truth = np.concatenate([x, x_stop]), np.concatenate([y, y_stop])
    if not boosting:
        if watch:
            watch(1, _loss(clone(estimator).fit(x, y), x_stop, y_stop, task))
        return estimator.fit(every, truth)
    from sklearn.model_selection import KFold, StratifiedKFold

    folds = (KFold if task == "regression" else StratifiedKFold)(FOLDS, shuffle=True, random_state=0)
    rounds = [
        _fit_stopping(clone(estimator), every[a], truth[a], every[b], truth[b], None if n else watch).best_iteration_
        for n, (a, b) in enumerate(folds.split(every, truth))
    ]
    return estimator.set_params(n_estimators=max(1, round(float(np.mean(rounds))))).fit(every, truth)


def _loss(estimator: Any, x: Matrix, y: Vector, task: Task) -> float:
    """The loss that boosting watches, too: log-loss, or the mean squared error."""
    from sklearn.metrics import log_loss, mean_squared_error

    if task == "regression":
        return float(mean_squared_error(y, estimator.predict(x)))
    return float(log_loss(y, estimator.predict_proba(x), labels=estimator.classes_))


def _fit_stopping(
    estimator: Any, x: Matrix, y: Vector, x_stop: Matrix, y_stop: Vector, watch: Watch | None = None
) -> Any:
    import lightgbm

    def tell(now: Any) -> None:
        if watch:
            watch(now.iteration + 1, now.evaluation_result_list[0][2])

    # Watched is the loss that is minimised, whatever metric decides: the AUC of few events jumps too much.
    callbacks = [lightgbm.early_stopping(PATIENCE, first_metric_only=True, verbose=False), tell]
    return estimator.fit(x, y, eval_X=x_stop, eval_y=y_stop, callbacks=callbacks)


def scores(estimator: Any, x: Matrix, task: Task) -> Vector:
    """Predict.

    Returns:
        The probability of the event, shape (n,), for a binary task; of each class, shape (n, classes), for multiclass;
        the predicted value, shape (n,), for regression.
    """
    if task == "regression":
        return np.asarray(estimator.predict(x), dtype=np.float64)
    probabilities = np.asarray(estimator.predict_proba(x), dtype=np.float64)
    return probabilities[:, 1] if task == "binary" else probabilities
