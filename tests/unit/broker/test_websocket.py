"""MQTT over WebSocket, with the client of the `websockets` library against a real broker."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
import websockets
from websockets.asyncio.client import connect

from tests.unit.broker import wire
from tests.unit.broker.site import Site, held_commits, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from websockets.asyncio.client import ClientConnection


@pytest.fixture
async def ws_site(site_at: Callable[..., Awaitable[Site]], caplog: pytest.LogCaptureFixture) -> AsyncIterator[Site]:
    """A broker that listens for WebSockets; asyncio must have nothing to complain about."""
    site = await site_at(listen=["ws://127.0.0.1:0"], packet_bytes_max=2048)
    yield site
    await site.close()
    said = caplog.get_records("call") + caplog.records
    complaints = [record for record in said if record.levelno >= logging.ERROR and record.name == "asyncio"]
    assert not complaints, complaints[0].exc_text or complaints[0].message


def dial(site: Site, **options: object) -> connect:
    return connect(f"ws://127.0.0.1:{site.port}/mqtt", **{"subprotocols": ["mqtt"], "proxy": None} | options)  # type: ignore[arg-type]


async def receive(socket: ClientConnection) -> wire.Packet:
    async with asyncio.timeout(wire.TIMEOUT_S):
        message = await socket.recv()
    assert isinstance(message, bytes)
    (packet,) = wire.split(message)
    return packet


async def join(socket: ClientConnection, client_id: str = "dev", **options: object) -> None:
    await socket.send(wire.connect(client_id, **options))
    assert await receive(socket) == (wire.CONNACK, 0, b"\0\0")


async def test_a_client_publishes_and_is_acknowledged_in_binary_messages(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        assert socket.subprotocol == "mqtt"
        await join(socket)
        await socket.send(wire.publish("a", b"x", 1, 5))
        assert await receive(socket) == (wire.PUBACK, 0, b"\x00\x05")
    assert [event.topic for event in await ws_site.events()] == ["a"]


async def test_packets_may_be_split_over_messages_and_joined_in_one(ws_site: Site) -> None:
    stream = wire.publish("a", b"1", 1, 1) + wire.publish("a", b"2", 1, 2) + wire.publish("a", b"3", 1, 3)
    async with dial(ws_site) as socket:
        await join(socket)
        await socket.send(stream[:5])
        await socket.send([stream[5:6], stream[6:20], stream[20:]])  # one message in three frames
        taken = []
        while len(taken) < 3:
            async with asyncio.timeout(wire.TIMEOUT_S):
                message = await socket.recv()
            assert isinstance(message, bytes)
            taken += [packet.packet_id for packet in wire.split(message)]
        assert taken == [1, 2, 3]
    assert [event.payload for event in await ws_site.events()] == [b"1", b"2", b"3"]


@pytest.mark.parametrize("subprotocols", [None, ["chat"], ["MQTT"]])
async def test_a_handshake_without_the_subprotocol_mqtt_is_refused(
    ws_site: Site, subprotocols: list[str] | None
) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await dial(ws_site, subprotocols=subprotocols)
    assert 400 <= refused.value.response.status_code < 500


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: gateway\r\nConnection: keep-alive\r\nUser-Agent: probe\r\n\r\n",
    ],
)
async def test_plain_http_gets_an_http_error(ws_site: Site, request_bytes: bytes) -> None:
    device = await ws_site.dial()
    device.send(request_bytes)
    answer = await device.rest()
    assert answer.startswith(b"HTTP/1.1 4")
    await until(lambda: not ws_site.broker._connections)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x00\xa5\r\n\r\n", wire.connect("dev") + b"\r\n\r\n", b"\0" * 9000])
async def test_what_is_not_even_http_is_closed(ws_site: Site, garbage: bytes) -> None:
    device = await ws_site.dial()
    device.send(garbage)
    assert b"101" not in await device.rest()
    await until(lambda: not ws_site.broker._connections)


async def test_a_text_message_closes(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        await join(socket)
        await socket.send("hello")
        with pytest.raises(websockets.ConnectionClosed):
            await receive(socket)
    await until(lambda: not ws_site.broker._connections)
    assert ws_site.broker.status().violations == 1


async def test_a_violation_closes_with_a_close_message(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        await join(socket)
        await socket.send(wire.connect("again"))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await receive(socket)
        assert closed.value.rcvd is not None
    await until(lambda: not ws_site.broker._connections)


async def test_the_close_handshake_of_a_client_is_answered_and_its_will_published(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        await join(socket, will=("gone", b"", 0, False))
        await socket.close()
        assert socket.close_code == 1000
    await until(lambda: not ws_site.broker._connections)
    assert [event.topic for event in await ws_site.events()] == ["gone"]


async def test_disconnect_and_close_in_one_piece_are_a_clean_end(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        await join(socket, will=("gone", b"", 0, False))
        socket.protocol.send_binary(wire.publish("last", b"") + wire.PINGREQ_PACKET)
        socket.protocol.send_binary(wire.DISCONNECT_PACKET)
        socket.protocol.send_close(1000)
        socket.transport.write(b"".join(socket.protocol.data_to_send()))
        await until(lambda: not ws_site.broker._connections)
    assert [event.topic for event in await ws_site.events()] == ["last"]


async def test_a_ping_of_the_websocket_is_answered(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        await join(socket)
        async with asyncio.timeout(wire.TIMEOUT_S):
            await (await socket.ping())


async def test_a_client_that_vanishes_is_noticed(ws_site: Site) -> None:
    socket = await dial(ws_site)
    await join(socket, will=("gone", b"", 0, False))
    socket.transport.abort()
    await until(lambda: not ws_site.broker._connections)
    assert [event.topic for event in await ws_site.events()] == ["gone"]


async def test_a_message_above_the_limit_closes_with_1009(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        await join(socket)
        await socket.send(bytes(4096))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await receive(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    await until(lambda: not ws_site.broker._connections)


async def test_puback_waits_for_commit_over_websocket(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        await join(socket)
        with held_commits(ws_site.data_dir):
            await socket.send(wire.publish("a", b"x", 1, 5) + wire.PINGREQ_PACKET)
            assert (await receive(socket)).kind == wire.PINGRESP
        assert await receive(socket) == (wire.PUBACK, 0, b"\x00\x05")


async def test_a_refused_login_is_told_before_the_close(ws_site: Site, site_at: Callable[..., Awaitable[Site]]) -> None:
    await ws_site.close()
    strict = await site_at(listen=["ws://127.0.0.1:0"], allow_anonymous=False)
    async with dial(strict) as socket:
        await socket.send(wire.connect("dev"))
        assert await receive(socket) == (wire.CONNACK, 0, b"\0\x05")
        with pytest.raises(websockets.ConnectionClosed):
            await receive(socket)


async def test_a_client_that_does_not_read_its_pongs_is_not_read_from(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        await join(socket)
        connection = ws_site.connection()
        connection.pause_writing()
        assert not connection._transport._socket.is_reading()
        connection.resume_writing()
        assert connection._transport._socket.is_reading()
        assert connection.owed_bytes() == 0
        assert connection.peer[0] == "127.0.0.1"


async def test_stopping_the_broker_closes_with_a_close_message(ws_site: Site) -> None:
    async with dial(ws_site) as socket:
        await join(socket)
        await ws_site.broker.close()
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await receive(socket)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000


async def test_a_connection_in_the_middle_of_its_handshake_is_closed_in_time(ws_site: Site) -> None:
    device = await ws_site.dial()
    device.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
    await until(lambda: ws_site.broker._connections)
    (connection,) = ws_site.broker._connections
    ws_site.broker._sweep(connection.began_s + ws_site.config.connect_timeout_s + 1)
    assert await device.rest() == b""
