"""The statistics of drift give what scipy gives, and hold for all features together."""

import numpy as np
import polars as pl
import pytest
from scipy import stats

from porto_seguro.contract import Column, Contract
from porto_seguro.profile import BINS, Tally, count, profile_of
from porto_seguro.watch import drift

CONTRACT = Contract(
    name="t",
    task="binary",
    classes=[0, 1],
    columns=[
        Column(name="y", type="integer", role="target", categories=[0, 1]),
        Column(name="x", type="number"),
        Column(name="n", type="integer"),
        Column(name="c", type="string", categories=["a", "b", "c"]),
    ],
)


def rows(size: int, seed: int, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.gamma(2, 3, size) + shift
    return pl.DataFrame(
        {
            "y": rng.integers(0, 2, size),
            "x": np.where(rng.random(size) < 0.1, np.nan, x),
            "n": rng.poisson(3 + shift, size),
            "c": rng.choice(["a", "b", "c", "d"], size, p=[0.5, 0.3 - shift / 10, 0.15 + shift / 10, 0.05]),
        }
    ).with_columns(pl.col("x").fill_nan(None))


@pytest.mark.parametrize("shift", [0.0, 0.3, 2.0])
def test_distances_are_those_of_scipy(shift: float) -> None:
    one, two = rows(20_000, 1), rows(7_000, 2, shift)
    before = profile_of(one, CONTRACT)
    now = count(before, [two[:3_000], two[3_000:]])
    gap = {n: drift.distance(before.columns[n].counts, now.columns[n].counts, n != "c") for n in "xnc"}
    exact = {n: stats.ks_2samp(one[n].drop_nulls(), two[n].drop_nulls()).statistic for n in "xn"}
    assert gap["x"] == pytest.approx(exact["x"], abs=1 / BINS)
    assert gap["x"] <= exact["x"] + 1e-12
    assert gap["n"] == pytest.approx(exact["n"], abs=1e-12)  # each value has a bin of its own
    table = [[(f["c"] == kind).sum() for kind in "abcd"] for f in (one, two)]
    shares = np.array(table) / np.sum(table, axis=1, keepdims=True)
    assert gap["c"] == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2, abs=1e-12)
    statistic, chance = drift.chi_square(before.columns["c"].counts, now.columns["c"].counts)
    wanted = stats.chi2_contingency(table, correction=False)
    assert (statistic, chance) == (pytest.approx(wanted.statistic), pytest.approx(wanted.pvalue))
    assert now.columns["x"].missing == two["x"].null_count()


def test_chances_are_those_of_scipy() -> None:
    for statistic, n, m in ((0.01, 5_000, 4_000), (0.03, 5_000, 4_000), (0.2, 100, 50)):
        x = statistic * np.sqrt(n * m / (n + m))
        assert drift.ks_chance(statistic, n, m) == pytest.approx(stats.kstwobign.sf(x), abs=1e-9)
    assert drift.upper_chance(2.5) == pytest.approx(stats.norm.sf(2.5))
    table = [[40, 960], [70, 930]]
    assert drift.shares_chance(40, 1000, 70, 1000) == pytest.approx(
        stats.chi2_contingency(table, correction=False).pvalue
    )


def test_psi_is_its_formula_and_zero_for_the_same() -> None:
    a, b = np.array([500, 300, 200]), np.array([400, 400, 200])
    p, q = a / a.sum(), b / b.sum()
    assert drift.psi(a, b, ordered=False) == pytest.approx(float(((p - q) * np.log(p / q)).sum()))
    assert drift.psi(a, 3 * a, ordered=False) == pytest.approx(0.0)
    fine = np.full(200, 50)
    moved = np.roll(fine, 0).copy()
    moved[:20] += 50
    tenths = drift.psi([1000] * 10, [2000] + [1000] * 9, ordered=False)
    assert drift.psi(fine, moved, ordered=True) == pytest.approx(tenths)
    assert np.isfinite(drift.psi([10, 0], [0, 10], ordered=False))


def test_holm_keeps_the_rate_of_false_alarms_for_all_together() -> None:
    rng = np.random.default_rng(0)
    false = sum(min(drift.holm(rng.random(50).tolist())) < 0.05 for _ in range(2000))
    assert false / 2000 == pytest.approx(0.05, abs=0.015)
    assert drift.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_ndcg_tells_whether_the_same_features_matter() -> None:
    assert drift.ndcg([0.6, 0.3, 0.1], [0.5, 0.4, 0.1]) == pytest.approx(1.0)
    assert drift.ndcg([0.6, 0.3, 0.1], [0.1, 0.2, 0.7]) < 0.9


def test_a_tally_of_batches_is_that_of_the_whole_and_names_what_is_new() -> None:
    whole = rows(5_000, 3)
    profile = profile_of(rows(5_000, 4), CONTRACT)
    tally = Tally(profile)
    for start in range(0, 5_000, 700):
        tally.add(whole[start : start + 700])
    assert tally.profile() == count(profile, [whole])
    odd = whole[:10].with_columns(pl.lit("new").alias("c"), pl.lit(1e9).alias("x"))
    tally = Tally(profile)
    tally.add(odd)
    assert tally.profile().columns["c"].counts[-1] == 10
    assert tally.outside["x"] == 10
