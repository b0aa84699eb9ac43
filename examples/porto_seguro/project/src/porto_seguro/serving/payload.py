"""Requests for scores: bytes in, the model's matrix out, every cell held against the contract."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import msgspec
import polars as pl
from msgspec import Struct

from ..artifact import Model
from ..check import check_frame
from ..clean import Problem, clean
from ..contract import Column
from ..encode import Matrix
from .fast import Cells, Fast


class Table(Struct, forbid_unknown_fields=True):
    """Rows as MLflow and Azure ML write them."""

    columns: list[str]
    data: list[list[Any]]
    index: list[Any] | None = None


class Body(Struct, forbid_unknown_fields=True):
    """What a request may hold: `data` (lists in contract order, or objects) or `input_data`; and names for the rows."""

    data: list[Any] | None = None
    input_data: Table | None = None
    ids: list[str | int] | None = None
    params: dict[str, Any] | None = None


Refused = tuple[str, str, int]  # column, rule, and how many of the cells broke it


class Invalid(Exception):
    """A request that is refused; `errors` names row (from 0), column, rule and value, of the first cells of each."""

    def __init__(
        self,
        status: int,
        cause: str,
        detail: str,
        errors: Sequence[dict[str, Any]] = (),
        cells: Sequence[Refused] = (),
    ) -> None:
        """Give the HTTP status, the cause for the metrics, a sentence, cells that are wrong, and how many are in all."""
        super().__init__(detail)
        self.status, self.cause, self.detail = status, cause, detail
        self.errors, self.cells = list(errors), list(cells)


class Rows(Struct):
    """Rows as they were sent: cells in contract order, and ids where the caller gave some."""

    cells: list[Cells]
    ids: list[str | int] | None


class Reader:
    """Read requests for one model.

    Where `features()` in model.py returns the rows as they are, numbers and known labels are encoded without a data
    frame, which takes microseconds. Whatever is unusual about a request goes the way of `score`, which gives the same
    matrix and knows the sentences for what is wrong.
    """

    def __init__(self, model: Model, max_rows: int) -> None:
        """Prepare for a model; a request may hold `max_rows` rows."""
        self._model, self._max_rows = model, max_rows
        self._decode = msgspec.json.Decoder(Body).decode
        contract = model.contract
        self._columns = contract.of("feature")
        self._names = model.needs
        self._pick = _picker(self._names)
        self._id = next((c.name for c in contract.of("identifier")), None)
        self._orders: dict[int, list[str]] = {}
        for roles in (("feature", "identifier", "ignored"), ("feature", "identifier"), ("feature",)):
            names = [c.name for c in contract.columns if c.role in roles]
            self._orders[len(names)] = names  # the last one wins: features only
        self._fast = Fast.of(model)

    def read(self, body: bytes) -> Rows:
        """Read a request.

        Raises:
            Invalid: it is not JSON (400), of another shape (422), or too long (413).
        """
        try:
            asked = self._decode(body)
        except msgspec.ValidationError as error:
            raise Invalid(422, "type", f"The body is not of a shape that is understood: {error}.") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(400, "body", f"The body is not JSON: {error}.") from None
        cells, ids = self._cells(asked)
        if asked.ids is not None:
            ids = asked.ids
            if len(ids) != len(cells):
                raise Invalid(422, "type", f"There are {len(ids)} ids for {len(cells)} rows.")
        return Rows(cells, ids)

    @property
    def quick(self) -> bool:
        """Whether there is a short way at all: not where a project makes features of its own."""
        return self._fast is not None

    def quickly(self, cells: list[Cells]) -> Matrix | None:
        """Encode rows, or return None where one of them needs a closer look."""
        return self._fast(cells) if self._fast else None

    def encode(self, cells: list[Cells]) -> tuple[Matrix, dict[str, int]]:
        """Encode rows; also count, by column, the values that are no known category.

        Raises:
            Invalid: they are against the contract (422).
        """
        x = self.quickly(cells)
        return self._slowly(cells) if x is None else (x, {})

    def _cells(self, asked: Body) -> tuple[list[Cells], list[str | int] | None]:
        """The cells in contract order, and the identifiers that stand in the rows."""
        if (asked.data is None) == (asked.input_data is None):
            raise Invalid(422, "type", "Give either `data` or `input_data`.")
        rows: list[Any] = asked.data if asked.data is not None else asked.input_data.data  # type: ignore[union-attr]
        if not rows:
            raise Invalid(422, "type", "There are no rows.")
        if len(rows) > self._max_rows:
            raise Invalid(413, "size", f"There are {len(rows):,} rows; send at most {self._max_rows:,} at once.")
        if asked.input_data is not None:
            return self._by_name(rows, asked.input_data.columns)
        if isinstance(rows[0], dict):
            return self._of_objects(rows)
        if not isinstance(rows[0], list):
            raise Invalid(422, "type", "Each row must be a list or an object.")
        order = self._orders.get(len(rows[0]))
        if order is None:
            raise Invalid(
                422, "type", f"Row 0 has {len(rows[0])} cells; in contract order there are {len(self._names)}."
            )
        if len(order) == len(self._names):
            self._even(rows, len(order))
            return rows, None
        return self._by_name(rows, order)

    def _even(self, rows: list[Any], width: int) -> None:
        for n, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != width:
                found = f"{len(row)} cells" if isinstance(row, list) else "no list"
                raise Invalid(422, "type", f"Row {n} has {found} instead of {width} cells.")

    def _by_name(self, rows: list[Any], columns: list[str]) -> tuple[list[Cells], list[str | int] | None]:
        self._even(rows, len(columns))
        where = {name: n for n, name in enumerate(columns)}
        if absent := [name for name in self._names if name not in where]:
            raise _lacking("The rows lack", [_missing(name) for name in absent], len(rows))
        cells = list(map(_picker([where[name] for name in self._names]), rows))
        return cells, self._ids([row[where[self._id]] for row in rows]) if self._id in where else None

    def _of_objects(self, rows: list[Any]) -> tuple[list[Cells], list[str | int] | None]:
        try:
            cells: list[Cells] = [self._pick(row) for row in rows]
        except (KeyError, TypeError, IndexError):
            for n, row in enumerate(rows):
                if not isinstance(row, dict):
                    raise Invalid(422, "type", f"Row {n} is no object, but row 0 is.") from None
                if absent := [name for name in self._names if name not in row]:
                    raise _lacking(f"Row {n} lacks", [_missing(name, n) for name in absent], 1) from None
            raise
        named = self._id is not None and all(self._id in row for row in rows)
        return cells, self._ids([row[self._id] for row in rows]) if named else None

    def _ids(self, values: list[Any]) -> list[str | int] | None:
        """Identifiers as they were sent; one that is no text or number names no row."""
        return values if all(isinstance(v, str | int) and not isinstance(v, bool) for v in values) else None

    def _slowly(self, cells: list[Cells]) -> tuple[Matrix, dict[str, int]]:
        raw = pl.DataFrame([as_series(c.name, [row[n] for row in cells]) for n, c in enumerate(self._columns)])
        frame, problems = clean(raw, self._columns, ".", -1)  # rows of a request count from 0
        broken = {p.column for p in problems}
        contract = msgspec.structs.replace(
            self._model.contract, columns=[_unconditional(c) for c in self._columns], rules=[]
        )
        for p in check_frame(frame, contract):
            if p.column not in broken:
                problems.append(Problem(p.column, p.rule, p.count, [(n - 1, value) for n, value in p.rows]))
        if problems:
            errors = [
                {"row": n, "column": p.column, "rule": p.rule, "value": value} for p in problems for n, value in p.rows
            ]
            first = errors[0]
            detail = f"Row {first['row']}: {first['column']} {first['rule']} ({first['value']})."
            raise Invalid(422, "contract", detail, errors, [(p.column, p.rule, p.count) for p in problems])
        model = self._model
        return model.encoder.transform(model.features(frame)), model.encoder.unseen(frame)


def _unconditional(column: Column) -> Column:
    """What holds for a single row: shares of a table, uniqueness and unknown labels (scored as missing) do not."""
    return msgspec.structs.replace(column, missing=None, categories=[], unique=False)


def _picker(keys: Sequence[Any]) -> Callable[[Any], Cells]:
    """Return a function that takes these cells of a row, also where it is one only."""
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda row: (row[keys[0]],)


def _lacking(what: str, errors: list[dict[str, Any]], rows: int) -> Invalid:
    names = [e["column"] for e in errors]
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    cells = [(e["column"], e["rule"], rows) for e in errors]
    return Invalid(422, "contract", f"{what} {some}.", errors, cells)


def _missing(name: str, row: int | None = None) -> dict[str, Any]:
    return ({} if row is None else {"row": row}) | {"column": name, "rule": "must be there"}


def as_series(name: str, cells: list[Any]) -> pl.Series:
    """Return cells of any JSON kinds as a column; kinds that do not go together become text."""
    kinds = {type(cell) for cell in cells} - {type(None)}
    if kinds <= {bool}:
        return pl.Series(name, cells, pl.Boolean)
    if kinds <= {int} and all(cell is None or abs(cell) < 2**63 for cell in cells):
        return pl.Series(name, cells, pl.Int64)
    if kinds <= {int, float}:
        return pl.Series(name, [None if cell is None else float(min(max(cell, -1e308), 1e308)) for cell in cells])
    texts = [cell if cell is None or isinstance(cell, str) else msgspec.json.encode(cell).decode() for cell in cells]
    return pl.Series(name, texts, pl.String)
