"""Projects of all three use cases pass their own `nox`, slow tests included, in environments of their own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import EVERY_PART, Bake

# One has every part, one is for the cloud and has no service, one is for this machine only. `nox` of the kit runs the
# fast tests of the third use case, and `nox -s deep` every session of every use case.
VARIANTS = [
    ("porto-seguro", "both", "azure-ml", EVERY_PART, ["lint", "types", "tests", "--", "tests/test_ab.py"]),
    ("german-credit", "batch", "azure-ml", "none", ["lint", "types", "tests"]),
    ("own", "both", "local", "none", ["lint", "types", "life"]),
]


@pytest.mark.parametrize(("use_case", "serving", "platform", "extras", "sessions"), VARIANTS)
def test_a_project_passes_its_own_nox(
    bake: Bake, tmp_path: Path, use_case: str, serving: str, platform: str, extras: str, sessions: list[str]
) -> None:
    baked = bake(use_case=use_case, serving=serving, platform=platform, extras=extras)
    project = shutil.copytree(baked, tmp_path / "project")
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
