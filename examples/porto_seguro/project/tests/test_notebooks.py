"""Notebooks are kept clean, and they run: on this package, without logic or rows of their own."""

import ast
import json
import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient

from porto_seguro import show
from porto_seguro.pipeline import Project

FOLDER = ROOT / "notebooks"
SHIPPED = ("explore", "experiment", "error_analysis")
SOURCE = Path(show.__file__).resolve().parents[1]
ALLOWED = {Path(show.__file__).parent.name, "matplotlib", "numpy", "pathlib", "polars", "tempfile"}
LINES = 12  # of a cell
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def read(path: Path) -> nbformat.NotebookNode:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    return book


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_output_is_kept(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "code":
            assert not cell.outputs, (
                f"{path.name}: clear all outputs before you commit, they may show rows of your data"
            )
            assert cell.execution_count is None, f"{path.name}: clear all outputs before you commit"


@pytest.mark.parametrize("name", SHIPPED)
def test_logic_stands_in_the_package(name: str) -> None:
    for cell in read(FOLDER / f"{name}.ipynb").cells:
        if cell.cell_type != "code":
            continue
        assert len(cell.source.splitlines()) <= LINES, cell.source
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, LOGIC), cell.source
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {found.partition(".")[0] for found in names} <= ALLOWED, cell.source


@pytest.fixture
def living(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a champion and the notebooks."""
    root = shutil.copytree(lived, tmp_path / "moved")
    shutil.copytree(FOLDER, root / "notebooks")
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    return root


def execute(root: Path, name: str, last: str = "pass") -> nbformat.NotebookNode:
    """Run a notebook in its folder, and after it the line `last`."""
    book = read(root / "notebooks" / f"{name}.ipynb")
    book.cells.append(nbformat.v4.new_code_cell(last))
    place = {"metadata": {"path": str(root / "notebooks")}}
    return NotebookClient(book, timeout=300, resources=place).execute()


@pytest.mark.life
@pytest.mark.parametrize("name", ["explore", "error_analysis"])
def test_it_runs(living: Path, name: str) -> None:
    pictures = [
        out
        for cell in execute(living, name).cells
        for out in cell.get("outputs", [])
        if "image/png" in out.get("data", ())
    ]
    assert len(pictures) >= 2


@pytest.mark.life
def test_an_experiment_gives_the_metrics_of_the_run(living: Path) -> None:
    book = execute(living, "experiment", 'import json\n\nprint(json.dumps(told["metrics"]["model"]))')
    here = json.loads(book.cells[-1].outputs[0].text)
    [run] = Project(living).registry.runs()
    assert here == pytest.approx(run["metrics"], rel=0, abs=1e-9)
