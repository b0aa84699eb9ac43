"""The commands over what a project has: contract, data, model versions, runs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from . import show
from .errors import DataError, UsageError
from .show import AsJson, project, root

contract_app = typer.Typer(
    no_args_is_help=True, help="The data contract: make one from a table, or hold a table against it."
)
data_app = typer.Typer(no_args_is_help=True, help="Data: make some, fetch some, list the versions.")


@contract_app.command("infer")
def contract_infer(
    file: Annotated[str, typer.Argument(help="CSV (any separator, with or without header) or Parquet.")],
    target: Annotated[str, typer.Option(help="The column to predict: its name, or its number from 1.")],
    task: Annotated[str | None, typer.Option(help="binary, multiclass or regression; found out by default.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="The class that is the event; by default 1, true, yes or the rarer one.")
    ] = None,
    header: Annotated[
        bool | None, typer.Option("--header/--no-header", help="Whether the first line names the columns.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace a contract that is there.")] = False,
    json: AsJson = False,
) -> None:
    """Write conf/contract.yaml from a table, and say what was recognised.

    Example: contract infer claims.csv --target claimed
    """
    from .config import load_settings
    from .contract import save_contract
    from .infer import infer
    from .ingest import local

    path = root() / "conf" / "contract.yaml"
    if path.exists() and not force:
        raise UsageError(f"{path} exists; give --force to replace it.")
    if task not in (None, "binary", "multiclass", "regression"):
        raise UsageError(f"The task {task} is unknown; give binary, multiclass or regression.")
    with local(file) as local_file:
        found = infer(local_file, target, load_settings(root() / "conf").name, header, task, positive)  # type: ignore[arg-type]
    save_contract(found.contract, path)
    roles = {
        role: [c.name for c in found.contract.columns if c.role == role]
        for role in ("target", "feature", "identifier", "ignored")
    }
    if json:
        return show.as_json(
            {
                "contract": str(path),
                "task": found.contract.task,
                "classes": found.contract.classes,
                "notes": found.notes,
            }
            | roles
        )
    for note in found.notes:
        show.line(f"- {note}")
    show.line(
        f"{path}: {found.contract.task}, features {len(roles['feature'])}, identifiers {len(roles['identifier'])}, ignored {len(roles['ignored'])}."
    )
    show.line(f"Look it over, then: run --data {file}")


@contract_app.command("check")
def contract_check(file: str, json: AsJson = False) -> None:
    """Hold a table against the contract; exit code 1 if it breaks it."""
    from .check import check_file
    from .ingest import local

    contract = project().contract
    with local(file) as path:
        frame, problems, extra = check_file(path, contract)
    if json:
        show.as_json({"file": file, "rows": frame.height, "problems": problems, "unknown_columns": extra})
    else:
        if extra:
            show.line(f"Not in the contract, so not used: {', '.join(extra[:10])}{', ...' if len(extra) > 10 else ''}")
        if problems:
            rows = [(p.column, p.rule, p.count, "; ".join(f"row {n}: {v}" for n, v in p.rows)) for p in problems]
            show.table(f"{file}: {frame.height:,} rows", ("column", "what is wrong", "rows", "the first ones"), rows)
        else:
            show.line(f"{file}: {frame.height:,} rows keep the contract.", "green")
    if problems:
        raise typer.Exit(DataError.code)


@data_app.command("sample")
def data_sample(
    rows: Annotated[int, typer.Option(min=1, help="How many.")] = 20_000,
    output: Annotated[Path | None, typer.Option(help="CSV or .parquet; by default data/inbox/sample.csv.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same rows.")] = 0,
    json: AsJson = False,
) -> None:
    """Make synthetic rows from the contract's statistics: no download, no personal data."""
    from .score import Writer, as_parquet
    from .synth import sample, to_raw
    from .table import replacing

    here = project()
    contract = here.contract
    output = output or root() / "data" / "inbox" / "sample.csv"
    parquet = as_parquet(output)
    with replacing(output) as part, Writer(part, parquet) as writer:
        writer.write(to_raw(sample(contract, rows, seed), contract))
    here.store.note_synthetic(output)
    show.as_json({"file": str(output), "rows": rows, "seed": seed}) if json else show.line(
        f"{output}: {rows:,} synthetic rows."
    )


@data_app.command("fetch")
def data_fetch(
    number: Annotated[int | None, typer.Argument(help="OpenML data id; by default the one the contract names.")] = None,
    json: AsJson = False,
) -> None:
    """Fetch the table from OpenML into the inbox (needs a network)."""
    from .ingest import openml

    if number is None:
        known = [source["openml"] for source in project().contract.sources if "openml" in source]
        if not known:
            raise UsageError("The contract names no OpenML data set; give its number.")
        number = int(known[0])
    path = root() / "data" / "inbox" / f"openml-{number}.parquet"
    rows = openml(number, path)
    show.as_json({"file": str(path), "rows": rows}) if json else show.line(f"{path}: {rows:,} rows. Next: ingest")


@data_app.command("versions")
def data_versions(json: AsJson = False) -> None:
    """List the data versions, oldest first."""
    versions = project().store.versions()
    if json:
        return show.as_json({"versions": versions})
    show.table(
        "Data versions",
        ("version", "rows", "source", "known as", "taken in"),
        [(m.version, m.rows, m.source, m.known_as, m.created) for m in versions],
    )


def models(json: AsJson = False) -> None:
    """List the model versions and who is champion."""
    registry = project().registry
    history = registry.history()
    roles = (
        dict.fromkeys(history[:-1], "was champion")
        | dict.fromkeys(history[-2:-1], "previous")
        | dict.fromkeys(history[-1:], "champion")
    )
    versions = registry.versions()
    if json:
        return show.as_json({"champion": history[-1] if history else None, "history": history, "versions": versions})
    show.table(
        "Model versions",
        ("version", "role", "line", "data version", "run", "why it passed"),
        [
            (v.version, roles.get(v.version, "challenger"), v.line, v.tags["data_version"], v.run[:8], v.tags["reason"])
            for v in versions
        ],
    )


def promote(version: int, json: AsJson = False) -> None:
    """Make a version the champion."""
    project().promote(version)
    show.as_json({"champion": version}) if json else show.line(f"Version {version} is the champion.", "green")


def rollback(json: AsJson = False) -> None:
    """Make the previous champion the champion again."""
    before, now = project().rollback()
    show.as_json({"champion": now, "was": before}) if json else show.line(
        f"Version {now} is the champion again; it was version {before}.", "green"
    )


def runs(last: Annotated[int, typer.Option(min=1, help="How many.")] = 20, json: AsJson = False) -> None:
    """Compare the training runs, newest first."""
    found = project().registry.runs()[:last]
    if json:
        return show.as_json({"runs": found})
    names = list(dict.fromkeys(name for r in found for name in r["metrics"]))
    rows = [
        (r["run"][:8], datetime.fromtimestamp(r["started"] / 1000, UTC).strftime("%Y-%m-%d %H:%M"), r["status"].lower(), r["parameters"].get("estimator"),
         r["tags"]["data_version"], r["parameters"].get("sample", "all"), r["tags"].get("decision"), *(r["metrics"].get(n) for n in names))
        for r in found
    ]  # fmt: skip
    show.table(
        "Runs (mlflow ui --backend-store-uri sqlite:///mlflow.db shows more)",
        ("run", "started", "status", "estimator", "data", "rows", "decision", *names),
        rows,
    )
