"""Two connections of one client: whoever comes last wins, whatever state the first is in."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.broker import wire
from tests.unit.broker.site import Site, until

WILL = ("status/dev", b"gone", 1, False)


@pytest.mark.parametrize("clean", [True, False])
async def test_a_second_connection_of_a_client_closes_the_first_and_publishes_its_will(site: Site, clean: bool) -> None:
    first = await site.connect(clean=clean, will=WILL)
    second, answer = await site.try_connect(clean=clean)
    assert answer.body == (b"\0\0" if clean else b"\1\0")
    assert await first.rest() == b""
    await second.ping()
    assert [event.payload for event in await site.events()] == [b"gone"]
    assert site.broker.status().clients == 1


async def test_a_subscription_survives_the_takeover_and_goes_to_the_second(site: Site) -> None:
    first = await site.connect(clean=False)
    await first.subscribe(("a", 1))
    second = await site.connect(clean=False)
    publisher = await site.connect("pub")
    publisher.send(wire.publish("a", b"x", 1, 1))
    assert (await second.delivery()).payload == b"x"


async def test_of_many_connections_of_one_client_one_stays(site: Site) -> None:
    devices = [await site.dial() for _ in range(12)]
    for number, device in enumerate(devices):
        device.send(wire.connect("dev", clean=number % 2 == 0))
    await until(lambda: len(site.broker._connections) == 1 and not site.broker._serving)
    await until(lambda: site.connection().connect is not None)
    by_port = {device.writer.get_extra_info("sockname")[1]: device for device in devices}
    alive = by_port[site.connection().peer[1]]
    assert (await alive.next()).kind == wire.CONNACK
    assert await alive.subscribe(("a", 1)) == b"\1"
    alive.send(wire.publish("a", b"x", 0))
    assert (await alive.delivery()).payload == b"x"
    for device in devices:
        if device is not alive:
            await device.rest()


async def test_a_client_that_vanishes_and_is_back_at_once_keeps_its_session(site: Site) -> None:
    """The session engine is still busy with the first connection when the second comes."""
    for number in range(20):
        first = await site.connect(clean=False)
        await first.subscribe((f"t/{number}", 1))
        first.abort()
        device, answer = await site.try_connect(clean=False)
        assert answer.body == b"\1\0"
        await device.ping()
        device.abort()
    assert len(site.delivery.subscriptions("dev")) == 20


async def test_a_clean_client_that_vanishes_and_is_back_at_once_gets_what_it_subscribes_to(site: Site) -> None:
    for _ in range(20):
        first = await site.connect()
        first.send(wire.subscribe(1, ("old", 1)))
        first.abort()
        device = await site.connect()
        await device.subscribe(("new", 0))
        device.send(wire.publish("old", b"no"), wire.publish("new", b"yes"))
        assert (await device.delivery()).payload == b"yes"
        device.abort()


async def test_a_first_connection_that_takes_nothing_more_is_cut(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.broker.broker._CLOSE_TIMEOUT_S", 0.05)
    first = await site.connect()
    connection = site.connection()
    first.writer.transport.pause_reading()
    while not connection.owed_bytes():
        connection.send(bytes(1_000_000))
    second = await site.connect()
    assert connection.is_closed
    await second.ping()


async def test_a_session_that_does_not_end_is_ended(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.broker.broker._CLOSE_TIMEOUT_S", 0.05)
    ask = site.sessions.ask

    async def lingering(*arguments: object) -> None:
        await ask(*arguments)
        await asyncio.Event().wait()

    monkeypatch.setattr(site.sessions, "ask", lingering)
    first = await site.connect()
    await first.subscribe(("a", 0))
    monkeypatch.setattr(site.sessions, "ask", ask)
    second = await site.connect()
    assert await first.rest() == b""
    await second.subscribe(("a", 0))
    await until(lambda: not site.broker._serving)


@pytest.mark.parametrize("clean", [True, False])
async def test_a_connack_that_comes_too_late_admits_nobody(
    site: Site, monkeypatch: pytest.MonkeyPatch, clean: bool
) -> None:
    """The client vanishes while the session engine is at work on its CONNECT."""
    begin = site.sessions.begin

    async def vanishing(client_id: str, **options: object) -> bytes:
        connection = site.connection()
        connection.abort("test")
        await connection.wait_closed()
        return bytes(await begin(client_id, **options))

    monkeypatch.setattr(site.sessions, "begin", vanishing)
    device = await site.dial()
    device.send(wire.connect("dev", clean=clean, will=WILL))
    assert await device.rest() == b""
    await site.quiet()
    assert (site.broker._clients, site.delivery._wires) == ({}, {})
    assert await site.events() == []


@pytest.mark.parametrize("rest", [b"", wire.DISCONNECT_PACKET, wire.subscribe(1, ("a", 1)), wire.PINGREQ_PACKET])
async def test_a_client_that_is_gone_as_soon_as_it_has_come_leaves_nothing_behind(site: Site, rest: bytes) -> None:
    for number in range(20):
        device = await site.dial()
        device.send(wire.connect(f"dev-{number}") + rest)
        await device.close()
    await until(lambda: not site.broker._connections)
    await until(lambda: not site.broker._serving)
    assert (site.broker._clients, site.delivery._wires) == ({}, {})
    assert site.sessions._sessions == {}
    assert len(site.delivery._index) == 0
