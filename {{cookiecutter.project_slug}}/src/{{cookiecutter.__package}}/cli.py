"""The command line: a face without logic of its own. Nothing heavy is imported before a command needs it."""

import logging
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from . import show
from .cli_assets import contract_app, data_app, models, promote, rollback, runs
from .errors import DataError, Fault, ProjectError, UsageError
from .show import AsJson, choose, project, root

app = typer.Typer(
    no_args_is_help=True,
    help="Train, judge, register and score a model. The first steps: `doctor`, then `run --data FILE`.",
    epilog="Exit codes: 0 done (whatever the gate decided), 1 the data is wrong, 2 the command is wrong, 3 a fault.",
    pretty_exceptions_enable=False,
)
app.add_typer(contract_app, name="contract")
app.add_typer(data_app, name="data")


@app.callback()
def _main(
    project: Annotated[
        Path | None, typer.Option(help="The project's folder; by default the one you stand in.", envvar="PROJECT_DIR")
    ] = None,
) -> None:
    choose(project)


@app.command()
def ingest(
    source: Annotated[str | None, typer.Argument(help="A path or URL; by default what waits in the inbox.")] = None,
    sql: Annotated[
        str | None, typer.Option(help="A query to the database in the environment variable DATABASE_URL.")
    ] = None,
    append: Annotated[bool, typer.Option(help="Add the rows to the newest version instead of starting anew.")] = False,
    json: AsJson = False,
) -> None:
    """Take in a table as a new data version; a bad one goes to data/quarantine with the reasons."""
    from msgspec import to_builtins

    from .ingest import local, query
    from .store import only_one
    from .watch.inbox import Inbox

    here = project()
    contract = here.contract
    taken: list[dict[str, Any]]
    unfinished: list[str] = []
    with only_one(here.root):
        if source or sql:
            with query(sql) if sql else local(str(source)) as path:
                found, new = here.store.add(path, contract, append)
            made = {"file": source or "query", "version": found.version, "rows": found.rows, "new": new}
            taken = [made | {"known_as": found.known_as, "unknown_columns": found.extra_columns}]
        else:
            inbox = Inbox(here.store, here.settings.inbox)
            taken = [to_builtins(one) for one in inbox.take(contract, append=append, now=True)]
            unfinished = [f"{name}: not whole yet, it stays in {inbox.place.shown}" for name in inbox.unfinished()]
            if not taken and not unfinished:
                raise UsageError(f"{inbox.place.shown} is empty; put a table there, or name one: ingest FILE")
    if json:
        show.as_json({"ingested": taken, "unfinished": unfinished})
    for one in taken if not json else []:
        if "reason" in one:
            show.error(one["reason"])
        else:
            show.line(
                f"{one['file']}: {'version' if one['new'] else 'known already, version'} {one['version']}, {one['rows']:,} rows"
                + (f"; it is {one['known_as']}" if one.get("known_as") else "")
            )
    for text in unfinished if not json else []:
        show.line(text, "yellow")
    if any("reason" in one for one in taken):
        raise typer.Exit(DataError.code)


Data = Annotated[
    str | None,
    typer.Option("--data", help="A data version, or a file to take in first; by default the newest version."),
]
Sample = Annotated[
    int | None, typer.Option("--sample", min=1, help="Use so many rows only, to try things; never registered.")
]
Run = Annotated[str | None, typer.Argument(help="A run, or the beginning of its name; by default the newest.")]


@app.command()
def run(
    data: Data = None,
    sample: Sample = None,
    release: Annotated[
        bool,
        typer.Option("--release", help="Also release what passed, if one is served; exit codes as of `release start`."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Do it all: take in, split, train, evaluate, judge, register, promote."""
    from .ingest import local

    here = project()
    here.contract  # noqa: B018  say at once that there is none
    with show.steps(7, quiet=json) as progress:
        if data and "://" in data:
            with local(data) as path:
                result = here.run(str(path), sample, progress)
        else:
            result = here.run(data, sample, progress)
    released = 0
    if release and result.decision == "passed":
        released = import_module(f"{__package__}.serving.commands").release_after(result, quiet=json)
    show.as_json(result) if json else show.result(result)
    if released:  # what `release start` would say
        raise typer.Exit(released)


@app.command()
def train(data: Data = None, sample: Sample = None, json: AsJson = False) -> None:
    """Train only; `evaluate` and `register` come next."""
    with show.steps(3, quiet=json) as progress:
        made = project().train(data, sample, progress)
    show.as_json({"run": made}) if json else show.line(f"Run {made}. Next: evaluate {made[:8]}")


@app.command()
def evaluate(run: Run = None, json: AsJson = False) -> None:
    """Judge a trained run against the constant, the limits and the present champion."""
    with show.steps(3, quiet=json) as progress:
        made, decision = project().evaluate(run, progress)
    if json:
        return show.as_json(
            {"run": made, "decision": decision.decision, "reasons": decision.reasons, "checks": decision.checks}
        )
    for text in decision.reasons:
        show.line(f"- {text}")
    show.line(
        f"Decision: {decision.decision}" + (f". Next: register {made[:8]}" if decision.decision == "passed" else ""),
        show.COLOURS[decision.decision],
    )


@app.command()
def register(run: Run = None, json: AsJson = False) -> None:
    """Make a run's model a version, if the gate passed it."""
    made = project().register(run)
    if json:
        return show.as_json({"model_version": made.version if made else None})
    show.line(
        f"Version {made.version}. Next: promote {made.version}"
        if made
        else "Not registered: the gate did not pass this run (or it was a sample)."
    )


@app.command()
def score(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="CSV or Parquet; a path or URL.")],
    target: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Where to write: .csv or .parquet.")],
    version: Annotated[int | None, typer.Option("--model", help="A model version; by default the champion.")] = None,
    json: AsJson = False,
) -> None:
    """Score a table of any length with the champion."""
    from .ingest import local
    from .score import score

    chosen, model = project().model(version)
    with local(source) as path, show.rows(quiet=json) as progress:
        done = score(model, path, target, progress)
    if json:
        return show.as_json(
            {"model_version": chosen.version, "rows": done.rows, "unseen": done.unseen, "output": str(target)}
        )
    for name, count in done.unseen.items():
        show.line(f"- {name}: {count:,} values are no known category; they were scored as missing")
    show.line(f"{target}: {done.rows:,} rows scored by version {chosen.version}.", "green")


for command in (models, promote, rollback, runs):
    app.command()(command)

for part in ("delivery.check_commands", "watch.commands"):
    import_module(f"{__package__}.{part}").add_to(app)
if find_spec(f"{__package__}.serving"):  # a project that scores files only has no service
    import_module(f"{__package__}.serving.commands").add_to(app)
if find_spec(f"{__package__}.azure"):  # nor one that stays on this machine commands for a cloud
    import_module(f"{__package__}.azure.azure_commands").add_to(app)
if find_spec(f"{__package__}.bootstrap"):  # nor one without pipelines a repository to prepare
    import_module(f"{__package__}.bootstrap.bootstrap_commands").add_to(app)


@app.command()
def doctor(json: AsJson = False) -> None:
    """Look whether all is well, and say which command comes next."""
    from .doctor import examine

    findings, following = examine(root())
    if json:
        show.as_json({"checks": findings, "next": following})
    else:
        show.table("Doctor", ("what", "state", "detail"), [(f.what, f.state, f.detail) for f in findings])
        show.line(f"Next: {following}")
    if any(f.state == "wrong" for f in findings):
        raise typer.Exit(Fault.code)


def main(face: Callable[[], Any] = app) -> None:
    """Run a command; whatever goes wrong is told in a sentence, with an exit code that says whose turn it is."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # what libraries chatter; our own words go through `show`
    try:
        face()
    except ProjectError as error:
        _fail(str(error), error.code)
    except KeyboardInterrupt:
        _fail("Interrupted. What was finished is kept; run the command again.", 130)
    except Exception as error:  # a fault of ours or of the machine: the details go to a file, not at the user
        with tempfile.NamedTemporaryFile("w", suffix=".log", prefix="fault-", delete=False) as file:
            traceback.print_exc(file=file)
        _fail(
            f"Something went wrong that should not: {type(error).__name__}: {str(error)[:300]}. The details are in {file.name}.",
            Fault.code,
        )


def _fail(text: str, code: int) -> None:
    if "--json" in sys.argv:
        show.as_json({"error": text, "exit_code": code}, outputs=False)
    show.error(text)
    sys.exit(code)
