"""The command that tells reviewers what the gate decided about a cloud job."""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import show
from ..errors import DataError
from ..show import AsJson
from .chosen import Here, command


@command
def decision(
    job: str,
    page: Annotated[Path | None, typer.Option("--summary", help="Also write it there, as Markdown.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write the evaluation report there, as HTML.")] = None,
    json: AsJson = False,
) -> None:
    """Tell what the gate decided about a completed job. Exit code 1 says that it rejected the model.

    Example: azure decision JOB --summary reports/evaluation.md --report reports/report.html
    """
    from ..delivery.summary import summary
    from ..record import RUN
    from ..table import replacing
    from .job_outputs import path_of, read_output

    here = Here()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        found = here.jobs.decision(job, folder)
        evaluation, about = (read_output(folder, name, dict[str, Any], job) for name in ("evaluation.json", RUN))
        if page:
            version, notes = about["data_version"], about["notes"]
            text = summary(
                here.project.settings.name, found, evaluation, f"Data version {version}, job {job}", "", notes
            )
            with replacing(page) as part:
                part.write_text(text, "utf-8", newline="\n")
        if report:
            with replacing(report) as part:
                shutil.copy(path_of(folder, "report.html", job), part)
    if json:
        show.as_json(
            {"job": job, "decision": found.decision, "reasons": found.reasons, "metrics": evaluation["metrics"]}
        )
    else:
        for line in found.reasons:
            show.line(f"- {line}")
        show.line(f"Decision: {found.decision}", show.COLOURS[found.decision])
    if found.decision == "rejected":
        raise typer.Exit(DataError.code)


def add_to(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(decision)
