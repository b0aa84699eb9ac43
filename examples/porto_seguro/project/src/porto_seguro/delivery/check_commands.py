"""The commands that try something: the contract, a training, and (where there is one) the service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import show
from ..errors import DataError
from ..show import AsJson, project

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .junit import Check

check_app = typer.Typer(no_args_is_help=True, help="Try the contract, a training, or what runs.")
NO_CONTRACT = "There is no contract yet, so there is nothing to check: contract infer FILE --target COLUMN"
JUnit = Annotated[Path | None, typer.Option("--junit", help="Also write JUnit XML there.")]


@check_app.command("data")
def data(output: JUnit = None, json: AsJson = False) -> None:
    """Hold synthetic rows against the contract, and see that faults planted in them are found; exit code 1 if not."""
    from .data_check import check_data
    from .junit import junit

    here = project()
    if not (here.root / "conf" / "contract.yaml").is_file():
        if output:
            junit([], output, "data", NO_CONTRACT)
        return show.as_json({"passed": True, "note": NO_CONTRACT}) if json else show.line(NO_CONTRACT, "yellow")
    found = check_data(here.contract)
    if output:
        junit(found, output, "data")
    tell(found, "The contract", json)


def tell(found: "Sequence[Check]", title: str, json: bool) -> None:
    """Say what was tried and what failed; end with exit code 1 if something did."""
    failed = [c for c in found if c.failure]
    if json:
        show.as_json({"passed": not failed, "tried": len(found), "failed": failed})
    elif failed:
        show.table(title, ("", "check", "what is wrong"), [("wrong", c.name, c.failure) for c in failed])
    if not json:
        show.line(f"{title}: {len(found) - len(failed)} of {len(found)} checks passed.", "red" if failed else "green")
    if failed:
        raise typer.Exit(DataError.code)


@check_app.command("training")
def training(
    against: Annotated[
        str, typer.Option(help="A git revision, whose model is the champion; without one there is none.")
    ] = "",
    page: Annotated[
        Path | None, typer.Option("--summary", help="Also write the comparison there, as Markdown.")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="All rows of the data version; many, if synthetic.")] = False,
    rows: Annotated[int, typer.Option(min=100, help="Of the newest data version, or else synthetic ones.")] = 20_000,
    json: AsJson = False,
) -> None:
    """Train this code and that of an earlier commit on the same rows, and let the gate compare. Nothing is kept.

    Exit code 1 says that the gate rejected the new model.
    """
    from ..table import replacing
    from .summary import without
    from .training_check import check_training

    here = project()
    if not (here.root / "conf" / "contract.yaml").is_file():
        text, told = without(here.settings.name, NO_CONTRACT), None
    else:
        with show.steps(5, quiet=json) as progress:
            told = check_training(here, against, rows, full, progress)
        text = told.page
    if page:
        with replacing(page) as part:
            part.write_text(text, "utf-8", newline="\n")
    if told is None:
        return show.as_json({"decision": "none", "note": NO_CONTRACT}) if json else show.line(NO_CONTRACT, "yellow")
    verdict = told.decision.decision
    if json:
        show.as_json(
            {
                "decision": verdict, "reasons": told.decision.reasons, "against": told.against, "data": told.data,
                "metrics": told.metrics, "checks": told.decision.checks, "notes": told.notes,
            }
        )  # fmt: skip
    else:
        names = list(next(iter(told.metrics.values())))
        show.table(f"Holdout of {told.data}", ("", *names), [(m, *v.values()) for m, v in told.metrics.items()])
        for line in (*told.decision.reasons, *told.notes):
            show.line(f"- {line}")
        show.line(f"Decision: {verdict}", show.COLOURS[verdict])
    if verdict == "rejected":
        raise typer.Exit(DataError.code)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(check_app, name="check")
