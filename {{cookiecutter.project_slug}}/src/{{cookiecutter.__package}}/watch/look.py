"""Look at the champion's window: which rows, which outcomes, and what is kept of the report."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path

import msgspec

from .. import clock
from ..config import Settings
from ..errors import UsageError
from ..pipeline import Project
from ..table import replacing
from .findings import ALARM, FINE, Report
from .monitor import monitor
from .performance import Past
from .window import of_log, of_table, outcomes_of, reference_of

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
        now = clock.now()
        if source or not SERVED:
            table, moment = source or self._last_drop(), (_iso(now), _iso(now))
            report = monitor(reference, of_table(table, model), None, settings, table.name, moment)
            return report if source else self.keep(report)
        window = timedelta(days=settings.monitor.window_days)
        ripe = now - timedelta(days=settings.monitor.maturity_days)
        log, number = project.root / "data" / "predictions", str(version.version)
        truth, earlier = outcomes_of(project.root, model.contract), [_read(path) for path in self.reports()]
        return self.keep(monitor(
            reference, of_log(log, model, number, now - window, now),
            of_log(log, model, number, ripe - window, ripe, truth), settings, "the prediction log",
            (_iso(now - window), _iso(now)), _past(earlier, version.version), (_iso(ripe - window), _iso(ripe)),
            _was_broken(earlier, ripe - window, ripe),
        ))  # fmt: skip

    def keep(self, report: Report) -> Report:
        """Keep a report, its page, and its gauges."""
        from .page import page

        name = datetime.fromisoformat(report.until).strftime("%Y%m%d-%H%M%S") + f"-v{report.version}"
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
        return _read(found[-1]) if found else None

    def _last_drop(self) -> Path:
        taken = [p for p in self._project.store.archive.glob("[!.]*") if p.is_file()]
        if not taken:
            raise UsageError("There is nothing to look at yet: name a table, or take one in: ingest")
        return max(taken, key=lambda path: (path.stat().st_mtime_ns, path.name))


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


def _read(path: Path) -> Report:
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
