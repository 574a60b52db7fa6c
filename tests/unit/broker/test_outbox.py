"""What one local subscriber is owed: window, queue, limits, and sending again."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.broker.allowance import MESSAGE_OVERHEAD_BYTES, Allowance
from gateway.broker.config import BrokerConfig
from gateway.broker.outbox import Behind, Message, Outbox, Scan
from gateway.eventlog.queue import Flight, Queue
from tests.unit.broker import wire
from tests.unit.broker.wire import PUBREL, Delivered, delivered


class Wire:
    """Fulfils `gateway.broker.outbox.Wire`: keeps what it is sent, and owes it while the network is slow."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.owed = 0
        self.slow = False
        self.aborted = False

    def send(self, data: bytes) -> None:
        assert data
        self.sent += data
        if self.slow:
            self.owed += len(data)

    def owed_bytes(self) -> int:
        return self.owed

    def abort(self, reason: str) -> None:
        assert reason
        self.aborted = True

    def take(self) -> list[wire.Packet]:
        packets, self.sent = wire.split(bytes(self.sent)), bytearray()
        return packets

    def deliveries(self) -> list[Delivered]:
        return [delivered(packet) for packet in self.take()]

    def payloads(self) -> list[bytes]:
        return [each.payload for each in self.deliveries()]


def message(number: int, qos: int = 1, size: int = 0) -> Message:
    return Message("t", str(number).encode().ljust(size, b"."), qos, retain=False)


def box(**limits: object) -> Outbox:
    config = BrokerConfig.model_validate(limits)
    return Outbox("sub", config, Allowance(config.subscribers_bytes_max))


def attached(**limits: int) -> tuple[Outbox, Wire]:
    outbox, socket = box(**limits), Wire()
    outbox.attach(socket)
    return outbox, socket


def deliver(outbox: Outbox, *numbers: int, qos: int = 1, size: int = 0) -> None:
    for number in numbers:
        outbox.add(message(number, qos, size))
    outbox.flush()


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


def test_the_oldest_goes_when_the_queue_is_full_and_is_counted() -> None:
    outbox = box(subscriber_queue_events_max=3)
    deliver(outbox, *range(10))
    assert (outbox._allowance.dropped, outbox.waiting) == (7, 3)
    socket = Wire()
    outbox.attach(socket)
    assert socket.payloads() == [b"7", b"8", b"9"]


def test_the_queue_is_limited_in_bytes_as_well() -> None:
    size = 300 - MESSAGE_OVERHEAD_BYTES
    outbox = box(subscriber_queue_bytes_max=1024)
    deliver(outbox, *range(10), size=size)
    assert (outbox._allowance.dropped, outbox.waiting) == (7, 3)
    deliver(outbox, 10, size=5000)
    assert (outbox._allowance.dropped, outbox.waiting) == (10, 1)
    deliver(outbox, 11)
    assert (outbox._allowance.dropped, outbox.waiting) == (11, 1)


def test_what_is_in_flight_is_limited_in_bytes_too() -> None:
    outbox, socket = attached(subscriber_queue_bytes_max=10_000)
    deliver(outbox, *range(6), size=5000)
    assert len(socket.payloads()) == 2
    outbox.acknowledged(1)
    assert len(socket.payloads()) == 1


def test_the_newest_goes_where_the_operator_prefers_the_oldest() -> None:
    outbox = box(subscriber_queue_events_max=3, subscriber_overflow="drop_newest")
    deliver(outbox, *range(10))
    assert (outbox._allowance.overflowed, outbox.waiting) == (7, 3)
    socket = Wire()
    outbox.attach(socket)
    assert socket.payloads() == [b"0", b"1", b"2"]


@pytest.mark.parametrize("qos", [0, 1])
def test_a_slow_subscriber_is_disconnected_where_the_operator_wants_it(qos: int) -> None:
    outbox, socket = attached(
        subscriber_queue_events_max=3, subscriber_buffer_bytes_max=1024, subscriber_overflow="disconnect"
    )
    socket.slow = True
    deliver(outbox, 0, qos=qos, size=2000)
    assert not socket.aborted
    deliver(outbox, *range(1, 10), qos=qos)
    assert socket.aborted
    assert outbox._allowance.disconnected == 1
    assert outbox._allowance.unread == (1 if qos == 0 else 0)
    back = Wire()
    outbox.attach(back)
    kept = [] if qos == 0 else [str(0).encode().ljust(2000, b"."), b"7", b"8", b"9"]
    assert back.payloads() == kept if back.sent else not kept


def test_slow_subscribers_together_hold_no_more_than_twice_the_allowance_and_a_quick_one_loses_nothing() -> None:
    config = BrokerConfig(subscribers_bytes_max=100_000)
    allowance = Allowance(config.subscribers_bytes_max)
    slow = [Outbox(f"slow-{number}", config, allowance) for number in range(20)]
    quick, socket = Outbox("quick", config, allowance), Wire()
    quick.attach(socket)
    for number in range(300):
        for outbox in slow:
            deliver(outbox, number, size=1000)
        deliver(quick, number, size=1000)
        (got,) = socket.deliveries()
        quick.acknowledged(got.packet_id)
        assert allowance.waiting_bytes <= 200_000
    assert allowance.overflowed == 20 * 300 - sum(outbox.waiting for outbox in slow)
    assert min(outbox.waiting for outbox in slow) >= 2
    for outbox in slow:
        outbox.empty()
    assert (allowance.waiting_bytes, allowance.holders) == (0, 0)


def test_a_burst_fills_the_window_before_anything_is_dropped() -> None:
    outbox, socket = attached(subscriber_queue_events_max=2, subscriber_inflight_max=5)
    deliver(outbox, *range(10))
    assert socket.payloads() == [b"0", b"1", b"2", b"3", b"4"]
    assert outbox._allowance.dropped == 3
    for packet_id in range(1, 6):
        outbox.acknowledged(packet_id)
    assert socket.payloads() == [b"8", b"9"]


def test_qos_0_is_dropped_when_the_socket_owes_too_much_and_counted() -> None:
    outbox, socket = attached(subscriber_buffer_bytes_max=1024)
    socket.owed = 1025
    deliver(outbox, 1, 2, qos=0)
    assert (outbox._allowance.dropped, bytes(socket.sent)) == (2, b"")
    socket.owed = 1024
    deliver(outbox, 3, qos=0)
    assert socket.payloads() == [b"3"]


def test_qos_0_of_one_commit_counts_towards_what_the_socket_owes() -> None:
    outbox, socket = attached(subscriber_buffer_bytes_max=10_000)
    socket.slow = True
    deliver(outbox, *range(100), qos=0, size=1000)
    assert 9 <= len(socket.payloads()) <= 11
    assert 89 <= outbox._allowance.dropped <= 91


def test_qos_0_of_one_commit_is_not_dropped_when_the_network_is_quick() -> None:
    outbox, socket = attached(subscriber_buffer_bytes_max=10_000)
    deliver(outbox, *range(100), qos=0, size=1000)
    assert len(socket.payloads()) == 100


def test_qos_1_and_2_wait_while_the_socket_owes_too_much() -> None:
    """All but one: its acknowledgement is what sets the others going."""
    outbox, socket = attached(subscriber_buffer_bytes_max=10_000)
    socket.slow = True
    deliver(outbox, *range(50), size=1000)
    assert 9 <= len(socket.payloads()) <= 11
    outbox.acknowledged(1)
    assert not socket.sent
    socket.owed = 0
    outbox.acknowledged(2)
    assert len(socket.payloads()) >= 9
    assert outbox._allowance.dropped == 0


def test_one_message_is_always_in_flight_however_much_the_socket_owes() -> None:
    outbox, socket = attached(subscriber_buffer_bytes_max=1024)
    socket.owed = 5000
    deliver(outbox, 1, 2, 3, size=2000)
    assert len(socket.payloads()) == 1
    outbox.acknowledged(1)
    assert len(socket.payloads()) == 1


def test_a_queue_above_its_limit_drops_while_the_socket_owes_too_much() -> None:
    outbox, socket = attached(subscriber_buffer_bytes_max=1024, subscriber_queue_events_max=5)
    socket.owed = 5000
    deliver(outbox, *range(20))
    assert socket.payloads() == [b"0"]
    assert (outbox.waiting, outbox._allowance.dropped) == (6, 14)


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
