"""What a slow subscriber may hold: its queue and its socket are limited, and what goes over them is counted."""

from __future__ import annotations

import pytest

from gateway.broker.allowance import MESSAGE_OVERHEAD_BYTES, Allowance
from gateway.broker.config import BrokerConfig
from gateway.broker.outbox import Outbox
from tests.unit.broker.outboxes import Wire, attached, box, deliver


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
