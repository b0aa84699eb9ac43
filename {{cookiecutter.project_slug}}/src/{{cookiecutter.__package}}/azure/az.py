"""The one place that calls `az`: every command is shown, what passes by itself is waited out, errors are sentences."""

import re
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import program
from ..errors import Fault, UsageError
from ..program import Runner

TRIES = 6  # of a command that meets a throttle or a broken connection
LONGEST = 300.0  # seconds between two of them
EXTENSIONS = {"ml": "ml", "monitor log-analytics": "log-analytics"}  # of the az command line, by command
INSTALL = "The command line of Azure is missing. Install it (pip install azure-cli), then: az login"
# CI sets AZURE_CORE_OUTPUT=none, so that nothing lands in logs: each command says itself what it wants.
QUIET = {
    "AZURE_CORE_ONLY_SHOW_ERRORS": "true", "AZURE_CORE_NO_COLOR": "true", "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
    "PYTHONIOENCODING": "utf-8",
}  # fmt: skip
LOGIN = "Azure does not know you (any more): az login. In CI, log in again in this job; a login lasts about an hour."

# What az says, most telling first. Codes stand in parentheses, after `Code:`, or in a status line.
_LOGIN = re.compile(
    r"AADSTS\d+|az login|ExpiredAuthenticationToken|InvalidAuthenticationToken|refresh token has expired"
)
_MISSING = re.compile(r"is misspelled or not recognized|requires the extension|is not in the .*az.* command group")
_FORBIDDEN = re.compile(
    r"AuthorizationFailed|does not have authorization|\(Forbidden\)|AuthorizationPermissionMismatch|Code: \w*Forbidden"
    r"|invalid status ['\"]Forbidden|\(403\)|\bstatus(?: code)?:? 403\b"
)
_THROTTLED = re.compile(r"TooManyRequests|\b429\b|[Tt]hrottl|[Rr]ate limit")
_ABOVE = re.compile(r"ResourceGroupNotFound|/workspaces/[^/'\" ]+['\"]? under ")
_ABSENT = re.compile(r"NotFound\)|Registry .*could not be found|Code: \w*NotFound|\(404\)|\bstatus(?: code)?:? 404\b")
_CONFLICT = re.compile(r"\(Conflict\)|Code: Conflict|\(409\)|already exists")
_NETWORK = re.compile(
    r"Connection (?:aborted|reset|refused)|ConnectionError|Failed to establish a new connection|Name or service not known"
    r"|[Rr]ead timed out|ServiceUnavailable|GatewayTimeout|BadGateway|\b50[234]\b|Max retries exceeded|RemoteDisconnected"
)
_WAIT = re.compile(r"(?i)(?:retry[- ]after|try again in|retry in)\D{0,20}(\d+)")
_SECRET = re.compile(
    r"(?i)eyJ[\w-]{10,}\.[\w.-]+|(?<=Bearer )\S+|(?<=AccountKey=)[^;\s]+|(?<=sig=)[^&\s\"']+|(?<=password[=:])\S+"
)


class NotFound(UsageError):
    """What was asked for does not exist; the workspace does."""


class NoWorkspace(UsageError):
    """The resource group or the workspace in which something was asked for does not exist."""


class Forbidden(UsageError):
    """Whoever is logged in may not do that."""


class Conflict(Fault):
    """It exists already, or somebody else is changing it."""


class Dry(Exception):
    """Nothing is run, and what comes next depends on an answer."""


def process(words: list[str], seconds: float) -> tuple[int, str, str]:
    """Run `az` with these words, and without a chance to ask anything.

    Raises:
        UsageError: it is not installed.
        Fault: it takes longer than `seconds`.
    """
    late = (
        f"Azure has not finished after {seconds:.0f} s: az {' '.join(words[:4])} ... Look at it in the portal; the same "
        "command again goes on from there."
    )
    return program.run(["az", *words], seconds, QUIET, INSTALL, late)


class Az:
    """`az` with its answers as Python values.

    With `dry`, commands are shown and none is run: a reading command is taken to answer what its caller assumes.
    """

    def __init__(
        self,
        dry: bool = False,
        runner: Runner | None = None,
        sleep: Callable[[float], None] | None = None,
        tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
    ) -> None:
        """Give what runs a command, waits, and shows; tests replace them."""
        self.dry, self._run, self._sleep, self._tell = dry, runner or process, sleep or time.sleep, tell

    def read(self, *words: str, assume: Any = Dry, seconds: float = 300) -> Any:
        """Ask for something that exists.

        Args:
            words: after `az`.
            assume: the answer where nothing is run.
            seconds: how long it may take.

        Raises:
            NotFound, UsageError, Fault: as `write`.
        """
        if not self.dry:
            return self._answer(words, seconds)
        self._show(words)
        if assume is Dry:
            raise Dry
        return assume

    def find(self, *words: str) -> Any | None:
        """Ask for something; None where it does not exist (which is assumed where nothing is run)."""
        try:
            return self.read(*words, assume=None)
        except NotFound:
            return None

    def write(self, *words: str, seconds: float = 3600) -> Any:
        """Change something, and return what Azure tells; None where nothing is run.

        Raises:
            NotFound: what it shall change does not exist.
            Conflict: it exists already.
            NoWorkspace: nor does what it would be in.
            Forbidden: whoever is logged in may not do that.
            UsageError: nobody is logged in, or the words are wrong.
            Fault: Azure does not do it, or not in time.
        """
        if self.dry:
            return self._show(words)
        return self._answer(words, seconds)

    @cached_property
    def subscription(self) -> str:
        """The id of the subscription that is chosen."""
        return str(self.read("account", "show", assume={"id": "SUBSCRIPTION"})["id"])

    def providers(self, resource_group: str) -> str:
        """Return how Azure Resource Manager names what stands in a resource group: /subscriptions/.../providers."""
        return f"/subscriptions/{self.subscription}/resourceGroups/{resource_group}/providers"

    def upload(self, account: str, container: str, name: str, file: Path, *more: str) -> None:
        """Write a file as a blob, in the place of an older one, by the rights of whoever is logged in."""
        self.write(
            "storage", "blob", "upload", "--auth-mode", "login", "--account-name", account,
            "--container-name", container, "--name", name, "--file", str(file), "--overwrite", "true", *more,
        )  # fmt: skip

    def _show(self, words: tuple[str, ...]) -> None:
        self._tell(program.shown(["az", *words]))

    def _answer(self, words: tuple[str, ...], seconds: float) -> Any:
        self._show(words)
        for turn in range(TRIES):
            code, out, errors = self._run([*words, "-o", "json"], seconds)
            if code == 0:
                return program.parsed(out, f"az {' '.join(words[:4])}", safe)
            passing = _THROTTLED.search(errors) or _NETWORK.search(errors)
            if _LOGIN.search(errors) or _FORBIDDEN.search(errors) or not passing or turn == TRIES - 1:
                break
            asked = _WAIT.search(errors)
            pause = min(float(asked[1]) if asked else 2.0 ** (turn + 1), LONGEST)
            self._tell(f"# {'throttled' if _THROTTLED.search(errors) else 'no connection'}; again in {pause:.0f} s")
            self._sleep(pause)
        raise _error(words, errors)


def _error(words: tuple[str, ...], errors: str) -> Exception:
    """What went wrong, as an exception of the right kind."""
    command = " ".join(word for word in words[:4] if not word.startswith("-"))
    lines = program.said(errors)
    telling = [line for line in lines if re.match(r"(?i)(error|code|message|\()", line)] or lines[-3:]
    said = safe(" ".join(telling)[:600]) or "it gave no reason"
    if _MISSING.search(errors):
        lacking = next((name for start, name in EXTENSIONS.items() if " ".join(words).startswith(start)), None)
        return UsageError(f"Your az does not know `{command}`: " + (
            f"az extension add --upgrade --name {lacking}" if lacking else "az upgrade"
        ))  # fmt: skip
    if _LOGIN.search(errors):
        return UsageError(f"{LOGIN} ({said})")
    if _FORBIDDEN.search(errors):
        return Forbidden(f"You may not do that: az {command}: {said} docs/azure.md names the role that may.")
    if _THROTTLED.search(errors):
        return Fault(f"Azure still asks to wait after {TRIES} tries; come back later: az {command}: {said}")
    if _ABOVE.search(errors):
        return NoWorkspace(f"There is no such workspace yet: azure infra up. (az {command}: {said})")
    if _ABSENT.search(errors):
        return NotFound(f"Azure does not find it: az {command}: {said}")
    if _CONFLICT.search(errors):
        return Conflict(f"Azure refuses, for it exists or changes right now: az {command}: {said}")
    if _NETWORK.search(errors):
        return Fault(f"Azure cannot be reached after {TRIES} tries: az {command}: {said}")
    return Fault(f"az {command} failed: {said}")


def safe(text: str) -> str:
    """Return a text without what looks like a token, key or signature."""
    return _SECRET.sub("***", text)
