"""The runbook: a page for each alert and no other, and each command in it, typed at a project that is alive."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from conftest import Bake
from life.test_release import PLANT, environment, run, script
from render import ROOT
from running import free_port, running
from validate.test_monitoring import WATCHED

SLUG = "porto-seguro"
LEADS = ("What it means", "What to check", "What to do")
# Exit codes that are right here, by how a command begins; of all others it is 0.
CODES = {
    "monitor": {0, 1, 4},  # what it finds in a few hundred rows does not matter
    "check endpoint URL --latency-ms": {0, 1},  # nor how fast this machine is
    "serve": {3},  # it is served already
    "loop": {130},  # ended from outside
    "loop --once": {0},
}
FOREVER = "loop"


def pages(text: str) -> dict[str, str]:
    """The pages of a runbook by their heading."""
    parts = re.split(r"(?m)^## (.+)\n", text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def code(text: str) -> list[str]:
    """All lines of code."""
    return re.findall(r"(?m)^ {4}(\S.*)$", text)


def commands(text: str) -> list[str]:
    """The project's commands in lines of code, and within a sentence; without its name."""
    lines = code(text) + re.findall(rf"`({SLUG} [^`]+)`", text)
    return list(dict.fromkeys(line.removeprefix(f"{SLUG} ") for line in lines if line.startswith(f"{SLUG} ")))


SOURCE = ROOT / "{{cookiecutter.project_slug}}" / "docs" / "runbook.md"
LINES = commands(SOURCE.read_text("utf-8").replace("{{ cookiecutter.project_slug }}", SLUG))


def test_each_alert_has_a_page_to_which_it_points_and_each_page_an_alert(bake: Bake) -> None:
    project = bake()
    text = (project / "docs" / "runbook.md").read_text("utf-8")
    groups = yaml.safe_load((project / "monitoring" / "rules.yml").read_text("utf-8"))["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    found = pages(text)
    assert sorted(found) == sorted(alerts)
    anchors = {name.lower() for name in found}
    for name, alert in alerts.items():
        place, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert (project / place).is_file(), name
        assert anchor == name.lower(), name
        assert re.findall(r"(?m)^\*\*(.+?)[.*]", found[name]) == list(LEADS), name
        assert f"**What it means** ({alert['labels']['severity']})." in found[name], name
        assert commands(found[name]), name
    assert set(re.findall(r"\]\(#(.+?)\)", text)) <= anchors
    assert commands(text) == LINES
    assert [line for line in code(text) if not line.startswith(f"{SLUG} ")] == [], "nothing tries these"


def test_a_service_has_a_runbook_and_files_alone_have_none(bake: Bake) -> None:
    for serving, wanted in (("online", True), ("batch", False)):
        project = bake(serving=serving)
        assert (project / "docs" / "runbook.md").exists() == (project / "monitoring").exists() == wanted, serving


@dataclass
class Live:
    """A project that is served, and where."""

    project: Path
    url: str

    def told(self, *words: object) -> Any:
        """What a command prints as JSON."""
        return run(self.project, *words)[1]

    def version(self) -> int:
        """The newest version that does not serve."""
        deployments = self.told("release", "status")["deployments"].values()
        live = {place["version"] for place in deployments if place["traffic"]}
        return max(int(v["version"]) for v in self.told("models")["versions"] if v["version"] not in live)

    def released(self) -> bool:
        """Whether a release is under way."""
        release = self.told("release", "status")["release"]
        return bool(release) and release["status"] == "running"

    def prepare(self, line: str) -> None:
        """Make the state in which somebody would type this."""
        if line.startswith("release abort") and not self.released():
            assert run(self.project, "release", "start", self.version(), "--wait", 0)[0] == 3, "it is under way"
        if line.startswith(("promote", "rollback")) and self.released():
            assert run(self.project, "release", "abort")[0] == 0
        if line.startswith("rollback") and len(self.told("models")["history"]) < 2:
            assert run(self.project, "promote", self.version())[0] == 0

    def words(self, line: str) -> list[str]:
        """The command as it is run: with something real in the place of what stands for it."""
        real = {
            "FILE": "outcomes.csv" if line.startswith("outcomes") else "rows.csv",
            "REASON": "somebody asks for it",
            "URL": self.url,
        }
        if "VERSION" in line:
            real["VERSION"] = str(self.version())
        words = [real.get(word, word) for word in shlex.split(line, comments=True)]
        unknown = [word for word in words if re.fullmatch(r"[A-Z][A-Z_]+", word)]
        assert not unknown, f"{line}: say above what stands for {unknown}"
        return words


@pytest.fixture(scope="module")
def live(bake: Bake, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A project with a champion, a second version, requests and outcomes; it is served."""
    project = Path(shutil.copytree(bake(), tmp_path_factory.mktemp("runbook") / "project"))
    assert run(project, "data", "sample")[0] == 0
    assert run(project, "run", "--data", "data/inbox/sample.csv")[1]["decision"] == "promoted"
    script(project, PLANT, json.dumps([("", "onnx")]))
    assert run(project, "data", "sample", "--rows", 600, "--seed", 7, "--output", "rows.csv")[0] == 0
    rows = pl.read_csv(project / "rows.csv")
    rows.select("id", "target").write_csv(project / "outcomes.csv")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    serve = [sys.executable, "-m", "porto_seguro", "serve", "--port", str(port)]
    with running(serve, url + "/readyz", project, environment(project)):
        for part in rows.drop("target").iter_slices(100):
            body = json.dumps({"data": part.to_dicts()}).encode()
            request = urllib.request.Request(url + "/score", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert answer.status == 200
        yield Live(project, url)


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_runbook_does_what_it_is_for(live: Live, line: str) -> None:
    live.prepare(line)
    command = [sys.executable, "-m", "porto_seguro", *live.words(line)]
    begun, passed = time.time(), live.project / "data" / "monitor" / "loop.prom"
    process = subprocess.Popen(
        command, cwd=live.project, env=environment(live.project), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
    )  # fmt: skip
    if line == FOREVER:  # until it has done a pass
        while process.poll() is None and not (passed.exists() and passed.stat().st_mtime > begun):
            assert time.time() < begun + 300
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert not re.search("Traceback|The details are in", said), said  # a fault of ours is kept in a file
    best = max((start for start in CODES if line.startswith(start)), key=len, default="")
    assert process.returncode in CODES.get(best, {0}), f"{line}: {process.returncode}\n{said}"


def test_what_monitor_and_loop_find_is_on_the_page_under_the_names_that_the_rules_know(live: Live) -> None:
    assert run(live.project, "loop", "--once")[0] == 0
    with urllib.request.urlopen(live.url + "/metrics", timeout=30) as answer:
        names = set(re.findall(r"(?m)^((?:monitor|loop|model)_\w+)", answer.read().decode()))
    # No row was scored long enough ago for its outcome to count.
    assert names == set(WATCHED) - {"monitor_labelled_ratio", "monitor_metric"}


def test_a_runbook_that_is_wrong_would_be_seen(live: Live) -> None:
    with pytest.raises(AssertionError, match="NUMBER"):
        live.words("promote NUMBER")
    with pytest.raises(AssertionError, match=r"promote 99: 2\n.*no model version 99"):
        test_a_command_of_the_runbook_does_what_it_is_for(live, "promote 99")
