"""Connections and subscriptions against a scripted broker that misbehaves in ways a real one seldom does."""

import asyncio
import contextlib
import gc
import random
from contextlib import asynccontextmanager

import pytest

from device_sims import connection
from device_sims.connection import Client, open_connection
from device_sims.endpoint import parse_endpoint
from device_sims.errors import ConnectionLost, SimsError, first_error
from device_sims.event import Event
from device_sims.subscription import Subscription

CONNACK = bytes([0x20, 2, 0, 0])
SUBACK_CODE = {"granted": 1, "only QoS 0": 0, "refused": 0x80}
CLIENT = Client("device", clean_session=True, inflight_max=5)


def publish(payload, *, retain=False):
    """A PUBLISH at QoS 1 with packet id 7 (MQTT 3.1.1, 3.3)."""
    body = b"\x00\x01t\x00\x07" + payload
    return bytes([0x32 | retain, len(body)]) + body


class Scripted:
    """Answers CONNECT and SUBSCRIBE as told, sends what it is told, and keeps what it receives."""

    def __init__(self, *, connack=CONNACK, granted="granted", then=b"", drops=False):
        self.received = []
        self.drops = drops
        self.serving = {}
        self.closed = asyncio.Event()
        self._connack, self._granted, self._then = connack, granted, then

    async def serve(self, reader, writer):
        self.serving[asyncio.current_task()] = writer
        while not (self.drops and self.received) and (data := await reader.read(4096)):
            self.received.append(data)
            if data[0] >> 4 == 1:
                writer.write(self._connack)
            elif data[0] >> 4 == 8:
                writer.write(bytes([0x90, 3, *data[2:4], SUBACK_CODE[self._granted]]) + self._then)
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()
        self.closed.set()

    async def end(self):
        for writer in self.serving.values():
            writer.transport.abort()
        if self.serving:
            await asyncio.wait(self.serving, timeout=5)


@asynccontextmanager
async def listening(scripted):
    async with await asyncio.start_server(scripted.serve, "127.0.0.1", 0) as server:
        yield parse_endpoint(f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await scripted.end()


async def test_a_connect_that_is_not_answered_is_given_up_and_its_socket_closed(monkeypatch):
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_S", 0.2)
    monkeypatch.setattr(connection, "HANG_UP_TIMEOUT_S", 0.1)
    scripted = Scripted(connack=b"")
    async with listening(scripted) as endpoint:
        with pytest.raises(ConnectionLost, match="not connected"):
            async with open_connection(endpoint, CLIENT):
                pytest.fail("there was no CONNACK")
        async with asyncio.timeout(5):
            await scripted.closed.wait()


async def test_a_refused_connect_says_why():
    async with listening(Scripted(connack=bytes([0x20, 2, 0, 5]))) as endpoint:
        with pytest.raises(ConnectionLost, match="Not authorized"):
            async with open_connection(endpoint, CLIENT):
                pytest.fail("it was refused")


async def test_an_event_that_is_not_acknowledged_in_time_counts_as_a_lost_connection(monkeypatch):
    monkeypatch.setattr(connection, "ACKNOWLEDGE_TIMEOUT_S", 0.2)
    async with listening(Scripted()) as endpoint, open_connection(endpoint, CLIENT) as device:
        with pytest.raises(ConnectionLost, match="not acknowledged"):
            await device.publish(Event(1, "t", b"x"), qos=1, retain=False)


async def test_a_connection_that_breaks_right_after_a_publish_leaves_no_closed_socket_in_the_loop():
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    async with listening(Scripted()) as endpoint, open_connection(endpoint, CLIENT) as device, asyncio.timeout(5):
        paho = device._client._client
        paho.publish("t", b"x", qos=1)
        paho._sock_close()
        paho._do_on_disconnect(packet_from_broker=False, v1_rc=7)
        with pytest.raises(ConnectionLost):
            await device.broken()
    assert errors == []


def subscription(endpoint, take, said):
    return Subscription(endpoint, "verify", "#", take, said.append, random.Random(1))


@pytest.mark.parametrize("granted", ["refused", "only QoS 0"])
async def test_a_subscription_that_is_not_granted_at_qos_1_is_an_error_and_not_tried_again(granted):
    said = []
    async with listening(Scripted(granted=granted)) as endpoint:
        with pytest.raises(ExceptionGroup) as caught:
            await subscription(endpoint, bytes, said).run()
    assert "does not grant" in str(first_error(caught.value))
    assert said == []


async def test_retained_messages_are_passed_over_and_counted():
    taken = []
    scripted = Scripted(then=publish(b"old", retain=True) + publish(b"new"))
    async with listening(scripted) as endpoint:
        subscribing = subscription(endpoint, taken.append, [])
        running = asyncio.create_task(subscribing.run())
        async with asyncio.timeout(5):
            while not taken:
                await asyncio.sleep(0.01)
        subscribing.ending.set()
        await running
    assert taken == [b"new"]
    assert subscribing.passed_over == 1


async def test_a_message_that_cannot_be_taken_is_not_acknowledged_and_ends_the_subscription():
    def take(_):
        raise SimsError("the disk is full")

    scripted = Scripted(then=publish(b"new"))
    async with listening(scripted) as endpoint:
        with pytest.raises(SimsError, match="the disk is full"):
            await subscription(endpoint, take, []).run()
    assert not [data for data in scripted.received if data[0] >> 4 == 4]


async def test_a_connection_that_breaks_before_it_is_noticed_to_stand_is_not_taken_for_connected():
    errors = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    for _ in range(20):
        async with listening(Scripted(drops=True)) as endpoint:
            with pytest.raises(ConnectionLost):
                await stay_connected(endpoint)
    gc.collect()
    assert errors == []


async def stay_connected(endpoint):
    async with asyncio.timeout(5), open_connection(endpoint, CLIENT) as device:
        await device.broken()
