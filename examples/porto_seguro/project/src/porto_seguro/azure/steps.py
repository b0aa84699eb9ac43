"""The steps of the pipeline as commands, paths in and paths out: what components of Azure ML run, and anybody can here."""

import shutil
from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import cli, show
from ..errors import DataError, UsageError
from ..ingest import DATA, MANIFEST, SYNTHETIC
from ..record import RUN, begun, comparable, finished, tags_of
from ..result import notes_on
from .step_io import (
    champion_of,
    contract,
    data_of,
    filling,
    job,
    load,
    manifest_of,
    note,
    read,
    rows_of,
    settings,
    truth_of,
    write,
)

PARTS, PARTED = "split.parquet", "split.json"
VERSION = "version.json"  # what a registration needs: `run`, `line`, `digest`, `judged_against` and all `tags`
LOSS = "validation_loss"  # what `train` logs of boosting rounds, for a sweep to watch

app = typer.Typer(
    no_args_is_help=True,
    help="One step of the pipeline: it reads the paths that it is given and conf/, and writes its output folders. "
    "In the order of a run: ingest, split, train, evaluate, gate; then score and monitor.",
    epilog="Metrics go to the MLflow run that the environment names (MLFLOW_TRACKING_URI, MLFLOW_RUN_ID), if it does. "
    "Exit codes: 0 done (whatever the gate decided), 1 the data is wrong, 2 the command is wrong, 3 a fault.",
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option(help="The folder to write to; it may exist.")]
Data = Annotated[Path, typer.Option(help="A data version: the folder that `ingest` wrote.")]
Parts = Annotated[Path, typer.Option(help="The folder that `split` wrote.")]
Models = Annotated[Path, typer.Option(help="The folder that `train` wrote.")]
Judged = Annotated[Path, typer.Option(help="The folder that `evaluate` (or `gate`) wrote.")]
ModelFolder = Annotated[Path, typer.Option(help="A model folder under seal.")]
Digest = Annotated[str, typer.Option(help="The digest of the model's manifest, where it is known.")]


@app.command()
def ingest(
    raw: Annotated[Path, typer.Option(help="A table, a folder of parts of one table, or a data version.")],
    out: Out,
    file: Annotated[str, typer.Option(help="The one file to take, of a folder that holds others, too.")] = "",
    base: Annotated[Path | None, typer.Option(help="A data version to which the rows are added.")] = None,
    synthetic: Annotated[Literal["yes", "no"], typer.Option(help="Whether the rows were drawn, not seen.")] = "no",
) -> None:
    """Check a table against the contract, and write it as a data version under its content hash."""
    from ..ingest import ingest

    source = raw / file if file else raw
    was = manifest_of(source) if (source / MANIFEST).is_file() else None
    before = manifest_of(base) if base else None
    with filling(out) as folder:
        keep = settings().inbox.keep_rows
        made = ingest(rows_of(source), contract(), folder, base and base / DATA, keep_rows=keep)
        if was:
            made.source_sha256, made.known_as, made.as_of = was.source_sha256, was.known_as, was.as_of
        if synthetic == "yes":
            made.known_as = SYNTHETIC
        if before:
            made.known_as = "" if made.known_as == SYNTHETIC != before.known_as else made.known_as
            made.based_on, made.as_of = before.version, max(made.as_of, before.as_of)
        made.sequence = before.sequence + 1 if before else 1
        write(folder / MANIFEST, made)
    show.line(f"Data version {made.version}, {made.rows:,} rows")


@app.command()
def split(
    data: Data,
    out: Out,
    holdout_from: Annotated[str, typer.Option(help="By time: where the newest version's holdout begins.")] = "",
) -> None:
    """Part the rows into training, early stopping and holdout."""
    from ..split import split

    with filling(out) as folder:
        parts = split(data_of(data), contract(), settings().split, folder / PARTS, holdout_from or None)
        write(folder / PARTED, parts)


@app.command()
def train(
    data: Data,
    parts: Parts,
    out: Out,
    set_: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="Another value of a parameter of the estimator.")
    ] = [],  # noqa: B006  Typer reads it
    log_every: Annotated[
        int, typer.Option(min=0, help=f"Log {LOSS} of every so manieth boosting round; 0: of none.")
    ] = 0,
    commit: Annotated[str, typer.Option(help="Of the code; with -dirty at its end, where it was changed since.")] = "",
) -> None:
    """Fit the model, its simple rival and a constant."""
    from ..train import train_run

    conf, manifest = settings(set_), manifest_of(data)
    about = begun(manifest.version, contract(), read(parts / PARTED), None, manifest.known_as == SYNTHETIC)

    def watch(number: int, loss: float) -> None:
        if (number - 1) % log_every == 0:
            note({LOSS: loss}, step=number)

    with filling(out) as folder:
        learnt = train_run(
            show.root(), job(), data_of(data), parts / PARTS, contract(), conf, folder, about, commit,
            watch if log_every else None,
        )  # fmt: skip
    note({}, learnt, {"line": about["line"]})


@app.command()
def evaluate(
    data: Data,
    parts: Parts,
    models: Models,
    out: Out,
    champion: Annotated[Path | None, typer.Option(help="The champion's model folder, where there is one.")] = None,
    champion_digest: Annotated[str, typer.Option(help="The digest of the champion's manifest.")] = "",
) -> None:
    """Score the holdout with the new model, its rivals and the champion, and measure what the gate asks for."""
    from ..evaluate import evaluate

    about = read(models / RUN)
    old = champion_of(champion, champion_digest) if champion else None
    rival = comparable(old, about)
    about |= {"judged_against": rival.digest if rival else None, "notes": notes_on(old, about)}
    with filling(out) as folder:
        measured = evaluate(
            data_of(data), parts / PARTS, models, contract(), settings(), folder,
            champion if rival else None, rival.digest if rival else None,
        )  # fmt: skip
        write(folder / RUN, about)
    note(measured["metrics"]["model"])


@app.command()
def gate(
    models: Models,
    evaluation: Judged,
    out: Out,
    model: Annotated[Path, typer.Option(help="The folder for the model of the version; it stays empty without one.")],
) -> None:
    """Decide. What passed is made ready to be registered: the model folder, and version.json beside decision.json."""
    from ..gate import gate
    from ..report import report

    conf, about = settings(), read(evaluation / RUN)
    with filling(out) as folder:
        shutil.copytree(evaluation, folder)
        rival = folder / "champion.parquet" if about["judged_against"] else None
        decision = gate(folder / "scores.parquet", folder / "evaluation.json", conf, folder / "decision.json", rival)
        chosen = shutil.copytree(models / decision.candidate, folder / decision.candidate)
        report(folder, conf.name, folder / "report.html")
        model.mkdir(parents=True, exist_ok=True)
        if decision.decision == "passed":
            tags = tags_of(about, decision, read(folder / "evaluation.json"), conf)
            tags = finished(job(), chosen, about["line"], tags)
            known = {key: tags[key] for key in ("run", "line", "digest")}
            write(folder / VERSION, known | {"judged_against": about["judged_against"], "tags": tags})
            shutil.copytree(chosen, model, dirs_exist_ok=True)
        shutil.rmtree(chosen)
    note({}, {}, {"decision": decision.decision, "reason": decision.reasons[0]})
    for text in (*decision.reasons, *about["notes"], f"Decision: {decision.decision}"):
        show.line(text)


@app.command()
def score(
    model: ModelFolder,
    data: Annotated[Path, typer.Option(help="A table, or a folder of tables: CSV or Parquet.")],
    out: Out,
    digest: Digest = "",
) -> None:
    """Score tables; each gives a Parquet file of the same name."""
    from ..parts import parts
    from ..score import score

    loaded = load(model, digest)
    with filling(out) as folder:
        for table in parts(rows_of(data)):
            done = score(loaded, table, folder / f"{table.stem}.parquet")
            show.line(f"{table.name}: {done.rows:,} rows")
            note({"rows": done.rows})


@app.command()
def monitor(
    model: ModelFolder,
    evaluation: Judged,
    out: Out,
    digest: Digest = "",
    version: Annotated[int, typer.Option(help="The model's version: of the prediction log, only its rows count.")] = 0,
    table: Annotated[Path | None, typer.Option(help="The window as a table, or a folder of its parts.")] = None,
    log: Annotated[Path | None, typer.Option(help="Or the folder of the prediction log.")] = None,
    outcomes: Annotated[Path | None, typer.Option(help="A folder of tables with outcomes of rows in the log.")] = None,
    earlier: Annotated[Path | None, typer.Option(help="The folder of earlier reports.")] = None,
    fail_on_alarm: Annotated[bool, typer.Option("--fail-on-alarm", help="End with code 1 where it alarms.")] = False,
) -> None:
    """Compare a window with what the model learnt from; write the report as JSON and as a page."""
    from ..watch.findings import ALARM
    from ..watch.look import look_at_log, look_at_table, name_of, read_report
    from ..watch.page import page
    from ..watch.window import reference_of

    if bool(table) == bool(log):
        raise UsageError("Give either --table or --log: the window to look at.")
    conf, loaded, candidate = settings(), load(model, digest), read(evaluation / "decision.json")["candidate"]
    reference = reference_of(version, loaded, model, conf, evaluation, candidate)
    with filling(out) as folder:
        folder.mkdir()
        if log:
            past = [read_report(path) for path in sorted(earlier.rglob("*-v*.json"))] if earlier else []
            report = look_at_log(reference, log, truth_of(outcomes, loaded.contract), past, conf)
        else:
            report = look_at_table(reference, rows_of(table or model), conf)
        name = name_of(report)
        write(folder / f"{name}.json", report)
        (folder / f"{name}.html").write_text(page(report, conf.name, conf.monitor), "utf-8", newline="\n")
    levels = report.severities
    alarms = ", ".join(kind for kind, level in levels.items() if level == ALARM)
    tags = {"purpose": "monitor", "alarm": alarms} if alarms else {}  # by which events/handler.py knows it from a fault
    note({"rows": report.rows} | {f"severity_{kind}": level for kind, level in levels.items()}, tags=tags)
    for finding in report.findings:
        show.line(f"- {finding.kind}: {finding.text}")
    show.line(f"Status: {report.status}")
    raise typer.Exit(DataError.code if fail_on_alarm and alarms else 0)


def main() -> None:
    """Run one step; errors are told as by the project's own command line."""
    cli.main(app)


if __name__ == "__main__":
    main()
