"""With the limits that are shipped, the monitor does not call without need, and sees what matters.

Two worlds of each use case here; twenty in tests/deep.
"""

import pytest
from alarms import SIZES, played
from conftest import Bake


@pytest.mark.parametrize("use_case", SIZES)
def test_quiet_months_are_quiet_and_a_shift_and_a_drop_are_seen(bake: Bake, use_case: str) -> None:
    found = played(bake(use_case=use_case), use_case, 0, 2, 4)
    assert found["windows"] == 8
    assert not found["false"]
    assert all(found["shift"])
    assert all(found["drop"])
