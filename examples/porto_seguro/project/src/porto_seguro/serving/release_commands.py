"""The commands of a release, the same ones for the endpoint of this machine and for one in a cloud."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import clock, show
from ..errors import DataError, Fault
from ..show import AsJson

if TYPE_CHECKING:
    from .endpoint import Led
    from .release import Releases, Step

Opened = Callable[[], "tuple[Led, Releases]"]
COLOURS = {"rolled back": "red", "aborted": "yellow", "held": "yellow", "done": "green"}


def release_app(
    opened: Opened, command: Callable[[Any], Any] = lambda function: function, prefix: str = ""
) -> typer.Typer:
    """Return the commands.

    Args:
        opened: gives the endpoint and the machine that leads it.
        command: is applied to each function, to give it more options.
        prefix: what a user types before the names of commands.
    """
    app = typer.Typer(no_args_is_help=True, help="Bring a new version to all of the traffic, stage by stage.")

    @app.command("start")
    @command
    def start(
        version: Annotated[int, typer.Argument(help="The model version; `models` lists them.")],
        wait: Annotated[float, typer.Option(help="Seconds after which it stops waiting; the release stays.")] = 3600.0,
        every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 5.0,
        json: AsJson = False,
    ) -> None:
        """Release a version, or go on with its release, until it has all of the traffic or was rolled back.

        Exit code 1 says that it was rolled back or aborted, 3 that it is still on its way.
        """
        step = lead(opened(), version, wait, every, quiet=json)
        _show(step, json, told=True)
        if step.release.status == "running":
            raise Fault(f"Version {version} is still on its way; go on with: {prefix}release start {version}")

    @app.command("step")
    @command
    def step(json: AsJson = False) -> None:
        """Judge the present stage once: move on, hold, or roll back. Exit code 1 says that it was rolled back."""
        endpoint, releases = opened()
        with endpoint.only_one():
            found = releases.step()
        _show(found, json)

    @app.command("status")
    @command
    def status(json: AsJson = False) -> None:
        """Show the deployments, their traffic, and the newest release."""
        endpoint, _ = opened()
        state = endpoint.state()
        url, problems = endpoint.shown()
        if json:
            about = {"url": url, "deployments": state.deployments, "release": state.release, "problems": problems}
            return show.as_json(about)
        rows = [(n, str(d.version), f"{d.traffic} %", f"{d.mirror} %") for n, d in state.deployments.items()]
        show.table(url or "not served at the moment", ("deployment", "version", "traffic", "copies"), rows)
        for text in state.release.history if state.release else ["No version was released yet."]:
            show.line(text)
        for text in problems:
            show.line(text, "red")

    @app.command("abort")
    @command
    def abort(json: AsJson = False) -> None:
        """Give all of the traffic back to the version that had it before."""
        endpoint, releases = opened()
        with endpoint.only_one(patient=True):
            found = releases.abort()
        if json:
            return show.as_json(found)
        show.line(f"Version {found.release.version} was taken back.", "yellow")

    return app


def lead(opened: "tuple[Led, Releases]", version: int, wait: float, every: float, quiet: bool) -> "Step":
    """Start a release, or go on with it, and step until it ends or `wait` seconds are over; tell each change."""
    endpoint, releases = opened
    end, said = clock.seconds() + wait, ""
    while True:
        with endpoint.only_one(patient=True):  # and nobody while it waits, for somebody may want to abort
            step = releases.go_on(version, begun=bool(said))
        words = f"{step.did}, {step.release.stage}: {'; '.join(step.reasons)}"
        if words != said and not quiet:
            show.line(words, COLOURS.get(step.did, ""))
        said = words
        if step.release.status != "running" or clock.seconds() > end:
            return step
        time.sleep(every)


def _show(step: "Step", json: bool, told: bool = False) -> None:
    if json:
        show.as_json(step)
    else:
        rows = [
            ("ok" if f.kept else "wrong", f.name, f"{f.candidate:.4g}", f"{f.base:.4g}", f"{f.limit:.4g}")
            for f in step.findings
        ]
        if rows:
            show.table(f"Stage {step.release.stage}", ("", "what", "new", "old", "limit"), rows)
        if not told:
            show.line(f"{step.did}: {'; '.join(step.reasons)}", COLOURS.get(step.did, ""))
    if step.did in ("rolled back", "aborted"):
        raise typer.Exit(DataError.code)
