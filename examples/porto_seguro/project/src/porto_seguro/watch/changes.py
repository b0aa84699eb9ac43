"""The single changes that shifts are made of: `shifts.py` chooses columns and sizes, here it is done to them."""

from typing import Any

import numpy as np
import polars as pl
from msgspec import structs

from ..contract import Column, Contract
from ..convert import TYPES
from ..draw import stream
from ..errors import UsageError


def without_sql(contract: Contract) -> Contract:
    """Return the contract of the columns as they are before `sql` computes from them."""
    plans = [{key: value for key, value in c.synthesis.items() if key != "sql"} for c in contract.columns]
    columns = [structs.replace(c, synthesis=plan) for c, plan in zip(contract.columns, plans, strict=True)]
    return structs.replace(contract, columns=columns)


def compute(contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
    """Compute the columns that have `sql`, as `draw_columns` does."""
    for column in contract.columns:
        if "sql" in column.synthesis and column.role != "target":
            value = pl.sql_expr(column.synthesis["sql"]).cast(TYPES[column.type])
            frame = frame.with_columns(value.alias(column.name))
    return frame


def computed(column: Column) -> bool:
    """Whether a column is made of other columns alone."""
    plan = column.synthesis
    return "sql" in plan and column.name not in pl.sql_expr(plan["sql"]).meta.root_names()


def move(column: Column, values: pl.Series, pilot: pl.Series, size: float, random: np.random.Generator) -> pl.Series:
    """Move a number by `size` standard deviations within its range, or a share of the rows to another category.

    Args:
        values: of the rows, shape (n,); missing ones stay missing, and the type stays.
        pilot: many values of the same column, which tell its spread or shares.
        size: may be negative; of categories see the text of `shifts.py`.
        random: is asked for n numbers.
    """
    chance = random.random(len(values))
    if column.categories:
        kinds, shares = frequent(pilot)
        goal = 1 if size > 0 else 0
        # Of those who are told to take the goal's value, some have it: the more must be told.
        told = pl.Series(chance * (1 - shares[goal]) < min(abs(size) / 2.5, 0.4)) & values.is_not_null()
        return values.zip_with(~told, pl.Series([kinds[goal]], dtype=values.dtype))
    number = values.cast(pl.Float64).fill_null(0.0).to_numpy() + size * float(np.std(pilot.drop_nulls().to_numpy()))
    # Chance decides between the two nearest values that the column can have, so that the mean moves by the size.
    if "values" in column.synthesis:
        points = np.unique(np.asarray(column.synthesis["values"], float))
        number = points[(np.interp(number, points, np.arange(len(points))) + chance).astype(int)]
    elif column.type == "integer" or "decimals" in column.synthesis:
        digits = 0 if column.type == "integer" else column.synthesis["decimals"]
        number = np.round(np.floor(number * 10**digits + chance) / 10**digits, digits)
    moved = pl.Series(number).clip(column.minimum, column.maximum).cast(values.dtype)
    return moved.zip_with(values.is_not_null(), values)


def where_good(contract: Contract, moved: pl.DataFrame, still: pl.DataFrame) -> pl.DataFrame:
    """Return the moved rows, shape (n, columns), but where they break a range or a rule of the contract the still ones."""
    columns = contract.of("feature")
    tests = [pl.col(c.name) >= c.minimum for c in columns if c.minimum is not None]
    tests += [pl.col(c.name) <= c.maximum for c in columns if c.maximum is not None]
    rules = [pl.sql_expr(rule.sql) for rule in contract.rules]
    tests += [rule for rule in rules if set(rule.meta.root_names()) <= set(moved.columns)]
    if not tests:
        return moved
    good = moved.select(pl.all_horizontal(test.fill_null(True) for test in tests)).to_series()
    return pl.DataFrame([new.zip_with(good, old) for new, old in zip(moved, still, strict=True)])


def turned(contract: Contract, names: list[str]) -> Contract:
    """Give the features of these names the opposite effect on the target."""

    def turn(column: Column) -> Column:
        plan: dict[str, Any] = column.synthesis
        opposite = {key: np.negative(plan[key]).tolist() for key in ("effect", "effect_missing") if key in plan}
        return structs.replace(column, synthesis=plan | opposite) if column.name in names else column

    return structs.replace(contract, columns=[turn(column) for column in contract.columns])


def weakened(contract: Contract, size: float) -> Contract:
    """Ask for a best possible quality that is worse by `size`; `calibrate` gives none that is worse than chance.

    Raises:
        UsageError: the contract does not say how good a model can be.
    """
    key = {"binary": "auc", "multiclass": "log_loss", "regression": "r2"}[contract.task]
    if key not in contract.synthesis:
        raise UsageError(f"The shift weaker needs `{key}` in the contract's synthesis: how good a model can be.")
    worse = contract.synthesis[key] + (size if key == "log_loss" else -size)
    return structs.replace(contract, synthesis=contract.synthesis | {key: worse})


def frequent(values: pl.Series) -> tuple[list[Any], list[float]]:
    """Return the values that occur, the most frequent first, and their shares."""
    kinds, counts = np.unique(values.drop_nulls().to_numpy(), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return kinds[order].tolist(), (counts[order] / counts.sum()).tolist()


def unknown(column: Column, value: Any) -> Any:
    """Return what no category is called: the value with a suffix, or a code that follows the known ones."""
    if column.type == "string":
        return f"{value} (new)"
    code: Any = max(category for category in column.categories if not isinstance(category, str)) + 1
    while code in column.sentinels:
        code += 1
    return code


def poisoned(target: pl.Series, contract: Contract, size: float) -> pl.Series:
    """Return a target, shape (n,), that is wrong in the share `size` of the rows; see the text of `shifts.py`."""
    hit = pl.Series(stream(len(target), "poison").random(len(target)) < size)
    if contract.task == "regression":
        number = target.cast(pl.Float64)
        mean, sd = number.to_frame("y").select(mean=pl.col("y").mean(), sd=pl.col("y").std()).row(0)
        wrong = 2 * mean - number + size * sd
        wrong = (wrong.round() if target.dtype.is_integer() else wrong).cast(target.dtype)
    else:
        classes = pl.Series(contract.classes, dtype=target.dtype, strict=False)
        wrong = target.replace(classes, pl.concat([classes[1:], classes[:1]]))
    return target.zip_with(~hit, wrong)
