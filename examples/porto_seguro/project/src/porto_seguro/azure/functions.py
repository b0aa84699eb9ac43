"""The functions of `events/` on their way to Azure."""

import zipfile
from pathlib import Path

from ..table import replacing
from .az import Az
from .environments import Environment

FILES = ("function_app.py", "handler.py", "host.json")


def package(root: Path, target: Path) -> Path:
    """Write the archive that Azure takes: the functions and their locked packages; the same files give the same bytes.

    Args:
        root: the project's folder.
        target: the archive.
    """
    found = {name: root / "events" / name for name in FILES}
    found["requirements.txt"] = root / "requirements" / "events.txt"
    with replacing(target) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in sorted(found.items()):
            archive.writestr(zipfile.ZipInfo(name), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return target


def deploy(az: Az, environment: Environment, root: Path) -> None:
    """Bring the functions to the function app, which installs their packages itself.

    Only then may events be delivered: Event Grid takes no function that is not there.
    """
    archive = package(root, environment.sent(root) / "functions.zip")
    az.write(
        "functionapp", "deployment", "source", "config-zip", "--name", environment.function_app,
        "--resource-group", environment.resource_group, "--src", str(archive), "--build-remote", "true",
    )  # fmt: skip
