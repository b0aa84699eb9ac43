"""Projects of all three use cases pass their own `nox`, slow tests included, in environments of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Bake

# The service is tried with two use cases; the third one is a project without it.
VARIANTS = [("porto-seguro", "both"), ("german-credit", "batch"), ("own", "both")]


@pytest.mark.parametrize(("use_case", "serving"), VARIANTS)
def test_a_project_passes_its_own_nox(bake: Bake, tmp_path: Path, use_case: str, serving: str) -> None:
    project = shutil.copytree(bake(use_case=use_case, serving=serving), tmp_path / "project")
    done = subprocess.run(
        [sys.executable, "-m", "nox", "-s", "lint", "types", "tests", "life"],
        cwd=project,
        # Its environments are new: bytecode, where a machine forbids it, would be made again in every process.
        env={k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONDONTWRITE"))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    shutil.rmtree(project)  # its environments are large
