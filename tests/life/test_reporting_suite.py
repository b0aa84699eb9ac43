"""The drift statistics agree with those of evidently, a reporting suite, as far as the two mean the same.

Where they do not, the test says why and by how much. The suite is installed into an environment of its own.
"""

import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from bench import Bench
from bench_serve import Absent
from bench_watch import Found, reported, suite
from render import ROOT
from scipy import stats  # type: ignore[import-untyped]

REFERENCE, WINDOW = 4_000, 3_000  # rows
SHIFTS = (0.0, 0.1, 0.3, 1.0)
NUMBERS = ("bell", "skew", "few", "count")
EQUAL = 1e-6
KINDS = list("abcd")


def rows(number: int, seed: int, shift: float) -> dict[str, pl.Series]:
    """Numbers of each sort, and categories; a tenth of some is missing."""
    rng = np.random.default_rng(seed)
    there = pl.Series(rng.permutation(number) >= number // 10)
    drawn = {
        "bell": rng.normal(shift, 1, number),
        "skew": rng.lognormal(shift / 2, 1, number),
        "few": rng.choice(5, number, p=[0.2 - shift / 20, 0.2, 0.2, 0.2, 0.2 + shift / 20]),
        "count": rng.poisson(30 + shift, number),
        "kind": rng.choice(KINDS, number, p=[0.4, 0.3 - shift / 10, 0.2, 0.1 + shift / 10]),
        "flag": rng.choice(2, number, p=[0.7 - shift / 10, 0.3 + shift / 10]),
    }
    made = {name: pl.Series(values.tolist()) for name, values in drawn.items()}
    return made | {name: only(made[name], there) for name in ("skew", "few", "kind")}


def only(values: pl.Series, there: pl.Series) -> pl.Series:
    """The values that are there; the others are missing."""
    return values.zip_with(there, pl.Series([None], dtype=values.dtype))


def named(name: str, shift: float) -> str:
    """The column of one sort and shift."""
    return f"{name}_{shift:g}"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Modules of a baked project."""
    bench = Bench(tmp_path_factory.mktemp("suite"), "", 1)
    found = vars(bench.modules("contract", "profile", "watch.drift"))
    return SimpleNamespace(**{name.rpartition(".")[2]: module for name, module in found.items()})


@pytest.fixture(scope="module")
def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Training rows, and a window of which each sort of column is there with every shift."""
    made = []
    for number, first, moved in ((REFERENCE, 0, 0.0), (WINDOW, 100, 1.0)):
        columns: dict[str, pl.Series] = {}
        for n, shift in enumerate(SHIFTS):
            drawn = rows(number, first + n, shift * moved)
            columns |= {named(name, shift): values for name, values in drawn.items()}
        made.append(pl.DataFrame(columns))
    return made[0], made[1]


@pytest.fixture(scope="module")
def theirs(frames: tuple[pl.DataFrame, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What evidently says, by column and method.

    `bell_0.3 tenths` and the like tell in which tenth of the training rows a number is, as a category.
    """
    folder = tmp_path_factory.mktemp("evidently")
    before, now = frames
    wanted: dict[str, tuple[str, list[str]]] = {}
    for shift in SHIFTS:
        wanted |= {named(name, shift): ("number", ["psi", "ks"]) for name in NUMBERS}
        wanted |= {named("kind", shift): ("category", ["psi", "chisquare"])}
        wanted |= {named("flag", shift): ("category", ["psi", "chisquare", "z"])}
        for name in (named("bell", shift), named("skew", shift)):
            edges = np.quantile(before[name].drop_nulls().to_numpy(), np.arange(1, 10) / 10)
            before, now = (f.with_columns(tenths(f[name], edges).alias(f"{name} tenths")) for f in (before, now))
            wanted |= {f"{name} tenths": ("category", ["psi"])}
    files = folder / "before.parquet", folder / "now.parquet"
    for frame, file in zip((before, now), files, strict=True):
        frame.write_parquet(file)
    try:
        python = suite(ROOT / ".nox" / "peers")
    except Absent as error:
        pytest.fail(f"evidently cannot be installed: {error}")
    return reported(python, *files, wanted, os.environ)


def tenths(values: pl.Series, edges: Any) -> pl.Series:
    """The place of each number between the edges; a missing one stays missing."""
    place = np.searchsorted(edges, values.fill_null(0.0).to_numpy())
    return only(pl.Series(place), values.is_not_null())


@pytest.fixture(scope="module")
def ours(code: SimpleNamespace, frames: tuple[pl.DataFrame, pl.DataFrame]) -> dict[str, SimpleNamespace]:
    """What we say, by column: counts, statistics, and how many values there are."""
    before, now = frames
    columns = [code.contract.Column(name="y", type="integer", role="target", categories=[0, 1])]
    for shift in SHIFTS:
        columns += [code.contract.Column(name=named(name, shift), type="number") for name in NUMBERS]
        columns.append(code.contract.Column(name=named("kind", shift), type="string", categories=KINDS))
        columns.append(code.contract.Column(name=named("flag", shift), type="integer", categories=[0, 1]))
    contract = code.contract.Contract(name="t", task="binary", classes=[0, 1], columns=columns)
    profile = code.profile.profile_of(before, contract)
    counted = code.profile.count(profile, [now[:1_000], now[1_000:]])
    found = {}
    for name, old in profile.columns.items():
        a, b = old.counts, counted.columns[name].counts
        gap, n, m = code.drift.distance(a, b, old.ordered), sum(a), sum(b)
        chance = code.drift.ks_chance(gap, n, m) if old.ordered else code.drift.chi_square(a, b)[1]
        psi = code.drift.psi(a, b, old.ordered)
        found[name] = SimpleNamespace(a=np.array(a), b=np.array(b), n=n, m=m, distance=gap, psi=psi, chance=chance)
    return found


Ours = dict[str, SimpleNamespace]


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_psi_of_categories_is_the_same(ours: Ours, theirs: Found, shift: float) -> None:
    """As long as none of them is without a row: we count half a row there, evidently a share of 0.0001 or less."""
    for name in (named("kind", shift), named("flag", shift)):
        assert ((ours[name].a > 0) == (ours[name].b > 0)).all()
        assert ours[name].psi == pytest.approx(theirs[name]["psi"], rel=EQUAL)


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_psi_of_numbers_is_the_same_in_the_same_bins(ours: Ours, theirs: Found, shift: float) -> None:
    """Up to twenty values get a bin each from evidently; and five values that are as frequent get one each from us.

    Of other numbers we take tenths of the training rows, which evidently is given as categories.
    """
    few = named("few", shift)
    assert ours[few].psi == pytest.approx(theirs[few]["psi"], rel=EQUAL)
    for name in (named("bell", shift), named("skew", shift)):
        assert ours[name].psi == pytest.approx(theirs[f"{name} tenths"]["psi"], rel=EQUAL)


def test_the_psi_of_numbers_is_alike_in_bins_of_equal_width(ours: Ours, theirs: Found) -> None:
    """Which is how evidently bins more than twenty values, from the smallest of both tables to the largest.

    A bell is met by a few of these bins as well as by tenths: a moved one has the same PSI within 15 %. Chance makes
    more of it in the many bins, so of numbers that did not move it can only be said that both are small. Of a skewed
    number nearly all rows lie in the first bins, which hides what moves within them; tenths see it.
    """
    for shift in (0.3, 1.0):
        for name in (named("bell", shift), named("skew", shift)):
            print(f"PSI of {name}: ours {ours[name].psi:.4f}, evidently's {theirs[name]['psi']:.4f}")
        name = named("bell", shift)
        assert ours[name].psi == pytest.approx(theirs[name]["psi"], rel=0.15)
    for number in ("bell", "skew", "count"):
        assert max(ours[named(number, 0)].psi, theirs[named(number, 0)]["psi"]) < 0.03
    assert ours[named("skew", 1)].psi > theirs[named("skew", 1)]["psi"]


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_chance_of_a_distance_between_numbers_is_the_same(
    code: SimpleNamespace, frames: tuple[pl.DataFrame, pl.DataFrame], ours: Ours, theirs: Found, shift: float
) -> None:
    """Within 10 %, for ours is the limit for many rows; but only where each value has a bin of its own.

    Else the distance may be short of what lies within a bin, so that chance looks up to three times as likely: never is
    drift made more certain. The law is the same.
    """
    for number in NUMBERS:
        name = named(number, shift)
        told, mine = theirs[name]["ks"], ours[name]
        exact = stats.ks_2samp(*(frame[name].drop_nulls().to_numpy() for frame in frames)).statistic
        print(f"{name}: distance {mine.distance:.4f} of {exact:.4f}, chance {mine.chance:.3g}, evidently's {told:.3g}")
        if told <= 1e-6:
            assert mine.chance < 1e-5
            continue
        assert code.drift.ks_chance(exact, mine.n, mine.m) == pytest.approx(told, rel=0.1)
        if len(mine.a) <= code.profile.BINS:
            assert mine.distance == pytest.approx(exact, abs=1e-12)
            assert mine.chance == pytest.approx(told, rel=0.1)
        else:
            assert exact - 1 / code.profile.BINS <= mine.distance <= exact + 1e-12
            assert 0.9 * told <= mine.chance <= 3 * told


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_chance_of_other_categories_is_the_same_in_the_same_test(ours: Ours, theirs: Found, shift: float) -> None:
    """Evidently's `chisquare` takes the training rows for the whole truth, without an error of their own.

    From our counts the same number comes out; but we test two samples, which is less certain of drift. Its `z` tests
    two samples too, of two categories.
    """
    for name in (named("kind", shift), named("flag", shift)):
        a, b = (c[ours[name].a > 0] for c in (ours[name].a, ours[name].b))
        certain = stats.chisquare(b, a * (b.sum() / a.sum())).pvalue
        assert certain == pytest.approx(theirs[name]["chisquare"], rel=EQUAL)
        assert ours[name].chance >= theirs[name]["chisquare"]
    flag = named("flag", shift)
    assert ours[flag].chance == pytest.approx(theirs[flag]["z"], rel=EQUAL, abs=1e-12)
