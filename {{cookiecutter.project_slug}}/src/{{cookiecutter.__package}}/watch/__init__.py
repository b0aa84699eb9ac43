"""What comes after a model serves: watch it, decide, train a challenger, and play all of that in a simulation."""

from importlib import import_module
from typing import Any


def serving(name: str) -> Any:
    """Return a module of the service, not imported by name: a project that scores files only does not have it."""
    return import_module(f"{__package__.rpartition('.')[0]}.serving.{name}")
