"""What bootstrap found, made and could not know."""

from typing import Any

from msgspec import Struct


class Outcome(Struct):
    """What came of it.

    Attributes:
        changed: what was made or mended (or would be), one phrase each.
        kept: how many things were already as they should be.
        notes: what a person should know or do.
        variables: value by name, by environment; none of them is secret.
        connections: the service connections of Azure DevOps.
    """

    changed: list[str] = []
    kept: int = 0
    notes: list[str] = []
    variables: dict[str, dict[str, str]] = {}
    connections: list[str] = []

    def differs(self, wanted: Any, found: Any, what: str) -> bool:
        """Return whether something has to be made or mended, and note which."""
        if found is not None and agrees(wanted, found):
            self.kept += 1
            return False
        self.changed.append(f"{what}: {'made' if found is None else 'mended'}")
        return True


def agrees(wanted: Any, found: Any) -> bool:
    """Return whether all that is wanted was found; a service tells more than it was told."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(
            key in found and agrees(value, found[key]) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(wanted) == len(found)
            and all(agrees(one, other) for one, other in zip(wanted, found, strict=True))
        )
    return bool(wanted == found)
