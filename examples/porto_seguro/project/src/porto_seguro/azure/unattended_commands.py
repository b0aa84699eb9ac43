"""The commands for what runs without a person: batch endpoints, functions for events, schedules."""

from typing import Annotated

import typer

from .. import show
from ..show import AsJson
from .chosen import Here, command


@command
def publish(json: AsJson = False) -> None:
    """Bring data stores, batch endpoints and the functions for events to the environment, as they are here."""
    from .unattended import publish

    here = Here()
    publish(here.az, here.environment, here.project.root)
    told = [here.environment.training_endpoint, here.environment.batch_endpoint, here.environment.function_app]
    show.as_json({"published": told}) if json else show.line(f"Published: {', '.join(told)}", "green")


@command
def schedule(
    native: Annotated[bool, typer.Option("--native", help="Also that of Azure's own monitor, a preview.")] = False,
    json: AsJson = False,
) -> None:
    """Make the schedules anew, with the newest data version and the champion of this moment."""
    from .unattended import schedules

    here = Here()
    raw = here.jobs.data(None)
    champion = here.registry.champion()
    reference = here.registry.reference(champion.version) if champion else ""
    inputs = here.jobs.inputs(raw, here.registry)
    made = schedules(here.az, here.environment, here.project.root, inputs, champion, reference, native)
    names = [path.stem for path in made]
    show.as_json({"schedules": names}) if json else show.line(f"Schedules: {', '.join(names)}", "green")


@command
def retrain(
    version: Annotated[str | None, typer.Option("--data", help="A data version; by default the newest.")] = None,
    json: AsJson = False,
) -> None:
    """Call the batch endpoint that holds the training pipeline, with a data version; an event adds what came in."""
    here = Here()
    raw = here.jobs.data(version)
    job = here.jobs.retrain(here.jobs.inputs(raw, here.registry))
    show.as_json({"job": job}) if json else show.line(f"Job {job}. Next: azure wait {job}", "green")


@command
def plan(json: AsJson = False) -> None:
    """Tell those who retrain on events what to take: the newest data version, and the champion to compare with."""
    from .plan import publish

    here = Here()
    raw = here.jobs.data(None)
    inputs = here.jobs.inputs(raw, here.registry)
    publish(here.az, here.environment, inputs, here.project.settings, here.project.root)
    show.as_json({"inputs": inputs}) if json else show.line(f"A retraining begins with {raw}.", "green")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for function in (publish, schedule, retrain, plan):
        app.command()(function)
