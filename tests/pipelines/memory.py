"""What takes long and comes out the same each time is run once: only where PIPELINES_MEMORY names a folder.

Two things are kept there: what a check of the very same files said, with the reports it left; and the project's
`.venv` made of the very same locks, which is copied and told where it now stands.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

Result = tuple[int, str]  # the exit code, and what was printed

CHECKS = re.compile(r"nox -s( (tests|lint|types|azure|security))+( --( [\w.:=/-]+)+)?")
ENVIRONMENT = re.compile(r"nox -s dev")


def run(script: str, workspace: Path, settings: Mapping[str, str], do: Callable[[], Result]) -> Result:
    """Run a step's script, or say what it said before.

    Args:
        script: what is run, after expressions were computed.
        workspace: the checkout that it runs in.
        settings: variables that the pipeline sets for it.
        do: runs it.
    """
    line = " ".join(script.split())
    if CHECKS.fullmatch(line):
        key = [line, json.dumps(dict(sorted(settings.items()))), *_contents(workspace)]
        return remembered(key, workspace / "reports", do)
    if ENVIRONMENT.fullmatch(line):
        return _environment(workspace, do)
    return do()


def remembered(key: Iterable[str], reports: Path, do: Callable[[], Result]) -> Result:
    """Do something once for a key, and give back its result and the files it left in `reports`."""
    kept = _place("step", key)
    if kept is None:
        return do()
    if (kept / "result.json").is_file():
        code, output = json.loads((kept / "result.json").read_text("utf-8"))
        if (kept / "reports").is_dir():
            shutil.copytree(kept / "reports", reports, dirs_exist_ok=True)
        return int(code), str(output)
    before = {path: path.stat().st_mtime_ns for path in reports.rglob("*") if path.is_file()}
    code, output = do()
    with _making(kept) as folder:
        for path in (path for path in reports.rglob("*") if path.is_file()):
            if before.get(path) != path.stat().st_mtime_ns:
                copy = folder / "reports" / path.relative_to(reports)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, copy)
        (folder / "result.json").write_text(json.dumps([code, output]), "utf-8")
    return code, output


def _environment(workspace: Path, do: Callable[[], Result]) -> Result:
    """Make the project's .venv, or copy the one made of the same files."""
    files = ["noxfile.py", "pyproject.toml", "requirements/dev.txt"]
    kept = _place("venv", [sys.version, *(_digest(workspace / name) for name in files)])
    ours = workspace / ".venv"
    if kept is None or ours.exists():
        return do()
    if (kept / "result.json").is_file():
        output, there = json.loads((kept / "result.json").read_text("utf-8"))
        shutil.copytree(kept / ".venv", ours, symlinks=True, copy_function=_link)
        _move(ours, there, str(workspace))
        return 0, str(output)
    code, output = do()
    if code == 0 and ours.is_dir():
        _settle(ours)
        with _making(kept) as folder:
            shutil.copytree(ours, folder / ".venv", symlinks=True, copy_function=_link)
            # A file of its own wherever the place is written, or rewriting a copy would rewrite them all.
            _move(folder / ".venv", str(workspace), str(workspace))
            (folder / "result.json").write_text(json.dumps([output, str(workspace)]), "utf-8")
    return code, output


def _move(venv: Path, old: str, new: str) -> None:
    """Write the new place wherever an environment names the old one."""
    packages = [*venv.glob("lib/python*/site-packages"), *venv.glob("Lib/site-packages")]
    named = [*(venv / "bin").glob("*"), venv / "pyvenv.cfg"]
    for folder in packages:
        named += [*folder.glob("*.pth"), *folder.glob("__editable__*"), *folder.glob("*.dist-info/direct_url.json")]
    for path in named:
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        if old.encode() in content and b"\0" not in content:
            mode = path.stat().st_mode
            path.unlink()
            path.write_bytes(content.replace(old.encode(), new.encode()))
            path.chmod(mode)


def _settle(venv: Path) -> None:
    """Let an environment stand on the machine's Python, and not on a runner's, which is gone when another uses it."""
    python, settings = venv / "bin" / "python", venv / "pyvenv.cfg"
    if python.is_symlink() and settings.is_file() and python.readlink() != python.resolve():
        real = python.resolve()
        python.unlink()
        python.symlink_to(real)
        home = re.sub(r"^home = .*", f"home = {real.parent}", settings.read_text("utf-8"), flags=re.MULTILINE)
        settings.write_text(home, "utf-8")


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another file system
        shutil.copy2(source, target, follow_symlinks=False)
    return target


class _making:
    """A folder that is put in its place only when it is whole; what another process put there first stays."""

    def __init__(self, kept: Path) -> None:
        self.kept = kept

    def __enter__(self) -> Path:
        self.kept.parent.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(dir=self.kept.parent))
        return self.folder

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and not self.kept.exists():
            try:
                self.folder.rename(self.kept)
                return
            except OSError:  # another process was quicker
                pass
        shutil.rmtree(self.folder, ignore_errors=True)


def _place(kind: str, key: Iterable[str]) -> Path | None:
    memory = os.environ.get("PIPELINES_MEMORY")
    digest = hashlib.sha256("\0".join([sys.version, *key]).encode()).hexdigest()[:24]
    return Path(memory) / f"{kind}-{digest}" if memory else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _contents(workspace: Path) -> list[str]:
    """Return what tells a checkout from any other: every file that git does not ignore."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=workspace, check=True, capture_output=True, text=True).stdout.split("\0")
    return [f"{name}={_digest(workspace / name)}" for name in sorted(set(names)) if name]
