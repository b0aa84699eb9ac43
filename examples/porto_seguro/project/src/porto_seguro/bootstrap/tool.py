"""The command lines of GitHub (`gh`) and Azure DevOps (`az`): every command is shown, errors are sentences.

The sibling of azure/az.py for what a project without Azure has too.
"""

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import program
from ..errors import Fault, UsageError

TRIES = 4
LIMIT = 120.0  # seconds for one command
ABOUT = {  # how each is installed, and how somebody logs in
    "gh": ("https://cli.github.com tells how to install it", "gh auth login"),
    "az": ("pip install azure-cli, then: az extension add --name azure-devops", "az login"),
}
QUIET = {
    "GH_PROMPT_DISABLED": "1", "GH_NO_UPDATE_NOTIFIER": "1", "NO_COLOR": "1", "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
    "AZURE_CORE_NO_COLOR": "true", "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no", "PYTHONIOENCODING": "utf-8",
}  # fmt: skip
_PASSING = re.compile(
    r"(?i)\b429\b|rate limit|throttl|\b50[234]\b|error connecting|connection (?:aborted|reset|refused)|timed out"
)
_LOGIN = re.compile(r"gh auth login|HTTP 401|Bad credentials|AADSTS\d+|az login|TF400813|token .*expired")
_EXTENSION = re.compile(r"misspelled or not recognized|requires the extension|not in the .*az.* command group")
_FORBIDDEN = re.compile(
    r"HTTP 403|\b403\b|TF40\d{4}: .*permission|TF401027|VS403\d{3}|Access denied|does not have permission|Must have admin"
)
_ABSENT = re.compile(r"HTTP 404|\b404\b|(?i:not found|does not exist|could not be found)|TF200016|TF401019|VS800075")
_SECRET = re.compile(r"gh[oprsu]_\w{20,}|github_pat_\w{20,}|eyJ[\w-]{10,}\.[\w.-]+|(?i:(?<=Bearer )\S+)")


class Missing(UsageError):
    """What was asked for does not exist, or is hidden from whoever is logged in."""


class Tool:
    """`gh` or `az` with its answers as Python values; with `dry`, commands are shown and none is run."""

    def __init__(
        self,
        program: str,
        dry: bool = False,
        tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:
        """Give `gh` or `az`, and what shows a command."""
        self.program, self.dry, self._tell = program, dry, tell

    def read(self, *words: str, assume: Any = None) -> Any:
        """Ask for something that exists; where nothing is run, the answer is `assume`.

        Raises:
            Missing, UsageError, Fault: as `write`.
        """
        self._show(words)
        return assume if self.dry else self._answer(words)

    def find(self, *words: str) -> Any | None:
        """Ask for something; None where it does not exist (which is assumed where nothing is run)."""
        try:
            return self.read(*words)
        except Missing:
            return None

    def write(self, *words: str, body: Any = None, option: str = "--input", assume: Any = None) -> Any:
        """Change something, and return the answer.

        Args:
            words: after the program's name.
            body: a JSON value, given as a file behind `option`.
            option: of the command, for that file.
            assume: the answer where nothing is run.

        Raises:
            Missing: what it shall change does not exist.
            UsageError: nobody is logged in, or may not do that, or the words are wrong.
            Fault: the service does not do it, or not in time.
        """
        if body is None:
            self._show(words)
            return assume if self.dry else self._answer(words)
        self._show((*words, option, "body.json"), body)
        if self.dry:
            return assume
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "body.json")
            path.write_text(json.dumps(body), "utf-8")
            return self._answer((*words, option, str(path)))

    def _show(self, words: tuple[str, ...], body: Any = None) -> None:
        self._tell(program.shown([self.program, *words]))
        if body is not None:
            self._tell(f"#  body.json: {json.dumps(body, ensure_ascii=False)}")

    def _answer(self, words: tuple[str, ...]) -> Any:
        form = ["-o", "json"] if self.program == "az" else []
        for turn in range(TRIES):
            code, out, errors = process([self.program, *words, *form], LIMIT)
            if code == 0:
                return program.parsed(out, f"{self.program} {' '.join(words[:3])}", safe)
            if not _PASSING.search(errors) or turn == TRIES - 1:
                break
            time.sleep(2.0 ** (turn + 1))
        raise self._error(words, errors)

    def _error(self, words: tuple[str, ...], errors: str) -> Exception:
        """What went wrong, as an exception of the right kind."""
        command = f"{self.program} {' '.join(words[:5])}"
        said = safe(" ".join(program.said(errors)[-3:])[:500]) or "it gave no reason"
        if self.program == "az" and _EXTENSION.search(errors):
            return UsageError(f"Your az does not know `{command}`: az extension add --upgrade --name azure-devops")
        if _LOGIN.search(errors):
            return UsageError(f"{self.program} does not know you (any more): {ABOUT[self.program][1]}. ({said})")
        if _PASSING.search(errors):
            return Fault(f"No answer after {TRIES} tries; come back later, it goes on from there: {command}: {said}")
        if _FORBIDDEN.search(errors):
            return UsageError(f"You may not do that: {command}: {said} An administrator of the repository may.")
        if _ABSENT.search(errors):
            return Missing(f"There is no such thing, or you may not see it: {command}: {said}")
        return Fault(f"{command} failed: {said}")


def process(words: list[str], seconds: float) -> tuple[int, str, str]:
    """Run a program with these words, and without a chance to ask anything.

    Raises:
        UsageError: it is not installed.
        Fault: it takes longer than `seconds`.
    """
    install, login = ABOUT[words[0]]
    missing = f"The command line `{words[0]}` is missing: {install}. Then: {login}"
    late = f"{' '.join(words[:4])} has not finished after {seconds:.0f} s; run the command again."
    return program.run(words, seconds, QUIET, missing, late)


def safe(text: str) -> str:
    """Return a text without what looks like a token."""
    return _SECRET.sub("***", text)
