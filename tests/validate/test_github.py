"""The files for GitHub are what GitHub, actionlint and zizmor want; and these tools find what is wrong with them."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from conftest import Bake
from validate import github_scan

# Each pair of answers that changes a file is here at least once.
PROJECTS = {
    "as asked": ("cookiecutter", {}),
    "online, by hand": ("copier", {"serving": "online", "iac": "terraform", "ci": "both", "ci_triggers": "false"}),
    "batch": ("copier", {"serving": "batch", "iac": "terraform"}),
    "batch, by hand": ("copier", {"serving": "batch", "ci": "both", "ci_triggers": "false"}),
    "local": ("copier", {"platform": "local", "ci": "both"}),
    "local, by hand": ("copier", {"platform": "local", "serving": "batch", "ci_triggers": "false"}),
}
FAULTS: list[dict[str, str]] = yaml.safe_load((Path(__file__).parent / "github_faults.yaml").read_text("utf-8"))


@pytest.mark.parametrize("name", PROJECTS)
def test_no_tool_finds_anything(bake: Bake, name: str) -> None:
    engine, answers = PROJECTS[name]
    project = bake(engine, **answers)

    found = {tool: github_scan.findings(project, tool) for tool in github_scan.TOOLS}

    assert {tool: lines for tool, lines in found.items() if lines} == {}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["fault"])
def test_a_fault_is_found(bake: Bake, tmp_path: Path, fault: dict[str, str]) -> None:
    shutil.copytree(bake("cookiecutter") / ".github", tmp_path / ".github")
    path = tmp_path / ".github" / fault["file"]
    text = path.read_text("utf-8")
    assert fault["old"] in text, f"{path.name} has no {fault['old']!r} any more: plant this fault elsewhere"
    path.write_text(text.replace(fault["old"], fault["new"], 1), "utf-8")

    found = github_scan.findings(tmp_path, fault["tool"])

    assert any(fault["word"] in line for line in found), found


def test_every_job_ends_some_time_and_has_named_permissions(bake: Bake) -> None:
    for path in (bake("cookiecutter") / ".github" / "workflows").glob("*.yml"):
        read = yaml.safe_load(path.read_text("utf-8"))
        assert read["permissions"] == {}, f"{path.name}: what a job may do is said at the job"
        for name, job in read["jobs"].items():
            assert isinstance(job.get("permissions"), dict), f"{path.name}: {name} names no permissions"
            assert "uses" in job or job["timeout-minutes"] <= 180, f"{path.name}: {name}"


def test_no_secret_is_used(bake: Bake) -> None:
    for path in (bake("cookiecutter") / ".github").rglob("*.yml"):
        assert not re.search(r"\bsecrets\s*[.\[]|secrets:", path.read_text("utf-8")), f"{path.name} uses a secret"
