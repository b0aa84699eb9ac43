"""Projects of all three use cases pass their own `nox`, slow tests included, in environments of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Bake

# The service is tried with two use cases, once with what only extras bring; the third one is a project without it.
# `nox` of the kit runs the fast tests of Porto Seguro, and `nox -s deep` every session of every use case.
VARIANTS = [
    ("porto-seguro", "both", "ab kubernetes", ["lint", "types", "tests", "--", "tests/test_ab.py"]),
    ("german-credit", "batch", "none", ["lint", "types", "tests"]),
    ("own", "both", "none", ["lint", "types", "tests", "life"]),
]


@pytest.mark.parametrize(("use_case", "serving", "extras", "sessions"), VARIANTS)
def test_a_project_passes_its_own_nox(
    bake: Bake, tmp_path: Path, use_case: str, serving: str, extras: str, sessions: list[str]
) -> None:
    project = shutil.copytree(bake(use_case=use_case, serving=serving, extras=extras), tmp_path / "project")
    assert (project / "tests" / "test_ab.py").exists() == ("ab" in extras)
    done = subprocess.run(
        [sys.executable, "-m", "nox", "-s", *sessions],
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
