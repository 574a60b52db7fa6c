"""Hours, rates, and how fast a backlog drains: what is computed, without a clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.forward.drain import Drain, Look
from gateway.forward.hours import Hours
from gateway.forward.meter import Meter
from gateway.forward.window import Window
from tests.unit.forward.forward_fakes import make_config, make_event


def text(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_a_span_includes_its_first_minute_and_not_its_last_also_over_midnight(begin: int, end: int, at: int) -> None:
    if begin == end:
        with pytest.raises(ValueError, match="span of the day"):
            Hours([f"{text(begin)}-{text(end)}"])
        return
    included = begin <= at < end if begin < end else at >= begin or at < end
    assert Hours([f"{text(begin)}-{text(end)}"]).include(at) == included


def test_several_spans_are_each_enough_none_is_always_and_an_unknown_time_is_in_all() -> None:
    hours = Hours(["08:00-09:00", "22:00-24:00"])
    assert [hours.include(each * 60) for each in (8, 9, 22, 0)] == [True, False, True, False]
    assert hours.include(None)
    assert not Hours([])
    assert Hours([]).include(3)


@pytest.mark.parametrize("span", ["22-06", "22:00", "24:00-06:00", "25:00-06:00", "22:00-24:01", "22:60-23:00", ""])
def test_what_is_no_span_is_refused_with_an_example(span: str) -> None:
    with pytest.raises(ValidationError, match="22:00-06:00"):
        make_config(active_hours=[span])


def test_without_rates_there_is_no_wait_and_batches_have_their_limits() -> None:
    meter = Meter(make_config(batch_events_max=7, batch_bytes_max=2000), lambda: 0.0)
    meter.take(10_000, 10**9)
    assert (meter.wait_s(), meter.events_max, meter.bytes_max) == (0.0, 7, 2000)


@pytest.mark.parametrize(
    ("rates", "payload"),
    [({"rate_events_max": 10}, b"x"), ({"rate_bytes_max": 80}, b"x"), ({"rate_events_max": 0.5}, b"x")],
)
def test_over_a_long_time_no_more_goes_than_the_rate_allows(rates: dict[str, float], payload: bytes) -> None:
    now_s = 0.0
    meter = Meter(make_config(**rates), lambda: now_s)
    events = bytes_ = seq = 0
    while now_s < 600:
        window = Window(0)
        read = [make_event(seq := seq + 1, payload=payload) for _ in range(20)]
        window.add(read, read)
        given = window.give(meter.events_max, meter.bytes_max)
        meter.take(len(given), window.given_bytes)
        events += len(given)
        bytes_ += window.given_bytes
        now_s += meter.wait_s()
    rate = events / 600 if "rate_events_max" in rates else bytes_ / 600
    (most,) = rates.values()
    assert 0.97 * most <= rate <= 1.03 * most


def test_an_event_larger_than_a_second_allows_goes_and_what_follows_waits_for_it() -> None:
    now_s = 0.0
    meter = Meter(make_config(rate_bytes_max=100), lambda: now_s)
    meter.take(1, 1000)
    assert meter.wait_s() == pytest.approx(9)


def test_rate_and_eta_are_those_of_the_last_minute() -> None:
    drain = Drain()
    assert (drain.rate, drain.eta_s) == (None, None)
    for second in range(0, 300, 3):
        drain.note(Look(second * 10**9, second * (1000 if second < 200 else 50), 60_000 - 20 * second))
    assert drain.rate == pytest.approx(50)
    assert drain.eta_s == pytest.approx((60_000 - 20 * 297) / 20)
    assert len(drain._looks) < 25


def test_a_backlog_that_grows_has_no_eta_and_one_that_is_gone_has_none_to_wait_for() -> None:
    drain = Drain()
    drain.note(Look(0, 0, 10))
    assert drain.eta_s is None
    drain.note(Look(10**9, 5, 20))
    assert (drain.rate, drain.eta_s) == (5, None)
    drain.note(Look(2 * 10**9, 25, 0))
    assert drain.eta_s == 0
    drain.begin_anew()
    assert drain.rate is None
