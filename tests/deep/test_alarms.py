"""480 quiet months, and in each of 20 worlds a shift and a drop: the figures that decision 0013 states."""

import pytest
from alarms import SIZES, played
from conftest import Bake


@pytest.mark.parametrize("use_case", SIZES)
def test_at_most_one_false_alarm_in_480_months_and_nine_in_ten_are_seen(bake: Bake, use_case: str) -> None:
    found = played(bake(use_case=use_case), use_case, 0, 20, 24)
    assert found["windows"] == 480
    assert len(found["false"]) <= 1, found["false"]
    assert sum(found["shift"]) >= 18
    assert sum(found["drop"]) >= 18
    assert found["mean_lost"] == pytest.approx(0.03, abs=0.004)
