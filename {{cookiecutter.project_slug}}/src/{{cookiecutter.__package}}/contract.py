"""The data contract: what a table must look like, and which column plays which role; it stands in `conf/contract.yaml`."""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from msgspec import Struct

from .errors import UsageError
from .odcs import from_odcs, to_odcs

Type = Literal["string", "integer", "number", "boolean", "date", "timestamp"]
Role = Literal["feature", "identifier", "target", "ignored"]
Task = Literal["binary", "multiclass", "regression"]
Value = str | int | float | bool


class Column(Struct, kw_only=True, omit_defaults=True):
    """One column.

    Attributes:
        role: an `identifier` or `ignored` column is never a feature; `note` says why.
        required: no value may be missing.
        minimum, maximum: the range of a number.
        format: how dates are written, in strptime codes; empty for ISO.
        categories: the known values; they make a column categorical, whatever its type.
        tolerance: percentage of rows that may hold another category.
        sentinels: numbers that mean "missing" (texts such as `?` and `NA` always do).
        missing: highest percentage of missing values.
        synthesis: how `synth.py` draws it; statistics only, no rows.
    """

    name: str
    type: Type
    role: Role = "feature"
    note: str = ""
    required: bool = False
    unique: bool = False
    minimum: float | None = None
    maximum: float | None = None
    format: str = ""
    categories: list[Value] = []
    tolerance: float = 1.0
    sentinels: list[float] = []
    missing: float | None = None
    synthesis: dict[str, Any] = {}

    @property
    def categorical(self) -> bool:
        """Whether the values are names, not quantities."""
        return bool(self.categories) or self.type == "string"


class Rule(Struct):
    """A condition on whole rows, as an SQL expression that is true for every good row."""

    name: str
    sql: str


class Contract(Struct, kw_only=True):
    """The columns in file order, the task, the rules, and how to draw synthetic data.

    Attributes:
        classes: of a classification, in score order; the last one of a binary task is the event that is predicted.
        header: whether CSV files carry column names.
        decimal: the decimal mark of CSV files.
        sources: published files that are known by checksum: name, sha256.
        synthesis: what `synth.py` needs beyond single columns.
    """

    name: str
    columns: list[Column]
    task: Task
    classes: list[Value] = []
    rules: list[Rule] = []
    header: bool = True
    decimal: str = "."
    sources: list[dict[str, str]] = []
    synthesis: dict[str, Any] = {}
    description: str = ""
    version: str = "1.0.0"

    def of(self, *roles: Role) -> list[Column]:
        """Return the columns that play one of the roles."""
        return [column for column in self.columns if column.role in roles]

    @property
    def target(self) -> Column:
        """The column to predict."""
        return self.of("target")[0]

    @property
    def names(self) -> list[str]:
        """All column names in file order."""
        return [column.name for column in self.columns]

    def line(self) -> str:
        """Return a short hash of all that makes two models comparable: target, task, classes and features."""
        what = [
            self.task,
            self.target.name,
            self.classes,
            [(c.name, c.type, c.categorical) for c in self.of("feature")],
        ]
        return hashlib.sha256(msgspec.json.encode(what)).hexdigest()[:8]


def load_contract(path: Path) -> Contract:
    """Read a contract.

    Raises:
        UsageError: there is none yet, or it cannot be understood.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"There is no data contract yet ({path}). Make one from your table first: contract infer FILE --target COLUMN"
        ) from None
    return parse_contract(content, path)


def parse_contract(content: bytes, path: Path) -> Contract:
    """Return the contract that a file holds; `path` names it in errors.

    Raises:
        UsageError: it cannot be understood.
    """
    try:
        document = yaml.load(content.decode("utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  a safe one
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not YAML: {error}") from None
    if not isinstance(document, dict) or not document.get("schema"):
        raise UsageError(f"{path} holds no contract. Make a new one: contract infer FILE --target COLUMN --force")
    try:
        contract = msgspec.convert(from_odcs(document), Contract)
    except (msgspec.ValidationError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(f"{path} is not a contract that this project understands: {error!s}") from None
    _check(contract, path)
    return contract


def _check(contract: Contract, path: Path) -> None:
    targets = len(contract.of("target"))
    if targets != 1:
        raise UsageError(f"{path} must give the role `target` to one column; it does so {targets} times.")
    if not contract.of("feature"):
        raise UsageError(f"{path} has no feature: every column but the target is an identifier or ignored.")
    if len(set(contract.names)) < len(contract.names):
        raise UsageError(f"{path} names a column twice.")
    least = {"binary": 2, "multiclass": 3, "regression": 0}[contract.task]
    if len(contract.classes) < least or (contract.task == "binary" and len(contract.classes) > 2):
        raise UsageError(f"{path}: the task {contract.task} does not go with {len(contract.classes)} classes.")
    for column in contract.columns:
        _check_column(column, contract.classes if column.role == "target" else column.categories, path)


def _check_column(column: Column, values: list[Value], path: Path) -> None:
    wanted = {"boolean": (bool,), "integer": (int,), "number": (int, float)}.get(column.type, (str, int, float, bool))
    if wrong := [v for v in values if not isinstance(v, wanted) or (isinstance(v, bool) and bool not in wanted)]:
        raise UsageError(f"{path}: {wrong[0]!r} is no value of {column.name}, which is a {column.type}.")
    codes = {*re.findall(r"%\.?[A-Za-z]", column.format)}
    rest = re.sub(r"%\.?[A-Za-z]|[TZ]", "", column.format)
    day = codes & {"%Y", "%y"} and codes & {"%m", "%b"} and "%d" in codes
    time = column.type == "timestamp" and codes & {"%H", "%I"} and "%M" in codes
    clock = codes & {"%H", "%I", "%M", "%S", "%p", "%z", "%.f"}
    if column.format and (not day or re.search(r"[A-Za-z%]", rest) or (clock and not time)):
        raise UsageError(
            f"{path}: the format of {column.name} is not understood; write yyyy or yy, MM or MMM, dd, and for a "
            "timestamp HH (or hh and a), mm, ss, .SSS and XXX."
        )


class _Dumper(yaml.SafeDumper):
    """Write no anchors: the same list may stand twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def save_contract(contract: Contract, path: Path) -> None:
    """Write a contract as ODCS YAML."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = yaml.dump(
        to_odcs(contract), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )
    path.write_text(
        "# The data contract (Open Data Contract Standard v3). Edit it freely; `contract check FILE` holds a table against it.\n"
        + text,
        "utf-8",
        newline="\n",
    )
