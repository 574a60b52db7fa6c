"""The MQTT upstream sends to a server that answers in every wrong way, over a real socket."""

from __future__ import annotations

import asyncio

import mqtt5
import pytest

from gateway.errors import Blocked, Busy, DeliveryError, Refused
from tests.unit.upstreams.mqtt_server import ScriptedServer, puback
from tests.unit.upstreams.mqtt_upstreams import VERSIONS, answering, connected, deliver, make_events


@VERSIONS
async def test_a_batch_arrives_whole_and_in_order(version: str) -> None:
    server = ScriptedServer(version)
    async with connected(server) as upstream:
        await deliver(upstream, make_events(500))
        await deliver(upstream, make_events(3))
        assert upstream.acknowledged == 503
    assert [publish.topic for publish in server.publishes] == [f"t/{n}" for n in [*range(500), 0, 1, 2]]
    assert server.first_bytes[-1] == 0xE0  # it said goodbye


async def test_events_carry_their_name_as_user_properties() -> None:
    server = ScriptedServer()
    async with connected(server) as upstream:
        await deliver(upstream, make_events(1, bytes(range(256))))
    assert server.publishes[0].payload == bytes(range(256))
    assert server.publishes[0].properties == {
        "id": "01J.100",
        "time": "2023-11-14T22:13:20.123456Z",
        "source": "urn:gateway:hub",
        "device": "dev0",
        "clockquality": "synced",
    }


@VERSIONS
async def test_window_is_the_narrower_of_both_sides(version: str) -> None:
    server = ScriptedServer(version)
    if version == "5":
        server.welcome = mqtt5.ConnAckPacket(receive_max=5).write()
    server.answer = lambda _: None
    async with connected(server, inflight_max=1000 if version == "5" else 5) as upstream:
        sending = asyncio.create_task(deliver(upstream, make_events(20)))
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
        sending = asyncio.create_task(deliver(upstream, make_events(4)))
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
        sending = asyncio.create_task(deliver(upstream, make_events(3)))
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
            await deliver(upstream, make_events(6))
        assert sorted(caught.value.reasons) == [102, 104]
        assert "because" in caught.value.reasons[102]
        assert upstream.acknowledged == 6
        await deliver(upstream, make_events(2))


@VERSIONS
@pytest.mark.parametrize("envelope", ["raw", "cloudevents"])
async def test_an_event_whose_topic_would_be_none_is_refused_and_the_rest_goes_where_it_should(
    version: str, envelope: str
) -> None:
    server = ScriptedServer(version)
    if version == "3.1.1":
        server.answer = lambda publish: b"\x40\x02" + publish.packet_id.to_bytes(2)
    events = make_events(3)
    events[1] = events[1]._replace(topic="t/")
    async with connected(server, envelope=envelope, topic_map={"t/{n}": "{n}"}) as upstream:
        with pytest.raises(Refused) as caught:
            await deliver(upstream, events)
        await deliver(upstream, events[2:])
    assert list(caught.value.reasons) == [101]
    assert "topic_map makes '' of topic 't/', which is no topic" in caught.value.reasons[101]
    assert {publish.topic for publish in server.publishes} == {"0", "2"}


async def test_a_refused_event_does_not_count_before_it_is_named() -> None:
    server = ScriptedServer()
    server.answer = lambda publish: puback(publish.packet_id, 0x99) if publish.packet_id == 2 else None
    async with connected(server) as upstream:
        sending = asyncio.create_task(deliver(upstream, make_events(4)))
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
            await deliver(upstream, make_events(50))
        assert upstream.acknowledged == 2
        assert len(server.publishes) <= 6
        server.answer = answering({})
        await deliver(upstream, make_events(3))
        assert upstream.acknowledged == 5


async def test_poison_before_trouble_is_named_first() -> None:
    server = ScriptedServer()
    server.answer = answering({1: 0x99, 2: 0x87, 3: 0x99})
    async with connected(server) as upstream:
        with pytest.raises(Refused) as caught:
            await deliver(upstream, make_events(4))
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
            await deliver(upstream, events)
        assert sorted(caught.value.reasons) == [101, 102]
        assert "1000 are the limit" in caught.value.reasons[101]
        assert upstream.acknowledged == 4
    assert len(server.publishes) == 2


@VERSIONS
async def test_our_own_packet_limit_holds(version: str) -> None:
    server = ScriptedServer(version)
    async with connected(server, packet_bytes_max=1024) as upstream:
        with pytest.raises(Refused) as caught:
            await deliver(upstream, make_events(3, b"x" * 2000))
        assert sorted(caught.value.reasons) == [100, 101, 102]
    assert server.publishes == []


async def test_a_text_that_is_not_utf_8_does_no_harm() -> None:
    server = ScriptedServer()
    server.answer = lambda _: b"\x40\x08\x00\x01\x97\x04\x1f\x00\x01\xd1"
    async with connected(server) as upstream:
        with pytest.raises(Busy):
            await deliver(upstream, make_events(1))


@pytest.mark.parametrize(("wanted", "available"), [(True, True), (True, False), (False, True)])
async def test_retain_flag_is_passed_on_where_both_sides_want_it(wanted: bool, available: bool) -> None:
    server = ScriptedServer()
    server.welcome = mqtt5.ConnAckPacket(retain_available=available).write()
    async with connected(server, retain=wanted) as upstream:
        await deliver(upstream, make_events(1, retain=True))
    assert server.publishes[0].retain is (wanted and available)


async def test_a_full_socket_does_not_grow_memory() -> None:
    server = ScriptedServer()
    never = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"hub-cloud")
        writer.write(mqtt5.ConnAckPacket().write())
        await never.wait()

    server.talk = deaf
    async with connected(server) as upstream:
        sending = asyncio.create_task(deliver(upstream, make_events(1000, b"x" * 100_000)))
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


async def test_a_batch_is_sent_while_the_one_before_is_unanswered() -> None:
    server = ScriptedServer()
    server.answer = lambda _: None
    async with connected(server) as upstream:
        await upstream.send(make_events(3))
        await upstream.send(make_events(2))
        await server.until(lambda: len(server.publishes) == 5)
        assert upstream.acknowledged == 0
        for publish in server.publishes:
            server.say(puback(publish.packet_id))
        await upstream.send(())
        assert upstream.acknowledged == 5
    assert [publish.packet_id for publish in server.publishes] == [1, 2, 3, 4, 5]


async def test_a_batch_that_has_no_room_waits_until_it_is_on_its_way() -> None:
    server = ScriptedServer()
    server.answer = lambda _: None
    async with connected(server, inflight_max=4) as upstream:
        await upstream.send(make_events(3))
        sending = asyncio.create_task(upstream.send(make_events(3)))
        await server.until(lambda: len(server.publishes) == 4)
        assert not sending.done()
        server.say(puback(1) + puback(2))
        await sending
        assert upstream.acknowledged == 2


async def test_giving_up_the_wait_for_answers_leaves_the_events_under_way() -> None:
    server = ScriptedServer()
    server.answer = lambda _: None
    async with connected(server) as upstream:
        await upstream.send(make_events(2))
        waiting = asyncio.create_task(upstream.send(()))
        await server.until(lambda: len(server.publishes) == 2)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        server.say(puback(1) + puback(2))
        await upstream.send(make_events(1))
        while upstream.acknowledged < 2:
            await asyncio.sleep(0)


async def test_what_is_wrong_with_an_event_is_told_by_a_later_call() -> None:
    server = ScriptedServer()
    server.answer = answering({1: 0x99})
    async with connected(server) as upstream:
        await upstream.send(make_events(2))
        while upstream._connection._flight.in_flight:
            await asyncio.sleep(0)
        with pytest.raises(Refused) as caught:
            await upstream.send(make_events(3))
        assert list(caught.value.reasons) == [101]
        assert upstream.acknowledged == 2
        await deliver(upstream, make_events(1))
        assert upstream.acknowledged == 3
    assert len(server.publishes) == 3


async def test_more_events_than_there_are_packet_ids_go_through_one_connection() -> None:
    server = ScriptedServer("3.1.1")
    async with connected(server) as upstream:
        events = make_events(40_000)
        await upstream.send(events)
        await deliver(upstream, events)
        assert upstream.acknowledged == 80_000
    assert [publish.packet_id for publish in server.publishes[65_533:65_537]] == [65_534, 65_535, 1, 2]
