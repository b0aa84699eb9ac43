"""The commands of the online service."""

import contextlib
import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from starlette.types import ASGIApp

from .. import show
from ..delivery.check_commands import check_app
from ..errors import DataError, Fault
from ..show import AsJson, project
from .release_commands import lead, release_app

if TYPE_CHECKING:
    from ..result import Result
    from .local import LocalEndpoint
    from .release import Releases


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
    from ..delivery.junit import junit
    from .probe import Endpoint, check_endpoint

    here = project()
    budget = latency_ms or here.settings.gate.guards.latency_ms
    endpoint = Endpoint(url)
    found = check_endpoint(endpoint, here.contract, budget)
    if output:
        junit(found, output, "endpoint")
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


def _releases() -> tuple["LocalEndpoint", "Releases"]:
    from .local import LocalEndpoint
    from .release import Releases

    here = project()
    endpoint = LocalEndpoint(here.root)
    return endpoint, Releases(here, endpoint)


def release_after(result: "Result", quiet: bool) -> int:
    """Release the version of a run that passed the gate; return the exit code, as of `release start`.

    The decision is then `promoted`, or stays `passed`: the gate passed it. What became of it stands in the notes.
    """
    if not result.model_version:  # of a sample
        return 0
    step = lead(_releases(), result.model_version, 3600.0, 5.0, quiet)
    result.decision = "promoted" if step.did == "done" else "passed"
    result.notes[-1:] = [f"release: {step.did}: {'; '.join(step.reasons)}"]
    return {"done": 0, "running": Fault.code}.get(step.release.status, DataError.code)


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(release_app(_releases), name="release")
    app.command()(serve)
    app.command()(outcomes)
    if find_spec(f"{__package__}.ab"):  # an optional part
        import_module(f"{__package__}.ab").add_to(app)
