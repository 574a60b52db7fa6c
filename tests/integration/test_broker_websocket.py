"""MQTT over WebSocket: the same broker, in binary messages."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect as connect_websocket

from tests.site.raw_client import RawClient, connect, packet, publish

if TYPE_CHECKING:
    from tests.site.gateway_process import GatewayProcess

TIMEOUT_S = 10
CONNACK = b"\x20\x02\x00\x00"


def open_websocket(edge: GatewayProcess, **options: object):
    options = {"subprotocols": ["mqtt"], "compression": None, "open_timeout": TIMEOUT_S, **options}
    return connect_websocket(f"ws://127.0.0.1:{edge.ws_port}/mqtt", **options)


def test_a_websocket_client_publishes_and_subscribes_like_any_other(edge: GatewayProcess) -> None:
    arrived: queue.Queue[tuple[str, bytes]] = queue.Queue()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "browser", transport="websockets")
    client.on_message = lambda _, __, message: arrived.put((message.topic, message.payload))
    subscribed: queue.Queue[object] = queue.Queue()
    client.on_subscribe = lambda *_: subscribed.put(None)
    client.connect("127.0.0.1", edge.ws_port)
    client.loop_start()
    try:
        client.subscribe("ws/#", 1)
        subscribed.get(timeout=TIMEOUT_S)
        for qos in range(3):
            client.publish("ws/from-browser", f"qos {qos}", qos).wait_for_publish(TIMEOUT_S)
            assert arrived.get(timeout=TIMEOUT_S) == ("ws/from-browser", f"qos {qos}".encode())
        with RawClient(edge.port) as device:
            device.join("device").publish("ws/from-device", bytes(262_144))
        assert arrived.get(timeout=TIMEOUT_S) == ("ws/from-device", bytes(262_144))
        client.publish("ws/large", bytes(262_144), 1).wait_for_publish(TIMEOUT_S)
    finally:
        client.disconnect()
        client.loop_stop()
    events = edge.events_on("ws/from-browser", 3)
    assert [(event.client_id, event.qos) for event in events] == [("browser", 0), ("browser", 1), ("browser", 2)]
    assert edge.events_on("ws/large")[0].payload == bytes(262_144)


def test_packets_may_be_cut_and_joined_by_messages_anywhere(edge: GatewayProcess) -> None:
    stream = connect("cutter") + publish("ws/cut", b"x" * 50, 1, 7) + packet(0xC0)
    with open_websocket(edge) as websocket:
        assert websocket.subprotocol == "mqtt"
        for at in range(0, len(stream), 3):
            websocket.send(stream[at : at + 3])
        answer = b""
        while len(answer) < 10:
            answer += websocket.recv(TIMEOUT_S)
    pingresp, puback = b"\xd0\0", b"\x40\x02\0\7"
    assert answer in (CONNACK + pingresp + puback, CONNACK + puback + pingresp)
    assert edge.events_on("ws/cut")[0].payload == b"x" * 50


def test_a_fragmented_message_is_put_together(edge: GatewayProcess) -> None:
    with open_websocket(edge) as websocket:
        websocket.send([connect("fragments")[:5], connect("fragments")[5:]])
        assert websocket.recv(TIMEOUT_S) == CONNACK


def test_a_text_message_ends_the_connection(edge: GatewayProcess) -> None:
    with open_websocket(edge) as websocket:
        websocket.send(connect("texter"))
        assert websocket.recv(TIMEOUT_S) == CONNACK
        websocket.send("not binary")
        with pytest.raises(ConnectionClosed):
            websocket.recv(TIMEOUT_S)


def test_a_malformed_packet_ends_the_connection(edge: GatewayProcess) -> None:
    with open_websocket(edge) as websocket:
        websocket.send(b"\xf0\x00")
        with pytest.raises(ConnectionClosed):
            websocket.recv(TIMEOUT_S)


def test_a_client_that_does_not_offer_mqtt_is_refused(edge: GatewayProcess) -> None:
    with pytest.raises(InvalidStatus) as refused, open_websocket(edge, subprotocols=["chat"]):
        pass
    assert refused.value.response.status_code == 400


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x10\x0c\0\4MQTT\4\2\0\0\0\0", b"garbage\r\n\r\n"]
)
def test_what_is_no_websocket_handshake_is_refused_and_the_connection_closed(
    edge: GatewayProcess, request_: bytes
) -> None:
    with RawClient(edge.ws_port) as stranger:
        stranger.send(request_ + b"\r\n\r\n")
        answer = b""
        while chunk := stranger.socket.recv(4096):
            answer += chunk
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")


def test_a_ping_of_websocket_is_answered(edge: GatewayProcess) -> None:
    with open_websocket(edge) as websocket:
        assert websocket.ping().wait(TIMEOUT_S)


def test_the_will_of_a_websocket_client_that_vanishes_is_published(edge: GatewayProcess) -> None:
    with open_websocket(edge) as websocket:
        websocket.send(connect("tab", will=("ws/will", b"closed", 1, False)))
        assert websocket.recv(TIMEOUT_S) == CONNACK
    assert edge.events_on("ws/will")[0].client_id == "tab"
