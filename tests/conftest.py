"""Bake each set of answers once per worker, from a copy of this working tree."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from questions import COPIER
from render import TEMPLATE, copy_template, render

Bake = Callable[..., Path]
Git = Callable[..., str]
Tool = Callable[..., subprocess.CompletedProcess[str]]

EVERY_PART: str = yaml.safe_load(COPIER.read_text("utf-8"))["parts"]["default"]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the template, a plain folder."""
    return copy_template(tmp_path_factory.mktemp("kit") / "template")


@pytest.fixture(scope="session")
def bake(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Bake:
    """Return `bake(engine, **answers)`: the folder of a project, to be read only."""

    @functools.cache
    def _bake(engine: str, answers: tuple[tuple[str, str], ...]) -> Path:
        return render(engine, template, dict(answers), tmp_path_factory.mktemp(engine))

    return lambda engine="cookiecutter", **answers: _bake(engine, tuple(sorted(answers.items())))


@pytest.fixture
def git(monkeypatch: pytest.MonkeyPatch) -> Git:
    """Return `git(folder, *args)`, which needs no settings of the user."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Tester")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "tester@example.com")

    def run(folder: Path, *args: str) -> str:
        done = subprocess.run(["git", *args], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    return run


@pytest.fixture
def tool(tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """Return `tool(folder, module, *args)`, which runs an installed tool's command line."""
    home = tmp_path_factory.mktemp("home")

    def run(folder: Path, module: str, *args: str) -> subprocess.CompletedProcess[str]:
        # A home of its own: no settings of the user, and no notes left with them.
        environment = {**os.environ, "HOME": str(home), "USERPROFILE": str(home), "PWD": str(folder)}
        return subprocess.run(
            [sys.executable, "-m", module, *args],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )

    return run


@pytest.fixture
def kit(tmp_path: Path, git: Git) -> Path:
    """Return a repository of the kit, released as 1.0.0."""
    folder = copy_template(tmp_path / "kit")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    # One file that the next version drops.
    (folder / TEMPLATE[-1] / "data" / "old.md").write_text("old\n")
    (folder / TEMPLATE[-1] / ".gitignore").open("a").write("!/data/old.md\n")
    release(git, folder, "1.0.0")
    return folder


def release(git: Git, kit: Path, version: str) -> None:
    """Commit and tag a kit."""
    git(kit, "add", "--all")
    git(kit, "commit", "--quiet", "--message", version)
    git(kit, "tag", version)


def born(engine: str, kit: Path, answers: dict[str, str], into: Path, git: Git) -> Path:
    """Return a project in git, made of the kit's only release."""
    project = render(engine, kit, answers, into)
    git(project, "init", "--quiet", "--initial-branch", "main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "born")
    return project


def tree(folder: Path, *without: str) -> dict[str, bytes]:
    """Return the content of every file below a folder, by its path; `without` names top-level entries."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] not in without
    }
