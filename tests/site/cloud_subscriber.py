"""The record of what reached a Mosquitto: an MQTT 5 client with a session that outlives the broker's restarts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, Self

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.site.ports import wait_for

if TYPE_CHECKING:
    from pathlib import Path

_SESSION_S = 3600


class Arrival(NamedTuple):
    """One delivery."""

    topic: str
    payload: bytes
    retain: bool
    properties: dict[str, str]
    """MQTT 5 user properties."""


def durable(folder: Path) -> str:
    """Lines for a Mosquitto that keeps sessions and queues when it is stopped (not when it is killed)."""
    return f"persistence true\npersistence_location {folder}/\nmax_inflight_messages 1000\n"


class CloudSubscriber:
    """Subscribes to everything at QoS 1; a context manager."""

    def __init__(self, port: int, topic_filter: str = "#") -> None:
        self.arrivals: list[Arrival] = []
        """In order of arrival."""
        self._filter = topic_filter
        self._subscribed = threading.Event()
        client = self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, "record", protocol=paho.MQTTv5)
        client.reconnect_delay_set(1, 1)
        client.on_message = self._take
        client.on_connect = self._connected
        client.on_subscribe = lambda *_: self._subscribed.set()
        session = Properties(PacketTypes.CONNECT)
        session.SessionExpiryInterval = _SESSION_S
        client.connect("127.0.0.1", port, clean_start=False, properties=session)

    def __enter__(self) -> Self:
        self._client.loop_start()
        assert self._subscribed.wait(20), "not subscribed"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for_payload(self, payload: bytes, timeout_s: float = 60) -> None:
        """Wait until it has arrived; whatever was forwarded before it has arrived then as well."""
        wait_for(lambda: any(each.payload == payload for each in reversed(self.arrivals)), timeout_s, f"{payload!r}")

    def _connected(self, client: paho.Client, *_: object) -> None:
        client.subscribe(self._filter, 1)

    def _take(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        properties = getattr(message.properties, "UserProperty", [])
        self.arrivals.append(Arrival(message.topic, message.payload, message.retain, dict(properties)))
