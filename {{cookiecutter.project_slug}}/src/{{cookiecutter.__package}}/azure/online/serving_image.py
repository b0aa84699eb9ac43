"""The image of the serving container in Azure: built from this checkout, and named by the content that goes into it."""

import hashlib
from pathlib import Path

from ...errors import Fault, UsageError
from ..az import Az
from ..environments import Environment
from ..fill import filled

PARTS = (
    "Dockerfile", "requirements/serve.txt", "requirements/otel.txt", "src", "conf/contract.yaml", "conf/project.yaml",
)  # fmt: skip


def content(root: Path) -> str:
    """Return the hash of all that goes into the image: the same code has the same image, whoever builds it."""
    found = hashlib.sha256()
    for part in PARTS:
        path = root / part
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and "__pycache__" not in file.parts and not file.name.endswith(".pyc"):
                found.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def reference(az: Az, environment: Environment, root: Path, name: str) -> str:
    """Return how YAML names the Azure ML environment with the image of this checkout.

    Raises:
        UsageError: it was not built yet.
    """
    version = content(root)
    words = ("--name", f"{name}-serving", "--version", version, *environment.scope)
    if az.find("ml", "environment", "show", *words) is None and not az.dry:
        raise UsageError(
            f"There is no image of this code in {environment.name} yet: azure image --env {environment.name}"
        )
    return f"azureml:{name}-serving:{version}"


def build(az: Az, environment: Environment, root: Path, name: str, commit: str) -> tuple[str, bool]:
    """Build the image in the environment's registry and make it known to Azure ML, unless it is there.

    Args:
        az, environment: where.
        root: the project's folder.
        name: of the project.
        commit: noted in the image.

    Returns:
        The version, and whether it is new.
    """
    version = content(root)
    words = ("--name", f"{name}-serving", "--version", version, *environment.scope)
    if az.find("ml", "environment", "show", *words) is not None:
        return version, False
    registry = environment.container_registry
    told = az.write(
        "acr", "build", "--registry", registry, "--image", f"{name}:{version}", "--no-logs",
        "--build-arg", f"REVISION={commit}", "--build-arg", f"VERSION={version}", str(root),
    )  # fmt: skip
    made = ((told or {}).get("outputImages") or [{}])[0]
    if not az.dry and not made.get("digest"):
        raise Fault(f"The build of {name}:{version} in {registry} told no digest; look at its log: az acr task logs")
    image = f"{registry}.azurecr.io/{name}@{made.get('digest', 'sha256:...')}"
    values = {"name": f"{name}-serving", "version": version, "image": image, "tags": environment.tags}
    out = environment.sent(root)
    path = filled(root / "azureml" / "online" / "environment.yml", out / "environment.yml", values)
    az.write("ml", "environment", "create", "--file", str(path), *environment.scope)
    return version, True
