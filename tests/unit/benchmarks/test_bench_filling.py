from itertools import pairwise

import pytest

from benchmarks.filling import LARGE_EVENTS, SMALL_EVENTS, rate_near, steps

CHECKPOINTS = (10_000, 100_000, 1_000_000, 3_000_000)


@pytest.mark.parametrize("total", [1, 10_000, 50_000, 200_000, 1_000_000, 10_000_000])
def test_the_steps_follow_each_other_without_a_gap_and_end_at_every_checkpoint(total):
    found = steps(total, CHECKPOINTS)
    assert found[0].start == 0
    assert all(one.start + one.events == two.start for one, two in pairwise(found))
    assert found[-1].start + found[-1].events == total
    ends = {step.start + step.events for step in found}
    assert ends >= {each for each in CHECKPOINTS if each <= total}
    assert all(0 < step.events <= LARGE_EVENTS for step in found)


def test_the_first_and_the_last_hundred_thousand_go_in_small_steps():
    found = steps(1_000_000, ())
    assert [step.events for step in found[:5]] == [SMALL_EVENTS] * 5
    assert [step.events for step in found[-5:]] == [SMALL_EVENTS] * 5
    assert found[5].events == LARGE_EVENTS


def test_the_rate_near_a_backlog_is_the_median_of_what_was_measured_closest_to_it():
    points = [(10.0, 5.0), (20.0, 1.0), (30.0, 9.0), (1000.0, 100.0)]
    assert rate_near(points, 20, 3) == 5.0
    assert rate_near(points, 5000, 1) == 100.0
    assert rate_near([], 10) is None
