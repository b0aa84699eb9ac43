"""Score a folder of files on many machines: what a parallel step of Azure ML calls, mini-batch after mini-batch.

Each worker process calls `init` once, `run` for every mini-batch of files that it gets, and `shutdown` at the end.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

if not __package__:  # Azure ML loads this file by its path; now it is a part of its package again (PEP 366)
    _package = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(_package.parent))
    __package__ = f"{_package.name}.azure"
    import_module(__package__)

from ..artifact import Model, load_model
from ..parts import source_hash
from ..score import score

_model: Model
_scores: Path


def init() -> None:
    """Load the model that the arguments of the step name; once in each process.

    Raises:
        Fault: a file of the model is missing or changed.
    """
    global _model, _scores
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=Path, required=True, help="The model folder.")
    parser.add_argument("--digest", default="", help="Of its manifest, where it is known.")
    parser.add_argument("--scores", type=Path, required=True, help="The folder into which the scores go.")
    told, _ = parser.parse_known_args()  # the service adds arguments of its own
    # One thread: there is a process for every core; and several would add up parts in another order, so that the last
    # digits of a score told how many cores there were.
    _model = load_model(told.model, told.digest or None, None, threads=1)
    _scores = told.scores


def run(mini_batch: Sequence[str]) -> list[str]:
    """Score files, each into a Parquet file of its own; one that cannot be scored fails the mini-batch.

    Args:
        mini_batch: paths of CSV or Parquet files.

    Returns:
        A line for each file, `NAME: ROWS`, which the service counts against its `error_threshold`.

    Raises:
        DataError: a file lacks a column, holds a value of the wrong type, or is broken.
    """
    done = []
    for path in map(Path, mini_batch):
        # By name and content: tried again, a file gives the same one again; files of one name in two folders give two.
        target = _scores / f"{path.stem}-{source_hash(path)[:8]}.parquet"
        done.append(f"{target.name}: {score(_model, path, target).rows}")
    return done


def shutdown() -> None:
    """End; nothing is kept open."""
