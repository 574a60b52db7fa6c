"""Delays before reconnecting, and the schedule of events."""

import random

from hypothesis import given
from hypothesis import strategies as st

from device_sims.backoff import DELAY_MAX_S, DELAY_MIN_S, LAG_MAX_S, next_due_s, retry_delay_s


@given(st.integers(0, 10_000), st.integers())
def test_a_delay_stays_within_its_limits_however_often_connecting_failed(attempt, seed):
    assert DELAY_MIN_S <= retry_delay_s(attempt, random.Random(seed)) <= DELAY_MAX_S


def test_delays_grow_with_the_attempts_and_differ_between_devices():
    def mean(attempt):
        return sum(retry_delay_s(attempt, random.Random(seed)) for seed in range(200)) / 200

    assert mean(0) < mean(2) < mean(5)
    assert len({retry_delay_s(5, random.Random(seed)) for seed in range(50)}) == 50


@given(st.floats(0.01, 100), st.floats(0, 1), st.integers())
def test_an_event_is_due_within_the_jitter_around_its_interval(interval_s, jitter, seed):
    due_s = next_due_s(100.0, 100.0, interval_s, jitter, random.Random(seed))
    assert 100 + interval_s * (1 - jitter) - 1e-6 <= due_s <= 100 + interval_s * (1 + jitter) + 1e-6


def test_a_late_event_does_not_delay_the_ones_after_it():
    assert next_due_s(100.0, 101.5, 1.0, 0.0, random.Random(1)) == 101.0


def test_a_long_pause_is_not_made_up_for():
    now_s = 100.0 + LAG_MAX_S + 1
    assert next_due_s(100.0, now_s, 1.0, 0.0, random.Random(1)) == now_s + 1.0
