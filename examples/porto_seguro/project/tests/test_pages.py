"""The pages that people look at: nothing is left out, nothing breaks out, and what is missing is said in words."""

import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from porto_seguro.config import Monitor
from porto_seguro.watch.findings import (
    ALARM,
    FINE,
    UNKNOWN,
    WARNING,
    Feature,
    Finding,
    Metric,
    Month,
    Outcome,
    Report,
    Told,
)
from porto_seguro.watch.page import page
from porto_seguro.watch.story import story
from porto_seguro.webpage import apart, rounded

NASTY = "<b>$\\frac{1$ & \"\n価格'"
VOID = {"meta", "br"}
NAN = float("nan")


class Reader(HTMLParser):
    """Reads a page as a browser and a screen reader would, and insists that every element is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.labels: list[str] = []
        self.pieces: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        self.open += [] if tag in VOID else [tag]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            self.ids += [value or ""] if name == "id" else []
            self.sources += [value or ""] if name.rpartition(":")[2] in ("src", "href") else []
            self.labels += [value or ""] if name == "aria-label" else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.pieces.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.pieces)


def read(html: str) -> Reader:
    """Read a page, and check what holds for all of them."""
    found = Reader(html)
    assert not {"script", "link", "iframe", "img", "object"} & set(found.tags)
    assert all(source.startswith("#") for source in found.sources)  # nothing from elsewhere
    assert set(re.findall(r"https?://[\w.]+", html)) <= {"http://www.w3.org"}  # what SVG is called
    assert not re.search(r"@import|url\((?!#)", html)
    assert len(found.ids) == len(set(found.ids))
    assert found.tags.count("figure") == found.tags.count("svg")
    told = " ".join([found.text, *found.labels])
    assert not re.search(r"\b(None|nan|NaN|inf)\b", told), re.findall(r".{30}\b(?:None|nan|NaN|inf)\b", told)
    return found


def feature(name: str, distance: float, severity: int = FINE, importance: float | None = 0.1, **more: Any) -> Feature:
    """As `monitor` makes it."""
    facts = {"psi": distance / 2, "chance": 0.0 if severity else 1.0, "missing": 0.02, "missing_before": 0.01}
    shares = {"reference": [0.25, 0.25, 0.25, 0.25, 0.0], "window": [0.1, 0.2, 0.2, 0.3, 0.2]}
    return Feature(**{"name": name, "distance": distance, "unknown": 0.0, "outside": 0.0002, "importance": importance,
                      "severity": severity, **facts, **shares, **more})  # fmt: skip


def a_report(**more: Any) -> Report:
    """Something of everything."""
    report = Report(
        version=3, source="the prediction log", made="2025-04-01T06:00:00+00:00", since="2025-03-01T00:00:00+00:00",
        until="2025-03-31T00:00:00+00:00", rows=20_000, refused=12, expected=0.6172, expected_before=0.6317,
        calibration=0.784, labelled=0.93, attribution=0.981, prediction=feature("score", 0.031, importance=None),
        features=[feature("amount", 0.165, ALARM), feature("hue", 0.07, WARNING, 0.003), feature("age", 0.01)],
        metric=Metric("auc", 0.6333, 0.0105, 0.6359, 0.0075, 18_600, 715, "2025-02-01T00:00", "2025-03-01T00:00",
                      0.02, 0.41, 0.0431),
        groups={"colour": {"red": {"rows": 900.0, "picked": 0.12, "picked_before": 0.1}}},
    )  # fmt: skip
    report.measured("quality", "attribution", "labels", "performance", "proxy")
    report.tell("drift", ALARM, "amount drifted: distance 0.165, PSI 0.083, 10.0% of the model.", "amount")
    report.tell("drift", WARNING, "hue drifted: distance 0.070, PSI 0.035, 0.3% of the model.", "hue")
    report.tell("calibration", WARNING, "It happens 0.78 times as often as predicted, compared with the holdout.")
    report = msgspec.structs.replace(report, **more)
    report.close()
    return report


def a_story(months: int = 12, **more: Any) -> Told:
    """A world that drifts, breaks and turns."""
    events = [
        Outcome("seasonal drift", "seasonal", 2, months, 2, "retrain", 3, "hue drifted: distance 0.1.", "retrained", True),
        Outcome("units changed", "units", 6, 6, 1, "blocked", 6, "amount looks broken.", "blocked it", True),
        Outcome("concept shift", "concept", 9, months, 3, "retrain", 10, "auc is 0.56, it was 0.63.", "retrained", True),
        Outcome("outage", "outage", 12, 12, 1, "carry on"),
    ]  # fmt: skip
    lived = [
        Month(n, f"2025-{n:02d}-01", 1 + (n > 10), 0.63 - 0.05 * (9 <= n <= 10), 0.63 - 0.05 * (n >= 9),
              {"drift": ALARM if n == 3 else FINE, "labels": UNKNOWN}, [f"Sentence of month {n}."], 2000, 4 * (n == 6), 37 * (n == 12))
        for n in range(1, months + 1)
    ]  # fmt: skip
    told = Told(
        project="premium", seed=4, rows=2000, metric="auc", events=[e for e in events if e.planted <= months],
        months=lived, metric_kept_up=0.6229, metric_left_alone=0.6086, last_report=a_report(),
        promotions=[
            {"month": 0, "version": 1, "reason": "the first model"},
            *([{"month": 10, "version": 2, "reason": "metric_drop"}] if months > 10 else []),
        ],
    )  # fmt: skip
    return msgspec.structs.replace(told, **more)


def test_monitor_page_tells_everything_that_was_found() -> None:
    report = a_report()
    found = read(page(report, "premium"))
    for finding in report.findings:
        assert finding.text in found.text
    for name in (
        "premium",
        "version 3",
        "2025-03-01 to 2025-03-31",
        "20,000 rows",
        "12 more refused",
        "Alarm",
        "93.0%",
    ):
        assert name in found.text
    for name in (
        "AUC",
        "0.6333",
        "0.6359",
        "18,600 outcomes, 715 of the rarer kind",
        "0.0431",
        "0.6172",
        "red",
        "12.0%",
    ):
        assert name in found.text
    assert {"alarm", "warning", "fine"} <= set(found.labels)  # nothing is told by colour alone
    assert any("amount: distance 0.165" in label for label in found.labels)
    assert page(report, "premium") == page(report, "premium")


@pytest.mark.parametrize(
    ("kind", "severity", "badge", "next_step"),
    [
        ("quality", ALARM, "Alarm", "Mend the source first"),
        ("performance", ALARM, "Alarm", "does worse than it did"),
        ("drift", ALARM, "Alarm", "reason to train"),
        ("proxy", ALARM, "Alarm", "a person should look"),
        ("bias", WARNING, "Warning", "worth a look"),
        ("drift", FINE, "Fine", "nothing needs to be done"),
        ("drift", UNKNOWN, "Too few rows to tell", "Wait for more"),
    ],
)
def test_monitor_page_says_what_the_status_means(kind: Any, severity: int, badge: str, next_step: str) -> None:
    report = Report(version=1, source="rows.csv", made="", since="2025-03-01", until="2025-03-01", rows=10)
    report.tell(kind, severity, "What was seen.")
    report.close()
    found = read(page(report, "premium"))
    assert badge in found.text
    assert next_step in found.text
    assert "What was seen." in found.text
    assert "On 2025-03-01" in found.text


def test_names_of_users_break_nothing() -> None:
    report = a_report(
        source=NASTY,
        features=[feature(NASTY, 0.3, ALARM), feature("x" * 300, 0.2, WARNING)],
        findings=[Finding("drift", ALARM, NASTY + " drifted.")],
        groups={NASTY: {NASTY: {"rows": 1.0}}},
    )
    found = read(page(report, NASTY))
    assert found.text.count(NASTY) >= 4
    assert any(NASTY in label for label in found.labels)
    event = Outcome(NASTY, NASTY, 1, 2, 1, NASTY, 1, NASTY, NASTY)
    told = a_story(events=[event], promotions=[{"month": 1, "version": 2, "reason": NASTY}], project=NASTY)
    told.months[0].did = [NASTY]
    assert read(story(told)).text.count(NASTY) >= 6


def test_what_is_missing_is_said_in_words() -> None:
    bare = {"expected": None, "expected_before": None, "calibration": None, "labelled": None, "attribution": None}
    found = read(page(a_report(metric=None, features=[], prediction=None, groups={}, **bare), "premium"))
    assert "too few outcomes are known yet" in found.text
    unknown = [feature("amount", 0.2, ALARM, None), feature("hue", 0.0, importance=None, reference=[], window=[])]
    assert "not known" in read(page(a_report(metric=None, features=unknown), "premium")).text
    empty = feature("amount", 0.0, chance=NAN, psi=NAN, reference=[0.0], window=[0.0])
    assert "not known" in read(page(a_report(features=[empty], prediction=empty), "premium")).text
    groups = {
        "colour": {"red": {"rows": 9.0, "picked": 0.1, "picked_before": 0.2, "known": 3.0, "true_over_predicted": NAN}}
    }
    assert "not known" in read(page(a_report(metric=None, features=[], prediction=None, groups=groups), "premium")).text


def test_regression_page_says_that_less_is_better() -> None:
    metric = Metric("rmse", 123_456.7, NAN, 120_000.0, NAN, 5000, 5000, "2025-02-01", "2025-03-01", NAN, 1.0, NAN)
    found = read(page(a_report(metric=metric, expected=None, features=[]), "premium"))
    assert "RMSE, less is better" in found.text
    assert "123,457" in found.text
    assert "of the rarer kind" not in found.text
    told = a_story(metric="rmse", metric_kept_up=9.0, metric_left_alone=12.5)
    for month in told.months:
        month.kept_up, month.left_alone = 9.0, 12.5
    found = read(story(told))
    assert "less is better" in found.text
    assert "better by 3.50 on average" in found.text


def test_picture_of_what_matters_has_the_limits_of_the_project() -> None:
    report = a_report(metric=None, prediction=None)
    assert "a distance of 0.05 and 2% of the model" in read(page(report, "premium")).text
    wide = Monitor(distance=0.25, importance=0.3)
    assert "a distance of 0.25 and 30% of the model" in read(page(report, "premium", wide)).text


def test_many_features_and_many_categories_fit() -> None:
    many = [feature(f"column_{n}", 0.001 * n, reference=[1 / 201] * 201, window=[1 / 201] * 201) for n in range(90)]
    html = page(a_report(features=many, metric=None), "premium")
    found = read(html)
    assert "column_89" in found.text
    assert "column_40" not in found.text
    assert "Of 75 more, none is further away than 0.074" in found.text
    assert len(html) < 400_000


def test_story_tells_everything_that_happened() -> None:
    told = a_story()
    html = story(told)
    found = read(html)
    text = found.text.replace("\xa0", " ")
    assert "In 12 months, 3 of 4 planted troubles were noticed in time and handled as the policy says." in text
    assert "made AUC 0.623 on average, the one left alone 0.609" in text
    assert "1 promotion and 0 false alarms" in text
    assert "3 of 4 handled" in text
    for event in told.events:
        assert text.count(event.name) >= 2  # in the picture and in the table
        assert event.evidence in text
        assert event.action in text
    for month in told.months:
        assert month.did[0] in text
        assert month.date in text
    for words in (
        "not noticed",
        "expected within 1 month: carry on",
        "37 requests failed",
        "v2",
        "months 9 to 12",
        "metric drop",
    ):
        assert words in text
    assert "The service scored 24,000 rows; 4 requests were refused, 37 failed" in text
    assert {"yes", "no", "alarm", "too few rows to tell"} <= set(found.labels)
    assert html == story(a_story())


def test_story_says_when_all_was_well() -> None:
    told = a_story()
    good = [event for event in told.events if event.right]
    text = read(story(msgspec.structs.replace(told, events=good))).text
    assert "3 of 3 planted troubles were noticed" in text
    assert "Not handled" not in text
    assert "a model was trained although" in read(story(msgspec.structs.replace(told, false_alarms=2))).text


def test_story_of_little() -> None:
    assert (
        "In 0 months, nothing was planted." in read(story(Told(project="premium", seed=0, rows=0, metric="auc"))).text
    )
    gone = a_story(3, events=[], promotions=[], last_report=None)
    for month in gone.months:
        month.kept_up, month.left_alone, month.severities, month.did = NAN, None, {}, []
        month.answered = 0
    gone.months[1].kept_up = 0.6
    text = read(story(msgspec.structs.replace(gone, metric_kept_up=NAN))).text
    assert "made AUC not known on average" in text
    assert "request" not in text
    read(story(a_story(1)))


def test_labels_do_not_overlap() -> None:
    moved = apart([0.5, 0.1, 0.5, 0.52, 0.9], 0.1)
    assert moved[1] == 0.1
    assert moved[4] == 0.9
    there = sorted(moved)
    assert min(b - a for a, b in pairwise(there)) == pytest.approx(0.1)
    assert sum(moved) == pytest.approx(0.5 + 0.1 + 0.5 + 0.52 + 0.9)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.63451, "0.6345"), (12.3456, "12.35"), (1234567.8, "1,234,568"), (0.000012345, "0.0000123"), (0.0, "0.000")],
)
def test_numbers_are_for_people(value: float, text: str) -> None:
    assert rounded(value) == text or rounded(value, 3) == text


def test_long_words_open_instead_of_filling_the_page() -> None:
    long = "The gate says <no>. " + "Reasons follow one after the other, with figures; " * 8 + "the end."
    told = a_story()
    told.events[0].action, told.months[0].did = long, [f"kept_champion: {long}"]
    found = read(story(told))
    assert found.tags.count("details") == 2
    assert "kept champion" in found.text
    assert " ".join(found.text.split()).count(" ".join(long.split())) == 2  # nothing is lost where it is cut
