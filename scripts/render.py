"""Render projects from this working tree; as a script, renew the rendered example."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml
from cookiecutter.main import cookiecutter
from copier import run_copy

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ("cookiecutter", "copier")
TEMPLATE = ("cookiecutter.json", "copier.yml", "hooks", "templates", "{{cookiecutter.project_slug}}")
EXAMPLE = ROOT / "examples" / "porto_seguro"
ANSWERS_FILE = ".copier-answers.yml"


def copy_template(target: Path) -> Path:
    """Copy what the engines read into a plain folder: uncommitted edits count, tags and caches do not."""
    target.mkdir(parents=True)
    ignore = shutil.ignore_patterns("__pycache__", ".*_cache", "*.pyc")
    for name in TEMPLATE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        else:
            shutil.copy2(source, target / name)
    return target


def render(engine: str, template: Path, answers: dict[str, Any], into: Path) -> Path:
    """Render a project without asking anything and return its folder, a new one inside `into`."""
    if engine == "copier":
        run_copy(str(template), into / "project", data=answers, defaults=True, quiet=True)
        return into / "project"
    # Keep the user's own settings out, and cookiecutter's notes out of the user's home.
    with tempfile.TemporaryDirectory() as notes:
        config = Path(notes, "config.yml")
        config.write_text(yaml.safe_dump({"replay_dir": notes, "cookiecutters_dir": notes}), "utf-8")
        folder = cookiecutter(
            str(template),
            no_input=True,
            extra_context=answers,
            output_dir=str(into),
            config_file=str(config),
        )
    return Path(folder)


def example_answers(folder: Path = EXAMPLE) -> dict[str, Any]:
    """Return the answers of an example."""
    answers: dict[str, Any] = yaml.safe_load((folder / "answers.yml").read_text("utf-8"))["default_context"]
    return answers


def main() -> None:
    """Renew examples/porto_seguro/project."""
    with tempfile.TemporaryDirectory() as scratch:
        template = copy_template(Path(scratch, "template"))
        project = render("cookiecutter", template, example_answers(), Path(scratch))
        target = EXAMPLE / "project"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(project, target)


if __name__ == "__main__":
    main()
