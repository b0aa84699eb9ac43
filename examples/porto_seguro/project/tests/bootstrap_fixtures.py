"""A project whose people are named, and both services as stand-ins."""

import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from bootstrap_helpers import CLOUD, TRAINED, Typed, named
from bootstrap_stand_in import Service
from conftest import ROOT, Command, new_project

from porto_seguro.bootstrap import tool


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    """A new repository, and nothing around it."""
    made = Service()
    monkeypatch.setattr(tool, "process", made.gh_or_az)
    if CLOUD:
        monkeypatch.setattr(import_module("porto_seguro.azure.az"), "process", made.az)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return made


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project for both services, whichever this one is for, in which people are named."""
    made = new_project(tmp_path / "project")
    for name in (".github", ".azuredevops"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, made / name)
    for name in ("ci", *TRAINED):
        for file in (made / ".github" / "workflows" / f"{name}.yml", made / ".azuredevops" / f"{name}.yml"):
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                file.write_text("trigger: {branches: {include: [main]}}\n", "utf-8")
    subprocess.run(["git", "init", "-q", str(made)], check=True)
    named(made, ml_engineer={"github": ["grace", "ada"], "azure_devops": ["grace@acme.com", "ada@acme.com"]})
    named(made, model_validator={"github": ["acme/ml"], "azure_devops": ["Validators"]})
    return made


@pytest.fixture
def github(root: Path, command: Command) -> Typed:
    """Run `bootstrap github` for acme/porto."""
    return lambda *words: command(root, "bootstrap", "github", "--repository", "acme/porto", *words)


@pytest.fixture
def devops(root: Path, command: Command) -> Typed:
    """Run `bootstrap azure-devops` for acme/risk/porto."""
    return lambda *words: command(root, "bootstrap", "azure-devops", "--repository", "acme/risk/porto", *words)
