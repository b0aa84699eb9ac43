"""Synthetic rows: they keep their contract, look like the table that was learned, and point to none of its rows."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest
from conftest import new_project

from porto_seguro.check import check_frame
from porto_seguro.clean import read
from porto_seguro.contract import Column, Contract, load_contract, save_contract
from porto_seguro.errors import UsageError
from porto_seguro.infer import infer
from porto_seguro.synth import learn, sample, to_raw


def wild(rows: int, task: str) -> pl.DataFrame:
    """A table with every type, sentinels, missing values, and a target that depends on `size` and `town`."""
    rng = np.random.default_rng(7)
    size, town = rng.lognormal(3, 0.5, rows).round(2), rng.choice(["Köln", "Ulm", 'a, "b"'], rows, p=[0.6, 0.3, 0.1])
    score = (size - 22) / 8 + 2 * (town == "Ulm") + rng.logistic(size=rows)
    target = {"binary": score > 2, "multiclass": np.digitize(score, [0, 2]), "regression": score.round(3)}
    day = np.datetime64("2020-01-01") + rng.integers(0, 900, rows)
    return pl.DataFrame(
        {
            "customer": [f"C-{n:07d}" for n in rng.permutation(rows) + 3 * rows],
            "size": size,
            "town": np.where(rng.random(rows) < 0.1, "?", town),
            "visits": np.where(rng.random(rows) < 0.3, -1, rng.poisson(3, rows)),
            "since": pl.Series(day).dt.strftime("%d.%m.%Y"),
            "member": rng.choice(["yes", "no"], rows),
            "remark": [f"said {n} to {rows - n}" for n in range(rows)],
            "always": ["x"] * rows,
            "never": [""] * rows,
            "goal": target[task] if task == "regression" else target[task].astype(str),
        }
    )


class Learned(NamedTuple):
    """A contract that was inferred, learned, written and read again; the table it comes from; its file."""

    contract: Contract
    table: pl.DataFrame
    path: Path


def learned_from(folder: Path, rows: int, task: Any) -> Learned:
    wild(rows, task).write_csv(folder / "wild.csv", separator=";")
    contract = infer(folder / "wild.csv", "goal", "wild", task=task).contract
    frame, problems, _ = read(folder / "wild.csv", contract, contract.names)
    assert problems == []
    learn(contract, frame)
    save_contract(contract, folder / "contract.yaml")
    return Learned(load_contract(folder / "contract.yaml"), frame, folder / "contract.yaml")


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learned_from(tmp_path_factory.mktemp("learned"), 2000, "binary")


@pytest.fixture(params=["of this project", "learned"], scope="module")
def contract(request: pytest.FixtureRequest, learned: Learned, tmp_path_factory: pytest.TempPathFactory) -> Contract:
    if request.param == "learned":
        return learned.contract
    return load_contract(new_project(tmp_path_factory.mktemp("synth") / "project") / "conf" / "contract.yaml")


def test_rows_keep_their_contract_and_follow_the_seed(contract: Contract) -> None:
    frame = sample(contract, 2000, seed=1)
    assert frame.columns == contract.names
    assert check_frame(frame, contract) == []
    assert frame.equals(sample(contract, 2000, seed=1))
    assert not frame.equals(sample(contract, 2000, seed=2))
    assert sample(contract, 10, seed=1).schema == frame.schema


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_raw_rows_read_back_are_the_same_rows(contract: Contract, tmp_path: Path, suffix: str) -> None:
    frame = sample(contract, 500, seed=3)
    raw, path = to_raw(frame, contract), tmp_path / f"raw.{suffix}"
    assert not any(raw[c.name].null_count() for c in contract.columns if c.sentinels)
    raw.write_csv(path) if suffix == "csv" else raw.write_parquet(path)
    again, problems, unknown = read(path, contract, contract.names)
    assert (problems, unknown) == ([], [])
    assert again.equals(frame)


def test_another_seed_brings_other_identifiers(contract: Contract) -> None:
    for column in contract.of("identifier"):
        both = pl.concat([sample(contract, 1000, seed)[column.name] for seed in (1, 2)])
        assert both.is_unique().all()


def test_what_is_learned_comes_back(learned: Learned) -> None:
    contract, real, _ = learned
    drawn = sample(contract, 20_000, seed=4)
    for name in real.columns:
        assert drawn[name].null_count() / 20_000 == pytest.approx(real[name].null_count() / 2000, abs=0.02), name
    for name in ("size", "visits"):
        assert drawn[name].mean() == pytest.approx(real[name].mean(), rel=0.05), name
        assert drawn[name].std() == pytest.approx(real[name].std(), rel=0.1), name
    shares = [f["town"].drop_nulls().value_counts(normalize=True).sort("town") for f in (real, drawn)]
    assert np.allclose(shares[0]["proportion"], shares[1]["proportion"], atol=0.02)


def test_no_row_can_be_recognised(learned: Learned) -> None:
    contract, real, path = learned
    text, drawn = path.read_text("utf-8"), sample(contract, 5000, seed=5)
    for name in ("remark", "customer"):
        assert not any(value in text for value in real[name])
        assert not set(real[name]) & set(drawn[name])
    top = real["size"].sort()
    assert drawn["size"].max() < top[-4]  # type: ignore[operator]
    assert drawn["size"].min() > top[3]  # type: ignore[operator]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_signal_can_be_learned_again(tmp_path: Path, task: str) -> None:
    contract, real, _ = learned_from(tmp_path, 2000, task)

    def strength(frame: pl.DataFrame) -> list[float]:
        goal = frame["goal"].cast(pl.String).replace_strict(["false", "true"], [0, 1], default=None)
        goal = frame["goal"].cast(pl.Float64, strict=False) if task != "binary" else goal.cast(pl.Float64)
        pairs = frame.select(pl.col("size"), ulm=(pl.col("town") == "Ulm").cast(pl.Float64), goal=goal).drop_nulls()
        return [pairs.select(pl.corr(name, "goal", method="spearman")).item() for name in ("size", "ulm")]

    found, wanted = strength(sample(contract, 20_000, seed=6)), strength(real)
    assert found == pytest.approx(wanted, abs=0.12)
    assert min(wanted) > 0.15


def test_a_table_of_noise_gets_no_signal(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = pl.DataFrame({f"x{n}": rng.normal(size=600) for n in range(20)})
    noise.with_columns(y=pl.Series(rng.integers(0, 2, 600))).write_csv(tmp_path / "noise.csv")
    contract = infer(tmp_path / "noise.csv", "y", "noise").contract
    learn(contract, read(tmp_path / "noise.csv", contract, contract.names)[0])
    assert contract.synthesis["auc"] < 0.56


def small(**synthesis: Any) -> Contract:
    columns = [Column(name=name, type="number", synthesis=plan) for name, plan in synthesis.items()]
    target = Column(name="y", type="integer", role="target", categories=[0, 1], synthesis={"shares": [0.9, 0.1]})
    return Contract(name="small", task="binary", classes=[0, 1], columns=[*columns, target])


def test_structure_is_data() -> None:
    contract = small(
        a={"quantiles": [-3, 3], "at": [0, 1], "factors": {"f": 0.9}, "mean": 0, "sd": 1, "effect": 1},
        b={"quantiles": [-3, 3], "at": [0, 1], "factors": {"f": 0.9}},
        c={"sql": "round(a + b, 1)"},
        d={"missing": 0.5},
        e={},
    )
    contract.synthesis = {
        "auc": 0.7,
        "joint": [{"columns": ["d", "e"], "values": [[1, 0], [0, 1]], "shares": [3, 1]}],
    }
    frame = sample(contract, 50_000, seed=8)
    assert frame.select(pl.corr("a", "b")).item() == pytest.approx(0.81, abs=0.02)
    assert frame["c"].equals((frame["a"] + frame["b"]).round(1).alias("c"))
    assert (frame["d"] + frame["e"]).drop_nulls().unique().to_list() == [1]
    assert frame["e"].mean() == pytest.approx(0.25, abs=0.01)
    assert frame["d"].null_count() == pytest.approx(25_000, rel=0.03)
    assert frame["y"].mean() == pytest.approx(0.1, abs=0.005)
    rank, event = frame["a"].rank(), frame["y"] == 1
    positives = event.sum()
    auc = (rank.filter(event).sum() - positives * (positives + 1) / 2) / (positives * (50_000 - positives))
    assert auc == pytest.approx(0.7, abs=0.015)


@pytest.mark.parametrize(
    "plan", [{"shares": [1, 2]}, {"quantiles": [1]}, {"sql": "nonsense("}, {"factors": {"f": 2}}, {"binomial": 3}]
)
def test_nonsense_is_named(plan: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="synthesis of a cannot be used"):
        sample(small(a=plan), 5, seed=0)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_dozen_rows_are_enough(tmp_path: Path, task: str) -> None:
    assert sample(learned_from(tmp_path, 24, task).contract, 10, seed=0).shape == (10, 10)
