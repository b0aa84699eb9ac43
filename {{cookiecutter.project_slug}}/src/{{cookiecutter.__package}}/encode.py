"""Turn clean rows into the float32 matrix that estimators learn from: numbers as they are, categories as codes."""

from datetime import date, datetime
from typing import Any

import msgspec
import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray

from .contract import Contract
from .errors import DataError

MAX_CATEGORIES = 1_000
LARGEST = 1e37
Matrix = NDArray[np.float32]
Vector = NDArray[np.float64]


class Feature(Struct, frozen=True):
    """A column of the matrix; `categories` in code order, or none for a number."""

    name: str
    categories: list[Any] = []


class Encoder(Struct, frozen=True):
    """What `transform` needs to know; it stands beside the estimator in every model folder."""

    features: list[Feature]

    @property
    def names(self) -> list[str]:
        """The column names of the matrix."""
        return [feature.name for feature in self.features]

    @property
    def categorical(self) -> list[int]:
        """The positions of categorical columns."""
        return [n for n, feature in enumerate(self.features) if feature.categories]

    def transform(self, rows: pl.DataFrame) -> Matrix:
        """Encode rows.

        Args:
            rows: shape (n, any), as `model.features` gives them.

        Returns:
            float32 of shape (n, features); missing values and categories never seen are NaN.
        """
        schema = rows.schema
        columns = rows.select(_code(feature, schema[feature.name]) for feature in self.features)
        matrix: Matrix = columns.to_numpy(order="c")
        # Beyond the range of float32 is infinity, which no linear model takes.
        return np.clip(matrix, -LARGEST, LARGEST, out=matrix)

    def unseen(self, rows: pl.DataFrame) -> dict[str, int]:
        """Count, by column, the values that are no known category."""
        schema = rows.schema
        known = [f for f in self.features if f.categories and f.name in schema]
        if not known:
            return {}
        counts = rows.select(
            (~pl.col(f.name).is_in(same_type(f.categories, schema[f.name]).to_list())).sum().alias(f.name)
            for f in known
        )
        return {name: count for name, count in zip(counts.columns, counts.row(0), strict=True) if count}


def same_type(categories: list[Any], dtype: pl.DataType) -> pl.Series:
    """Return categories in the type of the column that holds them."""
    return pl.Series([str(c) for c in categories] if dtype == pl.String else categories).cast(dtype, strict=False)


def _code(feature: Feature, dtype: pl.DataType) -> pl.Expr:
    value = pl.col(feature.name)
    if feature.categories:
        codes = pl.Series(range(len(feature.categories)), dtype=pl.Float32)
        return value.replace_strict(same_type(feature.categories, dtype), codes, default=None, return_dtype=pl.Float32)
    if dtype == pl.Date or dtype == pl.Datetime:
        return (value.cast(pl.Datetime("us")).to_physical() / 86_400e6).cast(pl.Float32).alias(feature.name)
    return value.cast(pl.Float32)


def fit_encoder(rows: pl.DataFrame, contract: Contract) -> Encoder:
    """Decide how each column of `rows` (as `model.features` gives them) is encoded.

    Raises:
        DataError: a text column of `model.features` has too many different values to be a category.
    """
    known = {column.name: column for column in contract.columns}
    features = []
    for name, dtype in rows.schema.items():
        if name in known and known[name].role != "feature":
            continue
        categories: list[Any] = list(known[name].categories) if name in known else []
        if dtype == pl.String and not categories:
            categories = sorted(rows[name].drop_nulls().unique().to_list())
            if len(categories) > MAX_CATEGORIES:
                raise DataError(
                    f"The feature {name} has {len(categories):,} different texts; make at most {MAX_CATEGORIES:,} of them in model.py."
                )
        features.append(Feature(name, [c.isoformat() if isinstance(c, date | datetime) else c for c in categories]))
    return Encoder(features)


def encode_target(rows: pl.DataFrame, contract: Contract) -> Vector:
    """Return the target as float64 of shape (n,): the class number in contract order, or the value; NaN where missing."""
    values = rows[contract.target.name]
    if contract.task == "regression":
        return values.cast(pl.Float64).to_numpy().astype(np.float64)
    coded = pl.DataFrame([values]).select(_code(Feature(values.name, contract.classes), values.dtype))
    return coded.to_series().cast(pl.Float64).to_numpy().astype(np.float64)


def to_json(encoder: Encoder) -> bytes:
    """Write an encoder."""
    return msgspec.json.format(msgspec.json.encode(encoder))


def from_json(data: bytes) -> Encoder:
    """Read what `to_json` wrote."""
    return msgspec.json.decode(data, type=Encoder)
