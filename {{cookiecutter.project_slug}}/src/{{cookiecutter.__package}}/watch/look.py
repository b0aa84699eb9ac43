"""Look at the champion's window: which rows, which outcomes, and what is kept of the report."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import msgspec
import polars as pl

from .. import clock
from ..config import Settings
from ..errors import UsageError
from ..parts import parts
from ..pipeline import Project
from ..table import replacing
from .findings import ALARM, FINE, Report
from .monitor import monitor
from .performance import Past
from .window import Reference, of_log, of_table, outcomes_of, reference_of

GAUGES = "monitor.prom"
SERVED = find_spec(f"{__package__.rpartition('.')[0]}.serving") is not None  # else the project scores files only


class Watch:
    """The reports of a project, in `data/monitor`."""

    def __init__(self, project: Project) -> None:
        """Look after a project."""
        self._project = project
        self.folder = project.root / "data" / "monitor"

    def look(self, source: Path | None = None) -> Report:
        """Compare a table, or the newest window of the prediction log, with what the champion learnt from.

        Args:
            source: CSV or Parquet; None for the prediction log, or in a project without a service for the last file
                that was taken in.

        Returns:
            The report. One of a window is kept, with its gauges for Prometheus; one of a table is not.

        Raises:
            UsageError: there is no champion, or nothing to look at.
        """
        project, settings = self._project, self._project.settings
        version, model = project.model()
        reference = reference_of(version.version, model, project.registry.model(version), settings)
        if source or not SERVED:
            report = look_at_table(reference, source or self._last_drop(), settings)
            return report if source else self.keep(report)
        truth, earlier = outcomes_of(project.root, model.contract), [read_report(path) for path in self.reports()]
        return self.keep(look_at_log(reference, project.root / "data" / "predictions", truth, earlier, settings))

    def keep(self, report: Report) -> Report:
        """Keep a report, its page, and its gauges."""
        from .page import page

        name = name_of(report)
        with replacing(self.folder / f"{name}.html") as part:
            part.write_text(
                page(report, self._project.settings.name, self._project.settings.monitor), "utf-8", newline="\n"
            )
        with replacing(self.folder / GAUGES) as part:
            part.write_text(gauges(report, self._project.settings), "utf-8", newline="\n")
        with replacing(self.folder / f"{name}.json") as part:  # last: it says that the others are there
            part.write_bytes(msgspec.json.format(msgspec.json.encode(report)))
        return report

    def reports(self) -> list[Path]:
        """The files of all reports, oldest first."""
        return sorted(self.folder.glob("*-v*.json"))

    def newest(self, version: int | None) -> Report | None:
        """The newest report of a version."""
        found = [path for path in self.reports() if path.stem.endswith(f"-v{version}")]
        return read_report(found[-1]) if found else None

    def _last_drop(self) -> Path:
        taken = [p for p in self._project.store.archive.glob("[!.]*") if p.is_file()]
        if not taken:
            raise UsageError("There is nothing to look at yet: name a table, or take one in: ingest")
        return max(taken, key=lambda path: (path.stat().st_mtime_ns, path.name))


def look_at_table(reference: Reference, table: Path, settings: Settings) -> Report:
    """Compare the rows of a CSV or Parquet file, or of a folder of parts, with what a version learnt from."""
    now = _iso(clock.now())
    rows = (batch for part in parts(table) for batch in of_table(part, reference.model))
    return monitor(reference, rows, None, settings, table.name, (now, now))


def look_at_log(
    reference: Reference, log: Path, truth: pl.DataFrame | None, earlier: Sequence[Report], settings: Settings
) -> Report:
    """Compare the newest window of the prediction log with what the version learnt from that scored it.

    Args:
        reference: of the version.
        log: the folder of the prediction log.
        truth: the outcomes that are known: columns `id` and `truth`.
        earlier: reports of earlier windows.
        settings: how long a window is, and what counts as much.
    """
    now, window = clock.now(), timedelta(days=settings.monitor.window_days)
    ripe = now - timedelta(days=settings.monitor.maturity_days)
    model, number = reference.model, str(reference.version)
    return monitor(
        reference, of_log(log, model, number, now - window, now),
        of_log(log, model, number, ripe - window, ripe, truth), settings, "the prediction log",
        (_iso(now - window), _iso(now)), _past(earlier, reference.version), (_iso(ripe - window), _iso(ripe)),
        _was_broken(earlier, ripe - window, ripe),
    )  # fmt: skip


def _past(reports: Sequence[Report], version: int) -> list[Past]:
    """Earlier windows of a version whose metric was not bad: what is bad must not become what is usual."""
    good = [r.metric for r in reports if r.version == version and r.metric and r.severity("performance") == FINE]
    return [Past(m.since, m.until, m.value, m.error) for m in good]


def _was_broken(reports: Sequence[Report], since: datetime, until: datetime) -> bool:
    """Whether an earlier report found the source broken in a window that overlaps with this one."""
    for report in reports:
        begin, end = (datetime.fromisoformat(text) for text in (report.since, report.until))
        overlap = min(end, until) - max(begin, since)
        if report.severity("quality") == ALARM and overlap > (until - since) / 20:
            return True
    return False


def name_of(report: Report) -> str:
    """Return the name of a report's files, without an ending: the end of its window, and its version."""
    return datetime.fromisoformat(report.until).strftime("%Y%m%d-%H%M%S") + f"-v{report.version}"


def read_report(path: Path) -> Report:
    """Read a report that was kept."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def gauges(report: Report, settings: Settings) -> str:
    """Return the report as gauges in the text format of Prometheus."""
    made = datetime.fromisoformat(report.made).timestamp()
    told: list[tuple[str, str, float | None]] = [
        ("monitor_last_run_timestamp_seconds", "", made),
        ("monitor_window_seconds", "", settings.monitor.window_days * 86_400),
        ("model_age_limit_seconds", "", settings.retrain.max_age_days * 86_400),
        ("monitor_rows", "", report.rows),
        ("monitor_labelled_ratio", "", report.labelled),
        *(("monitor_severity", _label(kind=kind), s) for kind, s in report.severities.items()),
        *(("monitor_feature_distance", _label(feature=f.name), f.distance) for f in report.features),
        *(("monitor_feature_psi", _label(feature=f.name), f.psi) for f in report.features),
        *(("monitor_feature_missing_ratio", _label(feature=f.name), f.missing) for f in report.features),
    ]
    if report.metric:
        m = report.metric
        told += [
            ("monitor_metric", _label(metric=m.name, part=p), v)
            for p, v in (("window", m.value), ("reference", m.reference))
        ]
    return exposition(told)


def _label(**labels: str) -> str:
    told = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(told) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def exposition(told: list[tuple[str, str, float | None]]) -> str:
    """Return (name, labels, value) in the text format of Prometheus; what has no value is left out."""
    lines, last = [], ""
    for name, labels, value in told:
        if value is None:
            continue
        if name != last:
            lines += [f"# HELP {name} See docs/runbook.md.", f"# TYPE {name} gauge"]
            last = name
        lines.append(f"{name}{labels} {value:.10g}")
    return "\n".join([*lines, ""])
