"""A rate that is kept by waiting, whatever is taken at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.forward.pace import Pace


def test_a_full_bucket_gives_its_burst_at_once_and_the_rest_at_the_rate() -> None:
    pace = Pace(rate=10, burst=20, now_s=100)
    assert pace.wait_s(100, 20) == 0
    pace.take(20, 100)
    assert pace.wait_s(100, 5) == pytest.approx(0.5)
    assert pace.wait_s(100.5, 5) == 0


def test_what_is_larger_than_the_bucket_is_taken_whole_and_paid_for_afterwards() -> None:
    pace = Pace(rate=10, burst=1, now_s=0)
    assert pace.wait_s(0, 1_000_000) == 0
    pace.take(50, 0)
    assert pace.wait_s(0) == pytest.approx(4.9)
    assert pace.wait_s(4.9) == pytest.approx(0)


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    pace = Pace(rate=10, burst=1, now_s=50)
    pace.take(1, 50)
    assert pace.wait_s(40, 1) == pytest.approx(0.1)
    assert pace.wait_s(50, 1) == pytest.approx(0.1)


@given(
    rate=st.floats(0.1, 1e6),
    burst=st.floats(1, 1e6),
    steps=st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 100)), max_size=50),
)
def test_whoever_waits_as_told_never_takes_more_than_the_rate_allows(
    rate: float, burst: float, steps: list[tuple[float, float]]
) -> None:
    pace, now_s, taken, largest = Pace(rate, burst, 0), 0.0, 0.0, 0.0
    for amount, rest_s in steps:
        now_s += rest_s + pace.wait_s(now_s + rest_s, amount)
        pace.take(amount, now_s)
        taken += amount
        largest = max(largest, amount)
        assert taken <= (burst + largest + rate * now_s) * (1 + 1e-6)
