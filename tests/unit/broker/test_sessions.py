"""What we rely on in amqtt, and what sessions promise on top of it.

The first part fails when another version of amqtt behaves differently from the one that was read; then
`gateway/broker/sessions.py` has to be read against the new one before the pin is moved.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import sqlite3
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import amqtt.broker
import pytest
from amqtt.contexts import ListenerType

from gateway.broker.sessions import Sessions
from tests.unit.broker import wire
from tests.unit.broker.site import Site, held_state, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PYPROJECT = Path(__file__).parents[3] / "pyproject.toml"

OVERRIDDEN = {
    "_authenticate": ["self", "session", "_"],
    "add_subscription": ["self", "subscription", "session"],
    "_del_subscription": ["self", "a_filter", "session"],
    "_handle_unsubscription": ["self", "client_session", "handler", "unsubscribe_waiter"],
    "_del_all_subscriptions": ["self", "session"],
    "_publish_retained_messages_for_subscription": ["self", "subscription", "session"],
    "_publish_session_retained_messages": ["self", "session"],
}
CALLED = {
    "start": ["self"],
    "shutdown": ["self"],
    "external_connected": ["self", "reader", "writer", "listener_name"],
    "create_offline_session": ["self", "client_id"],
}


def stored_sessions(site: Site) -> dict[str, str]:
    with sqlite3.connect(site.data_dir / "state.db") as connection:
        rows = dict(connection.execute("SELECT client_id, subscriptions FROM sessions"))
    connection.close()
    return rows


def test_amqtt_is_pinned_to_the_version_that_was_read() -> None:
    assert importlib.metadata.version("amqtt") == "0.12.1"
    dependencies = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    assert "amqtt==0.12.1" in dependencies


@pytest.mark.parametrize(("name", "parameters"), [*OVERRIDDEN.items(), *CALLED.items()])
def test_amqtt_has_the_methods_we_replace_or_call(name: str, parameters: list[str]) -> None:
    theirs = getattr(amqtt.broker.Broker, name)
    assert list(inspect.signature(theirs).parameters) == parameters
    if name in OVERRIDDEN:
        ours = getattr(Sessions, name)
        assert ours is not theirs
        assert len(inspect.signature(ours).parameters) == len(parameters)
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)


def test_every_method_of_amqtt_that_we_replace_is_guarded() -> None:
    ours = {name for name, member in vars(Sessions).items() if inspect.isfunction(member)}
    assert (ours & set(dir(amqtt.broker.Broker))) - set(dir(object)) == set(OVERRIDDEN)


async def test_amqtt_listens_nowhere_itself(site: Site) -> None:
    assert ListenerType.EXTERNAL.value == "external"
    assert [type(server) for server in site.sessions._servers.values()] == [amqtt.broker.ExternalServer]
    assert not site.sessions.plugins_manager.plugins


async def test_amqtt_knows_a_client_only_while_it_has_something_to_answer(site: Site) -> None:
    for clean in (True, False):
        device = await site.connect(f"dev-{clean}", clean=clean)
        await device.subscribe(("a", 1), ("b/#", 0))
        device.send(wire.unsubscribe(2, "a"))
        assert (await device.next()).kind == wire.UNSUBACK
        await device.ping()
    await until(lambda: not site.broker._serving)
    assert site.sessions._sessions == {}
    assert all(site.delivery.subscriptions(f"dev-{clean}") == {"b/#": 0} for clean in (True, False))


async def test_connack_is_the_first_answer_and_a_new_session_is_not_present(site: Site) -> None:
    for clean in (True, False):
        _, answer = await site.try_connect(f"dev-{clean}", clean=clean)
        assert answer == (wire.CONNACK, 0, b"\0\0")


async def test_a_persistent_session_is_present_when_its_client_comes_back(site: Site) -> None:
    await site.leave(await site.connect(clean=False))
    for _ in range(3):
        device, answer = await site.try_connect(clean=False)
        assert answer.body == b"\1\0"
        await site.leave(device)
    assert (await site.try_connect(clean=True))[1].body == b"\0\0"


async def test_a_persistent_session_is_present_after_a_restart_and_gets_what_it_subscribed_to(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    before = await site_at()
    device = await before.connect("sub", clean=False)
    await device.subscribe(("a/#", 1), ("b", 0))
    await before.close()
    after = await site_at()
    assert after.delivery.subscriptions("sub") == {"a/#": 1, "b": 0}
    publisher = await after.connect("pub")
    publisher.send(wire.publish("a/1", b"while away", 1, 1))
    await publisher.next()
    back, answer = await after.try_connect("sub", clean=False)
    assert answer.body == b"\1\0"
    assert (await back.delivery()).payload == b"while away"


async def test_a_clean_session_ends_a_persistent_one_also_on_disk(site: Site) -> None:
    device = await site.connect(clean=False)
    await device.subscribe(("a", 1))
    await site.leave(device)
    assert stored_sessions(site) == {"dev": '{"a": 1}'}
    await site.leave(await site.connect(clean=True))
    assert stored_sessions(site) == {}
    assert (await site.try_connect(clean=False))[1].body == b"\0\0"
    assert site.delivery.subscriptions("dev") == {}


async def test_suback_comes_when_the_session_is_on_disk_and_not_before(site: Site) -> None:
    device = await site.connect(clean=False)
    with held_state(site.data_dir):
        device.send(wire.subscribe(1, ("a", 1)))
        await until(lambda: site.delivery.subscriptions("dev"))
        other = await site.connect("other")
        await other.ping()
        assert not device.reader._buffer
    assert await device.next() == (wire.SUBACK, 0, b"\x00\x01\x01")
    assert stored_sessions(site) == {"dev": '{"a": 1}'}


async def test_unsuback_comes_when_the_session_is_on_disk(site: Site) -> None:
    device = await site.connect(clean=False)
    await device.subscribe(("a", 1), ("b", 2))
    device.send(wire.unsubscribe(2, "a", "never"))
    assert await device.next() == (wire.UNSUBACK, 0, b"\x00\x02")
    assert stored_sessions(site) == {"dev": '{"b": 2}'}


async def test_a_subscription_that_the_disk_refuses_is_refused_and_not_in_force(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await site.connect(clean=False)
    await device.subscribe(("old", 0))
    _break_sessions(site)
    assert await device.subscribe(("new", 1), packet_id=2) == b"\x80"
    assert await device.subscribe(("old", 2), packet_id=3) == b"\x80"
    assert site.delivery.subscriptions("dev") == {"old": 0}


def _break_sessions(site: Site) -> None:
    """The disk takes no session any more."""
    connection = sqlite3.connect(site.data_dir / "state.db", isolation_level=None)
    for change in ("INSERT", "UPDATE"):
        fails = "BEGIN SELECT RAISE(ABORT, 'disk I/O'); END"
        connection.execute(f"CREATE TRIGGER broken_{change} BEFORE {change} ON sessions {fails}")
    connection.close()


async def test_a_persistent_session_that_the_disk_does_not_take_is_turned_away(site: Site) -> None:
    _break_sessions(site)
    device, answer = await site.try_connect(clean=False)
    assert answer.body == b"\0\3"
    assert await device.rest() == b""
    await site.connect(clean=True)
    assert "dev" not in site.broker._queues


async def test_a_clean_session_leaves_nothing_behind(site: Site) -> None:
    for number in range(20):
        device = await site.connect(f"dev-{number}")
        await device.subscribe((f"t/{number}/#", 1), ("all", 2))
        device.send(wire.publish(f"t/{number}/a", b"", 2, 1))
        assert {(await device.next()).kind for _ in range(2)} == {wire.PUBREC, wire.PUBLISH}
        if number % 2:
            await site.leave(device)
        else:
            await device.close()
    await until(lambda: not site.broker._connections)
    await site.quiet()
    assert_nothing_left(site)


@pytest.mark.parametrize("end", [wire.DISCONNECT_PACKET, b""])
async def test_a_subscription_on_the_way_out_leaves_nothing_behind(site: Site, end: bytes) -> None:
    """SUBSCRIBE and the end of the connection arrive together."""
    for number in range(20):
        device = await site.connect(f"dev-{number}")
        device.send(wire.subscribe(1, (f"t/{number}", 1)) + end)
        await device.close()
    await until(lambda: not site.broker._connections)
    await site.quiet()
    assert_nothing_left(site)


def assert_nothing_left(site: Site) -> None:
    assert site.sessions._sessions == {}
    assert site.sessions._subscriptions == {}
    assert len(site.delivery._index) == 0
    for container in (site.delivery._filters, site.delivery._outboxes, site.delivery._wires, site.delivery._targets):
        assert container == {}
    for container in (site.broker._clients, site.broker._serving, site.ingest._inbound):
        assert container == {}
    assert stored_sessions(site) == {}


async def test_a_persistent_session_after_a_clean_one_of_the_same_client_is_new_and_stays(site: Site) -> None:
    await site.leave(await site.connect(clean=True))
    device, answer = await site.try_connect(clean=False)
    assert answer.body == b"\0\0"
    await site.leave(device)
    assert (await site.try_connect(clean=False))[1].body == b"\1\0"


async def test_subscriptions_are_handled_in_the_order_they_were_sent(site: Site) -> None:
    device = await site.connect()
    await device.subscribe(("a", 1))
    device.send(wire.unsubscribe(2, "a"), wire.subscribe(3, ("a", 1)))
    answers = [await device.next() for _ in range(2)]
    assert [(answer.kind, answer.packet_id) for answer in answers] == [(wire.UNSUBACK, 2), (wire.SUBACK, 3)]
    assert site.delivery.subscriptions("dev") == {"a": 1}


async def test_a_publish_after_a_subscribe_finds_the_subscription(site: Site) -> None:
    device = await site.connect()
    for number in range(20):
        device.send(wire.subscribe(1, (f"echo/{number}", 0)), wire.publish(f"echo/{number}", b"hello"))
        assert (await device.next()).kind == wire.SUBACK
        assert (await device.delivery()).topic == f"echo/{number}"


async def test_a_flood_of_subscriptions_waits_in_the_socket_and_not_in_memory(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    site = await site_at(topic_bytes_max=65_535)
    device = await site.connect(clean=False)
    count = 300
    with held_state(site.data_dir):
        device.send(*(wire.subscribe(n, (f"{n}/" + "x" * 60_000, 1)) for n in range(1, count + 1)))
        await until(lambda: not site.connection()._transport.is_reading())
        assert len(site.connection()._buffer) < 1_000_000
        assert device.writer.transport.get_write_buffer_size() > 0
        device.abort()
    await until(lambda: not site.broker._connections)
