"""The scoring service against its peers: the same model, one worker each, loaded by wrk."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from running import free_port, running

SECONDS, CONNECTIONS = 5, 16
LIBRARIES = (
    "joblib", "lightgbm", "msgspec", "numpy", "onnxruntime", "pandas", "polars", "pyarrow", "pyyaml", "scikit-learn"
)  # fmt: skip

EMPTY = """
from fastapi import FastAPI, Request
app = FastAPI()
@app.post("/score")
async def score(request: Request):
    return {}
"""

# As the documentation of Azure ML has it: load once, a frame for each request.
AZURE = """
import json, os
from pathlib import Path
import pandas
from porto_seguro.artifact import load_model
def init():
    global model
    model = load_model(Path(os.environ["MODEL_FOLDER"]))
def run(raw):
    return {"result": model.predict_raw(pandas.DataFrame(json.loads(raw)["data"])).tolist()}
"""


class Absent(Exception):
    """A program or package that a measurement needs is not on this machine."""


def load(url: str, body: bytes, folder: Path) -> float:
    """Requests a second at 16 connections; every answer must be 200.

    Raises:
        Absent: wrk is not installed.
        RuntimeError: an answer was another one.
    """
    if not shutil.which("wrk"):
        raise Absent("wrk (apt-get install wrk)")
    script = folder / "wrk.lua"
    text = body.decode().replace("]=]", "")
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\nwrk.body = [=[{text}]=]\n'
    )
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}", "-s", str(script), url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"{url}: {said}")
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0])


def champion(project: Path, env: Mapping[str, str]) -> tuple[Path, dict[str, Any]]:
    """The model folder and the entry of the champion."""
    done = subprocess.run(
        [sys.executable, "-m", "porto_seguro", "models", "--json"],
        cwd=project,
        env=env,
        capture_output=True,
        check=True,
    )
    told = json.loads(done.stdout)["versions"][-1]
    return project / "runs" / told["run"] / "artifacts" / told["tags"]["folder"], told


def bodies(project: Path, env: Mapping[str, str], rows: int) -> dict[str, bytes]:
    """The same rows as lists, as objects and as MLflow wants them."""
    code = """
import json, sys
from pathlib import Path
from porto_seguro.contract import load_contract
from porto_seguro.synth import sample, to_raw
c = load_contract(Path("conf/contract.yaml"))
names = [x.name for x in c.of("feature")]
frame = to_raw(sample(c, int(sys.argv[1]), 0), c).select(names)
lists = [list(r) for r in frame.rows()]
print(json.dumps({
    "lists": {"data": lists}, "objects": {"data": frame.to_dicts()},
    "mlflow": {"dataframe_split": {"columns": names, "data": lists}},
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(rows)], cwd=project, env=env, capture_output=True, check=True
    )
    return {name: json.dumps(body).encode() for name, body in json.loads(done.stdout).items()}


def peer_env(scratch: Path, name: str, *packages: str) -> Path:
    """Return the `bin` of a new environment with these packages, for a peer that cannot share ours.

    Raises:
        Absent: it cannot be installed here.
    """
    venv = scratch / name
    done_by(
        name,
        ["uv", "venv", "--quiet", "--python", sys.executable, str(venv)],
        ["uv", "pip", "install", "--quiet", "--compile-bytecode", "-p", str(venv), *packages],
    )
    return venv / "bin"


def done_by(name: str, *commands: list[str]) -> None:
    """Run what a peer needs first.

    Raises:
        Absent: it does not work here.
    """
    try:
        for command in commands:
            subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        raise Absent(f"{name}: {said.decode()[-300:]}") from None


def rates(project: Path, env: Mapping[str, str], scratch: Path, rounds: int) -> dict[str, dict[int, float]]:
    """Requests a second of each server, for requests of one row and of a hundred; the best of the rounds.

    Raises:
        RuntimeError: the service fails its own checks, or its log misses a row.
    """
    folder, told = champion(project, env)
    own = {n: bodies(project, env, n) for n in (1, 100)}
    (scratch / "empty_app.py").write_text(EMPTY)
    (scratch / "azure_score.py").write_text(AZURE)
    env = {**env, "MODEL_FOLDER": str(folder)}
    python = [sys.executable, "-m"]
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    served = env | {
        "MODEL_DIGEST": told["digest"], "MODEL_VERSION": str(told["version"]), "PORT": str(port),
        "LOG_FOLDER": str(scratch / "log"), "PROJECT_DIR": str(project),
    }  # fmt: skip
    kinds: dict[str, tuple[list[str], str, str, Path, Mapping[str, str]]] = {
        "ours, lists": ([*python, "porto_seguro.serving"], "/score", "lists", project, served),
        "ours, objects": ([*python, "porto_seguro.serving"], "/score", "objects", project, served),
        "ours, through the router": (
            [*python, "porto_seguro", "serve", "--port", str(port)], "/score", "lists", project, env,
        ),
        "empty FastAPI": (
            [*python, "uvicorn", "empty_app:app", "--port", str(port), "--no-access-log"],
            "/score", "lists", scratch, env,
        ),
    }  # fmt: skip
    same = [f"{library}=={version(library)}" for library in LIBRARIES]
    with contextlib.suppress(Absent):  # both want an older web framework than ours
        web = ("starlette<0.47", "uvicorn", "setuptools<80")
        there = peer_env(scratch, "mlflow", *same, f"mlflow=={version('mlflow')}", *web)
        command = [str(there / "python"), "-m", "mlflow", "models", "serve", "-m", str(folder)]
        # MLflow starts uvicorn by its name.
        path = os.pathsep.join([str(there), env.get("PATH", "")])
        kinds["mlflow"] = (
            [*command, "--env-manager", "local", "-p", str(port)],
            "/invocations",
            "mlflow",
            scratch,
            env | {"PATH": path},
        )
    with contextlib.suppress(Absent):
        there = peer_env(scratch, "azure", *same, "azureml-inference-server-http", "setuptools<80")
        command = [str(there / "azmlinfsrv"), "--entry_script", str(scratch / "azure_score.py"), "--port", str(port)]
        kinds["azureml-inference-server-http"] = (command, "/score", "objects", scratch, env)
    found: dict[str, dict[int, float]] = {name: {1: 0.0, 100: 0.0} for name in kinds}
    for _ in range(rounds):
        for name, (command, path, shape, cwd, more) in kinds.items():
            with running(command, base + path, cwd, more, own[1][shape]):
                if name.startswith("ours"):
                    check = [*python, "porto_seguro", "check", "endpoint", base]
                    done = subprocess.run(check, cwd=project, env=env, capture_output=True, text=True)
                    if done.returncode:
                        raise RuntimeError(done.stdout + done.stderr)
                for rows in (1, 100):
                    found[name][rows] = max(found[name][rows], load(base + path, own[rows][shape], scratch))
                if name.startswith("ours"):
                    time.sleep(1)
                    with urllib.request.urlopen(base + "/metrics") as answer:
                        lines = dict(x.rsplit(" ", 1) for x in answer.read().decode().splitlines() if x[0] != "#")
                    noted = {k: lines[f'scoring_{k}_total{{deployment="blue"}}'] for k in ("rows", "log_rows")}
                    if len({*noted.values()}) > 1:
                        raise RuntimeError(f"{name}: the log misses rows: {noted}")
                    shutil.rmtree(scratch / "log", ignore_errors=True)
                    shutil.rmtree(project / "data" / "predictions", ignore_errors=True)
    return found
