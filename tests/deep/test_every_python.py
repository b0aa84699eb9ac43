"""Each use case passes its own `nox` on each supported Python (by hand: `nox -s deep`)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Bake


@pytest.mark.parametrize("python", ["3.11", "3.12"])
@pytest.mark.parametrize("use_case", ["porto-seguro", "german-credit", "own"])
def test_nox_passes(bake: Bake, tmp_path: Path, use_case: str, python: str) -> None:
    project = shutil.copytree(bake(use_case=use_case), tmp_path / "project")
    noxfile = project / "noxfile.py"
    text = noxfile.read_text("utf-8")
    pinned = text.replace("PYTHON = RUNNING if RUNNING in SUPPORTED else SUPPORTED[-1]", f'PYTHON = "{python}"')
    assert pinned != text
    noxfile.write_text(pinned, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "nox", "-s", "types", "tests", "life"],
        cwd=project,
        # Its environments are new: bytecode, where a machine forbids it, would be made again in every process.
        env={k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "PYTHONDONTWRITE"))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    shutil.rmtree(project)
