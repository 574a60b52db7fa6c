"""The stretch between the cursor and what was read: what is given, given again, and counted once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.forward.window import Passed, Window
from tests.unit.forward.forward_fakes import make_event

STEPS = st.lists(
    st.tuples(st.sampled_from(["read", "give", "settle", "take back", "drop"]), st.integers(0, 6)), max_size=40
)


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=30), STEPS)
def test_every_event_is_given_in_order_and_counted_once(
    shape: list[tuple[int, bool]], steps: list[tuple[str, int]]
) -> None:
    """`shape`: how far each event is from the one before, and whether it is wanted. The log drops some by itself."""
    seqs = [sum(gap for gap, _ in shape[: n + 1]) for n in range(len(shape))]
    wanted = {seq for seq, (_, is_wanted) in zip(seqs, shape, strict=True) if is_wanted}
    window, cursor, booked = Window(0), 0, 0
    unread, unsettled = list(seqs), list[int]()
    for step, pick in steps:
        if step == "read" and unread:
            some, unread = unread[: pick + 1], unread[pick + 1 :]
            window.add([make_event(seq) for seq in some], [make_event(seq) for seq in some if seq in wanted])
            unsettled += [seq for seq in some if seq in wanted]
        elif step == "give":
            begin = window.under_way
            assert [event.seq for event in window.give(pick)] == unsettled[begin : begin + pick]
        elif step == "take back":
            window.take_back()
        elif step == "drop":
            new = max([cursor, *seqs[: pick * 3]])
            booked += sum(cursor < seq <= new for seq in seqs)
            cursor = new
        elif step == "settle":
            count = min(pick, window.under_way)
            passed = window.settle(count, cursor)
            del unsettled[:count]
            assert passed.seq == (unsettled[0] - 1 if unsettled else window.read_to)
            booked += passed.forwarded + passed.filtered
            cursor = max(cursor, passed.seq)
        assert booked == sum(seq <= cursor for seq in seqs)
        assert window.waiting() is (len(unsettled) > window.under_way)


def test_what_is_quarantined_in_the_log_is_counted_once_when_the_cursor_passes_it() -> None:
    events = [make_event(seq) for seq in range(1, 8)]
    window = Window(0)
    window.add(events, [events[1], events[4]], held=[1, 3, 7])
    window.give(10)
    assert window.settle(0, 0) == Passed(1, forwarded=0, filtered=0, quarantined=1)
    assert window.settle(1, 3) == Passed(4, forwarded=0, filtered=1, quarantined=0)
    assert window.settle(1, 4) == Passed(7, forwarded=1, filtered=1, quarantined=1)


def test_a_batch_ends_before_it_has_too_many_bytes_and_has_one_event_at_least() -> None:
    events = [make_event(seq, "t", payload=bytes(size)) for seq, size in enumerate([9, 9, 29, 9], 1)]
    window = Window(0)
    window.add(events, events)
    given = [[event.seq for event in window.give(10, 20)] for _ in range(4)]
    assert given == [[1, 2], [3], [4], []]
    assert window.given_bytes == 0


def test_refused_events_are_quarantined_and_not_forwarded() -> None:
    events = [make_event(seq) for seq in range(1, 7)]
    window = Window(0)
    window.add(events, events[1:])
    window.give(10)
    assert window.settle(3, 0, refused=[2, 4]) == Passed(4, forwarded=1, filtered=1, quarantined=2)
    assert window.settle(2, 5) == Passed(6, forwarded=1, filtered=0, quarantined=0)


def test_events_that_are_too_old_are_left_out_and_counted_where_they_stand() -> None:
    events = [make_event(seq) for seq in range(1, 9)]
    window = Window(0)
    window.add(events, events)
    window.give(2)
    window.expire(3, lambda event: event.seq in {1, 4, 5, 8})
    assert [event.seq for event in window.give(10)] == [3, 6, 7, 8]
    assert window.settle(3, 0) == Passed(5, forwarded=3, filtered=0, quarantined=0, expired=2)
    assert window.settle(1, 4).expired == 0
    window.take_back()
    window.expire(1, lambda event: event.seq == 7)
    window.expire(1, lambda event: event.seq == 8)
    assert window.waiting() is False
    assert window.settle(0, 6) == Passed(8, forwarded=0, filtered=0, quarantined=0, expired=2)


def test_events_that_lanes_have_sent_are_counted_as_taken() -> None:
    events = [make_event(seq) for seq in range(1, 7)]
    window = Window(0)
    window.add(events, events[2:4], of_lanes=[2, 5], held=[6])
    assert window.settle(0, 0) == Passed(2, forwarded=0, filtered=1, quarantined=0, taken=1)
    window.give(10)
    assert window.settle(2, 2) == Passed(6, forwarded=2, filtered=0, quarantined=1, taken=1)
