"""A year and a half with the real components: all that is planted is noticed, and handled as the policy says."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Bake


def simulated(project: Path, use_case: str, *words: str, expect: int = 0) -> dict[str, Any]:
    package = use_case.replace("-", "_")
    env = {**os.environ, "PYTHONPATH": str(project / "src"), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-m", package, "simulate", "--json", *words],
        cwd=project, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == expect, done.stdout[-3000:] + done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return told


@pytest.mark.parametrize("use_case", ["porto-seguro", "german-credit"])
def test_all_that_is_planted_is_noticed_and_handled(bake: Bake, use_case: str, tmp_path: Path) -> None:
    project = shutil.copytree(bake(use_case=use_case), tmp_path / "project")
    told = simulated(project, use_case, "--keep", str(tmp_path / "kept"))
    for event in told["events"]:
        assert event["right"], event
        assert event["planted"] <= event["noticed"] < event["planted"] + event["within"], event
    assert len({e["kind"] for e in told["events"]}) == 10
    assert told["false_alarms"] == 0
    assert told["metric_kept_up"] > told["metric_left_alone"], told["months"]
    # No promotion of a worse model: the registry of the simulated project knows why each version passed.
    versions = [p["version"] for p in told["promotions"]]
    assert versions == sorted(versions)
    assert len(versions) > 1
    failed = sum(m["failed"] for m in told["months"])
    down = sum(m["failed"] for m in told["months"] if any(d.startswith("restarted") for d in m["did"]))
    assert failed == down  # only while the service was killed
    assert Path(told["page"]).read_text("utf-8").count("<svg") >= 2
    print(use_case, told["metric_kept_up"], told["metric_left_alone"], told["promotions"], told["seconds"])


def test_the_same_seed_gives_the_same_year(bake: Bake, tmp_path: Path) -> None:
    project = shutil.copytree(bake(use_case="german-credit"), tmp_path / "project")
    (first, second) = (simulated(project, "german-credit", "--months", "2", "--seed", "4") for _ in range(2))
    for key in ("events", "promotions", "false_alarms", "metric_kept_up", "metric_left_alone"):
        assert first[key] == second[key]
