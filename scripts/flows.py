"""Write into a project's docs/ci-cd.md what its pipelines do, as the two platforms' files say it."""

import sys
import tempfile
from pathlib import Path

from render import TEMPLATE, copy_template, render

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / TEMPLATE[-1] / "docs" / "ci-cd.md"
COMMAND = "{{ cookiecutter.project_slug }}"
LOCAL, BATCH = {"platform": "local"}, {"serving": "batch"}
# What a block of the page is about: pipeline, and the answers of a project that has it so.
BLOCKS: dict[str, dict[str, str]] = {"ci": {}, "ci, local": LOCAL, "train": {}, "release": {}, "release, batch": BATCH}


def filled(text: str, drawings: dict[str, str]) -> str:
    """Return a page with its blocks, those that it has, drawn anew."""
    for name, drawing in drawings.items():
        before, start, rest = text.partition(f"<!-- flow: {name} -->\n")
        if start:
            text = f"{before}{start}{drawing}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
    return text


def draw(template: Path, folder: Path) -> dict[str, str]:
    """Draw each block from a project that is rendered for it."""
    sys.path.insert(0, str(ROOT / "tests"))
    from pipelines.flows import of_page
    from pipelines.github import flow

    made: dict[str, Path] = {}
    for answers in BLOCKS.values():
        key = str(answers)
        if key not in made:
            made[key] = render("copier", template, {"use_case": "porto-seguro", **answers}, folder / str(len(made)))
    drawings = {name: of_page(flow, made[str(answers)], name) for name, answers in BLOCKS.items()}
    return {name: text.replace("porto-seguro", COMMAND) for name, text in drawings.items()}


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory() as folder:
        drawings = draw(copy_template(Path(folder) / "template"), Path(folder))
    text = PAGE.read_text("utf-8")
    PAGE.write_text(filled(text, drawings), "utf-8", newline="\n")


if __name__ == "__main__":
    main()
