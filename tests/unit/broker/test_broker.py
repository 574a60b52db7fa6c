"""Admitting, taking over, limits in number and time, wills, and the end."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import argon2
import pytest

from gateway.broker import login
from gateway.errors import ConfigError
from tests.unit.broker import wire
from tests.unit.broker.site import Site, held_state, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
WILL = ("status/dev", b"gone", 1, False)


@pytest.fixture
async def strict(site_at: Callable[..., Awaitable[Site]], monkeypatch: pytest.MonkeyPatch) -> Site:
    """A broker that asks for a password."""
    monkeypatch.setattr(login, "_HASHER", QUICK)
    return await site_at(allow_anonymous=False, users={"user": {"password": QUICK.hash("right"), "role": "local"}})


async def wills(site: Site) -> list[bytes]:
    return [event.payload for event in await site.events() if event.topic.startswith("status/")]


async def test_the_broker_tells_where_it_listens(site_at: Callable[..., Awaitable[Site]]) -> None:
    site = await site_at(listen=["mqtt://127.0.0.1:0", "ws://127.0.0.1:0"])
    assert [address.scheme for address in site.broker.addresses] == ["mqtt", "ws"]
    assert site.broker.status().listen == [str(address) for address in site.broker.addresses]
    assert site.port > 0


async def test_a_port_in_use_is_an_error_that_names_the_address(site_at: Callable[..., Awaitable[Site]]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"mqtt://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"cannot listen on {address}") as wrong:
            await site_at(listen=[address])
    assert "ss -ltnp" in wrong.value.hint


# --- admitting ---


@pytest.mark.parametrize(("protocol", "level"), [("MQTT", 5), ("MQIsdp", 3), ("HTTP", 4)])
async def test_another_protocol_level_is_told_so(site: Site, protocol: str, level: int) -> None:
    device, answer = await site.try_connect(protocol=protocol, level=level)
    assert answer.body == b"\0\1"
    assert await device.rest() == b""


async def test_a_persistent_session_needs_a_client_id(site: Site) -> None:
    device, answer = await site.try_connect("", clean=False)
    assert answer.body == b"\0\2"
    assert await device.rest() == b""


async def test_clients_without_an_id_get_one_each(site: Site) -> None:
    devices = [await site.connect("") for _ in range(3)]
    for device in devices:
        device.send(wire.publish("a", b"", 1, 1))
        await device.next()
    assert len({event.client_id for event in await site.events()}) == 3


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        ({}, b"\0\5"),
        ({"username": "user"}, b"\0\4"),
        ({"username": "user", "password": b"wrong"}, b"\0\4"),
        ({"username": "nobody", "password": b"right"}, b"\0\4"),
    ],
)
async def test_a_refused_login_is_told_and_closed(strict: Site, credentials: dict[str, object], code: bytes) -> None:
    device, answer = await strict.try_connect(**credentials)
    assert answer.body == code
    assert await device.rest() == b""
    assert strict.broker.status().refused_logins == 1


async def test_a_refused_login_changes_nothing_of_the_session_it_names(strict: Site) -> None:
    good = {"username": "user", "password": b"right"}
    owner = await strict.connect(clean=False, will=WILL, **good)
    await owner.subscribe(("a", 1))
    owner.send(wire.publish("b", b"", 2, 9))
    assert (await owner.next()).kind == wire.PUBREC
    for clean in (True, False):
        _, answer = await strict.try_connect(clean=clean, username="user", password=b"wrong", will=WILL)
        assert answer.body == b"\0\4"
    await owner.ping()
    assert strict.delivery.subscriptions("dev") == {"a": 1}
    assert strict.ingest.is_repeat("dev", 9)
    assert await wills(strict) == []
    await owner.close()
    assert (await strict.try_connect(clean=False, **good))[1].body == b"\1\0"


async def test_what_a_client_sends_before_it_is_refused_is_not_taken_in(strict: Site) -> None:
    device = await strict.dial()
    device.send(wire.connect("dev", username="user", password=b"wrong") + wire.publish("a", b"forged", 1, 1))
    assert await device.rest() == b"\x20\x02\x00\x04"
    assert await strict.events() == []


async def test_a_will_to_a_topic_of_the_gateway_is_not_admitted(site: Site) -> None:
    device, answer = await site.try_connect(will=("$SYS/x", b"", 0, False))
    assert answer.body == b"\0\5"
    assert await device.rest() == b""


async def test_a_client_that_leaves_while_its_login_is_checked_leaves_nothing_behind(strict: Site) -> None:
    for _ in range(5):
        device = await strict.dial()
        device.send(wire.connect("dev", username="user", password=b"right"))
        await until(lambda: strict.broker._serving or strict.broker._clients)
        device.abort()
        await until(lambda: not strict.broker._connections)
        await strict.quiet()
    assert strict.broker._clients == {}
    assert strict.delivery._wires == {}


async def test_a_client_that_leaves_while_its_session_is_stored_leaves_no_wire_behind(site: Site) -> None:
    device = await site.dial()
    with held_state(site.data_dir):
        device.send(wire.connect("dev", clean=False, will=WILL))
        await until(lambda: site.broker._clients)
        site.connection().abort("test")
        await until(lambda: not site.broker._connections)
    await site.quiet()
    assert (site.broker._clients, site.delivery._wires) == ({}, {})


# --- limits ---


async def test_one_connection_too_many_is_closed_at_once_and_counted(site_at: Callable[..., Awaitable[Site]]) -> None:
    site = await site_at(connections_max=2)
    first, _ = await site.connect("one"), await site.connect("two")
    surplus = await site.dial()
    assert await surplus.rest() == b""
    status = site.broker.status()
    assert (status.connections, status.accepted, status.turned_away) == (2, 2, 1)
    await first.close()
    await until(lambda: site.broker.status().connections == 1)
    await site.connect("three")


async def test_a_connection_is_closed_when_it_is_not_admitted_in_time_however_much_it_talks(site: Site) -> None:
    silent, talking, admitted = await site.dial(), await site.dial(), await site.connect()
    talking.send(wire.connect("slow")[:5])
    await until(lambda: any(connection._buffer for connection in site.broker._connections))
    began_s = max(connection.began_s for connection in site.broker._connections)
    for connection in site.broker._connections:
        connection.heard_s = began_s + 9.9
    site.broker._sweep(began_s + 9.9)
    await admitted.ping()
    assert len(site.broker._connections) == 3
    site.broker._sweep(began_s + 10.1)
    assert (await silent.rest(), await talking.rest()) == (b"", b"")
    await admitted.ping()


async def test_silence_beyond_one_and_a_half_keep_alives_closes_and_publishes_the_will(site: Site) -> None:
    device, other = await site.connect(keep_alive_s=10, will=WILL), await site.connect("other", keep_alive_s=0)
    heard_s = site.connection().heard_s
    site.broker._sweep(heard_s + 15)
    await device.ping()
    site.broker._sweep(site.connection().heard_s + 15.1)
    assert await device.rest() == b""
    await until(lambda: len(site.broker._connections) == 1)
    assert await wills(site) == [b"gone"]
    site.broker._sweep(heard_s + 1_000_000)
    await other.ping()


async def test_a_connection_that_does_not_take_its_last_bytes_is_closed_in_the_end(site: Site) -> None:
    device = await site.connect()
    connection = site.connection()
    device.writer.transport.pause_reading()
    while not connection.owed_bytes():
        connection.send(bytes(1_000_000))
    connection.close("enough")
    assert not connection.is_closed
    site.broker._sweep(connection.heard_s + 2.1)
    await until(lambda: connection.is_closed)


async def test_the_sweep_goes_on_until_it_is_cancelled(
    site_at: Callable[..., Awaitable[Site]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.broker.broker._SWEEP_INTERVAL_S", 0.001)
    site = await site_at(connect_timeout_s=0.01, connections_max=1)
    silent, surplus = await site.dial(), await site.dial()
    task = asyncio.create_task(site.broker.run())
    assert (await silent.rest(), await surplus.rest()) == (b"", b"")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- wills and the end ---


async def test_a_will_is_published_when_the_connection_breaks_and_not_after_disconnect(site: Site) -> None:
    for number in range(2):
        device = await site.connect(will=("status/dev", f"{number}".encode(), 1, True))
        if number:
            await device.close()
        else:
            await site.leave(device)
    await until(lambda: not site.broker._connections)
    assert await wills(site) == [b"1"]
    assert site.log.retained["status/dev"].payload == b"1"


async def test_a_violation_publishes_the_will_and_is_counted(site: Site) -> None:
    device = await site.connect(will=WILL)
    device.send(wire.publish("#"))
    assert await device.rest() == b""
    await until(lambda: not site.broker._connections)
    assert await wills(site) == [b"gone"]
    assert site.broker.status().violations == 1


async def test_the_end_closes_everything_publishes_no_will_and_may_come_twice(site: Site) -> None:
    devices = [await site.connect(f"dev-{n}", will=WILL, clean=n == 0) for n in range(3)]
    waiting = await site.dial()
    await until(lambda: len(site.broker._connections) == 4)
    await asyncio.gather(site.broker.close(), site.broker.close())
    await site.broker.close()
    for device in (*devices, waiting):
        assert await device.rest() == b""
    assert await wills(site) == []
    with pytest.raises(OSError, match=r"onnect"):
        await wire.Device.dial(site.port)


async def test_the_end_does_not_wait_for_a_client_that_reads_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.broker.broker._CLOSE_TIMEOUT_S", 0.05)
    device = await site.connect()
    connection = site.connection()
    device.writer.transport.pause_reading()
    while not connection.owed_bytes():
        connection.send(bytes(1_000_000))
    await site.broker.close()
    await until(lambda: connection.is_closed)


async def test_an_error_of_ours_ends_one_connection_and_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = await site.connect("other")

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(site.sessions, "begin", broken)
    device = await site.dial()
    device.send(wire.connect("dev"))
    assert await device.rest() == b""
    await other.ping()
    assert "a session failed; its connection is closed" in caplog.text
    await site.quiet()
    assert set(site.broker._clients) == {"other"}
