"""The command lines of other programs: run without a chance to ask anything, and shown as a user would type them."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .errors import Fault, UsageError

Runner = Callable[[list[str], float], tuple[int, str, str]]  # words and a limit in seconds -> exit code, output, errors


def run(
    words: Sequence[str], seconds: float, quiet: Mapping[str, str], missing: str, late: str
) -> tuple[int, str, str]:
    """Run a program.

    Args:
        words: its name, and what follows.
        seconds: how long it may take.
        quiet: variables that keep it from asking, and its answers plain.
        missing: the sentence where it is not installed.
        late: the sentence where it takes longer.

    Returns:
        Its exit code, output and errors.

    Raises:
        UsageError: it is not installed.
        Fault: it takes longer than `seconds`.
    """
    found = shutil.which(words[0])
    if found is None:
        raise UsageError(missing)
    try:
        ended = subprocess.run(
            [found, *words[1:]], capture_output=True, text=True, encoding="utf-8", errors="replace",
            stdin=subprocess.DEVNULL, timeout=seconds, env={**os.environ, **quiet}, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Fault(late) from None
    return ended.returncode, ended.stdout, ended.stderr


def shown(words: Sequence[str]) -> str:
    """Return a command as one types it in this system's shell."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def parsed(out: str, command: str, safe: Callable[[str], str]) -> Any:
    """Return an answer in JSON as a Python value; None where there is none.

    Raises:
        Fault: it is no JSON; its beginning is told, made `safe`.
    """
    try:
        return json.loads(out) if out.strip() else None
    except ValueError:
        raise Fault(f"{command} gave no JSON: {safe(out.strip()[:200])}") from None


def said(errors: str) -> list[str]:
    """Return the lines in which a program said what was wrong."""
    return [text for line in errors.splitlines() if (text := line.strip().removeprefix("ERROR:").strip())]
