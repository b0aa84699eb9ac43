"""The loop is killed for real, again and again, wherever it stands; then it ends its work as if nothing had been."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from conftest import Bake

KILLS = 6
WEAK = {"estimator": "sklearn.tree.DecisionTreeClassifier", "parameters": {"max_depth": 3, "min_samples_leaf": 400}}


def start(project: Path, *words: object) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(project / "src"), "OMP_WAIT_POLICY": "PASSIVE"}
    return subprocess.Popen(
        [sys.executable, "-m", "porto_seguro", *map(str, words)],
        cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(project: Path, *words: object) -> tuple[int, Any]:
    process = start(project, *words, "--json")
    out, err = process.communicate()
    assert "Traceback" not in err, err
    return process.returncode, json.loads(out.splitlines()[0])


def change(project: Path, **sections: Any) -> None:
    path = project / "conf" / "project.yaml"
    conf = yaml.safe_load(path.read_text("utf-8"))
    for section, values in sections.items():
        conf[section] = values if not isinstance(values, dict) else conf.get(section, {}) | values
    path.write_text(yaml.safe_dump(conf), "utf-8")


def test_killed_anywhere_it_loses_and_doubles_nothing(bake: Bake, tmp_path: Path) -> None:
    project = Path(shutil.copytree(bake(), tmp_path / "project"))
    recipe = yaml.safe_load((project / "conf" / "project.yaml").read_text("utf-8"))["model"]
    change(project, model=WEAK, inbox={"settle_seconds": 0}, retrain={"new_rows": 1, "cool_down_days": 0, "most": 99})
    inbox = project / "data" / "inbox"
    assert run(project, "data", "sample", "--rows", 12_000)[0] == 0
    begin = time.monotonic()
    code, told = run(project, "loop", "--once")
    whole = time.monotonic() - begin  # of a pass that ends
    assert (code, [e["step"] for e in told["events"]][-1]) == (0, "promoted"), told
    change(project, model=recipe)
    sent = 1
    for n in range(KILLS):
        path = inbox / f".{n}.csv"
        assert run(project, "data", "sample", "--rows", 500, "--seed", n + 1, "--output", path)[0] == 0
        path.replace(inbox / f"drop-{n}.csv")
        sent += 1
        process = start(project, "loop", "--once", "--json")
        time.sleep(whole * (n + 1) / (KILLS + 1))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    for _ in range(4):
        code, told = run(project, "loop", "--once")
        assert code == 0, told
        if not told["events"]:
            break
    archived = [p.name for p in (project / "data" / "archive").iterdir()]
    assert len(archived) == sent  # no file is lost
    assert not list(inbox.glob("[!.]*"))
    versions = run(project, "data", "versions")[1]["versions"]
    assert len({v["version"] for v in versions}) == len(versions) == sent  # none is there twice
    assert versions[-1]["rows"] == 12_000 + KILLS * 500
    assert not list((project / "data").rglob(".part-*/new"))  # and no half one
    models = run(project, "models")[1]
    assert models["history"] == sorted(set(models["history"]))  # no half promotion: each once, in order
    runs = [v["run"] for v in models["versions"]]
    assert len(runs) == len(set(runs))
    assert models["champion"] == models["history"][-1]
    assert len(run(project, "runs")[1]["runs"]) > 1
    memory = json.loads((project / "data" / "loop.json").read_bytes())
    assert memory.get("work") is None
    assert run(project, "score", project / "data" / "archive" / archived[0], "out.csv")[0] == 0
