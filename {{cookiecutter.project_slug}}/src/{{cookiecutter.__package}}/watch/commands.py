"""The commands of what comes after a model serves."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import clock, show
from ..errors import DataError, Fault
from ..show import AsJson, project

if TYPE_CHECKING:
    from .findings import Report, Told
    from .loop import Event

WARNED = 4  # exit code of a warning, or of too few rows to tell
COLOURS = {"fine": "green", "warning": "yellow", "alarm": "red", "too few rows to tell": "yellow"}
STEPS = {
    "alarm": "red",
    "failed": "red",
    "quarantined": "red",
    "rolled back": "red",
    "promoted": "green",
    "retraining": "yellow",
}


def monitor(
    source: Annotated[
        str | None,
        typer.Argument(help="A table (CSV, Parquet, URL); by default the newest window of the prediction log."),
    ] = None,
    page: Annotated[Path | None, typer.Option("--report", help="Also write the page there, as HTML.")] = None,
    json: AsJson = False,
) -> None:
    """Compare a window with what the champion learnt from: drift, data quality, performance where outcomes are known.

    Exit code 0: fine. 1: an alarm. 4: a warning, or too few rows to tell.
    """
    from ..ingest import local
    from ..table import replacing
    from .look import Watch

    watch = Watch(project())
    if source:
        with local(source) as path:
            report = watch.look(path)
    else:
        report = watch.look()
    if page:
        from .page import page as drawn  # matplotlib: only where something is drawn

        with replacing(page) as part:
            part.write_text(drawn(report, project().settings.name, project().settings.monitor), "utf-8", newline="\n")
    if json:
        show.as_json(report)
    else:
        _show(report)
        if not source:
            show.line(f"Report: {watch.reports()[-1].with_suffix('.html')}")
    if report.status != "fine":
        raise typer.Exit(DataError.code if report.status == "alarm" else WARNED)


def _show(report: "Report") -> None:
    window = f"{report.since[:16]} to {report.until[:16]}" if report.since != report.until else report.source
    title = f"Version {report.version}, {window}: {report.rows:,} rows"
    rows = [
        (f.name, f.distance, f.psi, f"{f.missing:.1%}", "" if f.importance is None else f"{f.importance:.1%}",
         {0: "ok", 1: "note", 2: "wrong"}[f.severity])
        for f in [*([report.prediction] if report.prediction else []), *report.features[:8]]
    ]  # fmt: skip
    if rows:
        show.table(title, ("what", "distance", "PSI", "missing", "importance", ""), rows)
    if report.metric:
        m = report.metric
        show.line(
            f"{m.name} {m.value:.4f} on {m.rows:,} rows with an outcome, reference {m.reference:.4f}; a drop of "
            f"{m.detectable:.4f} would be an alarm nine times in ten."
        )
    for finding in report.findings:
        show.line(f"- {finding.kind}: {finding.text}", {2: "red", 1: "yellow"}.get(finding.severity, ""))
    show.line(f"Status: {report.status}", COLOURS[report.status])


def should_retrain(
    because: Annotated[str, typer.Option(help="Why you want it: then the policy agrees.")] = "",
    json: AsJson = False,
) -> None:
    """Say whether a challenger should be trained now, why, and what would change the answer; nothing is done.

    It goes by `retrain` in conf/project.yaml and the newest report of `monitor`.
    """
    from .look import Watch
    from .policy import facts_of, should_retrain
    from .state import read_state

    here = project()
    facts = facts_of(here, read_state(here.root).attempts)
    report = Watch(here).newest(facts.champion)
    answer = should_retrain(facts, report, here.settings.retrain, clock.now(), because)
    if json:
        return show.as_json(answer)
    if answer.signals:
        rows = [("yes" if s.holds else "no", s.name, s.evidence, s.otherwise) for s in answer.signals]
        show.table("Reasons to retrain", ("", "signal", "evidence", "what would change it"), rows)
    for text in answer.blocked:
        show.line(f"- Against it: {text}", "yellow")
    if answer.retrain:
        show.line(f"Retrain: {answer.trigger}. {' '.join(answer.evidence)}")
    else:
        show.line(f"Do not retrain. What would change that: {' '.join(answer.otherwise[:3])}")


def loop(
    once: Annotated[bool, typer.Option("--once", help="Do one pass and end; for schedulers.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between passes.")] = 60.0,
    retrain: Annotated[
        str, typer.Option(metavar="REASON", help="Train a challenger in the first pass, whatever the policy says.")
    ] = "",
    json: AsJson = False,
) -> None:
    """Take in the inbox, monitor, decide, train a challenger, judge and release it, again and again. Ctrl+C ends it.

    The champion serves until a challenger has passed gate and release. What people should know is sent to the webhook in
    NOTIFY_WEBHOOK and by mail to NOTIFY_EMAIL through SMTP_URL. Exit code 3: a step of the only pass failed.
    """
    from .loop import Loop

    here = project()
    while True:
        start = clock.seconds()
        events = Loop(here).once(retrain, look=once, tell=lambda event: None if json else _say(event))
        retrain = ""
        if json:
            show.as_json({"events": events})
        elif once and not events:
            show.line("Nothing to do.")
        if once:
            break
        time.sleep(max(0.0, every - (clock.seconds() - start)))
    if any(event.step == "failed" for event in events):
        raise typer.Exit(Fault.code)


def _say(event: "Event") -> None:
    show.line(
        f"{clock.now().isoformat(sep=' ', timespec='seconds')[:19]} {event.step}: {event.text}",
        STEPS.get(event.step, ""),
    )


def simulate(
    scenario: Annotated[Path | None, typer.Option(help="By default conf/scenario.yaml.")] = None,
    months: Annotated[int | None, typer.Option(min=1, help="Only so many.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed, another year.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep the simulated project there.")] = None,
    json: AsJson = False,
) -> None:
    """Play months of operation with the real components, in a folder apart: what happens, what is noticed, what is done.

    Nothing of this project is changed. The page in data/simulation tells the story in pictures. Exit code 1: something
    planted was not noticed in time, or not handled as the policy says.
    """
    from .scenario import read_scenario
    from .simulate import simulate

    here = project()
    scenario = scenario or here.root / "conf" / "scenario.yaml"
    total = 1 + (months or read_scenario(scenario).months)  # the first model comes before them
    with show.steps(total, quiet=json) as progress:
        told = simulate(here.root, scenario, months, seed, keep, progress)
    if json:
        show.as_json(told)
    else:
        _story(told)
    if not all(event.right for event in told.events):
        raise typer.Exit(DataError.code)


def _story(told: "Told") -> None:
    rows: list[tuple[Any, ...]] = [
        (m.number, m.date, m.champion, m.kept_up, m.left_alone, "; ".join(m.did)) for m in told.months
    ]
    show.table("Month by month", ("month", "from", "champion", told.metric, "left alone", "what happened"), rows)
    show.table(
        "What was planted", ("what", "month", "noticed", "action", ""),
        [(e.name, e.planted, e.noticed, e.action, "ok" if e.right else "wrong") for e in told.events],
    )  # fmt: skip
    show.line(
        f"{told.metric} {told.metric_kept_up:.4f} kept up, {told.metric_left_alone:.4f} left alone; "
        f"{len(told.promotions)} promotions, {told.false_alarms} false alarms ({told.seconds:.0f} s)."
    )
    show.line(f"Page: {told.page}")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command()(monitor)
    app.command("should-retrain")(should_retrain)
    app.command()(loop)
    app.command()(simulate)
