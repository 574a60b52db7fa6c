"""What one local subscriber is owed: the window, what is kept while it is away, and sending again."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.broker.outbox import Behind, Message, Scan
from gateway.eventlog.queue import Flight, Queue
from tests.unit.broker import wire
from tests.unit.broker.outboxes import Wire, attached, box, deliver, message
from tests.unit.broker.wire import PUBREL, delivered


def test_a_message_goes_out_as_it_is() -> None:
    outbox, socket = attached()
    outbox.add(Message("a/b", b"x", 0, retain=True))
    outbox.add(Message("a/c", b"y", 1, retain=False))
    outbox.add(Message("a/d", b"z", 2, retain=False))
    assert not socket.sent
    outbox.flush()
    assert socket.deliveries() == [
        ("a/b", b"x", 0, 0, True, False),
        ("a/c", b"y", 1, 1, False, False),
        ("a/d", b"z", 2, 2, False, False),
    ]
    assert outbox.waiting == 2


def test_no_more_are_in_flight_than_the_window_takes() -> None:
    outbox, socket = attached(subscriber_inflight_max=3)
    deliver(outbox, *range(10))
    assert socket.payloads() == [b"0", b"1", b"2"]
    outbox.acknowledged(2)
    assert socket.payloads() == [b"3"]
    outbox.acknowledged(2)
    assert not socket.sent
    outbox.acknowledged(1)
    outbox.acknowledged(3)
    assert socket.payloads() == [b"4", b"5"]
    assert outbox.waiting == 7


def test_qos_0_is_not_kept_for_a_client_that_is_away() -> None:
    outbox = box()
    deliver(outbox, 1, qos=0)
    deliver(outbox, 2, qos=1)
    assert (outbox.waiting, outbox._allowance.dropped) == (1, 0)
    outbox, socket = attached()
    outbox.add(message(3, 0))
    outbox.detach()
    outbox.attach(socket)
    assert not socket.sent


def test_what_was_not_acknowledged_is_sent_again_as_a_duplicate_before_what_waits() -> None:
    outbox, socket = attached(subscriber_inflight_max=3)
    deliver(outbox, *range(5), qos=2)
    socket.take()
    outbox.received(2)
    outbox.completed(2)
    socket.take()
    outbox.detach()
    deliver(outbox, 5)
    outbox.attach(again := Wire())
    assert [(each.payload, each.packet_id, each.duplicate) for each in again.deliveries()] == [
        (b"0", 1, True),
        (b"2", 3, True),
        (b"3", 4, True),
    ]
    for packet_id in (1, 3, 4):
        outbox.received(packet_id)
    again.take()
    outbox.completed(1, 3, 4)
    assert [(each.payload, each.qos, each.duplicate) for each in again.deliveries()] == [
        (b"4", 2, False),
        (b"5", 1, False),
    ]
    assert not socket.sent


def test_what_was_never_flushed_is_sent_when_the_client_is_back() -> None:
    outbox, socket = attached(subscriber_queue_events_max=1)
    outbox.add(message(1))
    outbox.add(message(2))
    outbox.detach()
    outbox.attach(socket)
    assert [each.payload for each in socket.deliveries()] == [b"1", b"2"]


def test_a_received_message_of_qos_2_is_released_and_never_sent_again() -> None:
    outbox, socket = attached()
    deliver(outbox, 1, qos=2)
    socket.take()
    outbox.received(1)
    assert socket.take() == [(PUBREL, 2, b"\x00\x01")]
    outbox.received(1)
    assert socket.take() == [(PUBREL, 2, b"\x00\x01")]
    outbox.detach()
    outbox.attach(socket)
    assert socket.take() == [(PUBREL, 2, b"\x00\x01")]
    assert outbox.waiting == 1
    outbox.acknowledged(1)
    assert outbox.waiting == 1
    outbox.completed(1)
    assert outbox.waiting == 0
    outbox.detach()
    outbox.attach(socket)
    assert not socket.sent


@pytest.mark.parametrize(("qos", "wrong"), [(1, "received"), (1, "completed"), (2, "acknowledged"), (2, "completed")])
def test_an_acknowledgement_of_the_wrong_kind_loses_no_message(qos: int, wrong: str) -> None:
    outbox, socket = attached()
    deliver(outbox, 1, qos=qos)
    socket.take()
    getattr(outbox, wrong)(1)
    assert not socket.sent
    outbox.attach(socket)
    assert socket.deliveries() == [("t", b"1", qos, 1, False, True)]


def test_a_pubrec_for_an_unknown_id_is_answered_so_that_the_client_can_let_go_of_it() -> None:
    outbox, socket = attached()
    outbox.received(99)
    assert socket.take() == [(PUBREL, 2, b"\x00\x63")]
    assert outbox.waiting == 0


def test_after_a_restart_packet_ids_go_on_far_from_those_that_were_in_use() -> None:
    used, _ = attached()
    used._last_packet_id = 40_000
    outbox, socket = attached()
    outbox.restore(used.queue(None))
    deliver(outbox, 1)
    (each,) = socket.deliveries()
    assert min((each.packet_id - 40_000) % 65_535, (40_000 - each.packet_id) % 65_535) > 20_000


def test_what_was_in_flight_is_supplied_once_unless_it_was_acknowledged_and_what_is_gone_is_counted() -> None:
    flights = (Flight(1, 11, 1), Flight(2, 12, 1), Flight(3, 13, 2), Flight(4, 0, 2))
    outbox, socket = attached()
    outbox.behind = Behind(Scan(0), 0)
    outbox.restore(Queue(None, flights))
    assert outbox.queue(None).inflight == flights
    outbox.acknowledged(1)
    outbox.supply(1, 11, message(1))
    outbox.supply(2, 12, None)
    outbox.supply(3, 13, message(3, 2))
    outbox.supply(3, 14, message(4, 2))
    assert not socket.sent
    outbox.catch_up()
    again, release = socket.take()
    assert delivered(again) == ("t", b"3", 2, 3, False, True)
    assert release == (PUBREL, 2, b"\0\4")
    assert (outbox._allowance.dropped, outbox.waiting) == (1, 2)
    outbox.empty()
    assert (outbox._allowance.waiting_bytes, outbox._allowance.holders) == (0, 0)


def test_packet_ids_go_round_and_pass_over_those_in_flight() -> None:
    outbox, socket = attached(subscriber_inflight_max=3)
    deliver(outbox, 1)
    assert socket.deliveries()[0].packet_id == 1
    seen = []
    for number in range(65_540):
        deliver(outbox, number)
        (each,) = socket.deliveries()
        seen.append(each.packet_id)
        outbox.acknowledged(each.packet_id)
    assert seen == [*range(2, 65_536), *range(2, 8)]


class Books(RuleBasedStateMachine):
    """Whatever happens: everything is acknowledged, dropped and counted, or still waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox, self.socket = attached(
            subscriber_inflight_max=3, subscriber_queue_events_max=4, subscriber_buffer_bytes_max=1024
        )
        self.in_flight: dict[int, bytes] = {}
        self.added = self.acknowledged = self.lost = 0

    @rule(qos=st.sampled_from([1, 2]), size=st.sampled_from([0, 600]))
    def add(self, qos: int, size: int) -> None:
        self.outbox.add(message(self.added, qos, size))
        self.added += 1

    @rule()
    def add_qos_0(self) -> None:
        before = self.outbox._allowance.dropped
        self.outbox.add(message(-1, 0))
        self.lost += self.outbox._allowance.dropped - before

    @rule()
    def flush(self) -> None:
        self.outbox.flush()

    @rule(owed=st.sampled_from([0, 5000]))
    def owe(self, owed: int) -> None:
        self.socket.owed = owed

    @rule()
    def reconnect(self) -> None:
        self.outbox.detach()
        self.socket.sent.clear()
        self.socket.owed = 0
        self.outbox.attach(self.socket)
        again = [delivered(packet) for packet in wire.split(bytes(self.socket.sent)) if packet.kind != PUBREL]
        assert {each.packet_id for each in again if each.duplicate} <= {*self.in_flight, *self.unseen()}

    def unseen(self) -> set[int]:
        """Sent, and lost with the connection before the client read them."""
        return {*self.outbox._inflight} - {*self.in_flight}

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        if self.in_flight:
            packet_id = data.draw(st.sampled_from(sorted(self.in_flight)))
            if data.draw(st.booleans()):
                self.outbox.received(packet_id)
                return
            self.answer_to_the_end(packet_id)
            del self.in_flight[packet_id]
            self.acknowledged += 1

    def answer_to_the_end(self, packet_id: int) -> None:
        message = self.outbox._inflight[packet_id]
        if message is not None and message.qos == 1:
            self.outbox.acknowledged(packet_id)
            return
        self.outbox.received(packet_id)
        self.outbox.completed(packet_id)

    @rule(data=st.data())
    def answer_wrongly(self, data: st.DataObject) -> None:
        packet_id = data.draw(st.integers(1, 20))
        message = self.outbox._inflight.get(packet_id)
        if message is None or message.qos == 2:
            self.outbox.acknowledged(packet_id)
        if message is not None:
            self.outbox.completed(packet_id)

    @invariant()
    def no_id_is_used_twice(self) -> None:
        for packet in self.socket.take():
            if packet.kind != PUBREL and delivered(packet).qos:
                each = delivered(packet)
                assert each.duplicate or each.packet_id not in self.in_flight
                assert self.in_flight.setdefault(each.packet_id, each.payload) == each.payload
        assert len(self.in_flight) <= 3

    @invariant()
    def the_books_balance(self) -> None:
        assert self.added == self.acknowledged + self.outbox._allowance.dropped - self.lost + self.outbox.waiting
        assert self.outbox.waiting <= 3 + 4


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
