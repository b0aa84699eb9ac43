"""The commands for the online endpoint on Azure ML. Those of a release are the same ones as on this machine."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ... import clock, show
from ...errors import ProjectError, UsageError
from ...serving.release_commands import release_app
from ...show import AsJson
from ..chosen import Here, command

if TYPE_CHECKING:
    from ...serving.release import Releases
    from .managed import ManagedEndpoint


def endpoint_of(here: Here) -> "ManagedEndpoint":
    """Open the endpoint of an environment."""
    from .managed import ManagedEndpoint
    from .serving_image import reference

    project = here.project
    return ManagedEndpoint(
        here.az, here.environment, here.registry, project.root, project.contract,
        lambda: reference(here.az, here.environment, project.root, project.settings.name),
    )  # fmt: skip


def opened() -> tuple["ManagedEndpoint", "Releases"]:
    """Open the endpoint that a command was told, and the machine that leads releases on it."""
    from ...serving.release import Releases

    here = Here()
    endpoint = endpoint_of(here)
    return endpoint, Releases(here.project, endpoint, here.registry, "azure ", endpoint.serve_only)


def swap(here: Here, version: int) -> None:
    """Give all of the traffic to a version."""
    endpoint = endpoint_of(here)
    with endpoint.only_one():
        endpoint.serve_only(version)


@command
def deploy(version: int, json: AsJson = False) -> None:
    """Make the endpoint, if there is none, and serve the first version. Later ones come by a release."""
    here = Here()
    here.registry.get(version)  # or say that there is none, before anything is made
    endpoint = endpoint_of(here)
    with endpoint.only_one():
        live = endpoint.state().live()
        if live is not None:
            raise UsageError(f"The endpoint serves a version already: azure release start {version}")
        endpoint.serve_only(version)
        here.registry.promote(version)
    url, _ = endpoint.shown()
    if json:
        return show.as_json({"champion": version, "url": url})
    show.line(f"Version {version} answers at {url}", "green")


@command
def image(json: AsJson = False) -> None:
    """Build the image of the serving container from this checkout, in the environment's registry."""
    from ..jobs import commit_of
    from .serving_image import build

    here = Here()
    root = here.project.root
    version, new = build(here.az, here.environment, root, here.project.settings.name, commit_of(root))
    if json:
        return show.as_json({"image": version, "new": new})
    show.line(f"Image {version}{'' if new else ', built already'}")


@command
def predictions(
    days: Annotated[float, typer.Option(min=0, help="How far back.")] = 1.0,
    json: AsJson = False,
) -> None:
    """Fetch what the endpoint was asked and answered into data/predictions, for `monitor` and `outcomes`."""
    from .traffic_log import fetch

    here = Here()
    since = clock.now() - timedelta(days=days)
    new = fetch(here.az, here.environment, here.project.contract, here.project.root, since)
    show.as_json({"files": new}) if json else show.line(f"{new} new files of answers")


@command
def smoke(
    output: Annotated[Path | None, typer.Option("--junit", help="Also write JUnit XML there.")] = None,
    back: Annotated[bool, typer.Option("--rollback", help="Where it fails, go back: azure rollback.")] = False,
    latency_ms: Annotated[
        float | None, typer.Option(help="Budget of one row with the way there and back; by default not measured.")
    ] = None,
    patience: Annotated[float, typer.Option(help="Seconds until new traffic must have settled.")] = 300.0,
    json: AsJson = False,
) -> None:
    """Try the endpoint with synthetic rows and bad requests, as whoever is logged in. Exit code 1 if it fails.

    Not measured unless asked for: the time of an answer, which from here is mostly that of the way.
    """
    from ...delivery.check_commands import tell
    from ...delivery.junit import junit
    from .smoke import smoke

    here = Here()
    found = smoke(here.az, endpoint_of(here), here.project.contract, latency_ms, patience)
    if output and found:
        junit(found, output, "smoke")
    try:
        tell(found, here.environment.endpoint, json)
    except typer.Exit:
        if back:
            _go_back(here)
        raise


def _go_back(here: Here) -> None:
    """Do what `azure rollback` does; that it cannot be done changes nothing about what failed before."""
    try:
        swap(here, here.registry.previous().version)
        was, now = here.registry.rollback()
    except ProjectError as error:
        return show.error(f"It was not rolled back: {error}")
    show.error(f"Rolled back: version {now} is the champion again; it was version {was}.")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for function in (deploy, image, predictions, smoke):
        app.command()(function)
    app.add_typer(release_app(opened, command, "azure "), name="release")
