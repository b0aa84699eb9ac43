"""The real terraform, with stand-ins for its providers: installed from a folder, kept beside the kit's other tools."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import tools
from validate import terraform_schema

TESTS = Path(__file__).parents[1]
PROGRAM = "validate.terraform_provider"
PLAN = ("plan", "-lock=false", "-input=false", "-no-color")
AZAPI = "2.6.0"
PROVIDERS = {f"hashicorp/azurerm/{terraform_schema.VERSION}": "azurerm", f"azure/azapi/{AZAPI}": "azapi"}


def kept() -> Path:
    """Return the folder in which the stand-ins are kept."""
    return tools.place(f"terraform-azurerm-{terraform_schema.VERSION}")


@functools.cache
def settings() -> dict[str, str]:
    """Return the environment in which terraform finds the stand-ins and nothing else; they are made on first use."""
    if not shutil.which("terraform"):
        pytest.fail("terraform is needed to check the infrastructure: https://developer.hashicorp.com/terraform")
    folder = kept()
    # No settings of the user, and no call for news.
    quiet = {key: value for key, value in os.environ.items() if not key.startswith(("TF_", "ARM_"))}
    quiet |= {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    done = subprocess.run(
        ["terraform", "version", "-json"], env={**quiet, "TF_CLI_CONFIG_FILE": os.devnull}, capture_output=True
    )
    platform = json.loads(done.stdout)["platform"]
    config = folder / "terraformrc"
    files = {config: f'provider_installation {{\n  filesystem_mirror {{\n    path = "{folder / "mirror"}"\n  }}\n}}\n'}
    for path, kind in PROVIDERS.items():
        home = folder / "mirror" / "registry.terraform.io" / path / platform
        start = home / f"terraform-provider-{kind}_v{Path(path).name}"
        files[start] = f"#!/bin/sh\nPYTHONPATH='{TESTS}' exec '{sys.executable}' -m {PROGRAM} {kind} '{folder}'\n"
    # One worker writes, and only what is not there: another one's terraform may be reading it.
    with tools.alone(folder):
        try:
            terraform_schema.azurerm(folder)
        except RuntimeError as error:
            pytest.fail(str(error))
        for file, text in files.items():
            if not file.exists() or file.read_text() != text:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
                file.chmod(0o755)
    return {**quiet, "TF_CLI_CONFIG_FILE": str(config)}


@functools.cache
def served() -> Path:
    """Return the folder of the sockets at which the stand-ins wait; they end when this process does."""
    room = Path(tempfile.mkdtemp(prefix="terraform-"))
    words = [sys.executable, "-m", PROGRAM, "serve", str(kept()), str(room)]
    process = subprocess.Popen(words, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    atexit.register(end, process, room)
    return room


def end(process: subprocess.Popen[str], room: Path) -> None:
    """End the stand-ins."""
    process.communicate()
    shutil.rmtree(room)


def attached(*, foretold: bool = False) -> dict[str, str]:
    """Return the setting with which terraform starts no stand-in, but takes those that wait: seconds less a command."""
    providers = {}
    for path, kind in PROVIDERS.items():
        socket = str(served() / (f"{kind}-foretold" if foretold else kind))
        providers[f"registry.terraform.io/{path.rpartition('/')[0]}"] = {
            "Protocol": "grpc",
            "ProtocolVersion": 6,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "unix", "String": socket},
        }
    return {"TF_REATTACH_PROVIDERS": json.dumps(providers)}


def terraform(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run terraform in a folder; `more` are environment variables."""
    return subprocess.run(
        ["terraform", *words],
        cwd=folder,
        env={**settings(), **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def begin(folder: Path) -> None:
    """Prepare a folder for every other command: its providers come from the mirror, its state stays beside it."""
    for words in (["-backend=false"], ["-reconfigure"]):
        done = terraform(folder, "init", "-input=false", "-no-color", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        (folder / "offline_override.tf").write_text('terraform {\n  backend "local" {}\n}\n')


def plan(folder: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    """Plan a folder with variables such as `environment=dev`; what is not yet known is not known."""
    return terraform(folder, *PLAN, *(f"-var={one}" for one in variables), **attached())


def foretold(folder: Path, *variables: str) -> dict[str, Any]:
    """Return what a plan makes, resources and outputs, with the ids that Azure will give."""
    with tempfile.TemporaryDirectory() as room:
        more = attached(foretold=True)
        done = terraform(folder, *PLAN, f"-out={room}/plan", *(f"-var={one}" for one in variables), **more)
        assert done.returncode == 0, done.stderr
        said = json.loads(terraform(folder, "show", "-json", f"{room}/plan", **more).stdout)
    planned: dict[str, Any] = said["planned_values"]
    return planned


def diagnose(folder: Path, *, start: bool = False) -> list[str]:
    """Return what `terraform validate` finds wrong, with file and line; if `start`, it starts the stand-ins itself."""
    said = json.loads(terraform(folder, "validate", "-json", **({} if start else attached())).stdout)
    return [place(one) for one in said["diagnostics"]]


def place(one: dict[str, Any]) -> str:
    """Return one finding of terraform in one line."""
    where = one.get("range")
    start = f"{where['filename']}:{where['start']['line']}: " if where else ""
    return " ".join(f"{start}{one['severity']}: {one['summary']}. {one.get('detail', '')}".split())
