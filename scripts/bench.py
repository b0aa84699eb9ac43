"""Measure against named peers and write docs/benchmarks.md: `nox -s bench -- [--only NAME] [--json]`.

Speed is measured on whole processes, ours and the peer's in turn; the shortest of several rounds counts, for it was the
least disturbed one. Nothing here is a test: `tests/life` holds what must not get worse.
"""

import argparse
import contextlib
import importlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench_serve import Absent, done_by, peer_env, rates
from bench_watch import EVIDENTLY, OURS, WINDOW, asked, quiet, same, statistics, suite
from render import ROOT, copy_template, example_answers, render
from rich.console import Console
from rich.table import Table

PAGE = ROOT / "docs" / "benchmarks.md"
REAL = ROOT.parent / "shared" / "data"
ROWS, MILLION, MORE = 595_212, 900_000, 5_000_000
MEMORY = 450  # MB
FINE = (0, 4)  # exit codes: the second is a warning of `monitor`
HEAVY = ("numpy", "pandas", "polars", "sklearn", "lightgbm", "mlflow", "matplotlib", "pyarrow")
CCDS = "2.3.0"
CCDS_TEMPLATE = "https://github.com/drivendataorg/cookiecutter-data-science"
LIBRARIES = ("cookiecutter", "copier", "lightgbm", "mlflow", "numpy", "pandas", "polars", "pyarrow", "scikit-learn")
err = Console(stderr=True, highlight=False)

# What a peer is: a script as somebody in a hurry writes it, with the same job to do.

FLOOR = """
import json, pathlib, sys
import jinja2
root, made, answers, target = sys.argv[1:]
context = json.loads(pathlib.Path(answers).read_text("utf-8"))
env = jinja2.Environment(
    loader=jinja2.FileSystemLoader([root, root + "/templates"]), undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
)
template = pathlib.Path(root, "{{cookiecutter.project_slug}}")
for source in template.rglob("*"):
    name = env.from_string(source.relative_to(template).as_posix()).render(context)
    if source.is_file() and pathlib.Path(made, name).is_file():
        path = pathlib.Path(target, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(env.get_template(source.relative_to(root).as_posix()).render(context), "utf-8")
"""

FIT = """
import sys
import lightgbm, numpy, pandas
from sklearn.metrics import roc_auc_score
file, parts, parameters = sys.argv[1:]
frame = pandas.read_csv(file) if file.endswith(".csv") else pandas.read_parquet(file)
part = pandas.read_parquet(parts)["part"].to_numpy()
y = frame["target"].to_numpy()
x = frame[[c for c in frame if c not in ("id", "target") and "_calc_" not in c]].to_numpy(numpy.float32)
x[x == -1] = numpy.nan
model = lightgbm.LGBMClassifier(n_estimators=2000, min_child_samples=50, verbose=-1, **eval(parameters))
model.fit(
    x[part == 0], y[part == 0], eval_X=x[part == 1], eval_y=y[part == 1],
    callbacks=[lightgbm.early_stopping(100, first_metric_only=True, verbose=False)],
)
print(model.best_iteration_, roc_auc_score(y[part == 2], model.predict_proba(x[part == 2])[:, 1]))
"""

PIPELINE = """
import sys
import joblib, numpy, pandas
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
file, out, rounds = sys.argv[1:]
frame = pandas.read_parquet(file).head(100_000)
names = [c for c in frame if c not in ("id", "target") and "_calc_" not in c]
kinds = [c for c in names if c.endswith("_cat")]
prepare = ColumnTransformer([
    ("kinds", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), kinds),
    ("numbers", SimpleImputer(missing_values=-1, strategy="median"), [c for c in names if c not in kinds]),
])
boosting = HistGradientBoostingClassifier(
    max_iter=int(rounds), learning_rate=0.05, max_leaf_nodes=3, min_samples_leaf=50, l2_regularization=50,
    early_stopping=False, random_state=0,
)
joblib.dump(make_pipeline(prepare, boosting).fit(frame[names], frame["target"]), out)
"""

PREDICT = """
import sys
import joblib, pandas
model, source, target = sys.argv[1:]
frame = pandas.read_csv(source) if source.endswith(".csv") else pandas.read_parquet(source)
out = pandas.DataFrame({"id": frame["id"], "score": joblib.load(model).predict_proba(frame)[:, 1]})
out.to_csv(target, index=False) if target.endswith(".csv") else out.to_parquet(target)
"""

# A small process in between: the peak memory of a child counts from the size of the one that started it.
LAUNCH = """
import json, os, sys, time
start = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ), 0)
told = {
    "wall": time.perf_counter() - start, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss,
    "code": os.waitstatus_to_exitcode(status),
}
with open(sys.argv[1], "w") as file:
    json.dump(told, file)
"""

MODULES = """
import contextlib, io, json, runpy, sys
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    sys.argv = ["porto-seguro", *sys.argv[1:]]
    runpy.run_module("porto_seguro", run_name="__main__")
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@dataclass
class Row:
    """A line of the table; `ratio` is what the goal is about, `cpu` the ratio of processor time."""

    what: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    cpu: float | None = None
    goal: str = ""
    kept: bool | None = None


@dataclass
class Used:
    """What a process used: seconds, processor seconds, peak memory in MB; and what it printed."""

    wall: float
    cpu: float
    memory: float
    output: str


class Bench:
    """A scratch folder with a baked project, its data and its model; each is made when it is first needed."""

    def __init__(self, scratch: Path, ccds_template: str, rounds: int, share: float = 1.0) -> None:
        """Remember the folder; nothing is made yet. `share` is that of the rows of every table."""
        self.scratch, self.ccds_template, self.rounds, self.share = scratch, ccds_template, rounds, share
        self.template = copy_template(scratch / "template")

    def size(self, rows: int) -> int:
        """The rows that a table of so many has here."""
        return round(rows * self.share)

    def say(self, text: str) -> None:
        """Tell the terminal what is being done."""
        err.print(f"  {text}", style="dim")

    @cached_property
    def project(self) -> Path:
        """The Porto Seguro project."""
        self.say("baking Porto Seguro")
        return render("cookiecutter", self.template, example_answers(), self.scratch)

    @cached_property
    def german(self) -> Path:
        """The German credit project."""
        return render("cookiecutter", self.template, {"use_case": "german-credit"}, self.scratch)

    @cached_property
    def env(self) -> dict[str, str]:
        """The environment of every process: threads that wait leave the processor to others, for peers as for us.

        Bytecode is kept, as it is where people work.
        """
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return {**kept, "PYTHONPATH": str(self.project / "src"), "OMP_WAIT_POLICY": "PASSIVE"}

    def modules(self, *names: str) -> SimpleNamespace:
        """Import modules of the project into this process."""
        if str(self.project / "src") not in sys.path:
            sys.path.insert(0, str(self.project / "src"))
        return SimpleNamespace(**{name: importlib.import_module(f"porto_seguro.{name}") for name in names})

    def command(self, *words: str | Path) -> list[str]:
        """The words of one of the project's commands."""
        return [sys.executable, "-m", "porto_seguro", *map(str, words)]

    @cached_property
    def parquet(self) -> Path:
        """As many synthetic rows as the real table has, with -1 for missing, as it has them."""
        return self.drawn(ROWS, 0)

    def drawn(self, rows: int, seed: int) -> Path:
        """Synthetic rows as Parquet."""
        self.say(f"drawing {self.size(rows):,} rows")
        path = self.scratch / f"rows-seed-{seed}.parquet"
        words = ("--rows", str(self.size(rows)), "--seed", str(seed), "--output", path)
        used(self.command("data", "sample", *words), self.project, self.env)
        return path

    @cached_property
    def csv(self) -> Path:
        """The same rows as CSV."""
        import polars as pl

        pl.read_parquet(self.parquet).write_csv(self.scratch / "rows.csv")
        return self.scratch / "rows.csv"

    def longer(self, rows: int, kind: str) -> Path:
        """The same rows again and again, up to a number."""
        import polars as pl

        path = self.scratch / f"rows-{rows}.{kind}"
        if not path.exists():
            self.say(f"writing {rows:,} rows of {kind}")
            lazy = pl.concat([pl.scan_parquet(self.parquet)] * -(-rows // self.size(ROWS))).head(rows)
            lazy.sink_csv(path) if kind == "csv" else lazy.sink_parquet(path, row_group_size=100_000)
        return path

    def fresh(self) -> Path:
        """A copy of the project that has seen nothing yet."""
        target = self.scratch / "fresh"
        shutil.rmtree(target, ignore_errors=True)
        for name in ("versions", "archive", "quarantine"):
            shutil.rmtree(self.project / "data" / name, ignore_errors=True)
        return Path(shutil.copytree(self.project, target))

    @cached_property
    def trained(self) -> Path:
        """A project with a champion."""
        self.say("training a champion on all rows")
        target = Path(shutil.copytree(self.fresh(), self.scratch / "trained"))
        used(self.command("run", "--data", self.parquet, "--json"), target, self.env)
        return target

    def lineage(self) -> dict[str, Any]:
        """What the champion was made with."""
        file = next((self.trained / "runs").glob("*/artifacts/model/data/native/lineage.json"))
        told: dict[str, Any] = json.loads(file.read_text("utf-8"))
        return told

    def in_turn(self, jobs: Mapping[str, Callable[[], Used]], rounds: int | None = None) -> dict[str, Used]:
        """Do the jobs one after the other, several times over; the best wall and processor time of each."""
        found: dict[str, list[Used]] = {name: [] for name in jobs}
        for n in range(rounds or self.rounds):
            for name, job in jobs.items():
                found[name].append(job())
                last = found[name][-1]
                self.say(f"round {n + 1}: {name} {last.wall:.2f} s, processor {last.cpu:.2f} s, {last.memory:.0f} MB")
        return {
            name: Used(min(u.wall for u in us), min(u.cpu for u in us), max(u.memory for u in us), us[-1].output)
            for name, us in found.items()
        }


def used(command: Sequence[str], cwd: Path, env: Mapping[str, str], fine: Sequence[int] = (0,)) -> Used:
    """Run a process to its end.

    Raises:
        RuntimeError: it failed: its exit code is not one of the fine ones.
    """
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as notes:
        words = [sys.executable, "-c", LAUNCH, notes.name, *command]
        done = subprocess.run(words, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        told = json.load(notes)
    if told["code"] not in fine:
        said = (done.stderr + done.stdout)[-2000:]
        raise RuntimeError(f"{' '.join(command)[:200]} ended with {told['code']}: {said}")
    unit = 1 if sys.platform == "darwin" else 1024  # of what the system counts memory in
    return Used(told["wall"], told["cpu"], told["memory"] * unit / 1e6, done.stdout)


def compared(what: str, ours: Used, peer: Used, goal: str = "", kept: Callable[[float], bool] | None = None) -> Row:
    """A row about time: how often the peer's time we take."""
    ratio = ours.wall / peer.wall
    row = Row(what, seconds(ours.wall), seconds(peer.wall), ratio, ours.cpu / peer.cpu, goal)
    row.kept = kept(ratio) if kept else None
    return row


def seconds(value: float) -> str:
    """Write a time."""
    return f"{value:.1f} s" if value >= 10 else f"{value:.2f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"


def bake(bench: Bench) -> Iterator[Row]:
    """Both engines, `ccds` and plain Jinja, each as a process that writes a project."""
    notes, out = bench.scratch / "notes", bench.scratch / "out"
    notes.mkdir()
    config = notes / "config.yml"
    config.write_text(json.dumps({"replay_dir": str(notes), "cookiecutters_dir": str(notes)}), "utf-8")
    cookie = ("--no-input", "-o", str(out), "--config-file", str(config))

    def empty(*command: str) -> Callable[[], Used]:
        def job() -> Used:
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            return used(command, bench.scratch, bench.env)

        return job

    jobs = {
        "cookiecutter": empty(sys.executable, "-m", "cookiecutter", str(bench.template), *cookie),
        "copier": empty(sys.executable, "-m", "copier", "copy", "-lq", str(bench.template), str(out / "project")),
    }
    jobs["cookiecutter"]()
    context = notes / "template.json"  # cookiecutter notes what it rendered with
    jobs["plain Jinja"] = empty(
        sys.executable, "-c", FLOOR, str(bench.template), str(bench.project), str(context), str(out)
    )
    jobs["plain Jinja"]()
    wanted, got = files(bench.project), files(out)
    if wanted != got:
        raise RuntimeError(f"plain Jinja wrote other files: {sorted(wanted ^ got)[:5]}")
    with contextlib.suppress(Absent):
        jobs["ccds"] = empty(*ccds(bench), *cookie)
    best = bench.in_turn(jobs, max(5, bench.rounds))
    for engine in ("cookiecutter", "copier"):
        if "ccds" in best:
            yield compared(f"bake with {engine}, against `ccds` {CCDS}", best[engine], best["ccds"])
        else:
            yield Row(f"bake with {engine}, against `ccds` {CCDS}", seconds(best[engine].wall), "absent: no network")
        yield compared(f"bake with {engine}, against plain Jinja", best[engine], best["plain Jinja"])


def files(folder: Path) -> set[str]:
    """The files below a folder, without what imports leave behind."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def ccds(bench: Bench) -> list[str]:
    """The words of `ccds`, installed into an environment of its own with its template beside it."""
    template = bench.scratch / "ccds-template"
    clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", f"v{CCDS}", bench.ccds_template, str(template)]
    try:
        programs = peer_env(bench.scratch, "ccds", f"cookiecutter-data-science=={CCDS}")
        done_by("ccds", clone)
    except Absent as error:
        bench.say(f"absent: {error}")
        raise
    return [str(programs / "ccds"), str(template)]


def run(bench: Bench) -> Iterator[Row]:
    """`run` from file to promoted version, against a bare script that makes the same fit on the same parts."""
    parts = next((bench.trained / "runs").glob("*/artifacts/split.parquet"))
    lineage = bench.lineage()
    fixed = lineage["parameters"] | {"random_state": lineage["seeds"]["model"]}

    def ours(file: Path) -> Used:
        return used(bench.command("run", "--data", file, "--json"), bench.fresh(), bench.env)

    def bare(file: Path) -> Used:
        return used([sys.executable, "-c", FIT, str(file), str(parts), repr(fixed)], bench.scratch, bench.env)

    for file in (bench.parquet, bench.csv):
        best = bench.in_turn({"ours": partial(ours, file), "bare": partial(bare, file)})
        rounds, auc = best["bare"].output.split()
        mine = json.loads(best["ours"].output.splitlines()[-1])
        bench.say(f"ours {lineage['rounds']} rounds, AUC {mine['metrics']['auc']:.5f}; bare {rounds}, {float(auc):.5f}")
        what = f"`run --data` on {bench.size(ROWS):,} rows of {file.suffix[1:]}, against a bare LightGBM script"
        yield compared(what, best["ours"], best["bare"], "at most 1.25", lambda r: r <= 1.25)


def check(bench: Bench) -> Iterator[Row]:
    """`check_frame` on the clean table, against one hand-written Polars query of the same rules."""
    import polars as pl

    p = bench.modules("contract", "clean", "check")
    contract = p.contract.load_contract(bench.project / "conf" / "contract.yaml")
    frame, _, _ = p.clean.read(bench.parquet, contract, contract.names)
    query: list[pl.Expr] = []
    for column in contract.columns:
        value = pl.col(column.name)
        if column.role == "ignored":
            continue
        if column.required or column.missing is not None:
            query.append(value.null_count().name.suffix(" missing"))
        if column.minimum is not None:
            query.append(value.min().name.suffix(" least"))
        if column.maximum is not None:
            query.append(value.max().name.suffix(" most"))
        if column.unique:
            query.append(value.n_unique().name.suffix(" kinds"))
        if column.categories:
            low, high = min(column.categories), max(column.categories)
            gapless = high - low < len(column.categories)
            known = value.is_between(low, high) if gapless else value.is_in(column.categories)
            query.append(known.not_().sum().name.suffix(" unknown"))
    query += [pl.sql_expr(rule.sql).all().alias(rule.name) for rule in contract.rules]
    if p.check.check_frame(frame, contract):
        raise RuntimeError("the synthetic table breaks its contract")

    def clocked(job: Callable[[], object]) -> Used:
        wall, cpu = time.perf_counter(), time.process_time()
        job()
        return Used(time.perf_counter() - wall, time.process_time() - cpu, 0, "")

    ours, hand = [], []
    for _ in range(30):
        ours.append(clocked(lambda: p.check.check_frame(frame, contract)))
        hand.append(clocked(lambda: frame.select(query)))
    best = [Used(min(u.wall for u in us), min(u.cpu for u in us), 0, "") for us in (ours, hand)]
    what = f"contract check of {bench.size(ROWS):,} clean rows, against a hand-written Polars query of the same rules"
    yield compared(what, best[0], best[1], "at most 4", lambda r: r <= 4)


def score(bench: Bench) -> Iterator[Row]:
    """`score` file to file, against a scikit-learn Pipeline on a pandas frame with as many trees."""
    model, trees = bench.scratch / "pipeline.joblib", str(bench.lineage()["rounds"])
    bench.say(f"fitting the peer with {trees} trees")
    used([sys.executable, "-c", PIPELINE, str(bench.parquet), str(model), trees], bench.scratch, bench.env)
    for kind in ("parquet", "csv"):
        source, target = bench.longer(bench.size(MILLION), kind), bench.scratch / f"scores.{kind}"
        ours = partial(used, bench.command("score", source, target, "--json"), bench.trained, bench.env)
        words = [sys.executable, "-c", PREDICT, str(model), str(source), str(target)]
        best = bench.in_turn({"ours": ours, "peer": partial(used, words, bench.scratch, bench.env)})
        what = f"`score` {bench.size(MILLION):,} rows of {kind}, against a scikit-learn Pipeline on pandas"
        row = compared(what, best["peer"], best["ours"], "at least 3 times as fast", lambda r: r >= 3)
        row.ours, row.peer = row.peer, row.ours
        yield row


def memory(bench: Bench) -> Iterator[Row]:
    """Peak memory of `score` and `monitor` on two sizes; one must not need more than the other."""
    sizes = bench.size(MILLION), bench.size(MORE)
    for name, kind in (("score", "parquet"), ("score", "csv"), ("monitor", "parquet")):
        peaks = []
        for rows in sizes:
            given = [bench.longer(rows, kind), *([bench.scratch / f"scores.{kind}"] if name == "score" else [])]
            done = used(bench.command(name, *given, "--json"), bench.trained, bench.env, FINE)
            bench.say(f"{name} {rows:,} rows of {kind}: {done.memory:.0f} MB, {done.wall:.1f} s")
            peaks.append(done.memory)
        small, large = peaks
        what = f"peak memory of `{name}`, {sizes[1] / 1e6:g} million rows of {kind} against {sizes[0] / 1e6:g} million"
        goal = f"at most {MEMORY} MB, and 1.1"
        kept = large <= MEMORY and large / small <= 1.1
        yield Row(what, f"{large:.0f} MB", f"{small:.0f} MB", large / small, goal=goal, kept=kept)


def drift(bench: Bench) -> Iterator[Row]:
    """PSI and KS of every column, and the whole of `monitor`, against the reporting suite evidently."""
    import polars as pl

    p = bench.modules("contract")
    columns = p.contract.load_contract(bench.project / "conf" / "contract.yaml").columns
    every = [c for c in columns if c.role in ("feature", "ignored")]
    files = bench.scratch / "reference.parquet", bench.scratch / "window.parquet"
    for file, raw in zip(files, (bench.parquet, bench.drawn(WINDOW, 1)), strict=True):
        # A gap as null is what both sides know without being told.
        filled = (pl.when(pl.col(c.name) != -1).then(pl.col(c.name)) for c in every)
        pl.scan_parquet(raw).with_columns(filled).sink_parquet(file, row_group_size=100_000)
    wanted = {n: bench.scratch / f"wanted-{n}.json" for n in ("every", "features")}
    wanted["every"].write_text(json.dumps(statistics(every)), "utf-8")
    wanted["features"].write_text(json.dumps(statistics([c for c in every if c.role == "feature"])), "utf-8")

    def clocked(words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> Used:
        done = used(words, cwd, env)
        told = json.loads(done.output.splitlines()[-1])
        return Used(told["wall"], told["cpu"], done.memory, json.dumps(told["found"]))

    mine = [sys.executable, "-c", OURS, *map(str, files), str(wanted["every"])]
    jobs = {"ours": partial(clocked, mine, bench.project, bench.env)}
    whole = {"ours": partial(used, bench.command("monitor", files[1], "--json"), bench.trained, bench.env, FINE)}
    name, absent = f"evidently {EVIDENTLY}", ""
    try:
        python, env = suite(bench.scratch), quiet(bench.env, bench.scratch)
        for way in ("report", "bare"):
            jobs[way] = partial(clocked, asked(python, *files, wanted["every"], way), bench.scratch, env)
        whole["peer"] = partial(used, asked(python, *files, wanted["features"]), bench.scratch, env)
    except Absent as error:
        bench.say(f"absent: {error}")
        absent = "absent: no network"
    rows = f"{bench.size(WINDOW):,} rows against {bench.size(ROWS):,}"
    best = bench.in_turn(jobs)
    what = f"PSI and KS (categories: chi-square) of {len(every)} columns, {rows}, both in memory"
    if absent:
        yield Row(f"{what}, against {name}", seconds(best["ours"].wall), absent)
    else:
        same(json.loads(best["ours"].output), json.loads(best["bare"].output), json.loads(best["report"].output))
        yield compared(f"{what}, against {name}", best["ours"], best["report"], "at most 0.1", lambda r: r <= 0.1)
        yield compared(f"{what}, against its bare functions", best["ours"], best["bare"])
    best = bench.in_turn(whole)
    what = f"`monitor` on {bench.size(WINDOW):,} rows of parquet, which scores them too, against {name}, which does not"
    if absent:
        yield Row(what, seconds(best["ours"].wall), absent)
    else:
        yield compared(what, best["ours"], best["peer"])


def start(bench: Bench) -> Iterator[Row]:
    """`--help`: what it imports, and its time against a Python that does nothing."""
    found = heavy_modules(bench.project, bench.env, "--help")
    yield Row("`--help` imports no ML library", ", ".join(found) or "none", goal="none", kept=not found)
    best = bench.in_turn(
        {
            "help": lambda: used(bench.command("--help"), bench.project, bench.env),
            "pass": lambda: used([sys.executable, "-c", "pass"], bench.project, bench.env),
        },
        10,
    )
    yield compared("`--help`, against `python -c pass`", best["help"], best["pass"])


def heavy_modules(project: Path, env: Mapping[str, str], *words: str) -> list[str]:
    """Which of the heavy libraries a command imports."""
    done = used([sys.executable, "-c", MODULES, *words], project, env)
    return sorted(set(json.loads(done.output.splitlines()[-1])) & set(HEAVY))


def serve(bench: Bench) -> Iterator[Row]:
    """The scoring service at 16 connections, against an empty handler, and the servers of MLflow and Azure ML."""
    try:
        found = rates(bench.trained, bench.env, bench.scratch, bench.rounds)
    except Absent as error:
        yield Row("requests a second of the scoring service", f"absent: {error}")
        return
    goals = {
        ("ours, lists", "empty FastAPI", 1): 0.9, ("ours, objects", "empty FastAPI", 1): None,
        ("ours, objects", "mlflow", 1): 20.0, ("ours, objects", "mlflow", 100): 5.0,
        ("ours, objects", "azureml-inference-server-http", 1): 4.0,
        ("ours, objects", "azureml-inference-server-http", 100): None,
        ("ours, through the router", "ours, lists", 1): None,
        ("ours, through the router", "ours, lists", 100): None,
    }  # fmt: skip
    for (ours, peer, rows), least in goals.items():
        other = "the service itself" if peer.startswith("ours") else peer
        what = f"`serve`, {rows} row{'s' * (rows > 1)} a request ({ours[6:]}), against {other}"
        if peer not in found:
            yield Row(what, f"{found[ours][rows]:,.0f} /s", "absent")
            continue
        ratio = found[ours][rows] / found[peer][rows]
        goal, kept = (f"at least {least:g}", ratio >= least) if least else ("", None)
        yield Row(
            what, f"{found[ours][rows]:,.0f} /s", f"{found[peer][rows]:,.0f} /s", ratio, goal=goal, kept=kept
        )  # fmt: skip


def quality(bench: Bench) -> Iterator[Row]:
    """The shipped recipe on the real rows against the lab's own, over ten splits; the logistic one on German credit."""
    porto = REAL / "porto_seguro" / "train_head19393.csv"
    if porto.is_file():
        import numpy as np

        ours, lab = (np.array(each) for each in zip(*splits(bench, porto), strict=True))
        gain, error = (ours - lab).mean(), (ours - lab).std(ddof=1) / math.sqrt(len(ours))
        bench.say(f"paired difference {gain:+.4f}, standard error {error:.4f}, better on {(ours > lab).sum()} splits")
        what = "AUC on 19,393 real Porto Seguro rows, mean of 10 splits, against the lab's recipe"
        yield Row(
            what, f"{ours.mean():.4f}", f"{lab.mean():.4f}", float(ours.mean() / lab.mean()),
            goal="at least 0.628, and better", kept=bool(ours.mean() >= 0.628 and gain > 2 * error),
        )  # fmt: skip
    else:
        yield Row("AUC on the real Porto Seguro rows", f"absent: {porto.parent}")
    german = REAL / "german_credit" / "german_credit_data.csv"
    if german.is_file():
        for name, got, published in zip(("train", "test"), credit(bench, german), (0.745, 0.735), strict=True):
            what = f"accuracy on German credit, {name}, logistic, against the published recipe"
            yield Row(what, f"{got:.3f}", f"{published:.3f}", got / published, goal="equal", kept=got == published)
    else:
        yield Row("accuracy on German credit", f"absent: {german.parent}")


def encoded(bench: Bench, project: Path, file: Path) -> tuple[Any, Any, Any, SimpleNamespace]:
    """A table as the project's estimators see it: matrix, target, encoder; and the project's modules."""
    p = bench.modules("config", "contract", "clean", "encode", "model")
    contract = p.contract.load_contract(project / "conf" / "contract.yaml")
    frame, problems, _ = p.clean.read(file, contract, contract.names)
    if problems:
        raise RuntimeError(f"{file.name}: {problems[0]}")
    encoder = p.encode.fit_encoder(frame.select(c.name for c in contract.of("feature")), contract)
    return encoder.transform(frame), p.encode.encode_target(frame, contract), encoder, p


def splits(bench: Bench, file: Path) -> Iterator[tuple[float, float]]:
    """The AUC of the shipped recipe and of the lab's on each of ten splits (5 folds, twice).

    The lab stopped early on its test rows, which flatters it; ours keeps an eighth of the training rows for that.
    """
    import lightgbm
    import numpy as np
    from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]
    from sklearn.model_selection import RepeatedStratifiedKFold  # type: ignore[import-untyped]

    x, y, encoder, p = encoded(bench, bench.project, file)
    chosen = p.config.load_settings(bench.project / "conf").model
    raw = np.genfromtxt(file, delimiter=",", skip_header=1)[:, 2:]
    lab = {
        "learning_rate": 0.02, "boosting_type": "gbdt", "objective": "binary", "metric": "auc", "sub_feature": 0.7,
        "num_leaves": 60, "min_data": 100, "min_hessian": 1, "verbose": -1,
    }  # fmt: skip
    folds = RepeatedStratifiedKFold(n_splits=5, n_repeats=2, random_state=0).split(x, y)
    for n, (train, test) in enumerate(folds):
        stop = np.random.default_rng(n).random(len(train)) < 1 / 8
        a, b = train[~stop], train[stop]
        estimator = p.model.build(chosen.estimator, chosen.parameters, "binary", encoder, chosen.seed)
        estimator = p.model.fit(estimator, x[a], y[a], x[b], y[b], "binary")
        ours = roc_auc_score(y[test], p.model.scores(estimator, x[test], "binary"))
        booster = lightgbm.train(
            lab, lightgbm.Dataset(raw[train], y[train]), 500, valid_sets=[lightgbm.Dataset(raw[test], y[test])],
            callbacks=[lightgbm.early_stopping(20, verbose=False)],
        )  # fmt: skip
        theirs = roc_auc_score(y[test], booster.predict(raw[test]))
        bench.say(f"split {n + 1}: ours {ours:.4f}, the lab's {theirs:.4f}")
        yield float(ours), float(theirs)


def credit(bench: Bench, file: Path) -> tuple[float, float]:
    """The accuracy of the logistic estimator in training and test, on the published split."""
    from sklearn.model_selection import train_test_split

    x, y, encoder, p = encoded(bench, bench.german, file)
    # The published split was drawn with the labels in alphabetical order: bad, good.
    a, b, ya, yb = train_test_split(x, y, test_size=0.2, random_state=42, stratify=1 - y)
    fitted = p.model.fit(p.model.build("logistic", {}, "binary", encoder, 0), a, ya, a[:0], ya[:0], "binary")
    return round(float(fitted.score(a, ya)), 6), round(float(fitted.score(b, yb)), 6)


MEASUREMENTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    measure.__name__: measure for measure in (bake, run, check, score, memory, drift, start, serve, quality)
}


def machine() -> dict[str, str]:
    """Where and with what it was measured."""
    model = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores of {model}, {gigabytes:.0f} GB, {platform.system()} {platform.machine()}",
        "versions": ", ".join([f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in LIBRARIES)]),
    }


def page(rows: Sequence[Row], about: Mapping[str, str]) -> str:
    """The page with the table."""
    head = ("what", "ours", "peer", "ratio", "of processor time", "goal", "kept?")
    cells = [
        (
            row.what, row.ours, row.peer, *("" if n is None else f"{n:.2f}" for n in (row.ratio, row.cpu)), row.goal,
            "" if row.kept is None else "yes" if row.kept else "**no**",
        )
        for row in rows
    ]  # fmt: skip
    table = "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *cells))
    return f"""# Benchmarks

Written by `nox -s bench` on {about["date"]}: {about["machine"]}.
{about["versions"]}.

{table}

How it is measured:

- Speed is a ratio to a named peer on the same machine in the same minutes; the times alone say little. Both run in
  turn, as whole processes from start to end; the shortest of the rounds counts, for it was the least disturbed one.
  Where other work shares the machine, the ratio of processor times is the steadier of the two.
- `run` does in a new project what its user gets: checks and stores the table, makes the fit, adds a logistic and a
  constant model, judges with a bootstrap, writes the report, registers and promotes. The bare script reads the same
  file with pandas, makes the same fit on the same parts of the same rows and prints the AUC. The rows are synthetic.
- The Pipeline (ordinal codes, imputed numbers, histogram boosting with as many trees of as many leaves) reads, predicts
  and writes with pandas; `score` also checks every value against the contract.
- The drift of all columns, the dropped ones too, is timed from two frames in memory to all numbers, without imports and
  reading. The suite is asked for `ValueDrift` of each column and statistic, the quickest of its documented ways; its
  bare functions are what stands behind them, without what it counts for its page. Both find the same PSI.
- `serve` runs with contract check, limits, metrics and prediction log on; it passed `check endpoint` before, every
  answer was a 200, and the log had every row. The empty FastAPI handler reads nothing and scores nothing. The servers
  of MLflow and Azure ML load the same model. wrk, one thread and 16 connections, runs on the same machine.
- The hand-written check knows the rules of the contract and says whether they hold; ours also says where they do not.
- The lab's recipe is LightGBM with the settings of the original workshop, stopped early on its test rows as there. The
  real rows lie outside the repository; where they are not, the table says so.
- Waiting threads are told to leave the processor to others (`OMP_WAIT_POLICY=PASSIVE`), for peers as for us.
"""


def main() -> None:
    """Measure, tell and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=MEASUREMENTS, action="append", help="measure this only; writes no page")
    parser.add_argument("--json", action="store_true", help="print one JSON object; writes no page")
    parser.add_argument("--rounds", type=int, default=3, help="how often the slow ones are repeated (3)")
    parser.add_argument("--share", type=float, default=1.0, help="share of the rows, for a quick try; writes no page")
    parser.add_argument("--ccds-template", default=CCDS_TEMPLATE, help="URL or path of the template of `ccds`")
    given = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(Path(scratch), given.ccds_template, given.rounds, given.share)
        for name in given.only or MEASUREMENTS:
            err.print(f"[bold]{name}[/]: {(MEASUREMENTS[name].__doc__ or '').splitlines()[0]}")
            for row in MEASUREMENTS[name](bench):
                rows.append(row)
                err.print(f"  {row.what}: {row.ours} | {row.peer} | {row.ratio or 0:.2f} | {row.goal} | {row.kept}")
    about = machine()
    if given.json:
        print(json.dumps({**about, "rows": [asdict(row) for row in rows]}))
        return
    table = Table("what", "ours", "peer", "ratio", "processor", "goal", "kept?", title="Benchmarks")
    for row in rows:
        ratios = ("" if n is None else f"{n:.2f}" for n in (row.ratio, row.cpu))
        table.add_row(row.what, row.ours, row.peer, *ratios, row.goal, "" if row.kept is None else str(row.kept))
    Console(width=160).print(table)
    if not given.only and given.share == 1:
        PAGE.write_text(page(rows, about), "utf-8", newline="\n")
        err.print(f"Written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
