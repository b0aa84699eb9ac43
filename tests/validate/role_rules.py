"""What a custom role lets somebody do, by the rules of Azure's role-based access control."""

import re
from collections.abc import Iterable, Mapping
from typing import Any


def matches(pattern: str, action: str) -> bool:
    """Whether a pattern names an action: `*` stands for anything, and large and small letters are alike."""
    return bool(re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), action, re.IGNORECASE))


def _named(patterns: Iterable[str], action: str) -> bool:
    return any(matches(pattern, action) for pattern in patterns)


def allows(role: Mapping[str, Any], action: str, data: bool = False) -> bool:
    """Whether a role allows an action (of the control plane, or on data).

    Azure adds up what roles allow, and `notActions` only takes away from the role's own `actions`.
    """
    yes, no = ("dataActions", "notDataActions") if data else ("actions", "notActions")
    return _named(role[yes], action) and not _named(role[no], action)
