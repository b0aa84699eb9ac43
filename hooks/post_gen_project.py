"""Leave out what was not chosen, note the answers for `copier update`, say what comes next."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

# tojson escapes ' < > &, so any answer is safe inside a literal in single quotes: keep them.
ANSWERS = json.loads(r'{{ cookiecutter | tojson }}')  # fmt: skip

NEXT = """
{name} is ready in {folder}. Next:

    cd {folder}
    git init -b main && git add -A && git commit -m "Start from the AI Factory starter kit"
    pip install nox uv && nox
"""


def leave_out(patterns):
    """Remove the excluded paths, which copier would not have written."""
    for pattern in patterns:
        if not pattern.strip():
            continue
        path = Path(pattern.strip().lstrip("/"))
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def template_version():
    """Return where the template lies and its version as copier writes them, or None if it is not in git."""
    template, clone = ANSWERS.get("_template"), ANSWERS.get("_repo_dir")
    if not clone:  # cruft: it keeps a file of its own, and compares bakes byte for byte
        return None
    # A template given as a relative path was meant from where the command ran, not from here.
    for start in (ANSWERS["_output_dir"], os.environ.get("PWD", "")):
        folder = Path(start, clone)
        if not (folder / ".git").exists():
            continue
        describe = ["git", "-C", str(folder), "describe", "--tags", "--always"]
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            commit = subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
            return (str(folder.resolve()) if template == clone else template), commit
    return None


def note_answers():
    """Write copier's answers file, so that `copier update` works on this project too."""
    if not (version := template_version()):
        return
    source, commit = version
    asked = {key: value for key, value in ANSWERS.items() if not key.startswith("_")}
    lines = [
        f"{key}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in {"_commit": commit, "_src_path": source, **asked}.items()
    ]
    text = "\n".join(["# Changes here will be overwritten by Copier; never edit by hand", *lines, ""])
    Path(".copier-answers.yml").write_text(text, "utf-8")


leave_out(ANSWERS["__exclude"])
note_answers()
if "_output_dir" in ANSWERS:  # not cruft, which bakes again for every check
    # A closed pipe, or a console that cannot print the name, must not undo the project.
    with contextlib.suppress(OSError):
        print(NEXT.format(name=ANSWERS["project_name"], folder=Path.cwd().name), file=sys.stderr)
