"""A rendered project passes its own checks, in the kit's environment."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import Bake

USE_CASES = ("porto-seguro", "german-credit", "own")


def run(project: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool as the project's noxfile does."""
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, encoding="utf-8"
    )


@pytest.fixture
def project(bake: Bake, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a project of its own, which a test may change."""
    return shutil.copytree(bake(use_case=getattr(request, "param", "own")), tmp_path / "project")


@pytest.mark.parametrize("project", USE_CASES, indirect=True)
def test_style_is_clean(project: Path) -> None:
    for command in (("ruff", "check", "."), ("ruff", "format", "--check", "--diff", ".")):
        done = run(project, *command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_its_own_fast_tests_pass(project: Path) -> None:
    """Those of the other use cases, and the slow ones, run in `nox -s life`."""
    done = run(project, "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_checks_find_a_planted_fault(project: Path) -> None:
    """Lint and types are strict: each refuses one small fault (types of the whole run in `nox -s lint`)."""
    fault = next((project / "src").iterdir()) / "fault.py"
    fault.write_text('"""A fault."""\n\nimport os\n')
    assert "F401" in run(project, "ruff", "check", ".").stdout
    fault.write_text('"""A fault."""\n\n\ndef untyped(x):\n    return x\n')
    done = run(project, "mypy", str(fault.relative_to(project)), "--follow-imports", "skip")
    assert "[no-untyped-def]" in done.stdout


def test_it_builds_with_its_command_and_its_requirements(project: Path, tmp_path: Path) -> None:
    """Built as pip would, without a download: setuptools is among the requirements."""
    build = f"import setuptools.build_meta as backend; backend.build_wheel({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", build], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("my_model-*.whl"))) as wheel:
        files = {Path(name).name: name for name in wheel.namelist()}
        command = wheel.read(files["entry_points.txt"]).decode()
        names = wheel.namelist()
        metadata = wheel.read(files["METADATA"]).decode().splitlines()
    assert "my-model = my_model.cli:main" in command
    assert {"my_model/__main__.py", "my_model/serving/__main__.py"} <= set(names)
    asked = [
        line
        for name in ("serve", "project")
        for line in (project / "requirements" / f"{name}.in").read_text("utf-8").splitlines()
    ]
    wanted = [line for line in metadata if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert len(wanted) == len([line for line in asked if line and line[0] != "#"])
