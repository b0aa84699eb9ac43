"""`nox` checks the project: lint, types and tests. `nox -l` lists what else there is."""

import json
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests"]

SUPPORTED = ("3.11", "3.12")
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"
PYTHON = RUNNING if RUNNING in SUPPORTED else SUPPORTED[-1]
if RUNNING != PYTHON:
    print(
        f"nox runs on Python {RUNNING}, but Python {' or '.join(SUPPORTED)} is needed: it now looks for "
        f"{PYTHON} and lets uv fetch it. If neither works, install Python {PYTHON} and start nox with it.",
        file=sys.stderr,
    )
LOCKS = {"project": ["serve.in", "project.in"], "serve": ["serve.in", "-c", "project.txt"], "dev": ["dev.in"]}
LOCKS |= {name: [f"{name}.in", "-c", "dev.txt"] for name in ("blob", "ci", "security")}
{% if cookiecutter.serving != 'batch' %}
LOCKS["otel"] = ["otel.in", "-c", "dev.txt"]
{% endif %}
{% if cookiecutter.platform == 'azure-ml' %}
LOCKS["azure"] = ["azure.in", "-c", "dev.txt"]
LOCKS["azure-job"] = ["serve.in", "project.in", "azure-job.in", "-c", "project.txt"]
LOCKS["events"] = ["events.in"]
{% endif %}


def install(session: nox.Session) -> None:
    """Install the locked packages, every hash checked."""
    session.install("--require-hashes", "-r", "requirements/dev.txt")


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """Check style and format."""
    install(session)
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(python=PYTHON)
def types(session: nox.Session) -> None:
    """Check types."""
    install(session)
    session.run("mypy")


@nox.session(python=PYTHON)
def tests(session: nox.Session) -> None:
    """Run the fast tests (arguments after `--` go to pytest)."""
    install(session)
    session.run("pytest", "-n", "2", *session.posargs)


@nox.session(python=PYTHON)
def security(session: nox.Session) -> None:
    """Look for unsafe code, for secrets in files that git knows, and for holes in workflows."""
    session.install("--require-hashes", "-r", "requirements/security.txt")
    # S101: what `assert` says here is for the type checker. S603, S607: a program is started by its name and a list of
    # words, never through a shell (which S602 and S605 look for).
    session.run("ruff", "check", "--select", "S", "--ignore", "S101,S603,S607", "src")
    if not session.run("git", "ls-files", external=True, silent=True, log=False):
        session.error("git knows no files here, so no secrets could be looked for: git init, then git add --all")
    # Locks and contract are full of published checksums.
    published, example = r"^requirements/[\w-]+\.txt$|^conf/contract\.yaml$", "user:password@host"
    words = ("--exclude-files", published, "--exclude-lines", example)
    told = json.loads(str(session.run("detect-secrets", "scan", *words, silent=True)))["results"]
    found = [f"{one['filename']}:{one['line_number']}: {one['type']}" for many in told.values() for one in many]
    if found:
        how = "Take it out of the history and replace it; what is none gets `# pragma: allowlist secret` on its line."
        session.error("\n".join(["What looks like a secret:", *found, how]))
    if Path(".github").is_dir():
        session.run("zizmor", "--offline", "--quiet", ".")


@nox.session(python=PYTHON)
def life(session: nox.Session) -> None:
    """Run the slow tests, which play a model's life."""
    install(session)
    session.run("pytest", "-m", "life", *session.posargs)


{% if cookiecutter.platform == 'azure-ml' %}
@nox.session(python=PYTHON)
def azure(session: nox.Session) -> None:
    """Check every file for Azure ML without an account."""
    session.install("--require-hashes", "-r", "requirements/dev.txt", "-r", "requirements/azure.txt")
    session.run("python", "-m", "{{ cookiecutter.__package }}", "azure", "check", env={"PYTHONPATH": "src"})


{% endif %}
@nox.session(python=PYTHON, venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make .venv for daily work: the locked packages, and this project as it is being edited."""
    if not Path(".venv").exists():
        session.run("uv", "venv", "--python", PYTHON, ".venv", external=True)
    session.run("uv", "pip", "sync", "--python", ".venv", "requirements/dev.txt", external=True)
    session.run("uv", "pip", "install", "--python", ".venv", "--no-deps", "--editable", ".", external=True)


@nox.session(venv_backend="none")
def lock(session: nox.Session) -> None:
    """Pin requirements/*.in (`nox -s lock -- --upgrade` takes newer versions)."""
    with session.chdir("requirements"):
        for name, wanted in LOCKS.items():
            session.run(
                "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes",
                "--python-version", SUPPORTED[0], "--fork-strategy", "fewest",
                "--custom-compile-command", "nox -s lock", *session.posargs,
                *wanted, "--output-file", f"{name}.txt",
                external=True,
            )  # fmt: skip
