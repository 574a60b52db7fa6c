"""The MQTT upstream and the end of its connection: cut off, garbled, farewells and silence."""

from __future__ import annotations

import mqtt5
import pytest

from gateway.errors import Blocked, Busy, DeliveryError, Refused, Unreachable
from tests.unit.upstreams.mqtt_server import HANG_UP, ScriptedServer, disconnect, puback
from tests.unit.upstreams.mqtt_upstreams import VERSIONS, connected, deliver, make_events


@VERSIONS
async def test_connection_cut_in_mid_batch_keeps_the_prefix(version: str) -> None:
    server = ScriptedServer(version)
    server.answer = lambda publish: puback(publish.packet_id) if publish.packet_id < 4 else HANG_UP
    async with connected(server) as upstream:
        with pytest.raises(Unreachable):
            await deliver(upstream, make_events(10))
        assert upstream.acknowledged == 3
        assert isinstance(await upstream.wait_closed(), Unreachable)
        with pytest.raises(Unreachable):
            await deliver(upstream, make_events(10))
        assert upstream.acknowledged == 3


@VERSIONS
@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff\xff\xff",
        b"\x40\x08\x00\x01\x97\x04\x1f\x00\x09\xd1",  # a text that ends after its packet
        b"\x40\x02\x00\x63",  # a packet that is not in flight
        b"\x40\x02\x00\x00",
        b"\x40\x00",
        b"\x20\x02\x00\x00",  # a second welcome
        b"\x30\xff\xff\x7f",  # an endless packet
        b"\x90\x03\x00\x01\x00",
        b"\xe0\x02\x00\x05",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
async def test_garbage_closes_the_connection(version: str, garbage: bytes) -> None:
    server = ScriptedServer(version)
    server.answer = lambda _: garbage
    async with connected(server) as upstream:
        with pytest.raises(Unreachable):
            await deliver(upstream, make_events(1))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (0x8B, Unreachable),
        (0x8D, Unreachable),
        (0x98, Unreachable),
        (0x89, Busy),
        (0x96, Busy),
        (0x97, Busy),
        (0x87, Blocked),
        (0x8E, Blocked),
        (0x9D, Blocked),
    ],
)
async def test_farewell_of_the_server(code: int, error: type[DeliveryError]) -> None:
    server = ScriptedServer()
    async with connected(server) as upstream:
        server.answer = lambda _: disconnect(code)
        with pytest.raises(error) as caught:
            await deliver(upstream, make_events(1))
        assert type(caught.value) is error
        assert await upstream.wait_closed() is caught.value


@pytest.mark.parametrize("code", [0x90, 0x95, 0x99])
async def test_farewell_over_the_only_event_in_flight_refuses_it(code: int) -> None:
    server = ScriptedServer()
    server.answer = lambda _: disconnect(code)
    async with connected(server) as upstream:
        with pytest.raises(Refused) as caught:
            await deliver(upstream, make_events(1))
        assert list(caught.value.reasons) == [100]
        assert upstream.acknowledged == 1
        with pytest.raises(Unreachable):
            await deliver(upstream, make_events(1))


async def test_farewell_over_one_of_several_events_refuses_none() -> None:
    server = ScriptedServer()
    server.answer = lambda publish: disconnect(0x95) if publish.packet_id == 3 else None
    async with connected(server) as upstream:
        with pytest.raises(Unreachable):
            await deliver(upstream, make_events(3))
        assert upstream.acknowledged == 0


async def test_idle_upstream_learns_that_another_client_took_its_place() -> None:
    server = ScriptedServer()
    async with connected(server) as upstream:
        server.say(disconnect(0x8E))
        error = await upstream.wait_closed()
        assert isinstance(error, Blocked)
        assert "another client" in str(error)


async def test_silence_is_broken_by_pings() -> None:
    server = ScriptedServer()
    async with connected(server, keep_alive_s=1):
        await server.until(lambda: server.first_bytes.count(0xC0) >= 2)


async def test_a_server_that_does_not_answer_a_ping_is_gone() -> None:
    server = ScriptedServer()
    server.answer_pings = False
    server.welcome = mqtt5.ConnAckPacket(server_keep_alive=1).write()
    async with connected(server) as upstream:
        assert "ping" in str(await upstream.wait_closed())
