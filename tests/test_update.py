"""A project follows the template: changes arrive, the team's own work stays."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import Git, Tool, born, release, tree
from copier import run_copy, run_update
from questions import build
from render import ANSWERS_FILE, ENGINES, TEMPLATE, render

PROJECT = TEMPLATE[-1]
ANSWERS = {"use_case": "own", "project_slug": "followed", "project_name": "Söhne & Co"}


def change(kit: Path) -> None:
    """Change the template as a release does: edit, add, drop, ask something new."""
    pyproject = kit / PROJECT / "pyproject.toml"
    pyproject.write_text(pyproject.read_text("utf-8").replace("line-length = 120", "line-length = 100"), "utf-8")
    (kit / PROJECT / "data" / "old.md").unlink()
    (kit / PROJECT / "new.md").write_text("{{ cookiecutter.floor }}\n")
    copier = kit / "copier.yml"
    question = "floor:\n  type: str\n  help: Floor\n  default: north\n\n# Computed"
    text = copier.read_text("utf-8").replace("# Computed", question, 1)
    text = text.replace("licence=licence,", "licence=licence,\n      floor=floor,")
    copier.write_text(text, "utf-8")
    questions = build(yaml.safe_load(text))
    (kit / "cookiecutter.json").write_text(json.dumps(questions), "utf-8")


@pytest.mark.parametrize("engine", ENGINES)
def test_update_equals_a_fresh_bake_and_keeps_local_work(kit: Path, tmp_path: Path, git: Git, engine: str) -> None:
    project = born(engine, kit, ANSWERS, tmp_path, git)
    change(kit)
    release(git, kit, "2.0.0")
    run_copy(str(kit), tmp_path / "fresh", data=ANSWERS, defaults=True, quiet=True)

    # What a team does: a file of its own where the template has one for other use cases, an edit, a deletion.
    own = {
        "conf/contract.yaml": b"inferred: true\n",
        "src/followed/mine.py": b"MINE = 1\n",
    }
    for path, content in own.items():
        (project / path).parent.mkdir(exist_ok=True)
        (project / path).write_bytes(content)
    page = project / "data" / "README.md"
    page.write_text(page.read_text("utf-8") + "\nOur data come from the warehouse.\n", "utf-8")
    (project / ".gitattributes").unlink()
    own["data/README.md"] = page.read_bytes()
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "our work")

    run_update(project, defaults=True, overwrite=True, quiet=True)

    expected = tree(tmp_path / "fresh", ANSWERS_FILE, ".gitattributes") | own
    assert tree(project, ANSWERS_FILE, ".git") == expected
    answers = (project / ANSWERS_FILE).read_text("utf-8")
    assert "_commit: 2.0.0" in answers
    assert "floor: north" in answers


def test_update_marks_a_conflict(kit: Path, tmp_path: Path, git: Git) -> None:
    project = born("copier", kit, ANSWERS, tmp_path, git)
    change(kit)
    release(git, kit, "2.0.0")
    pyproject = project / "pyproject.toml"
    pyproject.write_text(pyproject.read_text("utf-8").replace("line-length = 120", "line-length = 88"), "utf-8")
    git(project, "commit", "--quiet", "--all", "--message", "shorter")
    run_update(project, defaults=True, overwrite=True, quiet=True)
    text = pyproject.read_text("utf-8")
    assert "<<<<<<< before updating\nline-length = 88\n=======\nline-length = 100\n>>>>>>>" in text
    assert "UU pyproject.toml" in git(project, "status", "--short")


def test_an_answer_can_be_changed_later(kit: Path, tmp_path: Path, git: Git) -> None:
    project = born("cookiecutter", kit, ANSWERS, tmp_path, git)
    changed = ANSWERS | {"use_case": "porto-seguro", "licence": "MIT", "extras": "kubernetes", "iac": "terraform"}
    run_update(project, data=changed, vcs_ref="1.0.0", defaults=True, overwrite=True, quiet=True)
    run_copy(str(kit), tmp_path / "fresh", data=changed, defaults=True, quiet=True)
    # The description was answered once, by its default; an update keeps answers.
    fresh, updated = tree(tmp_path / "fresh"), tree(project, ".git")
    assert fresh.keys() == updated.keys()
    assert fresh["LICENSE"] == updated["LICENSE"]
    assert "kubernetes/kustomization.yaml" in updated


def test_both_engines_note_the_same_answers(kit: Path, tmp_path: Path) -> None:
    notes = [
        yaml.safe_load((render(engine, kit, ANSWERS, tmp_path) / ANSWERS_FILE).read_text("utf-8")) for engine in ENGINES
    ]
    assert notes[0] == notes[1]
    assert notes[0].items() >= (ANSWERS | {"_commit": "1.0.0", "_src_path": str(kit)}).items()


def test_cookiecutter_notes_where_a_relative_template_lies(kit: Path, tmp_path: Path, tool: Tool) -> None:
    done = tool(tmp_path, "cookiecutter", "--no-input", "kit", "--output-dir", "below", "project_slug=relative")
    assert done.returncode == 0, done.stderr
    answers = (tmp_path / "below" / "relative" / ANSWERS_FILE).read_text("utf-8")
    assert f'_src_path: "{kit}"' in answers
    assert '_commit: "1.0.0"' in answers


def test_cruft_creates_checks_and_updates(kit: Path, tmp_path: Path, git: Git, tool: Tool) -> None:
    def cruft(*args: str) -> None:
        done = tool(project if project.exists() else tmp_path, "cruft", *args)
        assert done.returncode == 0, done.stdout + done.stderr

    project = tmp_path / "followed"
    cruft("create", "--no-input", str(kit), "--extra-context", json.dumps(ANSWERS))
    assert not (project / ANSWERS_FILE).exists()
    git(project, "init", "--quiet", "--initial-branch", "main")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "born")
    cruft("check")
    change(kit)
    release(git, kit, "2.0.0")
    assert tool(project, "cruft", "check").returncode == 1
    cruft("update", "--skip-apply-ask")
    assert "line-length = 100" in (project / "pyproject.toml").read_text("utf-8")
    assert not (project / "data" / "old.md").exists()
    cruft("check")
