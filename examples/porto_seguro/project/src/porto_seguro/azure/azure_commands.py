"""The commands over Azure ML: each shows the `az` commands that it runs."""

from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

import typer

from .. import show
from ..errors import DataError, UsageError
from ..show import AsJson
from . import decision_commands, unattended_commands
from .chosen import Here, command
from .infra_commands import infra_app

app = typer.Typer(
    no_args_is_help=True,
    help="Train, register and serve on Azure ML. Every command shows the `az` commands that it runs; --dry-run only shows.",
)
ONLINE = f"{__package__}.online"
Purpose = Annotated[str, typer.Option(help="retraining: its model may be registered; exploration: it is a try.")]
Patience = Annotated[float, typer.Option(help="Seconds after which it stops waiting; the job goes on.")]


@app.command()
@command
def data(
    version: Annotated[
        str | None, typer.Argument(help="A data version of this machine; by default the newest.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Make a data version an asset in Azure ML, under the same version: the hash of its content."""
    name, new = Here().jobs.add_data(version)
    if json:
        return show.as_json({"data": name, "new": new})
    show.line(f"{name}{'' if new else ', known already'}")


@app.command()
@command
def submit(
    version: Annotated[str | None, typer.Option("--data", help="A data version; by default the newest.")] = None,
    purpose: Purpose = "retraining",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has completed.")] = False,
    patience: Patience = 14_400.0,
    json: AsJson = False,
) -> None:
    """Start the training pipeline on a data version, which is made an asset first if it is none."""
    if purpose not in ("retraining", "exploration"):
        raise UsageError(f"The purpose is retraining or exploration, not {purpose}.")
    here = Here()
    raw = here.jobs.data(version)
    job = here.jobs.submit(here.jobs.inputs(raw, here.registry), purpose)  # type: ignore[arg-type]
    if wait:
        here.jobs.wait(job, patience, show.error if json else show.line)
    if json:
        return show.as_json({"job": job, "data": raw, "completed": wait})
    show.line(f"Job {job}. Next: azure {'register' if wait else 'wait'} {job}", "green")


@app.command()
@command
def wait(job: str, patience: Patience = 14_400.0, json: AsJson = False) -> None:
    """Wait until a job has completed. Exit code 1 says that it failed or was cancelled, 3 that it has not ended yet."""
    here = Here()
    here.jobs.wait(job, patience, show.error if json else show.line)
    if json:
        return show.as_json({"job": job, "completed": True})
    show.line(f"Job {job} has completed. Next: azure register {job}", "green")


@app.command()
@command
def register(
    job: str,
    required: Annotated[bool, typer.Option("--required", help="Exit code 1 if the gate did not pass it.")] = False,
    json: AsJson = False,
) -> None:
    """Make the model of a completed job a version, if the gate passed it."""
    here = Here()
    made, decision = here.jobs.register(job, here.registry)
    number = made.version if made else None
    if made and not find_spec(ONLINE) and here.project.settings.promotion == "immediate":
        _crown(here, made.version)  # the gate has the last word where no release follows
    if json:
        about = {"decision": decision.decision, "reasons": decision.reasons, "run": job}
        show.as_json({"model_version": number} | about)
    else:
        for text in decision.reasons:
            show.line(f"- {text}")
        show.line(
            f"Version {number}." if made else f"Not registered: the gate said {decision.decision}.",
            show.COLOURS[decision.decision],
        )
    if required and not made:
        raise typer.Exit(DataError.code)


@app.command()
@command
def models(json: AsJson = False) -> None:
    """List the versions that the environment can serve, and who is champion."""
    registry = Here().registry
    champion, history = registry.champion(), registry.history()
    now = champion.version if champion else None
    if json:
        return show.as_json({"champion": now, "history": history, "versions": registry.versions()})
    rows = [
        (
            v.version, "champion" if v.version == now else "was champion" if v.version in history else "challenger",
            registry.reference(v.version).split(":")[0].replace("azureml", "workspace")
            if not registry.reference(v.version).startswith("azureml://") else "registry",
            v.tags.get("data_version"), v.run, v.tags.get("reason"),
        )
        for v in registry.versions()
    ]  # fmt: skip
    show.table("Model versions", ("version", "role", "where", "data version", "job", "why it passed"), rows)


@app.command()
@command
def share(version: int, json: AsJson = False) -> None:
    """Copy a version into the registry that all environments share: from there, the next one deploys it."""
    here = Here()
    new = here.registry.share(version)
    if json:
        return show.as_json({"model_version": version, "registry": here.environment.registry, "new": new})
    show.line(f"Version {version} is in {here.environment.registry}{'' if new else ' already'}.", "green")


@app.command()
@command
def promote(version: int, json: AsJson = False) -> None:
    """Make a version champion at once; where one is served online, give it all of the traffic.

    Where there is no endpoint yet, it is made.
    """
    here = Here()
    here.registry.get(version)  # or say that there is none, before anything is made
    if find_spec(ONLINE):
        import_module(f"{ONLINE}.online_commands").swap(here, version)
    _crown(here, version)
    show.as_json({"champion": version}) if json else show.line(f"Version {version} is the champion.", "green")


def _crown(here: Here, version: int) -> None:
    """Note the champion; where nothing is served online, the endpoint that remembers it may have to be made first."""
    if not find_spec(ONLINE) and not here.registry.remembers:
        import_module(f"{__package__}.unattended").publish(here.az, here.environment, here.project.root)
    here.registry.promote(version)


@app.command()
@command
def rollback(json: AsJson = False) -> None:
    """Make the previous champion the champion again; where one is served online, it gets all of the traffic back."""
    here = Here()
    if here.az.dry:
        here.registry.history()
        return
    before = here.registry.previous()
    if find_spec(ONLINE):
        import_module(f"{ONLINE}.online_commands").swap(here, before.version)
    was, now = here.registry.rollback()
    show.as_json({"champion": now, "was": was}) if json else show.line(
        f"Version {now} is the champion again; it was version {was}.", "green"
    )


@app.command()
@command
def tracking(json: AsJson = False) -> None:
    """Print the line that sends experiments of this machine to the environment's workspace."""
    here = Here()
    name = "MLFLOW_TRACKING_URI"
    words = ("--name", here.environment.workspace, "--resource-group", here.environment.resource_group)
    found = here.az.read("ml", "workspace", "show", *words)["mlflow_tracking_uri"]
    show.as_json({name: found}) if json else show.line(f"export {name}={found}")


@app.command()
@command
def check(
    names: Annotated[bool, typer.Option("--names", help="Also ask Azure whether names are free.")] = False,
    json: AsJson = False,
) -> None:
    """Check the files for Azure, on this machine. Exit code 1 says that something is wrong.

    With --names, Azure is asked whether storage account, key vault and container registry may be called so.
    """
    from .audit import check
    from .environments import load_all

    load_all(show.root())
    problems = [(p.file, p.where, p.what) for p in check(show.root())]
    taken = []
    if names:
        here = Here()
        one = here.environment
        for words, name in (
            (("storage", "account"), one.storage_account),
            (("keyvault",), one.key_vault),
            (("acr",), one.container_registry),
        ):
            told = here.az.read(*words, "check-name", "--name", name, assume={}) or {}
            if told.get("nameAvailable") is False:
                reason = told.get("message") or told.get("reason") or "it is taken"
                taken.append((name, f"{one.name}: {reason} (or it is yours already)"))
    if json:
        shown = [{"file": str(f), "where": str(w), "what": t} for f, w, t in problems]
        show.as_json({"problems": shown, "taken": [{"name": n, "why": why} for n, why in taken]})
    else:
        if problems:
            show.table("What is wrong", ("file", "where", "what"), [tuple(map(str, p)) for p in problems])
        for name, why in taken:
            show.line(f"{name}: {why}", "yellow")
        if not problems:
            show.line("The files for Azure are in order, as far as this machine can tell.", "green")
    if problems:
        raise typer.Exit(DataError.code)


@app.command()
def environments(json: AsJson = False) -> None:
    """Show how dev, test and prod differ."""
    from .environments import NAMES, differences, load_all

    rows = differences(load_all(show.root()))
    if json:
        return show.as_json({"differences": {key: dict(zip(NAMES, values, strict=True)) for key, *values in rows}})
    show.table("What differs between the environments, besides their names", ("", *NAMES), rows)


def add_to(face: typer.Typer) -> None:
    """Add these commands to the command line."""
    decision_commands.add_to(app)
    unattended_commands.add_to(app)
    app.add_typer(infra_app, name="infra")
    if find_spec(ONLINE):  # not where files are scored only
        import_module(f"{ONLINE}.online_commands").add_to(app)
    face.add_typer(app, name="azure")
