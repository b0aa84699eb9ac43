"""Generate the Porto Seguro project and take it through its whole life; each step says what came out of it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from render import EXAMPLE, ROOT, copy_template, example_answers, render
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from running import free_port, running

ROWS = 40_000
FOLDER = ROOT / "demo"
# A first attempt that is good enough to pass, and easily beaten.
FIRST = {"estimator": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 3, "min_samples_leaf": 400}}


class Surprise(RuntimeError):
    """A step did not end as it must."""


class Demo:
    """The generated project, and the table of what happened to it."""

    def __init__(self) -> None:
        """Generate the project anew."""
        shutil.rmtree(FOLDER, ignore_errors=True)
        FOLDER.mkdir()
        with tempfile.TemporaryDirectory() as scratch:
            self.root = render("copier", copy_template(Path(scratch, "template")), example_answers(EXAMPLE), FOLDER)
            self.root = self.root.rename(FOLDER / "porto-seguro")
        self.table = Table("command", "what came out", "seconds", title="The life of a model", title_justify="left")
        self.table.columns[2].justify = "right"
        self.settings = self.root / "conf" / "project.yaml"
        self.recipe = self.settings.read_text("utf-8")

    def do(self, *words: str, expect: int = 0) -> dict[str, Any]:
        """Run a command of the project and return what it printed as JSON."""
        start = time.perf_counter()
        command, env = self.command(*words, "--json")
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, encoding="utf-8")
        self._seconds, self._words = time.perf_counter() - start, words
        if done.returncode != expect:
            raise Surprise(f"{' '.join(words)} ended with {done.returncode}, not {expect}:\n{done.stdout}{done.stderr}")
        told: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
        return told

    def command(self, *words: str) -> tuple[list[str], dict[str, str]]:
        """Return the words and the environment of one of the project's commands."""
        return [sys.executable, "-m", "porto_seguro", *words], {**os.environ, "PYTHONPATH": "src"}

    def say(self, text: str) -> None:
        """Note what came out of the last command."""
        words = " ".join(word.rpartition("/")[2] for word in self._words)
        self.table.add_row(words, text, f"{self._seconds:.1f}")

    def judged(self, told: dict[str, Any], decision: str) -> None:
        """Note a run, which must have ended with this decision."""
        if told["decision"] != decision:
            raise Surprise(f"The gate said {told['decision']}, not {decision}: {told['reasons']}")
        version = f", version {told['model_version']}" if told["model_version"] else ""
        self.say(f"{decision}{version}, AUC {told['metrics']['auc']:.4f}: {told['reasons'][0]}")

    def use(self, model: dict[str, Any] | None) -> None:
        """Put another estimator into conf/project.yaml; None brings the shipped recipe back."""
        settings = yaml.safe_load(self.recipe)
        self.settings.write_text(yaml.safe_dump(settings | {"model": model}) if model else self.recipe, "utf-8")


def live(demo: Demo) -> Path:
    """Play the life and return the champion's report."""
    told = demo.do("data", "sample", "--rows", str(ROWS), "--output", "data/inbox/claims.csv")
    demo.say(f"{told['rows']:,} synthetic rows, drawn from the contract")
    told = demo.do("contract", "check", "data/inbox/claims.csv")
    demo.say(f"{told['rows']:,} rows, {len(told['problems'])} problems")
    told = demo.do("ingest")
    demo.say(f"data version {told['ingested'][0]['version']}")
    broken = demo.root / "data" / "inbox" / "broken.csv"
    broken.write_text(
        next((demo.root / "data" / "archive").iterdir()).read_text("utf-8").replace("ps_ind_01", "x", 1), "utf-8"
    )
    demo.do("ingest", expect=1)
    demo.say("a file with a renamed column: put into the quarantine, exit code 1")
    demo.use(FIRST)
    demo.judged(demo.do("run"), "promoted")
    demo.use(None)
    better = demo.do("run")
    demo.judged(better, "promoted")
    demo.judged(demo.do("run"), "kept_champion")
    demo.use({"estimator": "constant", "parameters": {}})
    demo.judged(demo.do("run"), "rejected")
    demo.use(None)
    scored = demo.root / "scores.csv"
    told = demo.do("score", "data/versions/" + better["data_version"] + "/data.parquet", "scores.csv")
    demo.say(f"{told['rows']:,} rows by version {told['model_version']}")
    best = scored.read_bytes()
    told = demo.do("rollback")
    demo.say(f"version {told['champion']} is the champion again")
    demo.do("promote", str(better["model_version"]))
    demo.say(f"version {better['model_version']} is back")
    demo.do("score", "data/versions/" + better["data_version"] + "/data.parquet", "scores.csv")
    if scored.read_bytes() != best:
        raise Surprise("The same version gave other scores.")
    demo.say("the same scores as before, byte for byte")
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    command, env = demo.command("serve", "--port", port)
    with running(command, url + "/readyz", demo.root, env):
        told = demo.do("check", "endpoint", url)
        demo.say(f"served over HTTP: {len(told['checks'])} checks passed, in {told['median_ms']:.1f} ms a row")
    return Path(better["report"])


def main() -> None:
    """Play the demo with progress, then show the table."""
    console = Console()
    console.width = max(console.width, 120)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("generating the project")
        demo = Demo()
        plain = demo.do

        def telling(*words: str, expect: int = 0) -> dict[str, Any]:
            progress.update(task, description=" ".join(words))
            return plain(*words, expect=expect)

        demo.do = telling  # type: ignore[method-assign]
        try:
            report = live(demo)
        except RuntimeError as surprise:
            console.print(demo.table)
            sys.exit(f"demo: {surprise}")
    console.print(demo.table)
    console.print(f"The project: {demo.root.relative_to(ROOT)}", highlight=False, soft_wrap=True)
    console.print(f"Look at:     {os.path.relpath(report, ROOT)}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
