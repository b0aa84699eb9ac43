"""Hold a table against its contract: which column breaks which rule, how often, and in which rows first."""

import math
from pathlib import Path
from typing import NamedTuple

import polars as pl

from .clean import SHOWN, Problem, read
from .contract import Column, Contract, Rule
from .encode import same_type
from .errors import UsageError

MISSING = "is missing"


class _Test(NamedTuple):
    """A rule: `bad` is true for a row that breaks it; up to `tolerance` percent of the rows may."""

    column: str
    rule: str
    bad: pl.Expr
    tolerance: float = 0.0


def _tests(column: Column, dtype: pl.DataType) -> list[_Test]:
    value = pl.col(column.name)
    tests = []
    if column.required:
        tests.append(_Test(column.name, MISSING, value.is_null()))
    elif column.missing is not None:
        tests.append(
            _Test(
                column.name,
                f"is missing in more than {column.missing:g} % of the rows",
                value.is_null(),
                column.missing,
            )
        )
    if column.minimum is not None:
        tests.append(_Test(column.name, f"is below {column.minimum:g}", value < column.minimum))
    if column.maximum is not None:
        tests.append(_Test(column.name, f"is above {column.maximum:g}", value > column.maximum))
    if column.categories:
        limit = f" in more than {column.tolerance:g} % of the rows" if column.tolerance else ""
        tests.append(
            _Test(
                column.name,
                f"is no known category{limit}",
                ~value.is_in(same_type(column.categories, dtype).to_list()),
                column.tolerance,
            )
        )
    if column.unique:
        tests.append(_Test(column.name, "stands in more than one row", value.is_duplicated() & value.is_not_null()))
    return tests


def check_frame(frame: pl.DataFrame, contract: Contract) -> list[Problem]:
    """Return what breaks the contract in a clean frame (see `clean.read`); an empty list means a good table.

    Ignored columns are not checked; a rule is checked where the frame has all of its columns.
    """
    schema = frame.schema
    tests = [t for c in contract.columns if c.role != "ignored" and c.name in schema for t in _tests(c, schema[c.name])]
    for rule in contract.rules:
        good = _condition(rule, frame, contract)
        if set(good.meta.root_names()) <= set(frame.columns):
            tests.append(_Test("row", f"breaks the rule {rule.name}", ~good))
    if not tests:
        return []
    counts = frame.select(t.bad.sum().alias(str(n)) for n, t in enumerate(tests)).row(0)
    return [_problem(frame, t, n) for t, n in zip(tests, counts, strict=True) if n > allowed(t.tolerance, frame.height)]


def _condition(rule: Rule, frame: pl.DataFrame, contract: Contract) -> pl.Expr:
    """Read the SQL of a rule, and try it on one row."""
    try:
        good = pl.sql_expr(rule.sql)
        names = set(good.meta.root_names())
        if unknown := names - set(contract.names):
            raise UsageError(f"The rule {rule.name} in the contract names the unknown column {sorted(unknown)[0]}.")
        if names <= set(frame.columns) and frame.head(1).select(good.alias("good"))["good"].dtype != pl.Boolean:
            raise UsageError(f"The rule {rule.name} in the contract is no condition: {rule.sql}")
    except pl.exceptions.PolarsError as error:
        said = str(error).splitlines()[0]
        raise UsageError(f"The rule {rule.name} in the contract cannot be used: {said}.") from None
    return good


def allowed(percent: float, rows: int) -> float:
    """Return how many rows may break a rule: the percentage, and three standard deviations more, since few rows vary by chance."""
    expected = percent / 100 * rows
    return expected + 3 * math.sqrt(expected)


def _problem(frame: pl.DataFrame, test: _Test, count: int) -> Problem:
    bad = frame.with_row_index("row ", 1).filter(test.bad).head(SHOWN)
    shown = [("", *r) for r in bad.select("row ", *sorted(set(test.bad.meta.root_names()))).rows()]
    return Problem(test.column, test.rule, count, [(r[1], ", ".join(map(repr, r[2:]))) for r in shown])


def check_file(path: Path, contract: Contract) -> tuple[pl.DataFrame, list[Problem], list[str]]:
    """Read a table and check it.

    Returns:
        The clean frame, its problems, and the columns that the contract does not know.

    Raises:
        DataError: the file is broken or empty, or lacks a column.
    """
    need = [c.name for c in contract.columns if c.role in ("feature", "target")]
    frame, problems, extra = read(path, contract, need)
    # What is not of its type became missing: it is told once.
    wrong = {p.column: p.count for p in problems}
    broken = [p for p in check_frame(frame, contract) if p.rule != MISSING or p.count > wrong.get(p.column, 0)]
    return frame, problems + broken, extra
