"""On the real rows the shipped recipes are as good as promised."""

from pathlib import Path

import pytest
from bench import REAL, Bench, credit, splits


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """The measurements of `nox -s bench`, which tell what they find."""
    return Bench(tmp_path, "", 1)


def real(*parts: str) -> Path:
    """Return a file of the real data."""
    file = REAL.joinpath(*parts)
    if not file.exists():
        pytest.skip(f"the real rows are not here: {file}")
    return file


def test_the_shipped_recipe_beats_the_original_lab(bench: Bench) -> None:
    ours, theirs = zip(*splits(bench, real("porto_seguro", "train_head19393.csv")), strict=True)
    assert len(ours) == 10
    assert sum(ours) / 10 >= 0.628
    assert sum(a > b for a, b in zip(ours, theirs, strict=True)) >= 8
    assert sum(ours) / 10 > sum(theirs) / 10 + 0.01
    print(f"AUC {sum(ours) / 10:.4f}, of the lab {sum(theirs) / 10:.4f}")


def test_german_credit_gives_the_published_accuracies(bench: Bench) -> None:
    found = credit(bench, real("german_credit", "german_credit_data.csv"))
    assert list(found) == [0.745, 0.735]
