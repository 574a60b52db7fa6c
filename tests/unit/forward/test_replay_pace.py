"""When events of a replay are due."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.eventlog.replays import Pacing
from gateway.forward.replay_pace import TOGETHER_S, Pace
from tests.unit.forward.forward_fakes import make_event

S = 10**9


def heard(seq, mono_s, boot="boot", wall_s=None):
    wall_s = mono_s if wall_s is None else wall_s
    return make_event(seq)._replace(mono_ns=int(mono_s * S), boot_id=boot, received_ns=int(wall_s * S))


def synced(event):
    return event.received_ns, "synced"


def planned(pacing, events, true_time=synced):
    pace = Pace(pacing, true_time, 100.0)
    return pace, [round(when_s - 100, 6) for when_s in pace.plan(events)]


def test_without_a_pace_everything_is_due_at_once():
    pace, plan = planned(Pacing(), [heard(1, 0), heard(2, 1000)])
    assert plan == [0, 0]
    assert pace.due([100.0, 100.0], 100.0) == 2


def test_a_rate_is_so_many_a_second():
    assert planned(Pacing(rate=4), [heard(seq, 0) for seq in range(5)])[1] == [0, 0.25, 0.5, 0.75, 1]


def test_a_speed_is_how_much_faster_than_they_came():
    assert planned(Pacing(speed=10), [heard(1, 5), heard(2, 6), heard(3, 106)])[1] == [0, 0.1, 10.1]


def test_within_a_boot_it_is_not_the_wall_clock_that_counts():
    events = [heard(1, 5, wall_s=0), heard(2, 6, wall_s=10**6), heard(3, 7, wall_s=5)]
    assert planned(Pacing(speed=1), events)[1] == [0, 1, 2]


def test_between_two_boots_true_time_counts_and_nothing_if_nobody_knows_it():
    events = [heard(1, 50, "a", 1000), heard(2, 3, "b", 1030)]
    assert planned(Pacing(speed=1), events)[1] == [0, 30]
    assert planned(Pacing(speed=1), events, lambda event: (event.received_ns, "unsynced"))[1] == [0, 0]
    assert planned(Pacing(speed=1), events[::-1])[1] == [0, 0]


def test_events_due_within_a_moment_go_together():
    pace = Pace(Pacing(rate=1024), synced, 0.0)
    plan = pace.plan([heard(seq, 0) for seq in range(100)])
    given = pace.due(plan, 0.0)
    assert given == int(TOGETHER_S * 1024) + 1
    assert pace.due(plan[given:], 0.015) == 0
    assert pace.wait_s(plan[given], 0.015) == pytest.approx(given / 1024 - 0.015)


def test_what_the_upstream_was_too_slow_for_is_not_caught_up_in_a_burst():
    pace = Pace(Pacing(rate=10), synced, 0.0)
    plan = pace.plan([heard(seq, 0) for seq in range(10_000)])
    assert pace.due(plan, 0.0) == 1
    assert pace.due(plan[1:], 500.0) == 11, "a second's worth, and not 5,000"
    assert pace.due(plan[12:], 500.05) == 0
    assert pace.due(plan[12:], 500.2) == 2


@given(st.lists(st.floats(0, 3), max_size=60), st.sampled_from([1.0, 7.0, 100.0]))
def test_no_more_goes_than_the_rate_allows(waits, rate):
    pace = Pace(Pacing(rate=rate), synced, 0.0)
    plan = [at / rate for at in range(20_000)]
    now_s, given_at = 0.0, 0
    for wait_s in waits:
        now_s += wait_s
        given_at += pace.due(plan[given_at:], now_s)
        assert given_at <= (now_s + TOGETHER_S) * rate + 1 + 1e-6
