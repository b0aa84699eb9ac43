"""The commands for the infrastructure of an environment."""

from typing import Annotated

import typer

from .. import show
from ..errors import UsageError
from ..show import AsJson
from .chosen import Here, command

infra_app = typer.Typer(no_args_is_help=True, help="Plan, make or remove the infrastructure of an environment.")


def _told(text: str, json: bool) -> None:
    show.as_json({"infra": text.splitlines()}) if json else show.line(text)


@infra_app.command()
@command
def plan(json: AsJson = False) -> None:
    """Show what would change."""
    from . import infra

    here = Here()
    _told(infra.plan(here.az, here.environment, show.root()), json)


@infra_app.command()
@command
def up(json: AsJson = False) -> None:
    """Make it as the files say; doing so again changes nothing."""
    from . import infra

    here = Here()
    _told(infra.up(here.az, here.environment, show.root()), json)


@infra_app.command()
@command
def state(json: AsJson = False) -> None:
    """Make the storage account that keeps Terraform's state of the environment. Once, before the first `plan` or `up`."""
    from . import bicep, terraform

    here = Here()
    if bicep.used(show.root()):
        raise UsageError("Bicep keeps no state: Azure itself knows what there is. Go on with: azure infra up")
    path = terraform.state(here.az, here.environment, show.root(), here.project.settings.name)
    _told(f"The state of {here.environment.name} is in {here.environment.state_account}; commit {path.name}.", json)


@infra_app.command()
@command
def registry(json: AsJson = False) -> None:
    """Make the registry of models that all environments share, unless there is one, and let this one's users in.

    Once for each environment, by an Owner, after `infra up`: the registry is made in the first one's resource group.
    """
    from . import shared_registry

    here = Here()
    one = here.environment
    new = shared_registry.make(here.az, one, show.root())
    said = "was made" if new else "exists already"
    _told(f"{one.registry} {said}; the groups and identities of {one.name} may use it.", json)


@infra_app.command()
@command
def down(
    yes: Annotated[str, typer.Option("--yes", metavar="NAME", help="The environment's name again, for scripts.")] = "",
    json: AsJson = False,
) -> None:
    """Remove all of it, models and logs too; asks for the environment's name."""
    from . import infra

    here = Here()
    one = here.environment
    if not yes and here.az.dry:
        yes = one.name
    if not yes and not json:
        show.line(f"This removes {one.resource_group} with every model, log and data set in it.", "red")
        yes = typer.prompt(f"Type {one.name} to go on", default="", show_default=False)
    _told(infra.down(here.az, one, show.root(), yes), json)
