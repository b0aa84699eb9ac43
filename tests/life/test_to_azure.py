"""A project that began on one machine goes to Azure ML by an update, and keeps its work and its tests green."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import Git, born, tree
from copier import run_copy, run_update
from render import ANSWERS_FILE, ENGINES

LOCAL = {"use_case": "german-credit", "project_slug": "loans", "platform": "local"}
TRIED = ("test_model", "test_azure", "test_azure_steps")
LATER = LOCAL | {"platform": "azure-ml", "iac": "terraform", "region": "northeurope", "base_name": "loans26"}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_local_project_goes_to_azure_ml_by_an_update(kit: Path, tmp_path: Path, git: Git, engine: str) -> None:
    project = born(engine, kit, LOCAL, tmp_path, git)
    assert not (project / "azureml").exists()

    # What a team has done by then: another floor, a feature, a page of its own, a sentence in the README.
    edits = {
        "conf/project.yaml": ("floor: 0.65", "floor: 0.6"),
        "src/loans/model.py": ("def features(", "OURS = 1\n\n\ndef features("),
        "README.md": ("Owner:", "We decide on loans with it.\n\nOwner:"),
    }
    for path, (old, new) in edits.items():
        text = (project / path).read_text("utf-8")
        assert old in text, path
        (project / path).write_text(text.replace(old, new, 1), "utf-8")
    (project / "docs" / "ours.md").write_text("# Ours\n", "utf-8")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "our work")

    run_update(project, data=LATER, vcs_ref="1.0.0", defaults=True, overwrite=True, quiet=True)

    run_copy(str(kit), tmp_path / "fresh", data=LATER, defaults=True, quiet=True)
    fresh, updated = tree(tmp_path / "fresh", ANSWERS_FILE), tree(project, ANSWERS_FILE, ".git")
    assert updated.keys() == fresh.keys() | {"docs/ours.md"}
    assert {path for path in fresh if fresh[path] != updated[path]} == edits.keys()
    for path, (old, new) in edits.items():
        assert updated[path].decode() == fresh[path].decode().replace(old, new, 1)
    assert "UU" not in git(project, "status", "--short")
    names = yaml.safe_load(updated["conf/environments/prod.yaml"])
    assert (names["workspace"], names["location"]) == ("mlw-loans26-prod", "northeurope")

    if engine == "copier":  # the other project is the same
        for command in (
            ("ruff", "check", "."),
            ("ruff", "format", "--check", "."),
            ("mypy",),
            # What the edits touch, and what came; all of the rest is unchanged, and runs elsewhere.
            ("pytest", "-q", "-p", "no:cacheprovider", *(f"tests/{name}.py" for name in TRIED)),
            ("loans", "azure", "check"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, encoding="utf-8",
                env=None if command[0] != "loans" else {"PYTHONPATH": "src"},
            )  # fmt: skip
            assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
