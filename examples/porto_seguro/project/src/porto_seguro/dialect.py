"""Find out how a CSV file is written: encoding, separator, quotes, where the table begins, and its column names."""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from .errors import DataError

SEPARATORS = (",", ";", "\t", "|")
# What people write for "no value". A blank or a run of blanks counts as well.
MISSING = ("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "-")
_SAMPLE = 1 << 18
_NO_TABLE = {
    b"PK\x03\x04": "an Excel workbook or a zip archive: save the sheet as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "an Excel workbook: save the sheet as CSV",
    b"\x1f\x8b": "packed with gzip: unpack it",
}
csv.field_size_limit(_SAMPLE)

Row = tuple[int, list[str]]  # the number of lines up to its end, and its cells


class Dialect(msgspec.Struct, frozen=True):
    """How a CSV file is written.

    Attributes:
        names: its columns, taken from the header where it has one.
        skip: how many lines come before the first row: the header, and what stands above the table.
        above: how many of them stand above the table.
    """

    separator: str
    encoding: str
    header: bool
    names: tuple[str, ...]
    quote: str = '"'
    skip: int = 0
    above: int = 0


def sniff(path: Path, header: bool | None = None, known: Sequence[str] = ()) -> Dialect:
    """Find out how a CSV file is written from its beginning.

    Args:
        path: the file.
        header: whether the first line names the columns; None decides by its looks.
        known: column names that are expected; a first line holding one of them is a header.

    Raises:
        DataError: the file is empty, binary or has one column only.
    """
    with path.open("rb") as file:
        raw = file.read(_SAMPLE)
        encoding, text = _decode(path, raw)
        if encoding == "utf-8" and not _is_utf8(raw, file):
            encoding, text = _one_byte(raw)
    if not text.strip():
        raise DataError(f"{path} is empty.")
    if re.match(r"\s*(<!doctype|<html|<\?xml|\{\s*\"|\[\s*\{)", text, re.IGNORECASE):
        raise DataError(f"{path} is no table but a web page, XML or JSON; give CSV or Parquet.")
    quotes = '"' if '"' in text or not re.search(r"(^|[,;\t|])'[^'\n]*'([,;\t|\s]|$)", text) else "'\""
    found = [(s, q, _rows(text, s, q, whole=len(raw) < _SAMPLE)) for q in quotes for s in SEPARATORS]
    separator, quote, rows = max(found, key=lambda one: _fit(one[0], one[2]))
    width = _width(rows)
    if width < 2:
        raise DataError(f"{path} has one column only; looked for the separators {' '.join(map(repr, SEPARATORS))}.")
    start, first = _begin(path, rows, width)
    below = [cells for _, cells in rows[start + 1 :]]
    if set(first) & set(known):
        header = True
    elif header is None:
        header = _looks_like_header(first, below) or len(rows[start][1]) != width
    above = rows[start - 1][0] if start else 0
    names = unique(first if header else [""] * width)
    return Dialect(separator, encoding, header, names, quote, rows[start][0] if header else above, above)


def _decode(path: Path, raw: bytes) -> tuple[str, str]:
    for begin, what in _NO_TABLE.items():
        if raw.startswith(begin):
            raise DataError(f"{path} is {what}.")
    for bom, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if raw.startswith(bom):
            return encoding, raw.decode(encoding, "ignore")
    if b"\0" in raw:
        raise DataError(f"{path} is not a text table (it holds NUL bytes); give CSV or Parquet.")
    try:
        return "utf-8", codecs.getincrementaldecoder("utf-8")().decode(raw)
    except UnicodeDecodeError:
        return _one_byte(raw)


def _one_byte(raw: bytes) -> tuple[str, str]:
    """Windows writes the euro sign and curly quotes where Latin-1 has control codes."""
    if any(0x80 <= byte < 0xA0 for byte in raw) and not any(byte in b"\x81\x8d\x8f\x90\x9d" for byte in raw):
        return "cp1252", raw.decode("cp1252")
    return "latin-1", raw.decode("latin-1")


def _is_utf8(start: bytes, rest: BinaryIO) -> bool:
    """Whether the whole file is UTF-8: one name with an accent may stand in the last line."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(start)
        while block := rest.read(1 << 23):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _rows(text: str, separator: str, quote: str, whole: bool) -> list[Row]:
    """Take a text apart; rows without any value are left out, and the last one where the text ends in its midst."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quotechar=quote, skipinitialspace=True)
    rows = [(reader.line_num, cells) for cells in reader]
    if not whole and len(rows) > 1:
        rows.pop()
    return [row for row in rows if any(cell.strip() for cell in row[1])]


def _width(rows: list[Row]) -> int:
    """How many cells most rows have."""
    return Counter(len(cells) for _, cells in rows).most_common(1)[0][0] if rows else 0


def _fit(separator: str, rows: list[Row]) -> tuple[float, bool, int]:
    """Rank a separator: the share of rows of equal width; then any but the comma, which may be a decimal mark."""
    width = _width(rows)
    share = sum(len(cells) == width for _, cells in rows) / len(rows) if width > 1 else 0.0
    return share, share > 0 and separator != ",", width


def _begin(path: Path, rows: list[Row], width: int) -> tuple[int, list[str]]:
    """Return which row the table begins with, and its cells. Titles, comments and `sep=;` may stand above.

    A header may be a cell short or long: all rows end with a separator, or none does, or R wrote nameless row names.
    """
    start = next(n for n, (_, cells) in enumerate(rows) if len(cells) == width)
    first = [" ".join(cell.split()) for cell in rows[start][1]]
    if start == 0:
        return start, first
    above = [" ".join(cell.split()) for cell in rows[start - 1][1]]
    if any(map(_is_value, above)) or not all(above[:-1]) or (len(above) < width and not above[-1]):
        return start, first
    if len(above) == width + 1 and not above[-1]:
        return start - 1, above[:-1]
    if len(above) == width - 1 > 1:
        blank_end = not any(cells[-1].strip() for _, cells in rows[start:] if len(cells) == width)
        return start - 1, [*above, ""] if blank_end else ["", *above]
    if len(above) > width:
        raise DataError(f"{path} has {len(above)} column names, but most rows have {width} cells; mend the first line.")
    return start, first


def _is_value(cell: str) -> bool:
    """Whether a cell can only be a value, not a name: a number, a date, a sentinel."""
    if cell in MISSING:
        return cell != "" and not cell.isalpha()
    bare = cell.replace(",", ".").lstrip("+-")
    try:
        float(bare)
    except ValueError:
        return re.fullmatch(r"\d[\d./:\-+ TZ]{7,}", bare) is not None
    return any(c.isdigit() for c in bare)  # `inf` and `nan` may be names


def _looks_like_header(first: list[str], rows: list[list[str]]) -> bool:
    """Names stand above a column of numbers or, where all is text, are different and not found again below."""
    if any(map(_is_value, first)):
        return False
    again = 0
    for n, name in enumerate(first):
        cells = [cell for row in rows if len(row) > n and (cell := row[n].strip())]
        numbers = sum(map(_is_value, cells))
        if name and name not in MISSING and numbers > 0.8 * len(cells):
            return True
        again += name in cells
    named = [name for name in first if name]
    return len(set(named)) == len(named) and again <= len(first) / 4


def unique(names: Iterable[str]) -> tuple[str, ...]:
    """Name the nameless `column_<n>` and number what stands twice; line breaks and stray blanks go."""
    out: dict[str, None] = {}
    for n, name in enumerate(names, 1):
        name = " ".join(name.split())
        if name == "*" or (name[:1] == "^" and name[-1:] == "$"):  # Polars would take it for a pattern
            name = name.strip("^$*.")
        name = name or f"column_{n}"
        candidate, k = name, 2
        while candidate in out:
            candidate, k = f"{name}_{k}", k + 1
        out[candidate] = None
    return tuple(out)
