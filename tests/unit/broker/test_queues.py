"""What persistent sessions are owed, over a restart of the broker and its log."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from gateway.broker import login
from gateway.broker import queues as module
from gateway.broker.config import BrokerConfig
from gateway.broker.delivery import Delivery
from gateway.broker.outbox import Behind, Scan
from gateway.broker.queues import Queues
from gateway.broker.rights import Identity, Rights
from gateway.broker.roles import RightsConfig
from gateway.errors import LogError
from gateway.event import Event
from tests.unit.broker import wire
from tests.unit.broker.outboxes import Wire
from tests.unit.broker.site import Site, held_state, open_log, until
from tests.unit.broker.test_broker import QUICK

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from gateway.eventlog.log import EventLog

    Sites = Callable[..., Awaitable[Site]]

DAY_S = 24 * 3600


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients are let in while the log is still looked through, five events at a time."""
    monkeypatch.setattr(module, "_REFILL_WAIT_S", 0)
    monkeypatch.setattr(module, "_AT_A_TIME", 5)


async def publish(site: Site, *payloads: str, topic: str = "t", qos: int = 1, retain: bool = False) -> None:
    """All of them are delivered, or wait, when this returns."""
    device = await site.connect("device")
    for number, payload in enumerate(payloads, 1):
        device.send(wire.publish(topic, payload.encode(), qos, number if qos else 0, int(retain)))
    await site.leave(device)
    await site.log.intake.settled()


async def subscribe(site: Site, *filters: tuple[str, int], client_id: str = "sub") -> wire.Device:
    sub = await site.connect(client_id, clean=False)
    await sub.subscribe(*filters)
    return sub


async def payloads_of(sub: wire.Device, count: int) -> list[str]:
    """Of the next deliveries, each acknowledged (QoS 1)."""
    found = []
    for _ in range(count):
        each = await sub.delivery()
        found.append(each.payload.decode())
        if each.qos:
            sub.send(wire.ack(wire.PUBACK, each.packet_id))
    return found


async def nothing() -> None:
    """What a gateway that is killed flushes."""


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


async def reopened(site: Site) -> tuple[EventLog, Delivery, Queues]:
    """The sessions of a site that has ended, before anything they are owed was read."""
    await site.close()
    log = open_log(site.data_dir)
    delivery = Delivery(BrokerConfig(), log.retained)
    queues = Queues(log, delivery)
    queues.open()
    return log, delivery, queues


def event(seq: int, topic: str = "t", qos: int = 1) -> Event:
    return Event(seq, 0, 0, "boot", "dev", topic, qos, False, str(seq).encode())


def test_who_is_behind_gets_each_message_once_in_order_and_qos_0_at_once() -> None:
    delivery, socket, scan = Delivery(BrokerConfig(), {}), Wire(), Scan(0)
    delivery.subscribe("sub", "#", 1, 0)
    delivery.fall_behind("sub", Behind(scan, 2))
    delivery.attach("sub", socket)
    delivery.deliver([event(8), event(9, qos=0)])
    assert socket.payloads() == [b"9"]
    delivery.look_through([event(seq) for seq in range(1, 6)], scan)
    delivery.look_through([event(6)], Scan(0))
    delivery.look_through([event(seq, qos=seq % 2) for seq in range(7, 9)] + [event(8)], scan)
    assert not socket.sent
    delivery.catch_up(scan)
    delivery.deliver([event(10)])
    assert socket.payloads() == [b"3", b"4", b"5", b"7", b"8", b"10"]


async def test_a_right_that_is_gone_holds_for_what_is_read_after_its_client_came(site: Site) -> None:
    sub = await subscribe(site, ("t/#", 1))
    await publish(site, "gone", topic="t/1")
    await publish(site, "granted", topic="t/2")
    assert [(await sub.delivery()).payload for _ in range(2)] == [b"gone", b"granted"]
    log, delivery, queues = await reopened(site)
    delivery.attach("sub", socket := Wire(), Rights(RightsConfig(subscribe=["t/2"])).of(Identity("sub")))
    await queues.refill()
    assert socket.payloads() == [b"granted"]
    await log.close(5)


async def test_a_session_that_ends_before_its_messages_were_read_leaves_nothing_to_the_next(site: Site) -> None:
    await publish(site, "kept", topic="r", retain=True)
    sub = await subscribe(site, ("t", 1))
    await publish(site, "in flight")
    await site.leave(sub)
    site.delivery.send_retained("sub", "r", 1)
    await publish(site, "waits")
    log, delivery, queues = await reopened(site)
    assert log.sessions.load()["sub"].queue.retained
    delivery.forget("sub")
    queues.end("sub")
    queues.begin("sub", "")
    delivery.attach("sub", socket := Wire())
    await queues.refill()
    assert not socket.sent
    assert delivery.allowance.waiting_bytes == 0
    await log.close(5)


async def test_while_the_log_is_looked_through_what_is_stored_of_sessions_can_be_begun_from_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.leave(await subscribe(site, ("nothing", 1), client_id="idle"))
    await publish(site, *numbers(3))
    monkeypatch.setattr(site.log, "flush", nothing)  # as if it were killed
    log, delivery, queues = await reopened(site)
    queues.begin("new", "")
    delivery.changed.update({"idle", "new"})
    owed = queues.take(log.head)
    assert owed.seq is None
    assert {client_id: queue.after_seq for client_id, queue in owed.queues.items()} == {"idle": 0, "new": log.head}
    await queues.refill()
    owed = queues.take(log.head)
    assert owed.seq == log.head
    assert {client_id: queue.after_seq for client_id, queue in owed.queues.items()} == {"idle": None, "new": None}
    await log.close(5)


async def test_what_was_acknowledged_is_stored_with_the_next_flush(site: Site) -> None:
    sub = await subscribe(site, ("t", 1))
    await publish(site, *numbers(3))
    assert await payloads_of(sub, 3) == numbers(3)
    await sub.ping()
    await site.log.flush()
    assert site.log.sessions.seq() == site.log.head == 3


async def test_what_waited_comes_before_what_is_new_and_qos_0_need_not_wait(site_at: Sites, unhurried: None) -> None:
    site = await site_at()
    await site.leave(await subscribe(site, ("t", 1), ("now", 0)))
    await publish(site, *numbers(300))
    await site.close()
    site = await site_at()
    sub = await site.connect("sub", clean=False)
    assert site.broker._queues._scans
    await publish(site, "now", topic="now", qos=0)
    await publish(site, "300")
    found = await payloads_of(sub, 302)
    assert [each for each in found if each != "now"] == numbers(301)


async def test_an_acknowledgement_that_comes_before_its_message_was_read_again_counts(
    site_at: Sites, unhurried: None
) -> None:
    site = await site_at(subscriber_inflight_max=3)
    sub = await subscribe(site, ("t", 2))
    await publish(site, "a", "b")
    await publish(site, "c", qos=2)
    await publish(site, *numbers(300))
    first, second, third = [await sub.delivery() for _ in range(3)]
    await site.close()
    site = await site_at()
    sub = await site.connect("sub", clean=False)
    sub.send(wire.ack(wire.PUBACK, first.packet_id), wire.ack(wire.PUBREC, third.packet_id))
    assert (await sub.next()).kind == wire.PUBREL
    assert site.broker._queues._scans
    assert await sub.delivery() == second._replace(duplicate=True)
    assert (await sub.next()).kind == wire.PUBREL
    assert await payloads_of(sub, 300) == numbers(300)


async def test_a_retained_message_that_waits_survives_and_keeps_its_place(site_at: Sites) -> None:
    site = await site_at(subscriber_inflight_max=1)
    await publish(site, "kept", topic="r/kept", retain=True)
    await publish(site, "replaced", topic="r/replaced", retain=True)
    sub = await subscribe(site, ("t", 1))
    await publish(site, "first")
    sub.send(wire.subscribe(2, ("r/#", 1)))
    await until(lambda: site.delivery.outbox("sub").waiting == 3)
    await site.leave(sub)
    await publish(site, "new", topic="r/replaced", retain=True)
    await publish(site, "last")
    await site.close()
    site = await site_at()
    sub = await site.connect("sub", clean=False)
    assert await payloads_of(sub, 5) == ["first", "kept", "replaced", "new", "last"]


async def test_more_than_may_wait_is_dropped_oldest_first_and_counted(site_at: Sites) -> None:
    site = await site_at()
    await site.leave(await subscribe(site, ("t", 1)))
    await publish(site, *numbers(10))
    await site.close()
    site = await site_at(subscriber_queue_events_max=3)
    assert site.broker.status().deliveries_overflowed == 7
    sub = await site.connect("sub", clean=False)
    assert await payloads_of(sub, 3) == ["7", "8", "9"]


async def test_a_subscriber_is_not_disconnected_for_what_waited_before_the_start(
    site_at: Sites, unhurried: None
) -> None:
    site = await site_at()
    await site.leave(await subscribe(site, ("t", 1)))
    await publish(site, *numbers(50))
    await site.close()
    site = await site_at(subscriber_queue_events_max=3, subscriber_overflow="disconnect")
    sub = await site.connect("sub", clean=False)
    assert await payloads_of(sub, 3) == ["47", "48", "49"]


async def test_a_subscription_gets_nothing_from_before_it_was_made_or_raised_from_qos_0(site_at: Sites) -> None:
    site = await site_at()
    await site.leave(await subscribe(site, ("first", 1), ("raised", 0)))
    await publish(site, "waits", topic="first")
    await publish(site, "before", topic="later")
    await publish(site, "at QoS 0", topic="raised")
    sub = await site.connect("sub", clean=False)
    assert (await sub.delivery()).payload == b"waits"
    await sub.subscribe(("later", 1), ("raised", 1), ("first", 2))
    await site.leave(sub)
    await publish(site, "after", topic="later")
    await publish(site, "at QoS 1", topic="raised")
    await site.close()
    site = await site_at()
    sub = await site.connect("sub", clean=False)
    assert await payloads_of(sub, 3) == ["waits", "after", "at QoS 1"]
    await sub.ping()


async def test_a_right_that_is_gone_holds_for_what_comes_from_the_log(site_at: Sites) -> None:
    site = await site_at()
    sub = await subscribe(site, ("t/#", 1))
    await publish(site, "in flight", topic="t/1")
    await site.leave(sub)
    await publish(site, "waits", topic="t/1")
    await publish(site, "granted", topic="t/2")
    await site.close()
    site = await site_at(rights=Rights(RightsConfig(subscribe=["t/2"])))
    sub = await site.connect("sub", clean=False)
    assert await payloads_of(sub, 1) == ["granted"]
    await sub.ping()


async def test_sessions_of_an_earlier_version_get_what_is_new_and_no_backlog(site_at: Sites) -> None:
    site = await site_at()
    await site.leave(await subscribe(site, ("t", 1)))
    await publish(site, "old")
    await site.close()
    with sqlite3.connect(site.data_dir / "state.db") as state:
        state.execute("UPDATE sessions SET since = '{}', queue = ''")
        state.execute("DELETE FROM meta WHERE key = 'sessions_seq'")
    state.close()
    for _ in range(2):
        site = await site_at()
        await site.log.flush()
        assert site.log.sessions.seq() == site.log.head
        sub = await site.connect("sub", clean=False)
        await sub.ping()
        await site.close()


async def test_what_the_disk_refuses_is_stored_with_the_next_flush(
    site_at: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.eventlog.segment._BUSY_TIMEOUT_S", 0.01)
    site = await site_at()
    await site.leave(await subscribe(site, ("t", 1)))
    await publish(site, *numbers(3))
    with held_state(site.data_dir), pytest.raises(LogError):
        await site.log.flush()
    assert site.log.sessions.load()["sub"].queue.after_seq is None
    await site.log.flush()
    assert site.log.sessions.load()["sub"].queue.after_seq == 0
    assert site.log.sessions.seq() == 3


async def test_nothing_is_written_for_sessions_to_which_nothing_happens(site_at: Sites) -> None:
    site = await site_at()
    await subscribe(site, ("other", 2), ("t", 0))
    await site.log.flush()
    await publish(site, *numbers(3))
    assert not site.log.sessions.take(site.log.head).is_due


async def test_a_session_beyond_sessions_max_is_turned_away_and_counted(site_at: Sites) -> None:
    site = await site_at(sessions_max=2)
    await site.leave(await site.connect("one", clean=False))
    await site.leave(await site.connect("two", clean=False))
    device, answer = await site.try_connect("three", clean=False)
    assert answer.body == b"\0\3"
    assert await device.rest() == b""
    await site.connect("four", clean=True)
    await site.connect("one", clean=False)
    status = site.broker.status()
    assert (status.sessions, status.sessions_refused) == (2, 1)
    await site.leave(await site.connect("two", clean=True))
    await site.connect("three", clean=False)


async def test_the_session_of_a_client_that_is_away_for_too_long_is_removed_also_over_a_restart(site_at: Sites) -> None:
    site = await site_at()
    await subscribe(site, ("t", 1), client_id="here")
    await site.leave(await subscribe(site, ("t", 1), client_id="away"))
    await publish(site, "1")
    begun_s = site.sessions._tended_s
    assert await site.sessions.tend(begun_s + 6.5 * DAY_S, ()) == []
    await site.close()
    site = await site_at()
    begun_s = site.sessions._tended_s
    assert await site.sessions.tend(begun_s + DAY_S, {"away"}) == []
    assert await site.sessions.tend(begun_s + DAY_S + 61, ()) == ["away"]
    assert (site.broker.status().sessions, site.broker.status().sessions_expired) == (1, 1)
    assert [*site.log.sessions.load()] == ["here"]
    assert not site.delivery.subscriptions("away")
    assert site.delivery.allowance.holders == 1


async def test_a_session_belongs_to_the_login_that_began_it_also_over_a_restart(
    site_at: Sites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "_HASHER", QUICK)
    users = {name: {"password": QUICK.hash(name), "role": "local"} for name in ("ann", "bob")}
    site = await site_at(users=users)
    await site.leave(await site.connect("panel", clean=False, username="ann", password="ann"))
    await site.leave(await site.connect("open", clean=False))
    await site.close()
    site = await site_at(users=users)
    for other in ({"username": "bob", "password": "bob"}, {}):
        _, answer = await site.try_connect("panel", clean=True, **other)
        assert answer.body == b"\0\2"
    for client_id, name in (("panel", "ann"), ("open", "bob")):
        _, answer = await site.try_connect(client_id, clean=False, username=name, password=name)
        assert answer.body == b"\1\0"


async def test_with_an_expiry_of_0_sessions_stay(site_at: Sites) -> None:
    site = await site_at(session_expiry_s=0)
    await site.leave(await site.connect("away", clean=False))
    assert await site.sessions.tend(site.sessions._tended_s + 10_000 * DAY_S, ()) == []
    assert site.broker.status().sessions == 1
