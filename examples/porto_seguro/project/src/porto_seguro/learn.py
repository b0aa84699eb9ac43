"""Learn a table's statistics into its contract: enough to draw tables like it, nothing that points to a single row."""

import re
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from .contract import Column, Contract
from .draw import LEVELS, known_values, plain, position

FEW = 30  # a number with at most so many different values is drawn by their shares
CROWD = 5  # no number and no extreme is kept that fewer rows share
FIT_ROWS, FIT_CELLS = 50_000, 20_000_000  # for the linear model


def learn(contract: Contract, frame: pl.DataFrame) -> None:
    """Write a table's statistics into the `synthesis` of the contract and its columns; what stood there is replaced.

    Args:
        contract: is changed.
        frame: a clean table (see `clean.read`) with all columns of the contract.
    """
    for column in contract.columns:
        column.synthesis = {}
        column.synthesis = _marginal(
            column, frame[column.name], column.role == "target" and contract.task != "regression"
        )
    goal = pl.col(contract.target.name)
    known = goal.is_in(contract.classes) if contract.classes else goal.is_not_null()
    contract.synthesis = _learn_effects(contract, frame.filter(known))


def _marginal(column: Column, series: pl.Series, is_class: bool) -> dict[str, Any]:
    """How often a column's values occur; nothing that points to a single row."""
    values = series.drop_nulls()
    plan: dict[str, Any] = {"missing": _short(1 - len(values) / len(series))} if len(values) < len(series) else {}
    if values.is_empty():
        return plan
    listed, kinds = known_values(column), values.n_unique()
    if column.role == "identifier" and column.type == "integer":
        step = float(np.ptp(plain(values).to_numpy())) / max(len(values) - 1, 1)
        return plan | {"sequence": [1, _short(max(step, 1.0))]}
    if listed:
        counts = dict(values.value_counts().iter_rows())
        return plan | {"shares": [_short(counts.get(value, 0) / len(values)) for value in listed]}
    if column.type == "string":
        first = re.match(r"\D*", values[0])
        prefix = first[0] if first and values.str.starts_with(first[0]).all() else ""
        if column.role != "identifier":
            return plan | {"uniform": [1, kinds, 1], "prefix": f"{column.name} "}
        width = int(np.median(values.str.len_chars().to_numpy())) - len(prefix)
        return plan | {"sequence": [1, 1], "prefix": prefix, "width": max(width, 1)}
    if column.type == "number":
        plan |= next(({"decimals": d} for d in range(7) if (values.round(d) == values).all()), {})
    if column.type in ("integer", "number") and (is_class or (kinds <= FEW and len(values) >= CROWD * kinds)):
        common = values.value_counts(name="rows").filter(pl.col("rows") >= (0 if is_class else CROWD)).sort(series.name)
        return plan | {
            "values": common[series.name].to_list(),
            "shares": [_short(n / len(values)) for n in common["rows"]],
        }
    tail = min(CROWD / len(values), 0.25)
    points = np.quantile(plain(values).to_numpy(), np.clip(LEVELS, tail, 1 - tail))
    return plan | {"quantiles": [_written(column, float(x)) for x in points]}


def _short(x: float) -> float:
    return float(f"{x:.5g}")


def _written(column: Column, x: float) -> Any:
    """A number as YAML holds it for a column; times as ISO text."""
    if column.type in ("date", "timestamp"):
        moment = datetime.fromtimestamp(x / 1e6, UTC).replace(tzinfo=None)
        return moment.date().isoformat() if column.type == "date" else moment.isoformat(timespec="minutes")
    return round(x) if column.type == "integer" else float(f"{x:.6g}")


def _learn_effects(contract: Contract, frame: pl.DataFrame) -> dict[str, Any]:
    """Fit a linear model, write its coefficients into the columns, and return how good it is on unseen rows."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.metrics import log_loss, r2_score, roc_auc_score
    from sklearn.model_selection import cross_val_predict

    target, columns = contract.target, contract.of("feature")
    width = sum(len(known_values(column)) + 1 for column in columns)
    rows = min(frame.height, FIT_ROWS, max(FIT_CELLS // width, 1000))
    frame = frame.sample(rows, shuffle=True, seed=0)
    blocks = [_design(column, frame[column.name]) for column in columns]
    x = np.hstack(blocks)
    folds = min(rows, 10 if x.size <= 200_000 else 3)
    if contract.task == "regression":
        y, model, how = frame[target.name].cast(pl.Float64).to_numpy(), Ridge(alpha=10.0), "predict"
    else:
        codes = range(len(contract.classes))
        y = frame[target.name].replace_strict(contract.classes, codes, return_dtype=pl.Int64).to_numpy()
        model, how = LogisticRegression(C=0.1, tol=0.01, max_iter=500), "predict_proba"
        folds = min(folds, int(np.bincount(y, minlength=len(codes)).min()))
    if folds < 3 or not x.any():
        return {}
    # Rows: classes of a multiclass task, else one. Columns: the blocks side by side.
    weights = np.atleast_2d(model.fit(x, y).coef_).astype(float).round(3) + 0.0
    start = 0
    for column, block in zip(columns, blocks, strict=True):
        part, start = weights[:, start : start + block.shape[1]].T, start + block.shape[1]
        numbers = part if contract.task == "multiclass" else part[:, 0]
        if part[:-1].any():
            column.synthesis["effect"] = (numbers[0] if "mean" in column.synthesis else numbers[:-1]).tolist()
        if part[-1].any():
            column.synthesis["effect_missing"] = numbers[-1].tolist()
    guess = cross_val_predict(model, x, y, cv=folds, method=how)
    if contract.task == "binary":
        return {"auc": _short(max(0.5, roc_auc_score(y, guess[:, 1])))}
    if contract.task == "multiclass":
        shares = np.bincount(y) / rows
        return {"log_loss": _short(min(log_loss(y, guess), -float(shares @ np.log(shares))))}
    return {"r2": _short(max(0.0, r2_score(y, guess)))}


def _design(column: Column, series: pl.Series) -> npt.NDArray[np.float32]:
    """A column per listed value, or one for a number in standard deviations; then one for missing."""
    size = len(column.categories) if column.categories else len(known_values(column))
    if column.type not in ("string", "boolean") and not column.categories:
        values, size = plain(series).drop_nulls().to_numpy(), 0
        if len(values) and values.std() > 0:
            column.synthesis |= {"mean": _short(float(values.mean())), "sd": _short(float(values.std()))}
    place, missing = position(column, series)
    known = place[:, None] if "mean" in column.synthesis else place[:, None] == np.arange(size)
    return np.hstack([known, missing[:, None]]).astype(np.float32)
