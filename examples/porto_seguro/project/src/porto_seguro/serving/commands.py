"""The commands of the online service."""

import contextlib
import os
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from starlette.types import ASGIApp

from .. import clock, show
from ..errors import DataError, Fault
from ..show import AsJson, project

if TYPE_CHECKING:
    from ..result import Result
    from .local import LocalEndpoint
    from .release import Releases, Step


def serve(
    version: Annotated[
        int | None, typer.Option("--model", help="Serve this version alone, whatever the endpoint's traffic is.")
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; by default only this machine is answered.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    log: Annotated[
        bool, typer.Option(help="Whether requests and scores are logged, in data/predictions; a release needs it.")
    ] = True,
) -> None:
    """Serve the endpoint over HTTP, at first the champion: POST /score; /docs explains the rest. Ctrl+C ends it.

    A router hands each request to one of the deployments, and follows `release` and `rollback` while it runs.
    With the environment variable SCORING_TOKEN set, callers must send it as bearer token or `api-key`.
    """
    from ..config import TOKEN
    from .app import check_port, listen, make_app
    from .local import LocalEndpoint
    from .router import Router
    from .service import Deployment

    here = project()
    check_port(host, port)
    folder = here.root / "data" / "predictions" if log else None
    if host not in ("127.0.0.1", "localhost", "::1") and not os.environ.get(TOKEN):
        show.line(f"Others can reach {host}, and no token is asked for: set {TOKEN} in the environment.", "yellow")
    app: ASGIApp
    if version:
        chosen, model = here.model(version, threads=1)
        app = make_app(
            Deployment(
                model=model, version=str(version), digest=chosen.digest, log=folder,
            ),
            here.settings.serving,
        )  # fmt: skip
        show.line(f"Version {version} ({chosen.engine}) answers at http://{host}:{port}/score; see /docs.", "green")
    else:
        state = LocalEndpoint(here.root).to_serve(here.registry.champion())
        app = Router(here.root, here.registry, here.settings.serving, f"http://{host}:{port}", folder)
        for name, place in state.deployments.items():
            show.line(f"{name}: version {place.version}, {place.traffic} % of the requests")
        show.line(f"http://{host}:{port}/score; see /docs.", "green")
    with contextlib.suppress(KeyboardInterrupt):  # the usual end
        listen(app, host, port)


check_app = typer.Typer(no_args_is_help=True, help="Try what runs.")


@check_app.command("endpoint")
def check_endpoint(
    url: Annotated[str, typer.Argument(help="Of the service: http://127.0.0.1:8000")],
    output: Annotated[Path | None, typer.Option("--junit", help="Also write JUnit XML there.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Budget of one row; by default that of the gate.")] = None,
    json: AsJson = False,
) -> None:
    """Try a running service with synthetic rows and bad requests; exit code 1 if it fails a check.

    With the environment variable SCORING_TOKEN set, it is sent as bearer token.
    """
    from .probe import Endpoint, check_endpoint, junit

    here = project()
    budget = latency_ms or here.settings.gate.guards.latency_ms
    endpoint = Endpoint(url)
    found = check_endpoint(endpoint, here.contract, budget)
    if output:
        junit(found, output)
    if json:
        passed = not any(c.failure for c in found)
        show.as_json({"url": url, "passed": passed, "median_ms": endpoint.median_ms, "checks": found})
    else:
        rows = [("wrong" if c.failure else "ok", c.name, f"{c.seconds:.3f} s", c.failure) for c in found]
        show.table(url, ("", "check", "time", "what is wrong"), rows)
    if any(c.failure for c in found):
        raise typer.Exit(DataError.code)


def outcomes(
    source: Annotated[str | None, typer.Argument(help="CSV or Parquet with the rows' id and the target.")] = None,
    json: AsJson = False,
) -> None:
    """Take in what became of scored rows, and measure each deployment on all that is known by now."""
    from ..ingest import local
    from .outcomes import performance, take_outcomes

    here = project()
    contract, folder = here.contract, here.root / "data" / "outcomes"
    rows, new = 0, False
    if source:
        with local(source) as path:
            rows, new = take_outcomes(path, contract, folder)
    found = performance(contract, folder, here.root / "data" / "predictions")
    if json:
        return show.as_json({"rows": rows, "new": new, "performance": found})
    if source:
        show.line(f"{source}: {rows:,} outcomes" + ("" if new else ", known already"))
    if not found:
        return show.line("No outcome belongs to a row in the prediction log yet.", "yellow")
    names = list(dict.fromkeys(name for p in found for name in p.metrics))
    table = [(p.deployment, p.model_version, f"{p.rows:,}", *(p.metrics.get(n) for n in names)) for p in found]
    show.table("Scored rows whose outcome is known", ("deployment", "version", "rows", *names), table)


release_app = typer.Typer(no_args_is_help=True, help="Bring a new version to all of the traffic, stage by stage.")
COLOURS = {"rolled back": "red", "aborted": "yellow", "held": "yellow", "done": "green"}


@release_app.command("start")
def release_start(
    version: Annotated[int, typer.Argument(help="The model version; `models` lists them.")],
    wait: Annotated[float, typer.Option(help="Seconds after which it stops waiting; the release stays.")] = 3600.0,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 5.0,
    json: AsJson = False,
) -> None:
    """Release a version, or go on with its release, until it has all of the traffic or was rolled back.

    Exit code 1 says that it was rolled back or aborted, 3 that it is still on its way.
    """
    step = lead(version, wait, every, quiet=json)
    _show(step, json, told=True)
    if step.release.status == "running":
        raise Fault(f"Version {version} is still on its way; go on with: release start {version}")


def lead(version: int, wait: float, every: float, quiet: bool) -> "Step":
    """Start a release, or go on with it, and step until it ends or `wait` seconds are over; tell each change."""
    endpoint, releases = _releases()
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


def release_after(result: "Result", quiet: bool) -> int:
    """Release the version of a run that passed the gate; return the exit code, as of `release start`.

    The decision is then `promoted`, or stays `passed`: the gate passed it. What became of it stands in the notes.
    """
    if not result.model_version:  # of a sample
        return 0
    step = lead(result.model_version, 3600.0, 5.0, quiet)
    result.decision = "promoted" if step.did == "done" else "passed"
    result.notes[-1:] = [f"release: {step.did}: {'; '.join(step.reasons)}"]
    return {"done": 0, "running": Fault.code}.get(step.release.status, DataError.code)


@release_app.command("step")
def release_step(json: AsJson = False) -> None:
    """Judge the present stage once: move on, hold, or roll back. Exit code 1 says that it was rolled back."""
    endpoint, releases = _releases()
    with endpoint.only_one():
        step = releases.step()
    _show(step, json)


@release_app.command("status")
def release_status(json: AsJson = False) -> None:
    """Show the deployments, their traffic, and the newest release."""
    endpoint, _ = _releases()
    state, told = endpoint.state(), endpoint.told()
    url, problems = (told.url, told.problems) if told else (None, [])
    if json:
        about = {"url": url, "deployments": state.deployments, "release": state.release, "problems": problems}
        return show.as_json(about)
    rows = [(n, str(d.version), f"{d.traffic} %", f"{d.mirror} %") for n, d in state.deployments.items()]
    show.table(url or "not served at the moment", ("deployment", "version", "traffic", "copies"), rows)
    for text in state.release.history if state.release else ["No version was released yet."]:
        show.line(text)
    for text in problems:
        show.line(text, "red")


@release_app.command("abort")
def release_abort(json: AsJson = False) -> None:
    """Give all of the traffic back to the version that had it before."""
    endpoint, releases = _releases()
    with endpoint.only_one(patient=True):
        step = releases.abort()
    if json:
        return show.as_json(step)
    show.line(f"Version {step.release.version} was taken back.", "yellow")


def _releases() -> tuple["LocalEndpoint", "Releases"]:
    from .local import LocalEndpoint
    from .release import Releases

    here = project()
    endpoint = LocalEndpoint(here.root)
    return endpoint, Releases(here, endpoint)


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


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(check_app, name="check")
    app.add_typer(release_app, name="release")
    app.command()(serve)
    app.command()(outcomes)
    if find_spec(f"{__package__}.ab"):  # an optional part
        import_module(f"{__package__}.ab").add_to(app)
