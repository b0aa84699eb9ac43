"""The sweep can end trials early: every boosting round logs its loss, and the policy in the YAML acts on it."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Bake

TRIALS = {"good": 0.1, "poor": 0.002}  # learning rates; the latter gets nowhere in so many rounds
ROUNDS = 250
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow's own making


def stopped_at(policy: dict[str, Any], goal: str, curves: dict[str, list[float]]) -> dict[str, int]:
    """Return after how many logged values each trial would be ended, as Azure ML documents its bandit policy.

    At each interval a trial ends whose best value so far is worse than the best trial's by more than the slack.
    """
    sign = 1 if goal == "minimize" else -1
    ended: dict[str, int] = {}
    for interval in range(1, max(map(len, curves.values())) + 1):
        if interval < policy["delay_evaluation"] or interval % policy["evaluation_interval"]:
            continue
        best = {name: min(sign * value for value in curve[:interval]) for name, curve in curves.items()}
        bar = min(best.values())
        bar += abs(bar) * policy["slack_factor"] if "slack_factor" in policy else policy["slack_amount"]
        for name, curve in curves.items():
            if name not in ended and len(curve) >= interval and best[name] > bar:
                ended[name] = interval
    return ended


@pytest.fixture(scope="module")
def project(bake: Bake) -> Path:
    return bake(platform="azure-ml")


@pytest.fixture(scope="module")
def step(project: Path) -> dict[str, Any]:
    content = yaml.safe_load((project / "azureml" / "pipelines" / "sweep.yml").read_text("utf-8"))
    found: dict[str, Any] = content["jobs"]["sweep"]
    return found


def _resolved(line: str, values: dict[str, Any]) -> str:
    """A component's command line with values; what is optional and not given goes."""
    names = re.compile(r"\${{\w+\.(\w+)}}")
    line = re.sub(r"\$\[\[(.*?)\]\]", lambda m: m[1] if {*names.findall(m[1])} <= values.keys() else "", line)
    return names.sub(lambda m: str(values[m[1]]), line)


@pytest.fixture(scope="module")
def curves(project: Path, step: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """What two trials log, run by the command line of the component."""
    from mlflow.tracking import MlflowClient

    folder = tmp_path_factory.mktemp("sweep")
    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(uri)
    experiment = client.create_experiment("sweep", folder.as_uri())
    environment = os.environ | {"PYTHONPATH": "src", "MLFLOW_TRACKING_URI": uri}

    def run(*words: object, **more: str) -> None:
        told = [sys.executable, "-m", *map(str, words)]
        done = subprocess.run(told, cwd=project, env=environment | more, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    (folder / "raw").mkdir()
    run("porto_seguro", "data", "sample", "--rows", 4000, "--output", folder / "raw" / "t.csv")
    run("porto_seguro.azure.steps", "ingest", "--raw", folder / "raw", "--out", folder / "data")
    run("porto_seguro.azure.steps", "split", "--data", folder / "data", "--out", folder / "parts")
    component = yaml.safe_load((project / "azureml" / "components" / "train.yml").read_text("utf-8"))
    found = {}
    for name, rate in TRIALS.items():
        given = {key: value for key, value in step["inputs"].items() if not str(value).startswith("$")}
        given |= {"data": folder / "data", "parts": folder / "parts", "models": folder / name}
        line = _resolved(component["command"], given | {"learning_rate": rate, "num_leaves": 3, "n_estimators": ROUNDS})
        trial = client.create_run(experiment).info.run_id
        run(*line.partition("-m ")[2].split(), MLFLOW_RUN_ID=trial)
        history = client.get_metric_history(trial, step["objective"]["primary_metric"])
        assert [one.step for one in history] == list(range(1, len(history) + 1))
        found[name] = [one.value for one in history]
    return found


def test_the_metric_of_the_sweep_is_logged_for_every_round(
    curves: dict[str, list[float]], step: dict[str, Any]
) -> None:
    policy = step["early_termination"]
    assert min(map(len, curves.values())) > policy["delay_evaluation"]
    assert all(min(curve) < curve[0] for curve in curves.values())


def test_the_worse_trial_ends_early_and_the_better_one_does_not(
    curves: dict[str, list[float]], step: dict[str, Any]
) -> None:
    policy, goal = step["early_termination"], step["objective"]["goal"]
    assert policy["type"] == "bandit"
    assert len({"slack_factor", "slack_amount"} & policy.keys()) == 1
    ended = stopped_at(policy, goal, curves)
    assert ended.keys() == {"poor"}
    assert ended["poor"] < len(curves["poor"]) / 2
    # What is logged once, at the end, ends nothing.
    assert stopped_at(policy, goal, {name: curve[-1:] for name, curve in curves.items()}) == {}
    assert policy["delay_evaluation"] > 1
