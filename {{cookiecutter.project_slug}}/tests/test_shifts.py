"""Shifts: what moves moves by as much as was asked, all else stays, and the relation changes only where it should."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from conftest import new_project
from msgspec import structs

from {{ cookiecutter.__package }} import metrics, model
from {{ cookiecutter.__package }}.check import check_frame
from {{ cookiecutter.__package }}.contract import Column, Contract, Rule, Task, load_contract
from {{ cookiecutter.__package }}.encode import encode_target, fit_encoder
from {{ cookiecutter.__package }}.errors import UsageError
from {{ cookiecutter.__package }}.infer import infer
from {{ cookiecutter.__package }}.synth import sample, to_raw
from {{ cookiecutter.__package }}.watch.shifts import Shift, World, break_rows, ranked

TASKS: list[Task] = ["binary", "multiclass", "regression"]
ROWS = 20_000
BELL = {"quantiles": [-5, 5], "at": [0, 1]}  # standard deviation 1.05


def by_hand(task: Task = "binary") -> Contract:
    """Most of the signal rests on `load`, then on `visits`; `total` is computed; `colour` and `code` are categories."""
    shares = {"binary": [0.8, 0.2], "multiclass": [0.5, 0.3, 0.2], "regression": []}[task]
    step: Callable[[float], Any] = (lambda x: [0.0, x, -x]) if task == "multiclass" else (lambda x: x)
    columns = [
        Column(name="key", type="string", role="identifier", unique=True, synthesis={"sequence": [1, 2]}),
        Column(name="code", type="integer", categories=[1, 2, 3], synthesis={"shares": [0.2, 0.7, 0.1]}, sentinels=[4]),
        Column(name="load", type="number", synthesis=BELL | {"missing": 0.1, "mean": 0, "sd": 1, "effect": step(1)}),
        Column(name="visits", type="integer", minimum=0, maximum=9, sentinels=[-1]),
        Column(name="grade", type="number", synthesis={"values": [0.1, 0.2, 0.5, 1.0, 2.0, 5.0], "shares": [1] * 6}),
        Column(name="flag", type="integer", minimum=0, maximum=1, synthesis={"bernoulli": 0.4}),
        Column(name="total", type="number", synthesis={"sql": "load + visits"}),
        Column(name="colour", type="string", categories=["blue", "green", "red"], synthesis={"missing": 0.05}),
        Column(name="y", type="number", role="target", synthesis={"shares": shares} if shares else BELL),
    ]
    columns[2].synthesis |= {"effect_missing": step(1.5)}
    columns[3].synthesis = {"binomial": [9, 0.5], "mean": 4.5, "sd": 1.5, "effect": step(-0.6)}
    columns[7].synthesis |= {"shares": [0.5, 0.3, 0.2], "effect": [step(x) for x in (0, 0.4, -0.4)]}
    best = {"binary": {"auc": 0.8}, "multiclass": {"log_loss": 0.85}, "regression": {"r2": 0.5}}[task]
    if task != "regression":
        columns[8].type, columns[8].categories = "integer", list(range(len(shares)))
    rules = [Rule(name="the total is one", sql="total = load + visits")]
    return Contract(
        name="by hand", task=task, classes=columns[8].categories, columns=columns, rules=rules, synthesis=best
    )


def share_of_one(frame: pl.DataFrame) -> float:
    return float((frame["y"] == 1).mean())  # type: ignore[arg-type]


def moved(name: str, *frames: pl.DataFrame) -> float:
    """By how many standard deviations the mean of a column differs between two frames."""
    old, new = (frame[name].cast(pl.Float64).drop_nulls().to_numpy() for frame in frames)
    return float((new.mean() - old.mean()) / old.std())


def learned(frame: pl.DataFrame, contract: Contract) -> Callable[[pl.DataFrame], dict[str, float]]:
    """Train a linear model; it tells how good it is on other rows."""
    names = [column.name for column in contract.of("feature")]
    encoder = fit_encoder(frame.select(names), contract)
    estimator = model.build("ridge" if contract.task == "regression" else "logistic", {}, contract.task, encoder, 0)
    estimator.fit(encoder.transform(frame.select(names)), encode_target(frame, contract))

    def measured(rows: pl.DataFrame) -> dict[str, float]:
        guess = model.scores(estimator, encoder.transform(rows.select(names)), contract.task)
        return metrics.measure(contract.task, encode_target(rows, contract), guess)

    return measured


@pytest.fixture(scope="module")
def contract() -> Contract:
    return by_hand()


@pytest.fixture(scope="module")
def world(contract: Contract) -> World:
    return World(contract, seed=1)


@pytest.fixture(scope="module")
def base(world: World) -> pl.DataFrame:
    return world.draw(ROWS, 1)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Contract:
    """The contract of this project."""
    return load_contract(new_project(tmp_path_factory.mktemp("shifts") / "project") / "conf" / "contract.yaml")


@pytest.fixture(scope="module")
def own_world(own: Contract) -> World:
    return World(own, seed=3)


def test_the_same_arguments_give_the_same_rows(own: Contract, own_world: World) -> None:
    all_at_once = [Shift(kind=kind) for kind in ("covariate", "seasonal", "concept", "weaker")]
    first = own_world.draw(500, 1, all_at_once, month=2)
    assert first.equals(World(own, 3).draw(500, 1, all_at_once, month=2))
    assert first.schema == sample(own, 5, 0).schema


def test_another_number_or_seed_gives_other_rows(own: Contract, own_world: World, contract: Contract) -> None:
    draws = [own_world.draw(500, number) for number in range(4)]
    features = [column.name for column in own.of("feature")]
    assert len({draw.select(features).hash_rows().sum() for draw in draws}) == 4
    for column in own.of("identifier"):
        assert pl.concat([draw[column.name] for draw in draws]).is_unique().all()
    assert not World(contract, 1).draw(500, 1).equals(World(contract, 2).draw(500, 1))


def test_moved_rows_keep_the_contract(own: Contract, own_world: World) -> None:
    still = own_world.draw(3000, 1)
    for name in ranked(own, categorical=False)[:6]:
        for size in (-2, 2):
            frame = own_world.draw(3000, 1, [Shift(kind="covariate", columns=(name,), size=size)])
            assert check_frame(frame, own) == [], name
            assert size * moved(name, still, frame) > 0, name


def test_rows_that_would_break_a_rule_or_a_range_stay_as_they_were() -> None:
    contract = by_hand()
    contract.rules.append(Rule(name="no load with a flag", sql="flag = 0 or load < 1"))
    contract.columns[6].minimum, contract.columns[6].maximum = 2.5, 7.5  # of `total`, which is computed
    world = World(contract, 1)
    still, frame = world.draw(5000, 1), world.draw(5000, 1, [Shift(kind="covariate", size=1)])
    rise = (frame["load"] - still["load"]).fill_null(0)
    load, total = still["load"] + rise.max(), still["total"] + rise.max()
    assert ((rise > 1) == (((still["flag"] == 0) | (load < 1)) & total.is_between(2.5, 7.5)).fill_null(False)).all()
    assert 0.2 < (rise > 1).mean() < 0.8  # type: ignore[operator]
    low = world.draw(5000, 1, [Shift(kind="covariate", size=-1)])
    assert not ((low["total"] < 2.5) & (low["load"] != still["load"])).any()


def test_the_strongest_come_first(contract: Contract) -> None:
    assert ranked(contract, categorical=False) == ["load", "visits", "grade"]
    assert ranked(contract, categorical=True) == ["colour", "code"]


def test_a_covariate_moves_and_the_target_follows_as_before(
    world: World, base: pl.DataFrame, contract: Contract
) -> None:
    frame = world.draw(ROWS, 1, [Shift(kind="covariate", size=0.25), Shift(kind="covariate", size=0.5)])
    assert moved("load", base, frame) == pytest.approx(0.75, rel=0.03)
    assert frame["load"].is_null().equals(base["load"].is_null())
    same = ["key", "code", "visits", "grade", "flag", "colour"]
    assert frame.select(same).equals(base.select(same))
    assert frame["total"].equals((frame["load"] + frame["visits"]).alias("total"))
    # More load brings more events, but at a given load there are as many.
    assert share_of_one(frame) > share_of_one(base) + 0.05
    for low in (-1, 0, 1):
        near = pl.col("load").is_between(low, low + 0.2)
        assert share_of_one(frame.filter(near)) == pytest.approx(share_of_one(base.filter(near)), abs=0.03)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    # What is at the end of its range cannot rise: a few of the visits, a sixth of the grades, 40 % of the flags.
    [("visits", 0.25, 0.25), ("visits", -0.25, -0.25), ("visits", 2, 1.93), ("grade", 0.1, 0.083), ("flag", 0.1, 0.06)],
)
def test_steps_are_kept_and_the_mean_still_moves(
    world: World, base: pl.DataFrame, name: str, size: float, expected: float
) -> None:
    frame = world.draw(ROWS, 1, [Shift(kind="covariate", columns=(name,), size=size)])
    assert set(frame[name]) <= set(base[name])
    assert frame.schema == base.schema
    assert moved(name, base, frame) == pytest.approx(expected, rel=0.04, abs=0.005)


def test_seasons_come_and_go(world: World, base: pl.DataFrame, contract: Contract) -> None:
    season = Shift(kind="seasonal", size=0.4)
    year = [world.draw(ROWS, 1, [season], month) for month in (0, 1, 3, 9)]
    assert [moved("visits", base, frame) for frame in year] == pytest.approx([0, 0.2, 0.4, -0.4], abs=0.02)
    assert year[2].drop("visits", "total", "y").equals(base.drop("visits", "total", "y"))


def test_with_one_number_it_has_the_season() -> None:
    contract = by_hand()
    contract.columns = [c for c in contract.columns if c.name not in ("visits", "total", "grade")]
    contract.rules = []
    world = World(contract, 0)
    frames = world.draw(5000, 1), world.draw(5000, 1, [Shift(kind="seasonal", size=1)], month=3)
    assert moved("load", *frames) == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize(("size", "distance"), [(0.5, 0.2), (-0.5, 0.2), (3, 0.4)])
def test_without_numbers_categories_move(size: float, distance: float) -> None:
    contract = by_hand()
    contract.columns = [c for c in contract.columns if c.name not in ("load", "visits", "total", "grade")]
    contract.rules = []
    world = World(contract, 0)
    still, frame = world.draw(ROWS, 1), world.draw(ROWS, 1, [Shift(kind="covariate", size=size)])
    shares = [[(f["colour"] == kind).mean() for kind in ("blue", "green", "red")] for f in (still, frame)]
    assert sum(abs(a - b) for a, b in zip(*shares, strict=True)) / 2 == pytest.approx(distance, abs=0.01)
    assert frame["colour"].is_null().equals(still["colour"].is_null())
    assert frame.drop("colour", "y").equals(still.drop("colour", "y"))
    red = pl.col("colour") == "red"
    assert share_of_one(frame.filter(red)) == pytest.approx(share_of_one(still.filter(red)), abs=0.03)


@pytest.mark.parametrize("task", TASKS)
def test_a_new_concept_fools_the_old_model_and_not_a_new_one(task: Task, tmp_path: Path) -> None:
    to_raw(sample(by_hand(task), 2000, 1), by_hand(task)).write_csv(tmp_path / "table.csv")
    contract = infer(tmp_path / "table.csv", "y", "inferred", task=task).contract
    world, concept = World(contract, 2), Shift(kind="concept", size=0.5)
    before, after = world.draw(5000, 1), world.draw(5000, 1, [concept])
    old, new, metric = learned(before, contract), learned(after, contract), "r2" if task == "regression" else "log_loss"
    good, fooled, again = old(before)[metric], old(after)[metric], new(after)[metric]
    assert again == pytest.approx(good, abs=0.03)
    assert abs(fooled - good) > 0.2
    if task == "regression":
        assert moved("y", before, after) == pytest.approx(0, abs=0.04)
        assert after["y"].std() == pytest.approx(before["y"].std(), rel=0.03)
    else:
        counts = [f["y"].value_counts(normalize=True).sort("y")["proportion"] for f in (before, after)]
        assert counts[0].to_list() == pytest.approx(counts[1].to_list(), abs=0.015)


def test_the_concept_of_named_columns_turns_them_alone(world: World, base: pl.DataFrame, contract: Contract) -> None:
    frame = world.draw(ROWS, 1, [Shift(kind="concept", columns=("visits",))])
    assert frame.drop("y").equals(base.drop("y"))
    for name, sign in (("load", 1), ("visits", -1)):
        before, after = (f.drop_nulls(name).select(pl.corr(name, "y")).item() for f in (base, frame))
        assert after == pytest.approx(sign * before, abs=0.04), name
        assert abs(before) > 0.1


def test_the_concept_of_missing_values_turns_too(world: World, base: pl.DataFrame) -> None:
    frame, missing = world.draw(ROWS, 1, [Shift(kind="concept", columns=("load",))]), pl.col("load").is_null()
    assert share_of_one(base.filter(missing)) > share_of_one(base) + 0.1
    assert share_of_one(frame.filter(missing)) < share_of_one(frame) - 0.1


@pytest.mark.parametrize(("task", "metric", "sign"), [*zip(TASKS, ("auc", "log_loss", "r2"), (-1, 1, -1), strict=True)])
def test_a_weaker_relation_leaves_less_to_know(task: Task, metric: str, sign: int) -> None:
    contract = by_hand(task)
    world = World(contract, 1)
    strong, weak = world.draw(8000, 1), world.draw(8000, 1, [Shift(kind="weaker", size=0.06)])
    loss = learned(weak, contract)(weak)[metric] - learned(strong, contract)(strong)[metric]
    assert sign * loss == pytest.approx(0.06, abs=0.015)
    assert weak.drop("y").equals(strong.drop("y"))
    assert moved("y", strong, weak) == pytest.approx(0, abs=0.03)


@pytest.mark.parametrize("task", TASKS)
def test_a_relation_cannot_be_weaker_than_none(task: Task) -> None:
    noise = World(by_hand(task), 1).draw(8000, 1, [Shift(kind="weaker", size=0.9)])
    assert noise.drop_nulls("load").select(pl.corr("load", "y")).item() == pytest.approx(0, abs=0.03)


def test_another_unit_breaks_the_range(base: pl.DataFrame, contract: Contract) -> None:
    frame = break_rows(base, contract, [Shift(kind="units", columns=("visits",), size=0.5)])
    assert frame["visits"].equals((base["visits"] / 2).round().cast(pl.Int64))
    assert check_frame(frame.drop("total"), contract) == []
    frame = break_rows(base, contract, [Shift(kind="units", columns=("visits",))])
    assert frame["visits"].equals(base["visits"] * 1000)
    assert [p.rule for p in check_frame(frame.drop("total"), contract)] == ["is above 9"]
    usual = break_rows(base, contract, [Shift(kind="units")])
    assert usual["load"].equals(base["load"] * 1000)
    assert usual.drop("load").equals(base.drop("load"))


def test_swapped_columns_hold_each_other(base: pl.DataFrame, contract: Contract) -> None:
    frame = break_rows(base, contract, [Shift(kind="swap")])
    assert frame["load"].equals(base["grade"].alias("load"))
    assert frame["grade"].equals(base["load"].alias("grade"))
    assert frame.schema == base.schema
    # `visits` is as strong as `grade`, but of another type.
    assert frame.drop("load", "grade").equals(base.drop("load", "grade"))


def test_columns_that_are_alike_are_not_swapped() -> None:
    contract = by_hand()
    load = contract.columns[2]
    contract.columns.append(structs.replace(load, name="twin", synthesis=load.synthesis | {"effect": 0.9}))
    assert ranked(contract, categorical=False)[:2] == ["load", "twin"]
    rows = World(contract, 0).draw(1000, 1)
    frame = break_rows(rows, contract, [Shift(kind="swap")])
    assert [name for name in rows.columns if not frame[name].equals(rows[name])] == ["load", "grade"]


@pytest.mark.parametrize(("name", "old", "new"), [("colour", "blue", "blue (new)"), ("code", 2, 5)])
def test_a_renamed_category_is_unknown(base: pl.DataFrame, contract: Contract, name: str, old: Any, new: Any) -> None:
    frame = break_rows(base, contract, [Shift(kind="rename", columns=(name,))])
    assert (base[name] == old).equals((frame[name] == new).alias(name))
    assert old not in frame[name]
    assert [(p.column, "no known category" in p.rule) for p in check_frame(frame, contract)] == [(name, True)]
    if name == "colour":
        assert frame.equals(break_rows(base, contract, [Shift(kind="rename")]))


def test_poison_flips_targets(base: pl.DataFrame, contract: Contract) -> None:
    frame = break_rows(base, contract, [Shift(kind="poison", size=0.3)])
    wrong = frame["y"] != base["y"]
    assert wrong.mean() == pytest.approx(0.3, abs=0.01)
    assert share_of_one(base.filter(wrong)) == pytest.approx(share_of_one(base), abs=0.02)
    assert frame.drop("y").equals(base.drop("y"))
    assert check_frame(frame, contract) == []
    assert break_rows(base.drop("y"), contract, [Shift(kind="poison")]).equals(base.drop("y"))


def test_poison_of_several_classes_and_of_numbers() -> None:
    poison, random = [Shift(kind="poison", size=2)], np.random.default_rng(0)
    y = random.integers(0, 3, 500)
    frame = break_rows(pl.DataFrame({"y": y}), by_hand("multiclass"), poison)
    assert frame["y"].to_list() == ((y + 1) % 3).tolist()
    for y in (random.normal(5, 2, 500), random.integers(0, 9, 500)):
        frame = break_rows(pl.DataFrame({"y": y}), by_hand("regression"), poison)
        expected = 2 * y.mean() - y + 2 * y.std(ddof=1)
        assert frame["y"].to_list() == pytest.approx((expected if y.dtype == float else np.rint(expected)).tolist())


def test_each_side_leaves_the_other_side_alone(world: World, base: pl.DataFrame, contract: Contract) -> None:
    source = [Shift(kind=kind) for kind in ("units", "swap", "rename", "poison")]
    itself = [Shift(kind=kind) for kind in ("covariate", "seasonal", "concept", "weaker")]
    assert world.draw(ROWS, 1, source).equals(base)
    assert break_rows(base, contract, itself).equals(base)


@pytest.mark.parametrize(
    ("shift", "said"),
    [
        (Shift(kind="covariate", columns=("nothing",)), "nothing"),
        (Shift(kind="covariate", columns=("total",)), "computed"),
        (Shift(kind="seasonal", columns=("key",)), "key"),
        (Shift(kind="concept", columns=("grade",)), "effect"),
        (Shift(kind="units", columns=("colour",)), "numbers"),
        (Shift(kind="units", columns=("y",)), "feature"),
        (Shift(kind="swap", columns=("load", "visits")), "one type"),
        (Shift(kind="rename", columns=("load",)), "categories"),
    ],
)
def test_a_shift_that_does_not_suit_is_refused(
    world: World, base: pl.DataFrame, contract: Contract, shift: Shift, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        break_rows(world.draw(10, 1, [shift]), contract, [shift])


@pytest.mark.parametrize(
    "shift",
    [
        {"kind": "storm"},
        {"kind": "covariate", "strength": 1},
        {"kind": "covariate", "size": float("inf")},
        {"kind": "concept", "size": 1.5},
        {"kind": "weaker", "size": -0.1},
        {"kind": "weaker", "columns": ["load"]},
        {"kind": "swap", "columns": ["load"]},
        {"kind": "rename", "size": 2},
    ],
)
def test_nonsense_is_no_shift(shift: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(shift, Shift)


def test_a_contract_without_signal_still_has_a_world() -> None:
    contract = by_hand()
    for column in contract.columns:
        column.synthesis.pop("effect", None)
        column.synthesis.pop("effect_missing", None)
    world = World(contract, 0)
    with pytest.raises(UsageError, match="effect"):
        world.draw(10, 1, [Shift(kind="concept")])
    frames = world.draw(2000, 1), world.draw(2000, 1, [Shift(kind="covariate")])
    assert moved("load", *frames) == pytest.approx(0.5, abs=0.02)
    contract.synthesis = {}
    with pytest.raises(UsageError, match="`auc`"):
        World(contract, 0).draw(10, 1, [Shift(kind="weaker")])
    contract.columns = [c for c in contract.columns if c.name in ("flag", "y")]
    with pytest.raises(UsageError, match="leave it out"):
        World(structs.replace(contract, rules=[]), 0).draw(10, 1, [Shift(kind="covariate")])


def test_nonsense_in_the_synthesis_is_named() -> None:
    contract = by_hand()
    contract.columns[2].synthesis = {"quantiles": [1]}
    with pytest.raises(UsageError, match="synthesis of load"):
        World(contract, 0)
