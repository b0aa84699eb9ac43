"""Two deployments compared: right however often one looks, sharp enough, and told in sentences."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from conftest import Command, decoded, new_project

from {{ cookiecutter.__package }} import clock
from {{ cookiecutter.__package }}.contract import Column, Contract
from {{ cookiecutter.__package }}.pipeline import Project
from {{ cookiecutter.__package }}.serving.ab import Arm, Plan, Report, arm, compare, half_width, judge, split_p
from {{ cookiecutter.__package }}.serving.outcomes import take_outcomes
from {{ cookiecutter.__package }}.serving.predictions import PredictionLog

TRIALS, ROWS = 400, 5000
LOOKS = np.arange(100, ROWS + 1, 100)
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def experiments(loss: Any, green: Any) -> list[list[Report | None]]:
    """Judge simulated experiments at every look, from running sums; None where a look comes too early.

    Args:
        loss, green: shape (trials, rows): of each row its loss, and whether it went to green.
    """

    def sums(mask: Any) -> tuple[Any, ...]:
        n, mean = (np.cumsum(x, axis=1)[:, LOOKS - 1] for x in (mask, np.where(mask, loss, 0)))
        mean = mean / np.maximum(n, 1)
        square = np.cumsum(np.where(mask, loss**2, 0), axis=1)[:, LOOKS - 1]
        return n, mean, (square - n * mean**2) / np.maximum(n - 1, 1)

    arms = [[[x.tolist() for x in row] for row in zip(*sums(mask), strict=True)] for mask in (~green, green)]
    return [
        [
            judge(*(Arm("", "", n, n, mean, var) for n, mean, var in pair), PLAN)
            if min(pair[0][0], pair[1][0]) >= 100
            else None
            for pair in zip(zip(*one, strict=True), zip(*other, strict=True), strict=True)
        ]
        for one, other in zip(*arms, strict=True)
    ]


PLAN = Plan(planned=2000)


def drawn(kind: str, share: float, shift: float = 0.0, trials: int = TRIALS) -> tuple[Any, Any]:
    """Losses of two equal deployments (green's are higher by `shift`), and which rows went to green."""
    rng = np.random.default_rng(7)
    green = rng.random((trials, ROWS)) < share
    if kind == "normal":
        return 1 + rng.normal(size=green.shape) + shift * green, green
    logit = rng.normal(size=green.shape) + math.log(0.01 / 0.99)
    chance = 1 / (1 + np.exp(-logit))
    return -np.log(np.where(rng.random(green.shape) < chance, chance, 1 - chance)) + shift * green, green


def naive(report: Report) -> float:
    """Half the width of the usual interval, which holds for one look."""
    a, b = report.arms
    return 1.96 * math.sqrt(a.variance / a.requests + b.variance / b.requests)


@pytest.mark.parametrize(("kind", "share"), [("normal", 0.5), ("rare events", 0.5), ("rare events", 0.1)])
def test_looking_all_the_time_finds_no_difference_where_there_is_none(kind: str, share: float) -> None:
    told = [[r for r in looks if r] for looks in experiments(*drawn(kind, share))]
    wrong = np.mean([any(r.better for r in looks) for looks in told])
    assert wrong <= PLAN.alpha + 2 * math.sqrt(PLAN.alpha * (1 - PLAN.alpha) / TRIALS)
    assert np.mean([any(abs(r.effect) > naive(r) for r in looks) for looks in told]) > 3 * PLAN.alpha


def test_a_known_difference_is_found_and_held_at_all_looks() -> None:
    told = [[r for r in looks if r] for looks in experiments(*drawn("normal", 0.3, shift=-0.2, trials=400))]
    assert np.mean([all(r.low <= -0.2 <= r.high for r in looks) for looks in told]) >= 0.95
    assert np.mean([looks[-1].better == "green" for looks in told]) > 0.95
    assert not any(r.better == "blue" for looks in told for r in looks)
    assert {r.verdict for looks in told for r in looks if r.better} == {"green is better"}


def test_sums_are_those_of_the_rows_and_requests_count_not_rows() -> None:
    loss, green = drawn("normal", 0.5, trials=1)
    told = experiments(loss, green)[0][-1]
    one = arm("", "", loss[green], np.arange(green.sum()))
    assert told
    assert (one.mean, one.variance) == pytest.approx((told.arms[1].mean, told.arms[1].variance))
    ten = arm("", "", np.repeat(loss[green], 10), np.repeat(np.arange(green.sum()), 10))  # rows all alike tell no more
    assert (ten.requests, ten.variance) == pytest.approx((one.requests, one.variance))


def test_the_interval_is_narrowest_where_planned() -> None:
    widths = {planned: float(half_width(1000.0, 1.0, 0.05, planned)) for planned in (100, 500, 1000, 2000, 10_000)}
    assert min(widths, key=lambda planned: widths[planned]) == 1000


def test_power_is_the_share_of_experiments_that_show_it() -> None:
    rng, n, effect = np.random.default_rng(3), 1000, 0.18
    plan = Plan(planned=2 * n, smallest=effect)
    means, spread = rng.normal(size=(4000, 2)) / math.sqrt(n) + [0, effect], 1.0
    told = [judge(Arm("", "", n, n, a, spread), Arm("", "", n, n, b, spread), plan) for a, b in means]
    assert 0.2 < told[0].power < 0.9
    assert np.mean([r.low > 0 for r in told]) == pytest.approx(told[0].power, abs=0.03)


def test_every_verdict_and_how_many_rows_are_needed_yet() -> None:
    def judged(effect: float, n: int, **plan: Any) -> Report:
        return judge(Arm("", "", n, 3 * n, 1, 1), Arm("", "", n, 3 * n, 1 + effect, 1), Plan(**plan))

    assert judged(-0.5, 1000).verdict == "green is better"
    assert judged(0.5, 1000).verdict == "blue is better"
    assert judged(0.5, 1000, higher=True).better == "green"
    assert judged(0.001, 100_000, smallest=0.1).verdict == "no relevant difference"
    go_on = judged(0.02, 1000, smallest=0.1)
    assert (go_on.stop, go_on.better) == (False, None)
    assert not judged(0.02, 1000 + int(go_on.more_rows * 0.8 / 6), smallest=0.1).stop
    assert judged(0.02, 1000 + int(go_on.more_rows * 1.1 / 6), smallest=0.1).stop


def test_a_broken_split_is_seen_and_a_good_one_is_not_suspected() -> None:
    rng = np.random.default_rng(5)
    for share, most in ((0.2, 0.03), (0.25, 1.0)):
        b = np.cumsum(rng.random((200, ROWS)) < share, axis=1)[:, LOOKS - 1]
        found = np.mean(
            [any(split_p(int(n - k), int(k), 0.2) < 0.01 for n, k in zip(LOOKS, row, strict=True)) for row in b]
        )
        assert found <= most
    assert found > 0.95


Row = tuple[str, str, list[str], list[Any]]


def write(log: Path, requests: list[Row], version: str = "1") -> None:
    """Log requests: deployment, request id, row ids, scores; one a minute."""
    logs = {
        name: PredictionLog(log, {"deployment": name, "model_version": version, "columns": []}, 10)
        for name in dict.fromkeys(request[0] for request in requests)
    }
    for n, (name, request, ids, scores) in enumerate(requests):
        clock.set_now(BEGIN + timedelta(minutes=n))
        logs[name].add(request, ids, [[] for _ in ids], scores)
    for one in logs.values():
        one.close()
    clock.set_now(None)


def contract(task: Any, classes: list[Any]) -> Contract:
    kind: Any = "string" if classes else "number"
    columns = [Column(name="x", type="number"), Column(name="y", type=kind, role="target")]
    return Contract(name="t", columns=columns, task=task, classes=classes)


def compared(tmp_path: Path, known: Contract, truth: list[Any], score: Any, **plan: Any) -> Report:
    """Log a row a request, to blue and green in turn, and compare."""
    turn = [("blue", "green")[n % 2] for n in range(len(truth))]
    write(tmp_path / "log", [(name, f"q{n}", [f"r{n}"], [score(n, name)]) for n, name in enumerate(turn)])
    pl.DataFrame({"id": [f"r{n}" for n in range(len(truth))], "y": truth}).write_csv(tmp_path / "known.csv")
    take_outcomes(tmp_path / "known.csv", known, tmp_path / "outcomes")
    return compare(known, tmp_path / "outcomes", tmp_path / "log", Plan(**plan))


def test_losses_of_several_classes(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    score = lambda n, name: [0.2, 0.5, 0.3] if name == "green" else [0.6, 0.3, 0.1]  # noqa: E731
    told = compared(tmp_path, contract("multiclass", names), [names[n // 2 % 3] for n in range(900)], score)
    green, blue = -math.log(0.2 * 0.5 * 0.3) / 3, -math.log(0.6 * 0.3 * 0.1) / 3
    assert (told.plan.loss, told.effect) == ("log_loss", pytest.approx(green - blue, abs=0.01))


def test_losses_of_numbers_and_the_mean_of_an_outcome(tmp_path: Path) -> None:
    truth = [float(n // 2 % 5) for n in range(1000)]
    told = compared(tmp_path, contract("regression", []), truth, lambda n, name: 2.0 + (name == "green"))
    assert told.effect == pytest.approx((9 + 4 + 1 + 0 + 1) / 5 - (4 + 1 + 0 + 1 + 4) / 5, abs=0.05)
    again = compare(contract("regression", []), tmp_path / "outcomes", tmp_path / "log", Plan(loss="outcome"))
    assert (again.effect, again.arms[0].mean) == (pytest.approx(0, abs=0.02), pytest.approx(2, abs=0.02))


def test_the_command_from_log_and_outcomes(tmp_path: Path, command: Command) -> None:
    root = new_project(tmp_path / "project")
    known, log = Project(root).contract, root / "data" / "predictions"
    code, said = command(root, "ab", "report")
    assert (code, "No outcome is known" in said) == (2, True)
    if known.task != "binary":
        return
    rng, rows = np.random.default_rng(2), 4000
    event = rng.random(rows) < 0.5
    labels = pl.DataFrame(
        {"id": [f"r{n}" for n in range(rows)], known.target.name: [known.classes[int(e)] for e in event]}
    )
    labels.write_csv(root / "known.csv")
    take_outcomes(root / "known.csv", known, root / "data" / "outcomes")
    code, said = command(root, "ab", "report", "--json")
    assert (code, "share no live traffic" in said) == (1, True)
    sharp = {"blue": 0.6, "green": 0.8}
    turn = rng.choice(["blue", "green"], rows).tolist()
    live: list[Row] = [
        (name, f"q{n}", [f"r{n}"], [sharp[name] if event[n] != (rng.random() < 0.2) else 1 - sharp[name]])
        for n, name in enumerate(turn)
    ]
    write(log, live[:50])
    code, said = command(root, "ab", "report")
    assert (code, "at least 100 are needed" in said, "Traceback" in said) == (1, True, False), said
    for path in log.iterdir():
        path.unlink()
    alone: list[Row] = [("blue", f"old{n}", [f"s{n}"], [0.5]) for n in range(30)]
    mirrored: list[Row] = [(name, f"m{n}", [f"r{n}"], [0.01]) for n in range(20) for name in ("blue", "green")]
    twice: list[Row] = [("blue", f"t{n}", [f"r{n}"], [0.01]) for n in range(100, 110)]
    write(log, alone + live[:2000] + mirrored + twice + live[2000:])
    code, said = command(root, "ab", "report", "--json", "--share-b", "0.5", "--smallest", "0.05")
    told = decoded(said)
    assert (code, told["verdict"], told["better"], told["stop"]) == (0, "green is better", "green", True)
    assert sum(one["rows"] for one in told["arms"]) <= rows
    assert (told["left_out"]["mirrored"], told["left_out"]["again"], told["warnings"]) == (40, 10, [])
    right, wrong = -math.log(0.8), -math.log(0.2)
    truth = 0.8 * right + 0.2 * wrong - (-0.8 * math.log(0.6) - 0.2 * math.log(0.4))
    assert told["low"] < truth < told["high"]
    assert "The split is broken" in command(root, "ab", "report", "--share-b", "0.3")[1]
    assert command(root, "ab", "report", "--loss", "squared_error")[0] == 2
    assert command(root, "ab", "report", "--b", "purple")[0] == 1
