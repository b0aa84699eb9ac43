"""Files that another system reads are held against that system's own rules; each check refuses a broken file."""

import importlib.resources
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from conftest import Bake
from jsonschema import Draft201909Validator
from open_data_contract_standard.model import OpenDataContractStandard

USE_CASES = ("porto-seguro", "german-credit", "own")


def breaches(document: Any) -> list[str]:
    """Hold a data contract against the standard's JSON schema."""
    schema = json.loads(
        importlib.resources.files("open_data_contract_standard").joinpath("schema.json").read_text("utf-8")
    )
    return [error.message for error in Draft201909Validator(schema).iter_errors(document)]


@pytest.mark.parametrize("use_case", ["porto-seguro", "german-credit"])
def test_the_shipped_contracts_keep_the_standard(bake: Bake, use_case: str) -> None:
    path = bake(use_case=use_case) / "conf" / "contract.yaml"
    document = yaml.safe_load(path.read_text("utf-8"))
    assert breaches(document) == []
    assert OpenDataContractStandard.from_file(str(path)).schema_
    document["schema"][0]["properties"][0]["quality"] = [{"metric": "inventedValues"}]
    assert breaches(document)


def test_notebooks_keep_their_format(bake: Bake) -> None:
    notebooks = sorted((bake() / "notebooks").glob("*.ipynb"))
    assert len(notebooks) == 3
    for path in notebooks:
        book = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        nbformat.validate(book)
        book.cells[0].cell_type = "nonsense"
        with pytest.raises(nbformat.ValidationError):
            nbformat.validate(book)


@pytest.mark.parametrize("use_case", USE_CASES)
def test_pre_commit_accepts_its_hooks_and_they_are_local(bake: Bake, tmp_path: Path, use_case: str) -> None:
    path = bake(use_case=use_case) / ".pre-commit-config.yaml"

    def accepted(file: Path) -> bool:
        return (
            subprocess.run(
                [sys.executable, "-m", "pre_commit", "validate-config", str(file)], capture_output=True
            ).returncode
            == 0
        )

    assert accepted(path)
    assert {repo["repo"] for repo in yaml.safe_load(path.read_text("utf-8"))["repos"]} == {"local"}
    broken = tmp_path / "broken.yaml"
    broken.write_text(path.read_text("utf-8").replace("entry:", "entri:"))
    assert not accepted(broken)


def test_pip_can_check_every_hash_of_the_locks(bake: Bake, tmp_path: Path) -> None:
    """Each requirement is pinned and hashed, for pip refuses the whole file otherwise."""
    for name, least in (("serve", 15), ("project", 50), ("dev", 80), ("otel", 20), ("blob", 20)):
        text = (bake() / "requirements" / f"{name}.txt").read_text("utf-8")
        pinned = re.findall(r"^([a-z0-9][\w.-]*(?:\[[\w,]+\])?)==", text, re.MULTILINE)
        assert len(pinned) > least
        assert len(re.findall(r"^[a-z0-9]", text, re.MULTILINE)) == len(pinned)
        assert all("--hash=sha256:" in part for part in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:])
        assert "://" not in text


def test_the_locks_answer_their_requirements(bake: Bake, tmp_path: Path) -> None:
    """`uv pip compile` has nothing to change; a requirement that was added and not locked would be seen."""
    folder = shutil.copytree(bake() / "requirements", tmp_path / "requirements")

    def compiled() -> str:
        command = ["uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"]
        more = ["--fork-strategy", "fewest", "--custom-compile-command", "nox -s lock"]
        lock = folder / "project.txt"
        subprocess.run([*command, *more, "serve.in", "project.in", "-o", "project.txt"], cwd=folder, check=True)
        return lock.read_text("utf-8")

    before = (folder / "project.txt").read_text("utf-8")
    assert compiled() == before
    with (folder / "project.in").open("a", encoding="utf-8") as file:
        file.write("tabulate\n")
    assert compiled() != before


def test_what_the_locks_share_has_one_version(bake: Bake) -> None:
    """The container's packages are those that were tested, and pip takes serve.txt and otel.txt together."""
    pins = {}
    for name in ("serve", "otel", "blob", "project", "dev"):
        text = (bake() / "requirements" / f"{name}.txt").read_text("utf-8")
        pins[name] = dict(re.findall(r"^([a-z0-9][\w.-]*)(?:\[[\w,]+\])?==(\S+)", text, re.MULTILINE))
    assert pins["serve"].items() <= pins["project"].items() <= pins["dev"].items()
    assert pins["otel"].items() <= pins["dev"].items()
