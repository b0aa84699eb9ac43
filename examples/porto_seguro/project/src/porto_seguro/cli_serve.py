"""The commands of the online service."""

from typing import Annotated

import typer

from . import show
from .errors import UsageError
from .show import project


def serve(
    version: Annotated[int | None, typer.Option("--model", help="A model version; by default the champion.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; by default only this machine is answered.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    log: Annotated[bool, typer.Option(help="Whether requests and scores are logged, in data/predictions.")] = True,
) -> None:
    """Serve a model over HTTP: POST /score; /docs explains the rest. Ctrl+C ends it.

    With the environment variable SCORING_TOKEN set, callers must send it as bearer token or `api-key`.
    """
    from .artifact import load_model
    from .serve import run
    from .service import Deployment

    here = project()
    chosen = here.registry.get(version) if version else here.registry.champion()
    if chosen is None:
        raise UsageError("There is no champion yet: run")
    model = load_model(here.registry.model(chosen), chosen.digest, chosen.engine, threads=1)
    deployment = Deployment(
        model=model, version=str(chosen.version), digest=chosen.digest, engine=chosen.engine,
        log=here.root / "data" / "predictions" if log else None,
    )  # fmt: skip
    show.line(f"Version {chosen.version} ({chosen.engine}) answers at http://{host}:{port}/score; see /docs.", "green")
    run(deployment, here.settings.serving, host, port)
