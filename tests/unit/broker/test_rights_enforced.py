"""Where rights are asked for: PUBLISH, SUBSCRIBE, delivery, wills and client ids, with the parts of a real broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import argon2
import pytest

from gateway.broker import login
from gateway.broker.allowance import Allowance
from gateway.broker.broker import Broker
from gateway.broker.config import BrokerConfig
from gateway.broker.delivery import Delivery
from gateway.broker.outbox import Message, Outbox
from gateway.broker.rights import Identity, Rights
from gateway.broker.roles import RightsConfig, RoleConfig
from gateway.clock import SystemClock
from gateway.event import Event
from gateway.eventlog.retained import Retained
from gateway.ingest.ingest import Ingest
from tests.unit.broker import wire
from tests.unit.broker.outboxes import Wire
from tests.unit.broker.ports import MemorySocket, OpenDoor, plug
from tests.unit.broker.site import Site, held_state, open_log, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from gateway.broker.connection import Connection

QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
LENIENT = RightsConfig(on_refused_publish="drop")


@pytest.fixture
async def ingest(tmp_path: Path) -> AsyncIterator[Ingest]:
    log = open_log(tmp_path)
    yield Ingest(log, SystemClock())
    await log.close(5)


def joined(ingest: Ingest, rights: Rights) -> tuple[Connection, MemorySocket, OpenDoor]:
    front = OpenDoor()
    connection, socket = plug(front, ingest, BrokerConfig())
    connection._policy = rights
    connection.data_received(wire.connect("dev"))
    return connection, socket, front


async def topics(ingest: Ingest) -> list[str]:
    await ingest._log.intake.settled()
    return [event.topic for event in await ingest._log.read(0, 1000)]


async def test_dropped_messages_are_acknowledged_in_their_turn_and_nothing_of_them_is_kept(ingest: Ingest) -> None:
    rights = Rights(LENIENT, is_local=False)
    connection, socket, _ = joined(ingest, rights)
    good, bad = "devices/dev/t", "devices/other/t"
    stream = [
        wire.publish(good, b"", 1, 1),
        wire.publish(bad, b"", 1, 2),
        wire.publish(bad, b""),
        wire.publish(bad, b"", 2, 3),
        wire.ack(wire.PUBREL, 3),
        wire.publish(good, b"", 2, 4),
    ]
    connection.data_received(b"".join(stream))
    assert await topics(ingest) == [good, good]
    kinds = [(each.kind, each.packet_id) for each in wire.split(bytes(socket.written))]
    expected = [(wire.PUBACK, 1), (wire.PUBACK, 2), (wire.PUBREC, 3), (wire.PUBCOMP, 3), (wire.PUBREC, 4)]
    assert kinds == expected
    assert not ingest.is_repeat("dev", 3)
    assert rights.refusals.counts["publish"] == 3


@pytest.mark.parametrize(
    "wrong", [wire.publish("a", b"", 1, 0), wire.publish("a", b"", flags=8), wire.publish("a/#", b"")]
)
async def test_a_dropped_message_must_keep_the_protocol_all_the_same(ingest: Ingest, wrong: bytes) -> None:
    connection, _, _ = joined(ingest, Rights(LENIENT, is_local=False))
    connection.data_received(wrong)
    assert connection.violation


async def test_a_topic_is_judged_once_a_connection_if_it_is_granted(ingest: Ingest) -> None:
    connection, _, _ = joined(ingest, Rights())
    asked: list[str] = []
    may_publish = connection.rights

    class Counting:
        def may_publish(self, topic: str) -> bool:
            asked.append(topic)
            return may_publish.may_publish(topic)

    connection.rights = Counting()  # type: ignore[assignment]
    for _ in range(3):
        connection.data_received(wire.publish("a", b"") + wire.publish("b", b""))
    assert asked == ["a", "b"]
    assert await topics(ingest) == ["a", "b"] * 3


async def test_refused_filters_are_noted_and_the_packet_goes_on_to_be_answered(ingest: Ingest) -> None:
    rights = Rights(is_local=False)
    connection, _, front = joined(ingest, rights)
    packet = wire.subscribe(1, ("#", 1), ("commands/dev/#", 1), ("$share/g/a", 0))
    connection.data_received(packet)
    assert front.controls == [packet]
    assert [(row.action, row.topic, row.times) for row in rights.refusals.newest()] == [("subscribe", "$share/g/a", 2)]


# --- delivery ---


def reader(*filters: str) -> Rights:
    return Rights(RightsConfig(subscribe=list(filters)), is_local=False)


SUB = Identity("sub", "sub")


def event(topic: str) -> Event:
    return Event(1, 0, 0, "boot", "dev", topic, 1, False, topic.encode())


def test_a_right_that_is_gone_stops_what_is_in_flight_what_waits_and_what_comes() -> None:
    config = BrokerConfig(subscriber_inflight_max=2)
    delivery = Delivery(config, {"a/3": Retained("a/3", 1, 1, b"kept"), "b/3": Retained("b/3", 2, 1, b"b kept")})
    delivery.attach("sub", Wire(), reader("#").of(SUB))
    delivery.subscribe("sub", "#", 1)
    delivery.deliver([event(topic) for topic in ("a/1", "b/1", "a/2", "b/2")])
    delivery.detach("sub")
    back = Wire()
    delivery.attach("sub", back, reader("b/#").of(SUB))
    assert [each.topic for each in back.deliveries()] == ["b/1", "b/2"]
    delivery.outbox("sub").acknowledged(1, 2, 3)
    delivery.deliver([event(topic) for topic in ("a/9", "b/9", "c")])
    delivery.send_retained("sub", "#", 1)
    assert [each.payload for each in back.deliveries()] == [b"b/9", b"b kept"]


def test_nothing_waits_for_a_client_that_is_away_and_was_not_granted_it() -> None:
    delivery = Delivery(BrokerConfig(), {})
    delivery.subscribe("sub", "#", 1)  # as a session of the last run is brought back
    delivery.deliver([event("a")])
    assert delivery.outbox("sub").waiting == 1, "nobody knows yet what it may have"
    delivery.attach("sub", Wire(), reader("b").of(SUB))
    assert delivery.outbox("sub").waiting == 0
    delivery.detach("sub")
    delivery.deliver([event("a"), event("b")])
    assert delivery.outbox("sub").waiting == 1
    delivery.forget("sub")
    assert delivery.rights("sub") is None


def test_what_is_withdrawn_is_given_back_to_what_all_subscribers_may_hold() -> None:
    config = BrokerConfig(subscriber_inflight_max=2)
    allowance = Allowance(config.subscribers_bytes_max)
    outbox = Outbox("sub", config, allowance)
    outbox.attach(Wire())
    for number in range(6):
        outbox.add(Message(f"t/{number % 2}", b"x" * 100, 1 + number % 2, retain=False))
    outbox.flush()
    outbox.received(2)
    half = allowance.waiting_bytes
    outbox.detach()
    outbox.withdraw(lambda topic: topic == "t/1")
    assert 0 < allowance.waiting_bytes < half
    back = Wire()
    outbox.attach(back)
    assert next(each.kind for each in back.take()) == wire.PUBREL, "what was received needs its release"
    outbox.withdraw(lambda _: False)
    assert (allowance.waiting_bytes, allowance.holders) == (0, 0)


# --- the broker ---


@pytest.fixture
async def guarded(site_at: Callable[..., Awaitable[Site]], monkeypatch: pytest.MonkeyPatch) -> Site:
    """A broker with two logins, whose users read and write below their names."""
    monkeypatch.setattr(login, "_HASHER", QUICK)
    users = {name: QUICK.hash("right") for name in ("alice", "bob")}
    users |= {"desk": {"password": QUICK.hash("right"), "role": "desk"}}
    return await site_at(allow_anonymous=True, users=users)


def as_(name: str) -> dict[str, object]:
    return {"username": name, "password": b"right"}


async def test_a_subscription_on_the_way_out_is_not_granted_unasked(guarded: Site) -> None:
    """SUBSCRIBE and the end of the connection arrive together, and the session stays."""
    for number in range(10):
        device = await guarded.connect(f"x{number}", clean=False, **as_("alice"))
        device.send(wire.subscribe(1, ("#", 1), ("commands/alice/#", 1)))
        await device.close()
    await until(lambda: not guarded.broker._connections)
    await guarded.quiet()
    for number in range(10):
        assert set(guarded.delivery.subscriptions(f"x{number}")) <= {"commands/alice/#"}


async def test_a_client_without_a_login_gets_no_name_of_a_login_and_no_session_of_a_user(guarded: Site) -> None:
    await guarded.connect("tool", **as_("alice"))
    for client_id in ("alice", "desk", "tool"):
        device, answer = await guarded.try_connect(client_id)
        assert answer.body == b"\0\2"
        assert await device.rest() == b""
    await guarded.connect("other")
    status = guarded.broker.status()
    assert (status.refused_client_ids, status.violations, status.clients) == (3, 0, 2)


async def test_a_session_that_was_cleaned_is_anybodys_again(guarded: Site) -> None:
    await guarded.leave(await guarded.connect("tool", clean=False, **as_("alice")))
    assert (await guarded.try_connect("tool", **as_("bob")))[1].body == b"\0\2"
    await guarded.leave(await guarded.connect("tool", clean=True, **as_("alice")))
    await guarded.connect("tool", **as_("bob"))


async def test_a_user_name_that_nobody_checked_gives_no_rights(
    tmp_path: Path,
) -> None:
    """Without any login configured, a user name is only a word."""
    log = open_log(tmp_path)
    config = BrokerConfig(listen=["mqtt://127.0.0.1:0"], allow_anonymous=True)
    rights = Rights(RightsConfig(publish=["{username}/#"]), {"x": RoleConfig()}, is_local=False)
    broker = Broker(config, log, Ingest(log, SystemClock()), rights)
    await broker.open()
    device = await wire.Device.dial(broker.addresses[0].port)
    device.send(wire.connect("dev", username="alice", password=b"guess") + wire.publish("alice/x", b"", 1, 1))
    assert await device.rest() == b"\x20\x02\x00\x00"
    assert broker.status().refused_publishes == 1
    device.abort()
    await broker.close()
    await log.close(5)


async def test_a_client_that_waits_for_its_session_keeps_others_from_its_client_id(guarded: Site) -> None:
    with held_state(guarded.data_dir):
        slow = await guarded.dial()
        slow.send(wire.connect("tool", clean=False, **as_("alice")))
        await until(lambda: "tool" in guarded.broker._clients)
        assert (await guarded.try_connect("tool", **as_("bob")))[1].body == b"\0\2"
    assert (await slow.next()).body == b"\0\0"
