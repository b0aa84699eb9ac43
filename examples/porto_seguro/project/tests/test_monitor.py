"""What `monitor` finds in a window, and what it says when there is too little to tell."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from conftest import Command, decoded
from prometheus_client.parser import text_string_to_metric_families

from porto_seguro.config import Monitor
from porto_seguro.pipeline import Project
from porto_seguro.synth import to_raw
from porto_seguro.watch.findings import ALARM, FINE, UNKNOWN, WARNING, Report
from porto_seguro.watch.look import gauges
from porto_seguro.watch.monitor import monitor
from porto_seguro.watch.performance import Past, expected
from porto_seguro.watch.shifts import Shift, World, break_rows, ranked
from porto_seguro.watch.window import Batch, Reference, of_table, reference_of

ROWS = 8_000


@pytest.fixture(scope="module")
def reference(lived: Path) -> Reference:
    project = Project(lived)
    version, model = project.model()
    return reference_of(version.version, model, project.registry.model(version), project.settings)


@pytest.fixture(scope="module")
def world(lived: Path) -> World:
    return World(Project(lived).contract, 5)


def looked(lived: Path, reference: Reference, frame: pl.DataFrame, past: Any = (), **conf: Any) -> Report:
    """Monitor clean rows, which know their target."""
    from porto_seguro.encode import encode_target

    model, project = reference.model, Project(lived)
    changed = msgspec.structs.replace(project.settings.monitor, **conf)
    settings = msgspec.structs.replace(project.settings, monitor=changed)
    rows = frame.select(model.needs)
    batches = [Batch(rows, model.predict(rows), encode_target(frame, model.contract))] if frame.height else []
    return monitor(reference, batches, batches, settings, "a test", ("2025-01-01", "2025-01-31"), past)


def test_the_same_world_is_fine(lived: Path, reference: Reference, world: World) -> None:
    report = looked(lived, reference, world.draw(ROWS, 1))
    assert report.status == "fine", report.findings
    assert report.severities["drift"] == report.severities["performance"] == FINE
    assert report.rows == ROWS
    assert report.metric
    assert report.metric.detectable > 0


def test_a_moved_feature_is_an_alarm_and_only_that_one(lived: Path, reference: Reference, world: World) -> None:
    (name, *_) = ranked(reference.model.contract, False)
    report = looked(lived, reference, world.draw(ROWS, 2, [Shift(kind="covariate", columns=(name,), size=0.5)]))
    assert report.severity("drift", "quality") == ALARM
    assert {f.name for f in report.findings if f.kind in ("drift", "quality")} == {name}
    assert report.features[0].name == name
    unimportant = looked(
        lived, reference, world.draw(ROWS, 2, [Shift(kind="covariate", columns=(name,), size=0.5)]), importance=0.99
    )
    assert unimportant.severities["drift"] <= WARNING


def test_a_broken_source_is_told_from_drift(lived: Path, reference: Reference, world: World) -> None:
    contract = reference.model.contract
    for kind, size in (("units", 1000.0), ("rename", 0.0)):
        frame = break_rows(world.draw(ROWS, 3), contract, [Shift(kind=kind, size=size)])  # type: ignore[arg-type]
        report = looked(lived, reference, frame)
        assert report.severities["quality"] == ALARM, (kind, report.findings)


def test_too_few_rows_are_said_to_be_too_few(lived: Path, reference: Reference, world: World) -> None:
    for rows in (0, 1, 40):
        report = looked(lived, reference, world.draw(max(rows, 1), 4)[:rows])
        assert report.severities["drift"] == UNKNOWN
        assert report.status == "too few rows to tell"
        assert "too few" in report.findings[-1].text or any("too few" in f.text for f in report.findings)


def test_lost_skill_is_an_alarm_and_labels_alone_tell(lived: Path, reference: Reference, world: World) -> None:
    frame = world.draw(20_000, 5)
    target = frame.columns.index(reference.model.contract.target.name)
    shuffled = frame.with_columns(frame.to_series(target).shuffle(seed=1))
    report = looked(lived, reference, shuffled)
    assert report.severities["performance"] == ALARM, report.metric
    assert report.severities["drift"] == FINE
    assert report.severities["proxy"] == FINE  # the scores alone cannot know
    rows = frame.select(reference.model.needs)
    blind = [Batch(rows, reference.model.predict(rows))]
    settings = Project(lived).settings
    unknown = monitor(reference, blind, blind, settings, "", ("a", "b"))
    assert unknown.metric is None
    assert unknown.labelled == 0
    assert unknown.severities["labels"] == UNKNOWN
    blind[0].truth = np.full(rows.height, np.nan)  # outcomes are delivered, but not of these rows
    late = monitor(reference, blind, blind, settings, "", ("a", "b"))
    assert late.severities["labels"] == WARNING


def test_a_window_is_judged_together_with_the_one_before(lived: Path, reference: Reference, world: World) -> None:
    frame = world.draw(ROWS, 6)
    alone = looked(lived, reference, frame)
    assert alone.metric
    value, error = alone.metric.value, alone.metric.error
    good = [Past(f"2024-{m:02}-01", f"2024-{m:02}-28", value + 4 * error, error / 4) for m in range(1, 7)]
    assert looked(lived, reference, frame, good).metric.chance < alone.metric.chance / 10  # type: ignore[union-attr]
    # One that overlaps with this window is no earlier one.
    overlapping = [Past("2024-12-15", "2025-01-15", value + 9 * error, error / 9)]
    assert looked(lived, reference, frame, overlapping).metric.chance == alone.metric.chance  # type: ignore[union-attr]


def test_missing_values_and_groups_are_watched(lived: Path, reference: Reference, world: World) -> None:
    name = next(iter(reference.told["importance"]))
    frame = world.draw(ROWS, 7)
    gone = frame.with_columns(pl.when(pl.int_range(pl.len()) % 3 > 0).then(pl.col(name)).alias(name))
    report = looked(lived, reference, gone)
    assert any(f.name == name and f.severity == ALARM and "missing" in f.text for f in report.findings), report.findings


def test_what_scores_let_expect_is_what_comes(reference: Reference) -> None:
    rng = np.random.default_rng(0)
    score = rng.beta(1, 8, 50_000)
    y = (rng.random(50_000) < score).astype(float)
    from porto_seguro.metrics import measure

    told = measure("binary", y, score)
    for metric in ("auc", "log_loss", "brier"):
        assert expected(metric, "binary", score) == pytest.approx(told[metric], abs=0.01)
    assert expected("rmse", "regression", score) is None


def test_the_command_says_it_with_its_exit_code(lived: Path, world: World, command: Command, tmp_path: Path) -> None:
    contract = Project(lived).contract
    good, page = tmp_path / "good.csv", tmp_path / "page.html"
    to_raw(world.draw(ROWS, 8), contract).write_csv(good)
    code, said = command(lived, "monitor", good, "--report", page)
    assert (code, "Status: fine" in said) == (0, True), said
    assert page.read_text("utf-8").startswith("<!doctype html>")
    bad = tmp_path / "bad.parquet"
    name = ranked(contract, False)[0]
    world.draw(ROWS, 9, [Shift(kind="covariate", columns=(name,), size=1.0)]).write_parquet(bad)
    code, said = command(lived, "monitor", bad, "--json")
    assert (code, decoded(said)["status"]) == (1, "alarm")
    few = tmp_path / "few.csv"
    to_raw(world.draw(20, 10), contract).write_csv(few)
    assert command(lived, "monitor", few)[0] == 4
    code, said = command(lived, "monitor", tmp_path / "none.csv")
    assert (code, "does not exist" in said) == (1, True)


def test_gauges_are_what_prometheus_reads(lived: Path, reference: Reference, world: World) -> None:
    report = looked(lived, reference, world.draw(ROWS, 11))
    families = {f.name: f for f in text_string_to_metric_families(gauges(report, Project(lived).settings))}
    assert families["monitor_rows"].samples[0].value == ROWS
    kinds = {s.labels["kind"]: s.value for s in families["monitor_severity"].samples}
    assert kinds == report.severities
    assert len(families["monitor_feature_distance"].samples) == len(reference.model.needs)


def test_a_table_is_read_in_batches_and_may_lack_the_target(lived: Path, reference: Reference, tmp_path: Path) -> None:
    contract = reference.model.contract
    frame = World(contract, 6).draw(40_000, 1)
    path = tmp_path / "rows.parquet"
    frame.drop(contract.target.name).write_parquet(path)
    batches = list(of_table(path, reference.model))
    assert len(batches) > 1
    assert all(b.truth is None for b in batches)
    assert sum(b.rows.height for b in batches) == frame.height
    assert Monitor().least_rows < ROWS
