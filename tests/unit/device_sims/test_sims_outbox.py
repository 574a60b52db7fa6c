"""The bounded buffer of a device."""

from hypothesis import given
from hypothesis import strategies as st

from device_sims.event import Event
from device_sims.outbox import Outbox


def event(n):
    return Event(n, "t", str(n).encode())


def filled(count, *, events_max=100, inflight_max=100):
    outbox = Outbox(events_max=events_max, inflight_max=inflight_max)
    for n in range(1, count + 1):
        outbox.offer(event(n))
    return outbox


def take_all(outbox):
    return [(event.n, outbox.is_sent_first(event.n)) for event in iter(outbox.take, None)]


def test_no_more_events_are_on_the_way_than_the_window_allows():
    outbox = filled(5, inflight_max=2)
    assert take_all(outbox) == [(1, True), (2, True)]
    outbox.settle(1)
    assert take_all(outbox) == [(3, True)]


def test_a_full_outbox_says_so_until_something_is_acknowledged():
    outbox = filled(3, events_max=3)
    assert outbox.is_full
    outbox.take()
    assert outbox.is_full
    outbox.settle(1)
    assert not outbox.is_full


def test_after_a_broken_connection_the_unacknowledged_come_first_and_in_order():
    outbox = filled(5, inflight_max=3)
    take_all(outbox)
    outbox.settle(2)
    outbox.rewind()
    assert take_all(outbox) == [(1, False), (3, False), (4, True)]


def test_an_event_that_was_taken_but_not_sent_before_the_connection_broke_is_sent_first_later():
    outbox = filled(1)
    outbox.take()
    outbox.rewind()
    assert take_all(outbox) == [(1, True)]


@given(st.lists(st.sampled_from(["offer", "take", "settle", "rewind"])), st.integers(1, 8), st.integers(1, 4))
def test_whatever_happens_nothing_unacknowledged_is_forgotten_and_first_sendings_are_in_order(
    steps, events_max, window
):
    outbox = Outbox(events_max=events_max, inflight_max=window)
    offered, settled, inflight, firsts = 0, set(), [], []
    for step in steps:
        if step == "offer" and not outbox.is_full:
            offered += 1
            outbox.offer(event(offered))
        elif step == "take" and (taken := outbox.take()) is not None:
            inflight.append(taken.n)
            if outbox.is_sent_first(taken.n):
                firsts.append(taken.n)
        elif step == "settle" and inflight:
            settled.add(inflight[0])
            outbox.settle(inflight.pop(0))
        elif step == "rewind":
            outbox.rewind()
            inflight.clear()
        assert len(outbox) == offered - len(settled) <= events_max
        assert len(inflight) <= window
    assert firsts == list(range(1, len(firsts) + 1))
