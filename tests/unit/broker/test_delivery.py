"""From committed events to those who subscribe: who gets what, at which QoS, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.broker import delivery as module
from gateway.broker.config import BrokerConfig
from gateway.broker.delivery import Delivery
from gateway.event import FLAGGED, QUARANTINED, Event
from gateway.eventlog.retained import Retained
from tests.unit.broker import wire
from tests.unit.broker.outboxes import Wire
from tests.unit.broker.site import Site, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def event(topic: str, payload: bytes = b"x", qos: int = 1, *, retain: bool = False) -> Event:
    return Event(1, 0, 0, "boot", "dev", topic, qos, retain, payload)


@pytest.fixture
def retained() -> dict[str, Retained]:
    return {
        "a/1": Retained("a/1", 1, 1, b"one"),
        "a/2": Retained("a/2", 2, 0, b"two"),
        "b": Retained("b", 3, 2, b"three"),
    }


@pytest.fixture
def delivery(retained: dict[str, Retained]) -> Delivery:
    return Delivery(BrokerConfig(), retained)


def subscriber(delivery: Delivery, client_id: str = "sub", **filters: int) -> Wire:
    socket = Wire()
    delivery.attach(client_id, socket)
    for topic_filter, qos in filters.items():
        delivery.subscribe(client_id, topic_filter.replace("_", "/").replace("all", "#").replace("any", "+"), qos)
    return socket


def test_nothing_is_done_when_nobody_subscribes(delivery: Delivery) -> None:
    class Untouchable:
        def __iter__(self) -> None:
            raise AssertionError

    delivery.deliver(Untouchable())  # type: ignore[arg-type]
    subscriber(delivery)
    delivery.deliver(Untouchable())  # type: ignore[arg-type]
    assert not delivery._outboxes


def test_a_quarantined_event_is_not_delivered_and_a_flagged_one_is(delivery: Delivery) -> None:
    socket = subscriber(delivery, all=1)
    delivery.deliver([event("a", bytes([verdict]))._replace(verdict=verdict) for verdict in (QUARANTINED, FLAGGED)])
    assert socket.payloads() == [bytes([FLAGGED])]


def test_an_event_goes_to_those_whose_filter_matches_and_to_nobody_else(delivery: Delivery) -> None:
    first, second, third = (
        subscriber(delivery, "first", a_any=1),
        subscriber(delivery, "second", a_1=1),
        subscriber(delivery, "third", b=1),
    )
    delivery.deliver([event("a/1", b"1"), event("a/2", b"2"), event("c", b"3")])
    assert (first.payloads(), second.payloads(), third.payloads()) == ([b"1", b"2"], [b"1"], [])


@pytest.mark.parametrize(("published", "granted"), [(p, g) for p in range(3) for g in range(3)])
def test_an_event_is_delivered_at_the_lower_of_the_two_qos(delivery: Delivery, published: int, granted: int) -> None:
    socket = subscriber(delivery, a=granted)
    delivery.deliver([event("a", qos=published)])
    assert [each.qos for each in socket.deliveries()] == [min(published, granted)]


def test_overlapping_filters_deliver_once_at_the_highest_qos_granted(delivery: Delivery) -> None:
    socket = subscriber(delivery, all=0, a_any=2, a_1=1)
    delivery.deliver([event("a/1", qos=2)])
    assert [each.qos for each in socket.deliveries()] == [2]


def test_subscribing_again_replaces_the_qos(delivery: Delivery) -> None:
    socket = subscriber(delivery, a=2)
    delivery.subscribe("sub", "a", 0)
    delivery.deliver([event("a", qos=2)])
    assert [each.qos for each in socket.deliveries()] == [0]
    assert delivery.subscriptions("sub") == {"a": 0}
    assert len(delivery._index) == 1


def test_an_event_is_delivered_without_the_retain_flag(delivery: Delivery) -> None:
    socket = subscriber(delivery, a=1)
    delivery.deliver([event("a", retain=True)])
    assert [each.retain for each in socket.deliveries()] == [False]


def test_one_commit_is_one_write_to_each_subscriber(delivery: Delivery) -> None:
    writes = []

    class Counting(Wire):
        def send(self, data: bytes) -> None:
            writes.append(data)

    delivery.attach("sub", Counting())
    delivery.subscribe("sub", "#", 0)
    delivery.deliver([event(f"t/{n}", qos=0) for n in range(50)])
    assert len(writes) == 1
    assert len(wire.split(writes[0])) == 50


def test_a_topic_seen_before_finds_new_subscribers_and_loses_old_ones(delivery: Delivery) -> None:
    first = subscriber(delivery, "first", a=1)
    delivery.deliver([event("a", b"1")])
    second = subscriber(delivery, "second", all=1)
    delivery.deliver([event("a", b"2")])
    assert delivery.unsubscribe("first", "a")
    delivery.deliver([event("a", b"3")])
    delivery.forget("second")
    delivery.deliver([event("a", b"4")])
    assert (first.payloads(), second.payloads()) == ([b"1", b"2"], [b"2", b"3"])


def test_the_memory_of_topics_is_bounded(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHED_TOPICS_MAX", 5)
    socket = subscriber(delivery, all=0)
    delivery.deliver([event(f"t/{n}", qos=0) for n in range(50)])
    assert len(delivery._targets) <= 5
    assert len(socket.payloads()) == 50


def test_unsubscribing_from_what_was_never_subscribed_to_changes_nothing(delivery: Delivery) -> None:
    assert not delivery.unsubscribe("nobody", "a")
    socket = subscriber(delivery, a=1)
    assert not delivery.unsubscribe("sub", "b")
    delivery.deliver([event("a")])
    assert socket.payloads() == [b"x"]


def test_retained_messages_are_sent_for_the_filter_that_was_subscribed_to_and_no_other(delivery: Delivery) -> None:
    socket = subscriber(delivery, b=2, a_any=1)
    delivery.send_retained("sub", "a/+", 1)
    sent = {(each.topic, each.qos, each.retain) for each in socket.deliveries()}
    assert sent == {("a/1", 1, True), ("a/2", 0, True)}
    delivery.send_retained("sub", "nothing/#", 1)
    assert not socket.sent


def test_a_retained_message_that_was_withdrawn_is_not_sent(delivery: Delivery, retained: dict[str, Retained]) -> None:
    del retained["b"]
    socket = subscriber(delivery, b=2)
    delivery.send_retained("sub", "b", 2)
    assert not socket.sent


def test_deliveries_wait_for_a_client_that_is_away_and_end_with_its_session(delivery: Delivery) -> None:
    delivery.subscribe("sub", "a", 1)
    delivery.deliver([event("a", b"1")])
    socket = subscriber(delivery)
    assert socket.payloads() == [b"1"]
    delivery.detach("sub")
    delivery.deliver([event("a", b"2")])
    delivery.forget("sub")
    again = subscriber(delivery)
    assert (again.payloads(), socket.payloads()) == ([], [])
    assert delivery.known_outbox("sub") is None


def test_what_was_dropped_stays_counted_when_the_session_ends() -> None:
    delivery = Delivery(BrokerConfig(subscriber_queue_events_max=1), {})
    delivery.subscribe("sub", "a", 1)
    delivery.deliver([event("a")] * 5)
    assert delivery.allowance.dropped == 4
    delivery.forget("sub")
    delivery.forget("never seen")
    assert delivery.allowance.dropped == 4


# --- the same over real sockets ---


async def test_a_subscriber_gets_an_event_after_its_commit_and_acknowledges_it(site: Site) -> None:
    subscriber, publisher = await site.connect("sub"), await site.connect("pub")
    assert await subscriber.subscribe(("a/#", 2), ("b", 0)) == b"\x02\x00"
    publisher.send(wire.publish("a/1", b"x", 2, 1))
    await publisher.next()
    delivered = await subscriber.delivery()
    assert (delivered.topic, delivered.qos, delivered.duplicate) == ("a/1", 2, False)
    subscriber.send(wire.ack(wire.PUBREC, delivered.packet_id))
    assert await subscriber.next() == (wire.PUBREL, 2, delivered.packet_id.to_bytes(2))
    subscriber.send(wire.ack(wire.PUBCOMP, delivered.packet_id))
    await subscriber.ping()
    assert site.delivery.outbox("sub").waiting == 0


async def test_an_unacknowledged_delivery_comes_again_as_a_duplicate(site: Site) -> None:
    subscriber, publisher = await site.connect("sub", clean=False), await site.connect("pub")
    await subscriber.subscribe(("a", 1))
    publisher.send(wire.publish("a", b"x", 1, 1))
    first = await subscriber.delivery()
    await subscriber.close()
    again = await site.connect("sub", clean=False)
    assert await again.delivery() == first._replace(duplicate=True)
    again.send(wire.ack(wire.PUBACK, first.packet_id))
    await again.ping()
    await again.close()
    last = await site.connect("sub", clean=False)
    await last.ping()


async def test_retained_messages_come_on_subscribe_also_after_a_restart(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    before = await site_at()
    publisher = await before.connect("pub")
    publisher.send(wire.publish("state/1", b"on", 1, 1, flags=1), wire.publish("state/2", b"off", 1, 2, flags=1))
    publisher.send(wire.publish("state/2", b"", 1, 3, flags=1))
    for _ in range(3):
        await publisher.next()
    await before.close()
    after = await site_at()
    subscriber = await after.connect("sub")
    await subscriber.subscribe(("state/#", 1))
    assert await subscriber.delivery() == ("state/1", b"on", 1, 1, True, False)
    await subscriber.ping()


async def test_a_subscriber_that_reads_nothing_costs_a_bounded_amount_and_holds_nobody_up(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    site = await site_at(subscriber_buffer_bytes_max=100_000, subscriber_queue_bytes_max=100_000)
    subscriber, publisher = await site.connect("sub"), await site.connect("pub")
    await subscriber.subscribe(("qos/#", 1))
    subscriber.writer.transport.pause_reading()
    count, size = 400, 50_000
    for number in range(count):
        publisher.send(wire.publish(f"qos/{number % 2}", bytes(size), number % 2, number + 1))
    for _ in range(count // 2):
        assert (await publisher.next()).kind == wire.PUBACK
    await until(lambda: site.delivery.allowance.dropped > 0)
    outbox = site.delivery.outbox("sub")
    assert site.connection("sub").owed_bytes() < 1_000_000
    assert outbox._queue_bytes <= 100_000
