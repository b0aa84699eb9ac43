"""The commands for the infrastructure of an environment."""

from typing import Annotated

import typer

from .. import show
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
def registry(json: AsJson = False) -> None:
    """Make the model registry that all environments share, in the resource group of this one. Once is enough."""
    from .fill import filled

    here = Here()
    one = here.environment
    group = ("--resource-group", one.resource_group)
    if here.az.find("ml", "registry", "show", "--name", one.registry, *group) is not None:
        return _told(f"{one.registry} exists already.", json)
    place = {"location": one.location}
    values = {"name": one.registry, "tags": one.tags, **place, "replication_locations": [place]}
    out = show.root() / "data" / "azure" / one.name / "registry.yml"
    path = filled(show.root() / "azureml" / "registry.yml", out, values)
    here.az.write("ml", "registry", "create", "--file", str(path), *group)
    _told(f"{one.registry} was made.", json)


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
    if not yes and not json:
        show.line(f"This removes {one.resource_group} with every model, log and data set in it.", "red")
        yes = typer.prompt(f"Type {one.name} to go on", default="", show_default=False)
    _told(infra.down(here.az, one, show.root(), yes), json)
