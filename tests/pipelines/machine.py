"""The machine that a job of either platform finds: clean, but for this one's caches and mirrors."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.played import PipelineError

KIT = Path(__file__).resolve().parents[2]
# What the caller's machine knows about itself, and a runner would too: mirrors, certificates, caches.
KEPT = re.compile(
    r"(PIP|UV|PYENV|SSL|CURL|REQUESTS|NODE_EXTRA|NIX|GRPC|HTTPLIB2)_.*|(?i:https?_proxy|no_proxy)|LANG|TZ"
)


def clean(bin: Path | None, path: Sequence[str], home: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a machine on which no tool of the kit is.

    Args:
        bin: a folder of stand-ins, first on the PATH.
        path: folders that earlier steps put onto the PATH.
        home: the home of whoever runs there.
        environ: further variables, for stand-ins.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    tools = [one for one in os.environ["PATH"].split(os.pathsep) if (KIT / ".nox") not in Path(one).parents]
    return {
        "LANG": "C.UTF-8",
        "UV_CACHE_DIR": str(cache / "uv"),
        "PIP_CACHE_DIR": str(cache / "pip"),
        **{name: value for name, value in os.environ.items() if KEPT.fullmatch(name)},
        **environ,
        "HOME": str(home),
        "PATH": os.pathsep.join([*([str(bin)] if bin else []), *path, *tools]),
    }


def execute(words: list[str], folder: Path, environment: Mapping[str, str], seconds: float) -> tuple[int, str]:
    """Run a program, and return its code and what it printed; all that it started ends with it when time is over."""
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True, text=True, encoding="utf-8", errors="replace",
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        return 124, f"{output}\nstopped: the time allowed ({seconds:.0f} s) was over"


def system(folder: Path) -> Path:
    """Return where the Python stands that an environment was made of: uv makes none of an environment's Python."""
    return folder.with_name(f"{folder.name}-system")


def make_python(version: str, folder: Path) -> None:
    """Make an environment with pip from the Python of a version ("3.12") that this machine has.

    That Python itself is put into the folder `system`.
    """
    found = [sys.executable] if version == f"{sys.version_info.major}.{sys.version_info.minor}" else []
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    found += [str(one / "bin" / "python") for one in sorted(versions.glob(f"{version}.*"))]
    found += [path for path in [shutil.which(f"python{version}")] if path]
    for python in found:
        if (uv := shutil.which("uv")) is None:
            words = [python, "-m", "venv", str(folder)]
        else:
            words = [uv, "venv", "--quiet", "--seed", "--python", python, str(folder)]
        if subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0:
            system(folder).mkdir()
            (system(folder) / f"python{version}").symlink_to((folder / "bin" / "python").resolve())
            return
        shutil.rmtree(folder, ignore_errors=True)
    raise PipelineError(f"this machine has no Python {version} that an environment can be made of")
