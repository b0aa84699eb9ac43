"""`nox` checks the kit; `nox -l` lists what else there is.

One environment serves every session: the kit's own tools (requirements.txt) and all that a generated
project needs (its requirements/dev.txt), so that a rendered project is checked with no further install.
"""

import os
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "docs", "tests"]

SUPPORTED = ("3.11", "3.12")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = RUNNING if RUNNING in SUPPORTED else SUPPORTED[-1]
if RUNNING != PYTHON:
    print(
        f"nox runs on Python {RUNNING}, but Python {' or '.join(SUPPORTED)} is needed: it now looks for "
        f"{PYTHON} and lets uv fetch it. If neither works, install Python {PYTHON} and start nox with it.",
        file=sys.stderr,
    )

TEMPLATE = "{{cookiecutter.project_slug}}"
EXAMPLE = Path("examples", "porto_seguro", "project")
BIN = Path(".nox", "env", "Scripts" if os.name == "nt" else "bin").absolute()


@nox.session(python=PYTHON, name="env")
def env(session: nox.Session) -> None:
    """Make the one environment."""
    locks = ("requirements.txt", f"{TEMPLATE}/requirements/dev.txt")
    # Compiled once here, for hundreds of processes start in it, and a machine may forbid them to write bytecode.
    session.install("--require-hashes", "--compile-bytecode", *(word for lock in locks for word in ("-r", lock)))


def run(session: nox.Session, module: str, *args: str) -> None:
    """Run a tool of the one environment."""
    # First on the PATH, so that what a test starts is found there too.
    path = os.pathsep.join([str(BIN), os.environ.get("PATH", "")])
    session.run(str(BIN / "python"), "-m", module, *args, external=True, env={"PATH": path})


def script(session: nox.Session, name: str, *args: str) -> None:
    """Run one of the kit's scripts in the one environment."""
    session.run(str(BIN / "python"), f"scripts/{name}.py", *args, external=True)


@nox.session(venv_backend="none", requires=["env"])
def lint(session: nox.Session) -> None:
    """Check style and types of the kit, then of the rendered example."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "mypy")
    with session.chdir(EXAMPLE):
        run(session, "ruff", "check", ".")
        run(session, "ruff", "format", "--check", ".")
        run(session, "mypy")


@nox.session(venv_backend="none", requires=["env"])
def tests(session: nox.Session) -> None:
    """Render with both engines, and run the fast tests of what was rendered."""
    slow = ("--ignore=tests/life", "--ignore=tests/validate", "--ignore=tests/deep")
    run(session, "pytest", "-n", "2", *slow, *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def life(session: nox.Session) -> None:
    """Play the life of projects of every use case (`nox -s life -- FILE` plays one file)."""
    if session.posargs:
        return run(session, "pytest", *session.posargs)
    # What compares times of answers has the machine to itself.
    alone = ("tests/life/test_release.py", "tests/life/test_serving.py")
    run(session, "pytest", "-n", "2", "--dist", "loadfile", "tests/life", *(f"--ignore={path}" for path in alone))
    run(session, "pytest", *alone)


@nox.session(venv_backend="none", requires=["env"])
def validate(session: nox.Session) -> None:
    """Check every file that another system reads with that system's own rules."""
    # What takes longest begins first, and the other worker does the rest meanwhile.
    files = sorted(Path("tests/validate").glob("test_*.py"), key=lambda path: (path.stem != "test_pipelines", path))
    order = ("-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    run(session, "pytest", *order, *(session.posargs or map(str, files)))


@nox.session(venv_backend="none", requires=["env"])
def deep(session: nox.Session) -> None:
    """Run the full matrices, by hand."""
    run(session, "pytest", "tests/deep", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def bench(session: nox.Session) -> None:
    """Measure against named peers."""
    script(session, "bench", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def demo(session: nox.Session) -> None:
    """Generate a project and take it from data to a judged model."""
    script(session, "demo", *session.posargs)


@nox.session(venv_backend="none", requires=["env"])
def questions(session: nox.Session) -> None:
    """Write cookiecutter.json from copier.yml."""
    script(session, "questions")


@nox.session(venv_backend="none", requires=["env"])
def examples(session: nox.Session) -> None:
    """Render the example anew."""
    script(session, "render")


@nox.session(venv_backend="none", requires=["env"])
def flows(session: nox.Session) -> None:
    """Draw the pipelines of a project into its docs/ci-cd.md."""
    script(session, "flows")


@nox.session(venv_backend="none", requires=["env"])
def docs(session: nox.Session) -> None:
    """Build the documentation; a dead link is an error."""
    run(session, "mkdocs", "build", "--strict", "--site-dir", ".nox/site")


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Pin what a project and the kit need (`nox -s lock -- --upgrade` takes newer versions)."""
    compile_ = (
        "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes",
        "--python-version", SUPPORTED[0], "--fork-strategy", "fewest",
        "--custom-compile-command", "nox -s lock", *session.posargs,
    )  # fmt: skip
    locks = {
        "project": ["serve.in", "project.in"], "serve": ["serve.in", "-c", "project.txt"], "dev": ["dev.in"],
        "otel": ["otel.in", "-c", "dev.txt"], "blob": ["blob.in", "-c", "dev.txt"],
        "ci": ["ci.in", "-c", "dev.txt"], "security": ["security.in", "-c", "dev.txt"],
        "azure": ["azure.in", "-c", "dev.txt"], "events": ["events.in"],
        "azure-job": ["serve.in", "project.in", "azure-job.in", "-c", "project.txt"],
    }  # fmt: skip
    with session.chdir(f"{TEMPLATE}/requirements"):
        for name, wanted in locks.items():
            session.run(*compile_, *wanted, "-o", f"{name}.txt", external=True)
    # The same versions as in a project, for the two share an environment.
    session.run(
        *compile_, "--group", "kit", "-c", f"{TEMPLATE}/requirements/dev.txt", "-o", "requirements.txt",
        external=True,
    )  # fmt: skip
