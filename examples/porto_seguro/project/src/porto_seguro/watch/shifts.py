"""What may happen to the world that a contract's synthesis describes, as data: a scenario is a list of `Shift`.

To the world itself (`World.draw`):

    covariate   a number moves by `size` standard deviations, and the target follows from it as before. If the contract
                has no such number, a share of a category's rows, size / 2.5 and at most 0.4, takes another category
    seasonal    the same, times sin(2 pi month / 12)
    concept     features that together carry at most the share `size` of the signal have the opposite effect; class
                shares (or the target's distribution) and the best possible quality stay
    weaker      the best possible AUC (binary) or R2 (regression) falls by `size`, the log-loss (multiclass) rises by it

To the source from which rows come (`break_rows`):

    units       a number is multiplied by `size`, whatever its range; where it has none, the contract is kept
    swap        two numbers of one type stand in each other's column; it breaks the contract where a range does
    rename      the most frequent category is written as a value that the contract does not know
    poison      for the share `size` of the rows (from 1 on: for all) the target is the next class; or in a regression is
                mirrored at the mean and moved up by `size` standard deviations
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import polars as pl
from msgspec import Struct, structs

from ..contract import Column, Contract
from ..convert import TYPES
from ..draw import draw_columns, stream
from ..errors import UsageError
from ..synth import PILOT_SEED, Signal, _score, add_target, calibrate, sample
from .changes import compute, computed, frequent, move, poisoned, turned, unknown, weakened, where_good, without_sql

USUAL = {"covariate": 0.5, "seasonal": 0.5, "concept": 0.4, "weaker": 0.03, "units": 1000.0, "poison": 0.3}
# Whether a kind happens to numbers (False) or to categories (True); else to both, rather to numbers.
CATEGORICAL = {"units": (False,), "swap": (False,), "rename": (True,)}
PILOT_ROWS = 10_000
MANY = 5  # different values: with fewer, a number cannot be moved well


class Shift(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One thing that happens to the world or to what arrives from it.

    Attributes:
        kind: what happens; see the text of this module.
        columns: to which features; empty: to the strongest ones of the right kind (see `ranked`): the strongest, for
            `seasonal` the second strongest, for `swap` the two strongest with clearly different values.
        size: how much; 0 for what is usual.
    """

    kind: Literal["covariate", "seasonal", "concept", "weaker", "units", "swap", "rename", "poison"]
    columns: tuple[str, ...] = ()
    size: float = 0.0

    def __post_init__(self) -> None:
        """Fill in the usual size, and refuse what suits no contract."""
        structs.force_setattr(self, "size", float(self.size or USUAL.get(self.kind, 0)))
        share = self.kind in ("concept", "weaker", "poison")
        if not math.isfinite(self.size) or (self.size and self.kind not in USUAL) or (share and self.size < 0):
            raise ValueError(f"the size of {self.kind} cannot be {self.size:g}")
        if self.kind == "concept" and self.size > 1:
            raise ValueError(f"concept: the size is a share of the signal, at most 1, not {self.size:g}")
        if len(self.columns) not in {"swap": (0, 2), "weaker": (0,), "poison": (0,)}.get(self.kind, range(10_000)):
            raise ValueError(f"{self.kind} cannot happen to {len(self.columns)} columns")


class _Pilot:
    """Rows of the world as it is: they tell which features are strong, and how their values are spread.

    Attributes:
        raw: the columns before `sql` computes from them.
        strength: variance of each feature's part of the score.
    """

    def __init__(self, contract: Contract) -> None:
        self.features = {column.name: column for column in contract.of("feature")}
        self.raw = draw_columns(without_sql(contract), PILOT_ROWS, PILOT_SEED)
        frame = compute(contract, self.raw)
        alone = {name: structs.replace(contract, columns=[column]) for name, column in self.features.items()}
        self.strength = {name: float(_score(one, frame).var(axis=0).sum()) for name, one in alone.items()}

    def ranked(self, categorical: bool) -> list[str]:
        least = 2 if categorical else MANY
        names = [name for name in self.features if self._fits(name, categorical, least)]
        return sorted(names, key=lambda name: -self.strength[name])

    def _fits(self, name: str, categorical: bool, least: int = 2) -> bool:
        """Whether a column is a number, or a category, that can become another one."""
        column = self.features[name]
        fits = column.type in ("integer", "number") or (categorical and column.type == "string")
        varied = self.raw[name].drop_nulls().n_unique() >= least
        return fits and varied and bool(column.categories) == categorical and not computed(column)

    def chosen(self, shift: Shift) -> list[Column]:
        """The columns to which a shift happens."""
        kinds = CATEGORICAL.get(shift.kind, (False, True))
        for name in shift.columns:
            if name not in self.features or not any(self._fits(name, kind) for kind in kinds):
                what = " or ".join("categories" if kind else "numbers" for kind in kinds)
                raise UsageError(
                    f"The shift {shift.kind} cannot happen to {name}; name a feature of the contract that holds "
                    f"different {what} and is not computed from others."
                )
        usual = (self._usual(shift.kind, self.ranked(kind)) for kind in kinds)
        names = shift.columns or next(filter(None, usual), ())
        if not names:
            raise UsageError(f"The contract has no feature to which the shift {shift.kind} could happen; leave it out.")
        columns = [self.features[name] for name in names]
        if shift.kind == "swap" and columns[0].type != columns[1].type:
            raise UsageError(f"The shift swap needs two columns of one type, unlike {names[0]} and {names[1]}.")
        return columns

    def _usual(self, kind: str, names: list[str]) -> tuple[str, ...]:
        if kind == "swap":
            return next((pair for pair in combinations(names, 2) if self._unlike(*pair)), ())
        return tuple((names[1:2] if kind == "seasonal" else []) or names[:1])

    def _unlike(self, a: str, b: str) -> bool:
        """Whether two columns have one type, and the median of one is outside the middle half of the other."""
        (low, middle, high), (bottom, center, top) = (
            [self.raw[name].quantile(q) or 0.0 for q in (0.25, 0.5, 0.75)] for name in (a, b)
        )
        return self.raw[a].dtype == self.raw[b].dtype and not (low <= center <= high and bottom <= middle <= top)


def ranked(contract: Contract, categorical: bool) -> list[str]:
    """Features by how much of the synthetic signal rests on them (variance of their effect), strongest first.

    Args:
        categorical: those with categories; else numbers with at least five different values. Columns that `sql`
            computes from others are left out.
    """
    return _Pilot(contract).ranked(categorical)


class World:
    """Draws rows of one world, as it is or shifted."""

    def __init__(self, contract: Contract, seed: int) -> None:
        """Find the law of the unshifted world, once for all draws.

        Raises:
            UsageError: the contract's synthesis cannot be understood.
        """
        self._seed, self._bare = seed, without_sql(contract)
        self._laws: dict[tuple[Shift, ...], tuple[Contract, Signal]] = {}
        try:
            self._pilot, self._laws[()] = _Pilot(contract), (contract, calibrate(contract))
        except Exception:
            sample(contract, 1, seed)  # fails as well, and says which column is at fault
            raise

    def draw(self, rows: int, number: int, shifts: Sequence[Shift] = (), month: float = 0.0) -> pl.DataFrame:
        """Clean rows with their true target, in the contract's types and order (as `synth.sample`).

        All keep the contract: a number moves no further than to the end of its range, and a row that would break a rule
        stays as it was. Missing values stay missing. What happens to the source is left to `break_rows`.

        Args:
            rows: how many.
            number: another one, below a million, gives other rows with other identifiers.
            shifts: what has happened; several add up.
            month: of the year, for `seasonal`.

        Raises:
            UsageError: a shift does not suit the contract.
        """
        seed = self._seed * 1_000_000 + number
        contract, signal = self._law(tuple(shift for shift in shifts if shift.kind in ("concept", "weaker")))
        still = moved = draw_columns(self._bare, rows, seed)
        for shift in shifts:
            if shift.kind in ("covariate", "seasonal"):
                size = shift.size * (math.sin(math.tau * month / 12) if shift.kind == "seasonal" else 1)
                for column in self._pilot.chosen(shift):
                    random = stream(seed, shift.kind, column.name)
                    values = move(column, moved[column.name], self._pilot.raw[column.name], size, random)
                    moved = moved.with_columns(values.alias(column.name))
        frame = compute(contract, moved)
        if moved is not still:
            frame = where_good(contract, frame, compute(contract, still))
        return add_target(contract, frame, signal, seed)

    def _law(self, changes: tuple[Shift, ...]) -> tuple[Contract, Signal]:
        """The contract with changed effects or goal, and what calibrating it gives."""
        if changes not in self._laws:
            contract, _ = self._laws[()]
            for change in changes:
                turn = change.kind == "concept"
                contract = self._turned(contract, change) if turn else weakened(contract, change.size)
            self._laws[changes] = contract, calibrate(contract)
        return self._laws[changes]

    def _turned(self, contract: Contract, shift: Shift) -> Contract:
        """Turn the named features, or the strongest ones that together do not exceed their share of the signal."""
        strength, names = self._pilot.strength, list(shift.columns)
        if not names:
            names, total = [], sum(strength.values()) or 1.0
            for name in sorted(strength, key=lambda name: -strength[name]):
                carried = sum(strength[known] for known in names)
                if strength[name] and (carried + strength[name] <= (shift.size + 1e-9) * total):
                    names.append(name)
            # All of them are too strong: the weakest one.
            names = names or [min((n for n in strength if strength[n]), key=lambda n: strength[n], default="")]
        if idle := [name for name in names if not strength.get(name)]:
            raise UsageError(
                f"The shift concept cannot happen to {idle[0]}: in the contract's synthesis it is no feature with an "
                f"effect on {contract.target.name}."
            )
        return turned(contract, names)


def break_rows(frame: pl.DataFrame, contract: Contract, shifts: Sequence[Shift]) -> pl.DataFrame:
    """What a broken source makes of clean rows; shifts of the world itself are left to `World.draw`.

    Args:
        frame: clean rows, shape (n, columns); the target may be absent, and is then not poisoned.

    Raises:
        UsageError: a shift does not suit the contract.
    """
    for shift in shifts:
        if shift.kind == "poison" and contract.target.name in frame.columns:
            frame = frame.with_columns(poisoned(frame[contract.target.name], contract, shift.size))
        if shift.kind not in ("units", "swap", "rename"):
            continue
        pilot = _Pilot(contract)
        columns = pilot.chosen(shift)
        if shift.kind == "swap":
            a, b = (column.name for column in columns)
            frame = frame.with_columns(frame[b].alias(a), frame[a].alias(b))
        elif shift.kind == "units":
            values = ((pl.col(c.name) * shift.size, c) for c in columns)
            frame = frame.with_columns((v.round() if c.type == "integer" else v).cast(TYPES[c.type]) for v, c in values)
        else:
            for column in columns:
                old = frequent(pilot.raw[column.name])[0][0]
                new = pl.Series([unknown(column, old)], dtype=TYPES[column.type])
                frame = frame.with_columns(frame[column.name].replace([old], new))
    return frame
