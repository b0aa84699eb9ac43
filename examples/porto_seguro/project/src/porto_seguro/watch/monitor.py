"""Hold a window of rows against what a model learnt from: features, scores, quality of the data, outcomes, groups."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from .. import clock
from ..config import Monitor, Settings
from ..encode import Vector
from ..evaluate import attribution
from ..metrics import watched
from ..profile import SCORE, Group, Groups, Spread, Tally, group_rows
from .broken import look_broken
from .drift import chi_square, distance, holm, ks_chance, ndcg, psi, shares_chance
from .findings import ALARM, UNKNOWN, WARNING, Feature, Report
from .performance import Known, Past, foresee, judge
from .window import Batch, Reference

GIVEN = 50_000  # scores of a window are enough to say what they let expect
SAMPLE = 2_000  # rows of a window on which attribution is measured
ATTRIBUTION = 0.9  # NDCG below which the model rests on other features than it did (Azure ML's limit)
GROUP_ROWS = 100  # of a group, in window and holdout, to compare it
FAIR = 0.8  # share of the former ratio between the least and the most picked group (the four-fifths rule)
REFUSED = 0.01  # share of requests refused from which it is worth a word


class _Seen:
    """All that is kept of a window while its rows pass by."""

    def __init__(self, reference: Reference, columns: Sequence[str]) -> None:
        self.features, self.scores = Tally(reference.features), Tally(reference.scores)
        self.bar = float(reference.told.get("groups", {}).get("bar", np.inf))
        self.columns, self.groups = columns, Groups()
        self.sample = pl.DataFrame()
        self.wrong: dict[tuple[str, str], int] = {}
        self.refused = 0
        self.given: list[Vector] = []

    def add(self, batch: Batch) -> None:
        self.refused += batch.refused
        for column, rule, number in batch.wrong:
            self.wrong[column, rule] = self.wrong.get((column, rule), 0) + number
        if not batch.rows.height:
            return
        one = watched(batch.scores)
        if self.scores.rows < GIVEN:
            self.given.append(batch.scores)
        self.features.add(batch.rows)
        self.scores.add(pl.DataFrame({SCORE: one}))
        group_rows(batch.rows, self.columns, one, None, self.bar, self.groups)
        # The sample is an even one of all rows so far: a batch gets the part of it that is its part of the rows.
        part = min(batch.rows.height, round(SAMPLE * batch.rows.height / self.features.rows))
        old, new = min(self.sample.height, SAMPLE - part), batch.rows.sample(part, seed=self.features.rows)
        self.sample = pl.concat([self.sample.sample(old, seed=self.features.rows), new]) if old else new


def monitor(
    reference: Reference, rows: Iterable[Batch], matured: Iterable[Batch] | None, settings: Settings,
    source: str, window: tuple[str, str], past: Sequence[Past] = (), maturity: tuple[str, str] | None = None,
    spoilt: bool = False,
) -> Report:  # fmt: skip
    """Compare a window with the reference.

    Args:
        reference: of the version that scored the rows.
        rows: the window.
        matured: the rows that were scored long enough ago for their outcome to be known; None: those of the window.
        settings: what counts as much.
        source: where the rows come from, in words.
        window: its first and its last moment.
        past: what earlier windows of the same version showed.
        maturity: first and last moment of the matured rows; the window's where it is not given.
        spoilt: whether the source of the matured rows was broken then.

    Returns:
        The report; memory does not grow with the rows.
    """
    conf = settings.monitor
    seen = _Seen(reference, conf.groups)
    known = Known(seen.bar, conf.groups)
    for batch in rows:
        seen.add(batch)
        if matured is None:  # a table is read and scored once
            known.add(batch)
    report = Report(
        version=reference.version, source=source, made=clock.now().isoformat(timespec="seconds"), since=window[0],
        until=window[1], rows=seen.features.rows, refused=seen.refused,
    )  # fmt: skip
    _quality(report, seen, conf)
    if report.rows < conf.least_rows:
        few = f"{report.rows:,} rows are too few to tell whether they drifted; {conf.least_rows:,} are needed."
        report.tell("drift", UNKNOWN, few)
    else:
        features, report.prediction = _spreads(seen, reference, conf)
        report.features = sorted(features, key=lambda f: -f.distance)
        _drift(report, seen, reference, conf)
        _attribution(report, seen, reference)
    for batch in matured or ():
        known.add(batch)
    judge(report, known, reference, conf, past, maturity or window, spoilt)
    if report.rows >= conf.least_rows:
        foresee(report, np.concatenate(seen.given), reference, conf)
    _fairness(report, seen.groups, known.groups, reference.told, conf)
    report.close()
    return report


def _spreads(seen: _Seen, reference: Reference, conf: Monitor) -> tuple[list[Feature], Feature]:
    """Each feature and the score, with p-values that hold for all of them together; flagged where sure and large."""
    shares = reference.told.get("importance", {})
    importance = {name: shares.get(name) for name in reference.features.columns} if shares else {}
    features, chances = [], []
    for before, tally in ((reference.features, seen.features), (reference.scores, seen.scores)):
        now = tally.profile()
        for name, old in before.columns.items():
            new = now.columns[name]
            made, chance = _compare(name, old, new, before.rows, now.rows, tally.outside[name], importance.get(name))
            features.append(made)
            chances += chance
    sure = holm(chances)
    for n, feature in enumerate(features):
        feature.chance = min(sure[2 * n : 2 * n + 2])
        moved = sure[2 * n] < conf.false_alarms and feature.distance >= conf.distance
        gone = sure[2 * n + 1] < conf.false_alarms and abs(feature.missing - feature.missing_before) >= conf.distance
        if moved or gone:
            much = feature.importance is None or feature.importance >= conf.importance
            feature.severity = ALARM if much else WARNING
    return features[:-1], features[-1]


def _compare(
    name: str, old: Spread, new: Spread, rows_before: int, rows: int, outside: int, importance: float | None
) -> tuple[Feature, list[float]]:
    n, m = old.present, new.present
    gap = distance(old.counts, new.counts, old.ordered) if n and m else 0.0
    chance = ks_chance(gap, n, m) if old.ordered else chi_square(old.counts, new.counts)[1]
    groups = max(1, len(old.counts) // 20) if old.ordered else 1
    shares = [_grouped(s.counts, groups) for s in (old, new)]
    feature = Feature(
        name=name, distance=gap, psi=psi(old.counts, new.counts, old.ordered), chance=1.0,
        missing=new.missing / max(rows, 1), missing_before=old.missing / max(rows_before, 1),
        unknown=0.0 if old.ordered else new.counts[-1] / max(m, 1), outside=outside / max(m, 1),
        importance=importance, reference=shares[0], window=shares[1],
    )  # fmt: skip
    return feature, [chance, shares_chance(new.missing, rows, old.missing, rows_before)]


def _grouped(counts: list[int], size: int) -> list[float]:
    total = sum(counts) or 1
    return [round(sum(counts[k : k + size]) / total, 5) for k in range(0, len(counts), size)]


def _drift(report: Report, seen: _Seen, reference: Reference, conf: Monitor) -> None:
    """Say of each flagged feature whether it drifted, or looks as if its source were broken."""
    report.measured("drift", "prediction")
    broken = look_broken(
        report.features, seen.sample, seen.features.profile(), reference.model, reference.features, conf
    )
    for name, severity, text in broken:
        report.tell("quality", severity, text, name)
    told = {name for name, severity, _ in broken if severity == ALARM}
    for f in report.features:
        if f.severity and f.name not in told:
            gone = (
                f"; missing in {f.missing:.1%}, before {f.missing_before:.1%}" if f.missing != f.missing_before else ""
            )
            weight = "" if f.importance is None else f", {f.importance:.1%} of the model"
            text = f"{f.name} drifted: distance {f.distance:.3f}, PSI {f.psi:.3f}{weight}{gone}."
            report.tell("drift", f.severity, text, f.name)
    score = report.prediction
    if score and score.severity:
        text = f"The scores drifted: distance {score.distance:.3f}, PSI {score.psi:.3f}."
        report.tell("prediction", score.severity, text)


def _quality(report: Report, seen: _Seen, conf: Monitor) -> None:
    """Say what was refused, or is against the contract."""
    report.measured("quality")
    share = seen.refused / max(report.rows + seen.refused, 1)
    most = sorted(seen.wrong.items(), key=lambda item: -item[1])[:3]
    worst = ", ".join(f"{column} {rule} ({number:,})" for (column, rule), number in most)
    if share >= REFUSED and seen.refused >= 10:
        text = f"{share:.1%} of the requests were refused: {worst}."
        report.tell("quality", ALARM if share >= conf.distance else WARNING, text)
    elif worst:
        report.tell("quality", WARNING, f"Against the contract: {worst}.")


def _attribution(report: Report, seen: _Seen, reference: Reference) -> None:
    """Measure whether the scores still rest on the same features; not for an estimator that gives no contributions."""
    before, now = reference.told.get("attribution"), attribution(reference.model, seen.sample)
    if not before or not now:
        return
    report.measured("attribution")
    report.attribution = ndcg([before.get(name, 0.0) for name in now], list(now.values()))
    if report.attribution < ATTRIBUTION:
        text = f"The scores rest on other features than in training (NDCG {report.attribution:.3f} < {ATTRIBUTION})."
        report.tell("attribution", WARNING, text)


def _fairness(report: Report, now: Groups, known: Groups, told: dict[str, Any], conf: Monitor) -> None:
    """Compare with the holdout, of each group, how often it is picked, and whether its outcomes are as predicted."""
    before = msgspec.convert(told.get("groups", {}).get("columns", {}), Groups)
    for column, groups in now.items():
        report.measured("bias")
        rates, chances = [], []
        for value, group in groups.items():
            old, outcome = before.get(column, {}).get(value, Group()), known.get(column, {}).get(value, Group())
            picked, former = group.picked / max(group.rows, 1), old.picked / max(old.rows, 1)
            facts = {"rows": float(group.rows), "picked": picked, "picked_before": former}
            if outcome.known and outcome.predicted:
                facts |= {"known": float(outcome.known), "true_over_predicted": outcome.true / outcome.predicted}
            report.groups.setdefault(column, {})[value] = facts
            if min(group.rows, old.rows) >= GROUP_ROWS:
                rates.append((picked, former))
                chances.append(shares_chance(group.picked, group.rows, old.picked, old.rows))
        if len(rates) < 2:
            continue
        ratio, before_ratio = (min(r) / max(*r, 1e-9) for r in zip(*rates, strict=True))
        if min(holm(chances)) < conf.false_alarms and ratio < FAIR * before_ratio:
            text = (
                f"The groups of {column} are picked less evenly: least to most {ratio:.2f}, before {before_ratio:.2f}."
            )
            report.tell("bias", WARNING, text, column)
