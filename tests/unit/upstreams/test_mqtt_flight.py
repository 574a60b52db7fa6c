"""What is under way on a connection: packet ids, answers in any order, and how it ends."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Busy, DeliveryError, Refused, Unreachable
from gateway.event import Event
from gateway.mqtt_reasons import Poison
from gateway.upstreams.mqtt_flight import Flight

IDS_MAX = 65_535


def make_events(count: int, first_seq: int = 10) -> list[Event]:
    return [Event(first_seq + n, 0, 0, "boot", "dev", "t", 1, False, b"x") for n in range(count)]


def flying(count: int) -> Flight:
    """Everything sent, nothing answered."""
    flight = Flight()
    flight.give(make_events(count))
    flight.sent(count)
    return flight


def far_flight(position: int) -> Flight:
    """Events up to `position` were sent and answered."""
    flight = Flight()
    events = make_events(1) * IDS_MAX
    while position:
        some = min(position, IDS_MAX)
        flight.give(events[:some])
        flight.sent(some)
        while flight.in_flight:
            flight.taken_in_order(flight.due()[1])
        position -= some
    return flight


@given(st.data())
def test_acknowledged_is_the_prefix_of_what_was_answered(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    flight = flying(count)
    answered: set[int] = set()
    for packet_id in data.draw(st.permutations(range(1, count + 1))):
        flight.taken(packet_id)
        answered.add(packet_id)
        assert flight.acknowledged == next(n for n in range(count + 1) if n + 1 not in answered)
        with pytest.raises(ValueError, match="not in flight"):
            flight.taken(packet_id)
    assert flight.is_over()
    flight.conclude(None)


@given(st.data())
def test_conclusion_names_only_poison_before_the_first_trouble(data: st.DataObject) -> None:
    verdicts = data.draw(st.lists(st.sampled_from(["taken", "poison", "busy", "silence"]), min_size=1, max_size=8))
    flight = flying(len(verdicts))
    for position in data.draw(st.permutations(range(len(verdicts)))):
        match verdicts[position]:
            case "taken":
                flight.taken(position + 1)
            case "poison":
                flight.refused(position + 1, Poison("bad"))
            case "busy":
                flight.refused(position + 1, Busy("later"))
    prefix = next((n for n, verdict in enumerate(verdicts) if verdict in ("busy", "silence")), len(verdicts))
    poison = {10 + n: "bad" for n in range(prefix) if verdicts[n] == "poison"}
    if poison:
        assert flight.acknowledged == min(poison) - 10
    outcome: DeliveryError | None = None
    try:
        flight.conclude(Unreachable("cut"))
    except DeliveryError as error:
        outcome = error
    assert flight.acknowledged == prefix
    if poison:
        assert isinstance(outcome, Refused)
        assert outcome.reasons == poison
    elif prefix < len(verdicts):
        assert isinstance(outcome, Busy if "busy" in verdicts else Unreachable)
    else:
        assert outcome is None


@given(
    st.sampled_from([0, IDS_MAX - 3, IDS_MAX, 2 * IDS_MAX - 2]),
    st.integers(1, 5),
    st.lists(st.tuples(st.sampled_from(["give", "send", "answer"]), st.integers(0, 100)), max_size=40),
)
def test_events_stream_through_whatever_the_order_of_answers(
    begin: int, inflight_max: int, steps: list[tuple[str, int]]
) -> None:
    """Also where the packet ids begin anew."""
    flight, ids = far_flight(begin), count(begin)
    waiting: list[Event] = []
    sent: list[int] = []
    answered: set[int] = set()
    for step, pick in steps:
        if step == "give":
            given = make_events(pick % 7, first_seq=1000 + pick)
            flight.give(given)
            waiting += given
        elif step == "send":
            packet_id, events = flight.next(inflight_max)
            assert list(events) == waiting[: inflight_max - len(sent)]
            del waiting[: len(events)]
            flight.sent(len(events))
            positions = [next(ids) for _ in events]
            assert not positions or packet_id == positions[0] % IDS_MAX + 1
            sent += positions
        elif sent:
            position = sent.pop(pick % len(sent))
            flight.taken(position % IDS_MAX + 1)
            answered.add(position)
        assert flight.acknowledged == next(n for n in count(begin) if n not in answered)
        assert flight.in_flight == len(sent)
        assert flight.is_sent() is (not waiting)
        assert flight.is_over() is (not waiting and not sent)


def test_a_refused_event_is_named_after_the_ids_have_begun_anew() -> None:
    flight = far_flight(2 * IDS_MAX - 1)
    flight.give(make_events(4, first_seq=500))
    flight.sent(4)
    flight.refused(1, Poison("bad"))
    for packet_id in (IDS_MAX, 2, 3):
        flight.taken(packet_id)
    with pytest.raises(Refused) as caught:
        flight.conclude(None)
    assert caught.value.reasons == {501: "bad"}
    assert flight.acknowledged == 2 * IDS_MAX + 3


def test_no_packet_id_is_used_again_before_it_was_answered() -> None:
    flight = Flight()
    flight.give(make_events(1) * (IDS_MAX + 10))
    packet_id, events = flight.next(10**9)
    assert (packet_id, len(events)) == (1, IDS_MAX)
    flight.sent(IDS_MAX)
    flight.taken(2)  # the first one is still unanswered, and its id not free
    assert flight.next(10**9)[1] == ()
    flight.taken(1)
    packet_id, events = flight.next(10**9)
    assert (packet_id, len(events)) == (1, 2)


def test_an_answer_to_what_was_not_sent_is_an_error() -> None:
    flight = Flight()
    flight.give(make_events(2))
    with pytest.raises(ValueError, match="not in flight"):
        flight.taken(1)
    flight.sent(1)
    for packet_id in (0, 2, 65_535):
        with pytest.raises(ValueError, match="packet"):
            flight.taken(packet_id)
        with pytest.raises(ValueError, match="packet"):
            flight.refused(packet_id, Busy("later"))


def test_runs_in_order_end_where_the_ids_begin_anew_and_where_answers_are_out_of_order() -> None:
    flight = far_flight(IDS_MAX - 2)
    flight.give(make_events(5))
    flight.sent(5)
    assert flight.due() == (IDS_MAX - 2, 2)
    flight.taken_in_order(2)
    assert flight.due() == (0, 3)
    flight.taken(2)
    assert flight.due() == (0, 0)
    flight.taken(1)
    assert flight.due() == (2, 1)
