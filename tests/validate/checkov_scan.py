"""checkov, a scanner of infrastructure for what is insecure, in an environment of its own: it does not go with ours.

It ends well when it cannot read a file, and when it finds none: `judge` counts both.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import tools

VERSION = "3.3.30"
# The parser of Bicep that it pins does not know lambdas.
PARSER = "pycep-parser==0.7.1"


@functools.cache
def program() -> Path:
    """Return the command, installed on first use."""

    def commands(folder: Path) -> list[list[str]]:
        install = ["uv", "pip", "install", "--quiet", "--python", str(folder)]
        return [
            ["uv", "venv", "--quiet", "--python", sys.executable, str(folder)],
            [*install, f"checkov=={VERSION}"],
            [*install, "--no-deps", PARSER],
        ]

    folder = tools.installed(f"checkov-{VERSION}", commands)
    return folder / ("Scripts/checkov.cmd" if os.name == "nt" else "bin/checkov")


def scan(folder: Path, framework: str) -> dict[str, Any]:
    """Return what checkov says of a folder; `framework` is bicep or terraform."""
    words = [str(program()), "-d", str(folder), "--framework", framework, "--skip-download", "--quiet", "-o", "json"]
    with tempfile.TemporaryDirectory() as home:
        # It looks at variables in the order of a set: the same in each run only with the same seed.
        fixed = {"HOME": home, "USERPROFILE": home, "LOG_LEVEL": "ERROR", "PYTHONHASHSEED": "0"}
        environment = {**os.environ, **fixed}
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    try:
        found: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        pytest.fail(f"checkov said {done.stdout[:300]} {done.stderr[-500:]}")
    return found


def judge(report: Mapping[str, Any], reasons: Mapping[str, str], below: str = "/") -> list[str]:
    """Tell what is wrong with what checkov said.

    Args:
        report: what `scan` returned.
        reasons: the checks that may fail, and why.
        below: count failures in files below this path only.

    Returns:
        A sentence for what could not be read, each failure without a reason, and each reason without a failure.
    """
    summary = report.get("summary", report)
    if not summary.get("resource_count"):
        return ["checkov found no resource"]
    found = [f"checkov could not read {summary['parsing_errors']} files"] if summary.get("parsing_errors") else []
    failed = [one for one in report["results"]["failed_checks"] if one["file_path"].startswith(below)]
    found += [
        f"{one['check_id']} {one['check_name']}: {one['resource']} in {one['file_path']}"
        for one in failed
        if one["check_id"] not in reasons
    ]
    stale = set(reasons) - {one["check_id"] for one in failed}
    return found + [f"{one} does not fail any more: take it off the list" for one in sorted(stale)]
