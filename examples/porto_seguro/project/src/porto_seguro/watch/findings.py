"""What is told: by `monitor` a report of one window, by `simulate` the story of all months."""

from typing import Literal

from msgspec import Struct

Kind = Literal["drift", "prediction", "quality", "performance", "calibration", "attribution", "bias", "labels", "proxy"]
FINE, WARNING, ALARM, UNKNOWN = 0, 1, 2, -1
WORDS = {FINE: "fine", WARNING: "warning", ALARM: "alarm", UNKNOWN: "too few rows to tell"}


class Finding(Struct):
    """One thing that was found, and how bad it is: 0 fine, 1 a warning, 2 an alarm, -1 when there is too little to tell."""

    kind: Kind
    severity: int
    text: str
    name: str = ""


class Feature(Struct):
    """How one feature (or the score) is spread, against training.

    Attributes:
        distance: largest difference of probability (see `drift.distance`); psi: population stability index.
        chance: how likely chance alone gives as much, corrected for the number of tests.
        missing, missing_before: shares of the rows.
        unknown: share of values that are no known category; outside: of numbers beyond the range of training.
        importance: share of the model that rests on it; None where that is not known.
    """

    name: str
    distance: float
    psi: float
    chance: float
    missing: float
    missing_before: float
    unknown: float
    outside: float
    importance: float | None
    severity: int = FINE
    reference: list[float] = []  # shares by group of bins, for the picture
    window: list[float] = []


class Metric(Struct):
    """The metric that decides, on rows of the window's matured part whose outcome is known.

    Attributes:
        value, error: with its standard error.
        reference, reference_error: of the holdout and earlier windows of the same version.
        rows, events: with an outcome; of the rarer class.
        lost: share of the skill over a constant that is gone.
        detectable: the smallest drop that would be an alarm nine times in ten.
    """

    name: str
    value: float
    error: float
    reference: float
    reference_error: float
    rows: int
    events: int
    since: str
    until: str
    lost: float = 0.0
    chance: float = 1.0
    detectable: float = 0.0


class Report(Struct, kw_only=True):
    """All of it; `status` is that of the worst finding."""

    version: int
    source: str
    made: str
    since: str
    until: str
    rows: int
    refused: int = 0
    status: str = "fine"
    severities: dict[str, int] = {}
    findings: list[Finding] = []
    features: list[Feature] = []
    prediction: Feature | None = None
    metric: Metric | None = None
    expected: float | None = None  # the metric that the scores themselves let expect
    expected_before: float | None = None
    calibration: float | None = None  # true over predicted, as a multiple of that of the holdout
    labelled: float | None = None  # share of the matured rows whose outcome is known
    attribution: float | None = None  # NDCG
    groups: dict[str, dict[str, dict[str, float]]] = {}

    def tell(self, kind: Kind, severity: int, text: str, name: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(kind, severity, text, name))
        self.severities[kind] = max(severity, self.severities.get(kind, UNKNOWN))

    def measured(self, *kinds: Kind) -> None:
        """Say that these kinds were looked at; without an alarm or a warning they are fine."""
        for kind in kinds:
            self.severities[kind] = max(FINE, self.severities.get(kind, FINE))

    def close(self) -> None:
        """Take the status of the worst finding; where nothing is wrong but there were too few rows, say that."""
        worst = max(self.severities.values(), default=UNKNOWN)
        self.status = WORDS[UNKNOWN if worst == FINE and self.severities.get("drift") == UNKNOWN else worst]
        self.findings.sort(key=lambda f: -f.severity)

    def severity(self, *kinds: Kind) -> int:
        """The worst of these kinds."""
        return max((self.severities.get(kind, FINE) for kind in kinds), default=FINE)

    def of(self, *kinds: Kind) -> list[str]:
        """The alarms of these kinds, in words."""
        return [f.text for f in self.findings if f.kind in kinds and f.severity == ALARM]


class Outcome(Struct):
    """Something that was made to happen.

    Attributes:
        name, kind: of the scenario.
        planted, until: first and last month of it, from 1.
        within: months in which it must be noticed.
        expects: the word that the action must begin with.
        noticed: the month in which it was noticed; None if it was not.
        evidence: what it was noticed by, in words.
        action: what was done about it, in words.
        right: whether it was noticed in time and handled as the policy says.
    """

    name: str
    kind: str
    planted: int
    until: int
    within: int
    expects: str
    noticed: int | None = None
    evidence: str = ""
    action: str = ""
    right: bool = False


class Month(Struct):
    """A month: its metric with the model that was kept up, and with the first one left alone, on the same rows.

    `did` tells what happened, in sentences; `answered` counts rows, `refused` and `failed` count requests.
    """

    number: int
    date: str
    champion: int
    kept_up: float | None = None  # none where every request was refused
    left_alone: float | None = None
    severities: dict[str, int] = {}
    did: list[str] = []
    answered: int = 0
    refused: int = 0
    failed: int = 0
    seconds: float = 0.0


class Told(Struct, kw_only=True):
    """All of it. `false_alarms` counts retrainings for drift or metric in months in which nothing was planted."""

    project: str
    seed: int
    rows: int
    metric: str
    events: list[Outcome] = []
    promotions: list[dict[str, float | int | str]] = []  # month, version, reason
    false_alarms: int = 0
    metric_kept_up: float = 0.0
    metric_left_alone: float = 0.0
    months: list[Month] = []
    last_report: Report | None = None
    seconds: float = 0.0
    page: str = ""
