"""The commands that prepare a repository for its pipelines."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from .. import show
from ..show import AsJson

if TYPE_CHECKING:
    from .outcome import Outcome

app = typer.Typer(
    no_args_is_help=True,
    help="Prepare a repository for its pipelines, through `gh` and `az`: rules of main, environments, approvals, trust.",
)
Repository = Annotated[str | None, typer.Option(help="Which one; by default the git remote `origin`.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the commands of a first time, and run none.")]
Without = Annotated[
    bool, typer.Option("--without-reviewers", help="Go on although conf/people.yaml names nobody to approve.")
]


@app.command()
def github(
    repository: Repository = None, without_reviewers: Without = False, dry_run: DryRun = False, json: AsJson = False
) -> None:
    """Prepare a repository at GitHub; doing so again changes nothing."""
    from . import github, origin

    name = origin.github(show.root(), repository, dry_run)
    _tell(lambda: github.bootstrap(show.root(), name, dry_run, without_reviewers), dry_run, json)


@app.command("azure-devops")
def azure_devops(
    repository: Repository = None, without_reviewers: Without = False, dry_run: DryRun = False, json: AsJson = False
) -> None:
    """Prepare a repository of Azure DevOps; doing so again changes nothing."""
    from . import devops, origin

    place = origin.devops(show.root(), repository, dry_run)
    _tell(lambda: devops.bootstrap(show.root(), *place, dry_run, without_reviewers), dry_run, json)


def _tell(make: "Callable[[], Outcome]", dry: bool, json: bool) -> None:
    outcome = make()
    if json:
        told = {"changed": outcome.changed, "kept": outcome.kept, "notes": outcome.notes, "dry_run": dry}
        return show.as_json(told | {"variables": outcome.variables, "connections": outcome.connections})
    for text in outcome.changed:
        show.line(f"- {text}")
    if outcome.variables:
        rows = [(name, key, value) for name, values in outcome.variables.items() for key, value in values.items()]
        show.table("Variables (not secret)", ("environment", "variable", "value"), rows)
    for text in outcome.notes:
        show.line(f"- {text}", "yellow")
    if dry:
        show.line("Nothing was run.")
    else:
        made = f"{len(outcome.changed)} made or mended" if outcome.changed else "nothing to do"
        show.line(f"Ready: {made}, {outcome.kept} as they should be.", "green")


def add_to(face: typer.Typer) -> None:
    """Add these commands to the command line."""
    face.add_typer(app, name="bootstrap")
