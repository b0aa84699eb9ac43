"""Where a project's repository is: as its git remote says, or as it is given."""

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote

from ..errors import UsageError

GITHUB = re.compile(r"(?:git@|ssh://git@|https://(?:[^@/]+@)?)github\.com[:/](?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/?")
DEVOPS = re.compile(
    r"(?:https://(?:[^@/]+@)?dev\.azure\.com/(?P<o1>[^/]+)/(?P<p1>[^/]+)/_git/(?P<r1>[^/]+)"
    r"|git@ssh\.dev\.azure\.com:v3/(?P<o2>[^/]+)/(?P<p2>[^/]+)/(?P<r2>[^/]+))/?"
)


def remote(root: Path) -> str:
    """Return the address of the remote `origin`, or an empty text where there is none."""
    try:
        told = subprocess.run(
            ["git", "-C", str(root), "remote", "get-url", "origin"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return told.stdout.strip() if told.returncode == 0 else ""


def github(root: Path, given: str | None, dry: bool) -> str:
    """Return OWNER/REPOSITORY.

    Raises:
        UsageError: it is neither given nor to be read from the remote.
    """
    if given:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", given):
            raise UsageError(f"--repository is {given!r}, but must be OWNER/REPOSITORY.")
        return given
    found = GITHUB.fullmatch(remote(root))
    if not found and not dry:
        raise UsageError(
            "This project has no remote at GitHub. Make one (gh repo create --source . --push --private), or name it: "
            "--repository OWNER/REPOSITORY"
        )
    return found["name"] if found else "OWNER/REPOSITORY"


def devops(root: Path, given: str | None, dry: bool) -> tuple[str, str, str]:
    """Return the organization's address, the project and the repository.

    Raises:
        UsageError: they are neither given nor to be read from the remote.
    """
    if given:
        if not re.fullmatch(r"[^/]+/[^/]+/[^/]+", given):
            raise UsageError(f"--repository is {given!r}, but must be ORGANIZATION/PROJECT/REPOSITORY.")
        organization, project, name = given.split("/")
    elif found := DEVOPS.fullmatch(remote(root)):
        organization, project, name = (unquote(found[f"{key}1"] or found[f"{key}2"]) for key in "opr")
    elif dry:
        organization, project, name = "ORGANIZATION", "PROJECT", "REPOSITORY"
    else:
        raise UsageError(
            "This project has no remote at Azure DevOps. Make one (az repos create --name NAME, then git push), or name it: "
            "--repository ORGANIZATION/PROJECT/REPOSITORY"
        )
    return f"https://dev.azure.com/{organization}", project, name
