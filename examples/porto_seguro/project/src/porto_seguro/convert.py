"""Bring one cell into the type of its column: the expressions behind `clean`."""

import polars as pl

from .contract import Column
from .dialect import MISSING

TRUE = ("true", "t", "yes", "y", "1", "1.0")
FALSE = ("false", "f", "no", "n", "0", "0.0")
TYPES = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "timestamp": pl.Datetime("us"),
}
_BLANK = r"\s\x{a0}\x{202f}"
_APOSTROPHES = r"'\x{2019}"
_MARKED = "[,$€£%" + _APOSTROPHES + _BLANK + r"]|^[-+]?\d{1,3}(\.\d{3})+$"
_EARLIEST = 1000  # a date before this year was read with the wrong format: 24 is not 2024


def unusable(dtype: pl.DataType) -> bool:
    """Whether cells hold no single value: lists, structures, bytes."""
    return dtype.is_nested() or dtype == pl.Binary or dtype == pl.Object


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Bring types that only Parquet and pandas know into plain ones; what is unusable becomes missing."""
    made = []
    for name, dtype in frame.schema.items():
        if unusable(dtype):
            made.append(pl.lit(None, pl.String).alias(name))
        elif dtype in (pl.Categorical, pl.Enum):
            made.append(pl.col(name).cast(pl.String))
        elif dtype == pl.Duration:
            made.append(pl.col(name).dt.total_microseconds() / 1e6)
    return frame.with_columns(made) if made else frame


def numbers(frame: pl.DataFrame, names: list[str], decimal: str) -> pl.DataFrame:
    """Write numbers in text as computers do: a decimal point, no marks between thousands, no sign of money or percent."""
    if not names:
        return frame
    marked = frame.select(pl.col(names).str.contains(_MARKED).any()).row(0)
    mark = "[" + _APOSTROPHES + _BLANK + ("." if decimal == "," else ",") + "]"
    whole = r"(\d+|\d{1,3}(" + mark + r"\d{3})+)"
    fraction = r"(,\d*)?" if decimal == "," else r"(\.\d*)?"
    pattern = r"^[-+]?[$€£]?\s?" + whole + fraction + "[" + _BLANK + "]?[$€£%]?$"
    signs = "[$€£%" + mark[1:]
    made = []
    for name, any_marked in zip(names, marked, strict=True):
        if any_marked:
            text = pl.col(name).str.strip_chars()
            bare = text.str.replace_all(signs, "").str.replace(",", ".", literal=True)
            rest = text.str.replace(",", ".", literal=True) if decimal == "," else text
            made.append(pl.when(text.str.contains(pattern)).then(bare).otherwise(rest).alias(name))
    return frame.with_columns(made)


def cell(dtype: pl.DataType, name: str) -> pl.Expr:
    """The cell before conversion, missing where its text means missing."""
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        text = pl.col(name).cast(pl.String).str.strip_chars()
        return pl.when(~text.is_in(MISSING)).then(text)
    if unusable(dtype):
        return pl.when(pl.col(name).is_not_null()).then(pl.lit(f"a {dtype.base_type()}"))
    return pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)


def convert(column: Column, dtype: pl.DataType) -> pl.Expr:
    """The expression that brings a plain cell into the column's type, or makes it missing."""
    value = cell(dtype, column.name)
    text = dtype == pl.String
    if column.type == "string":
        if dtype.is_float():  # 3.0 is the label 3: a reader turned an integer column with gaps into floats
            value = (
                pl.when(value == value.round())
                .then(value.cast(pl.Int64, strict=False).cast(pl.String))
                .otherwise(value.cast(pl.String))
            )
        value = value if text else value.cast(pl.String)
        return value if column.role == "identifier" else label(value)
    if column.type == "boolean":
        if not text and not dtype.is_numeric():
            return value.cast(pl.Boolean, strict=False) if dtype == pl.Boolean else pl.lit(None, pl.Boolean)
        low = value.cast(pl.String).str.to_lowercase()
        return pl.when(low.is_in(TRUE)).then(True).when(low.is_in(FALSE)).then(False)
    if column.type in ("date", "timestamp"):
        target = TYPES[column.type]
        if text:
            return moment(value, target, column.format)
        if isinstance(dtype, pl.Datetime):
            value = value.dt.replace_time_zone(None)  # zoned: as UTC
        return value.cast(target, strict=False) if dtype in (pl.Date, pl.Datetime, pl.Null) else pl.lit(None, target)
    if not text and not dtype.is_numeric():  # a truth value is 1 or 0; a date is no number
        value = value.cast(pl.Int64) if dtype in (pl.Boolean, pl.Null) else pl.lit(None, pl.Int64)
    number = value.cast(pl.Float64, strict=False)
    if column.type == "number":
        return pl.when(number.is_finite()).then(number)
    if dtype.is_float() or dtype.is_decimal():
        return pl.when(number == number.round()).then(number.cast(pl.Int64, strict=False))
    exact = value.cast(pl.Int64, strict=False)
    return pl.coalesce(exact, pl.when(number == number.round()).then(number.cast(pl.Int64, strict=False)))


def moment(text: pl.Expr, target: pl.DataType, written: str) -> pl.Expr:
    """Read a date or time; one that names its zone is brought to UTC. No format means ISO, in short or in full."""
    if written:
        value = text.str.strptime(target, written, strict=False)  # type: ignore[arg-type]
        value = value.dt.replace_time_zone(None) if "%z" in written else value
        return pl.when(value.dt.year() >= _EARLIEST).then(value)
    if target == pl.Date:
        return text.str.replace(r"[ T]00:00(:00(\.0+)?)?Z?$", "").str.strptime(pl.Date, "%Y-%m-%d", strict=False)
    text = text.str.replace("T", " ", literal=True).str.replace(r"Z$", "")
    tried = [text.str.strptime(pl.Datetime("us"), f"%Y-%m-%d {f}", strict=False) for f in ("%H:%M:%S%.f", "%H:%M")]
    zoned = text.str.strptime(pl.Datetime("us"), "%Y-%m-%d %H:%M:%S%.f%z", strict=False).dt.replace_time_zone(None)
    return pl.coalesce(*tried, zoned, text.str.strptime(pl.Date, "%Y-%m-%d", strict=False).cast(pl.Datetime("us")))


def label(value: pl.Expr) -> pl.Expr:
    """A label without stray blanks and trailing dots: ` >50K.` is `>50K`."""
    bare = value.str.strip_chars().str.strip_chars_end(".")
    return pl.when(bare.str.len_chars() > 0).then(bare)
