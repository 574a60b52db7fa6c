"""The MQTT upstream against a server that answers in every wrong way, over a real socket."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import mqtt5
import pytest

from gateway.errors import Blocked, Busy, DeliveryError, Refused, Unreachable
from gateway.event import Event
from gateway.upstreams.mqtt import MqttUpstream, MqttUpstreamConfig
from tests.unit.upstreams.mqtt_server import HANG_UP, ScriptedServer, disconnect, puback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


def make_events(count: int, payload: bytes = b"x", *, retain: bool = False) -> list[Event]:
    return [
        Event(100 + n, 1_700_000_000_123_456_789, 0, "boot", f"dev{n % 3}", f"t/{n}", 1, retain, payload)
        for n in range(count)
    ]


def make_upstream(port: int, **config: object) -> MqttUpstream:
    keys = {"type": "mqtt", "url": f"mqtt://127.0.0.1:{port}"} | config
    return MqttUpstream(MqttUpstreamConfig.model_validate(keys), name="cloud", gateway_id="hub", log_id="01J")


@asynccontextmanager
async def connected(server: ScriptedServer, **config: object) -> AsyncIterator[MqttUpstream]:
    async with asyncio.timeout(20), server.serving():
        upstream = make_upstream(server.port, version=server.version, **config)
        await upstream.open()
        try:
            yield upstream
        finally:
            await upstream.close()


def answering(codes: dict[int, int]) -> Callable[..., bytes | None]:
    """PUBACKs by topic number; everything else is taken."""
    return lambda publish: puback(publish.packet_id, codes.get(int(publish.topic[2:]), 0), "because")


@VERSIONS
async def test_a_batch_arrives_whole_and_in_order(version: str) -> None:
    server = ScriptedServer(version)
    async with connected(server) as upstream:
        await upstream.send(make_events(500))
        await upstream.send(make_events(3))
        assert upstream.acknowledged == 3
    assert [publish.topic for publish in server.publishes] == [f"t/{n}" for n in [*range(500), 0, 1, 2]]
    assert server.first_bytes[-1] == 0xE0  # it said goodbye


async def test_events_carry_their_name_as_user_properties() -> None:
    server = ScriptedServer()
    async with connected(server) as upstream:
        await upstream.send(make_events(1, bytes(range(256))))
    assert server.publishes[0].payload == bytes(range(256))
    assert server.publishes[0].properties == {
        "id": "01J.100",
        "time": "2023-11-14T22:13:20.123456Z",
        "source": "urn:gateway:hub",
        "device": "dev0",
    }


@VERSIONS
async def test_login_carries_client_id_and_credentials(version: str) -> None:
    server = ScriptedServer(version)
    async with connected(server, username="me", password="secret", keep_alive_s=77):
        pass
    body = server.connects[0]
    assert body[:6] == b"\x00\x04MQTT"
    assert body[6] == (5 if version == "5" else 4)
    assert body[7] == 0xC2  # user name, password, clean start
    assert int.from_bytes(body[8:10], "big") == 77
    assert body.endswith(b"\x00\x09hub-cloud\x00\x02me\x00\x06secret")


@VERSIONS
async def test_window_is_the_narrower_of_both_sides(version: str) -> None:
    server = ScriptedServer(version)
    if version == "5":
        server.welcome = mqtt5.ConnAckPacket(receive_max=5).write()
    server.answer = lambda _: None
    async with connected(server, inflight_max=1000 if version == "5" else 5) as upstream:
        sending = asyncio.create_task(upstream.send(make_events(20)))
        await server.until(lambda: len(server.publishes) == 5)
        server.answer = lambda publish: puback(publish.packet_id)
        for publish in server.publishes[:5]:
            server.say(puback(publish.packet_id))
        await sending
    assert len(server.publishes) == 20


async def test_acknowledged_is_the_contiguous_prefix() -> None:
    server = ScriptedServer()
    server.answer = lambda _: None
    async with connected(server) as upstream:
        sending = asyncio.create_task(upstream.send(make_events(4)))
        await server.until(lambda: len(server.publishes) == 4)
        server.answer_pings = True
        server.say(puback(1) + puback(3) + puback(4))
        while upstream.acknowledged < 1:
            await asyncio.sleep(0)
        assert upstream.acknowledged == 1
        server.say(puback(2))
        await sending
        assert upstream.acknowledged == 4


async def test_answers_may_come_in_pieces() -> None:
    server = ScriptedServer()
    server.answer = lambda _: None
    async with connected(server) as upstream:
        sending = asyncio.create_task(upstream.send(make_events(3)))
        await server.until(lambda: len(server.publishes) == 3)
        for byte in puback(1) + puback(2, 0x10, "nobody listens") + puback(3):
            server.say(bytes((byte,)))
            await asyncio.sleep(0.001)
        await sending


@pytest.mark.parametrize("code", [0x90, 0x95, 0x99])
async def test_a_poison_event_is_named_and_the_rest_was_taken(code: int) -> None:
    server = ScriptedServer()
    server.answer = answering({2: code, 4: code})
    async with connected(server) as upstream:
        with pytest.raises(Refused) as caught:
            await upstream.send(make_events(6))
        assert sorted(caught.value.reasons) == [102, 104]
        assert "because" in caught.value.reasons[102]
        assert upstream.acknowledged == 6
        await upstream.send(make_events(2))


async def test_a_refused_event_does_not_count_before_it_is_named() -> None:
    server = ScriptedServer()
    server.answer = lambda publish: puback(publish.packet_id, 0x99) if publish.packet_id == 2 else None
    async with connected(server) as upstream:
        sending = asyncio.create_task(upstream.send(make_events(4)))
        await server.until(lambda: len(server.publishes) == 4)
        server.say(puback(1) + puback(3))
        while upstream.acknowledged < 1:
            await asyncio.sleep(0)
        assert upstream.acknowledged == 1
        server.say(puback(4))
        with pytest.raises(Refused):
            await sending
        assert upstream.acknowledged == 4


@pytest.mark.parametrize(("code", "error"), [(0x97, Busy), (0x80, Busy), (0x83, Busy), (0x91, Busy), (0x87, Blocked)])
async def test_a_publish_turned_away_stops_the_flow(code: int, error: type[DeliveryError]) -> None:
    server = ScriptedServer()
    server.answer = answering({2: code})
    async with connected(server, inflight_max=4) as upstream:
        with pytest.raises(error, match="because"):
            await upstream.send(make_events(50))
        assert upstream.acknowledged == 2
        assert len(server.publishes) <= 6
        server.answer = answering({})
        await upstream.send(make_events(3))
        assert upstream.acknowledged == 3


async def test_poison_before_trouble_is_named_first() -> None:
    server = ScriptedServer()
    server.answer = answering({1: 0x99, 2: 0x87, 3: 0x99})
    async with connected(server) as upstream:
        with pytest.raises(Refused) as caught:
            await upstream.send(make_events(4))
        assert list(caught.value.reasons) == [101]
        assert upstream.acknowledged == 2


async def test_events_beyond_the_servers_packet_limit_are_not_sent() -> None:
    server = ScriptedServer()
    server.welcome = mqtt5.ConnAckPacket(max_packet_size=1000).write()
    async with connected(server) as upstream:
        events = make_events(4)
        events[1] = events[1]._replace(payload=b"x" * 1000)
        events[2] = events[2]._replace(topic="t" * 70_000)
        with pytest.raises(Refused) as caught:
            await upstream.send(events)
        assert sorted(caught.value.reasons) == [101, 102]
        assert "1000 are the limit" in caught.value.reasons[101]
        assert upstream.acknowledged == 4
    assert len(server.publishes) == 2


@VERSIONS
async def test_our_own_packet_limit_holds(version: str) -> None:
    server = ScriptedServer(version)
    async with connected(server, packet_bytes_max=1024) as upstream:
        with pytest.raises(Refused) as caught:
            await upstream.send(make_events(3, b"x" * 2000))
        assert sorted(caught.value.reasons) == [100, 101, 102]
    assert server.publishes == []


@VERSIONS
async def test_connection_cut_in_mid_batch_keeps_the_prefix(version: str) -> None:
    server = ScriptedServer(version)
    server.answer = lambda publish: puback(publish.packet_id) if publish.packet_id < 4 else HANG_UP
    async with connected(server) as upstream:
        with pytest.raises(Unreachable):
            await upstream.send(make_events(10))
        assert upstream.acknowledged == 3
        assert isinstance(await upstream.wait_closed(), Unreachable)
        with pytest.raises(Unreachable):
            await upstream.send(make_events(10))
        assert upstream.acknowledged == 0


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
            await upstream.send(make_events(1))


async def test_a_text_that_is_not_utf_8_does_no_harm() -> None:
    server = ScriptedServer()
    server.answer = lambda _: b"\x40\x08\x00\x01\x97\x04\x1f\x00\x01\xd1"
    async with connected(server) as upstream:
        with pytest.raises(Busy):
            await upstream.send(make_events(1))


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (0x80, Unreachable),
        (0x88, Busy),
        (0x89, Busy),
        (0x97, Busy),
        (0x9F, Busy),
        *((code, Blocked) for code in (0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x9C, 0x9D)),
        (0xEE, Unreachable),
    ],
)
async def test_login_refused_by_an_mqtt_5_server(code: int, error: type[DeliveryError]) -> None:
    server = ScriptedServer()
    server.welcome = bytes((0x20, 3, 0, code, 0))
    async with asyncio.timeout(10), server.serving():
        upstream = make_upstream(server.port)
        with pytest.raises(error) as caught:
            await upstream.open()
        assert type(caught.value) is error
        await upstream.close()


@pytest.mark.parametrize(
    ("code", "error"), [(1, Blocked), (2, Blocked), (3, Busy), (4, Blocked), (5, Blocked), (9, Unreachable)]
)
async def test_login_refused_by_a_3_1_1_server(code: int, error: type[DeliveryError]) -> None:
    server = ScriptedServer("3.1.1")
    server.welcome = bytes((0x20, 2, 0, code))
    async with asyncio.timeout(10), server.serving():
        upstream = make_upstream(server.port, version="3.1.1")
        with pytest.raises(error) as caught:
            await upstream.open()
        assert type(caught.value) is error
        await upstream.close()


@pytest.mark.parametrize(
    ("welcome", "error", "text"),
    [
        (b"\x20\x02\x00\x01", Blocked, r"3\.1\.1"),
        (mqtt5.ConnAckPacket(max_qos=mqtt5.QoS.AT_MOST_ONCE).write(), Blocked, "QoS 0"),
        (b"\x20\x00", Unreachable, "malformed"),
        (b"\x40\x02\x00\x01", Unreachable, "not in flight"),
        (HANG_UP, Unreachable, "closed"),
    ],
)
async def test_a_welcome_we_cannot_use(welcome: bytes, error: type[DeliveryError], text: str) -> None:
    server = ScriptedServer()
    server.welcome = welcome
    async with asyncio.timeout(10), server.serving():
        upstream = make_upstream(server.port)
        with pytest.raises(error, match=text):
            await upstream.open()
        await upstream.close()


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
            await upstream.send(make_events(1))
        assert type(caught.value) is error
        assert await upstream.wait_closed() is caught.value


@pytest.mark.parametrize("code", [0x90, 0x95, 0x99])
async def test_farewell_over_the_only_event_in_flight_refuses_it(code: int) -> None:
    server = ScriptedServer()
    server.answer = lambda _: disconnect(code)
    async with connected(server) as upstream:
        with pytest.raises(Refused) as caught:
            await upstream.send(make_events(1))
        assert list(caught.value.reasons) == [100]
        assert upstream.acknowledged == 1
        with pytest.raises(Unreachable):
            await upstream.send(make_events(1))


async def test_farewell_over_one_of_several_events_refuses_none() -> None:
    server = ScriptedServer()
    server.answer = lambda publish: disconnect(0x95) if publish.packet_id == 3 else None
    async with connected(server) as upstream:
        with pytest.raises(Unreachable):
            await upstream.send(make_events(3))
        assert upstream.acknowledged == 0


async def test_idle_upstream_learns_that_another_client_took_its_place() -> None:
    server = ScriptedServer()
    async with connected(server) as upstream:
        server.say(disconnect(0x8E))
        error = await upstream.wait_closed()
        assert isinstance(error, Blocked)
        assert "another client" in str(error)


@pytest.mark.parametrize(("wanted", "available"), [(True, True), (True, False), (False, True)])
async def test_retain_flag_is_passed_on_where_both_sides_want_it(wanted: bool, available: bool) -> None:
    server = ScriptedServer()
    server.welcome = mqtt5.ConnAckPacket(retain_available=available).write()
    async with connected(server, retain=wanted) as upstream:
        await upstream.send(make_events(1, retain=True))
    assert server.publishes[0].retain is (wanted and available)


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


async def test_a_full_socket_does_not_grow_memory() -> None:
    server = ScriptedServer()
    never = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hub-cloud")
        writer.write(mqtt5.ConnAckPacket().write())
        await never.wait()

    server.talk = deaf
    async with connected(server) as upstream:
        sending = asyncio.create_task(upstream.send(make_events(1000, b"x" * 100_000)))
        connection = upstream._connection
        while not connection._paused:
            await asyncio.sleep(0)
        assert connection._transport.get_write_buffer_size() < 1_000_000
        assert connection._flight._sent < 1000
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await upstream.close()
        assert upstream.acknowledged == 0
        never.set()


async def test_no_server_at_all_is_unreachable(unused_tcp_port: int) -> None:
    upstream = make_upstream(unused_tcp_port)
    with pytest.raises(Unreachable):
        await upstream.send(make_events(1))
    with pytest.raises(Unreachable):
        await upstream.open()
    await upstream.close()
    assert upstream.acknowledged == 0


async def test_password_file_is_read_at_each_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    server = ScriptedServer()
    async with asyncio.timeout(10), server.serving():
        upstream = make_upstream(server.port, username="me", password_file="mqtt")
        with pytest.raises(Blocked, match="password_file"):
            await upstream.open()
        (tmp_path / "mqtt").write_text("fresh\n")
        await upstream.open()
        await upstream.close()
    assert server.connects[0].endswith(b"\x00\x05fresh")


async def test_a_plain_server_behind_a_tls_address_is_unreachable() -> None:
    server = ScriptedServer()
    async with asyncio.timeout(10), server.serving():
        upstream = make_upstream(server.port, url=f"mqtts://127.0.0.1:{server.port}")

        async def talk_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"no TLS here, sorry")

        server.talk = talk_plainly
        with pytest.raises(Unreachable):
            await upstream.open()
        await upstream.close()
