"""MQTT 5 for a publisher. Pure. Source: OASIS MQTT 5.0, section 3.

The `mqtt5` codec writes CONNECT, `mqtt_publish` and `mqtt_cloudevents` the events. What the server sends is read here:
three small packets, whose reason codes and texts the codec accepts only if they are in the standard's list and
well-formed, and which must never stop a gateway.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import mqtt5

from gateway import mqtt_reasons, properties
from gateway.errors import Blocked, DeliveryError
from gateway.forward.envelope import RawEnvelope
from gateway.upstreams.mqtt_cloudevents import BinaryPublisher, StructuredPublisher
from gateway.upstreams.mqtt_frames import read_length
from gateway.upstreams.mqtt_parts import write_each
from gateway.upstreams.mqtt_publish import Publisher
from gateway.upstreams.mqtt_session import INCOMING_BYTES_MAX, INFLIGHT_MAX, PACKET_BYTES_MAX, Answer, Session

if TYPE_CHECKING:
    from gateway.forward.cloudevents import CloudEvents
    from gateway.mqtt_reasons import Poison
    from gateway.upstreams.mqtt_session import Login, Publish

_SERVER_KEEP_ALIVE, _SERVER_REFERENCE, _REASON_STRING = 0x13, 0x1C, 0x1F
_RECEIVE_MAXIMUM, _MAXIMUM_QOS, _RETAIN_AVAILABLE, _MAXIMUM_PACKET_SIZE = 0x21, 0x24, 0x25, 0x27
_V311_REFUSES_VERSION = b"\x00\x01"


class _Properties(NamedTuple):
    """What a packet has beside its fixed fields, by identifier; user properties are left out."""

    integers: dict[int, int]
    texts: dict[int, bytes]

    def reason(self) -> str:
        """Reason string and server reference, for an operator to read."""
        texts = (self.texts.get(identifier, b"") for identifier in (_REASON_STRING, _SERVER_REFERENCE))
        return " ".join(text.decode(errors="replace") for text in texts if text)


class Mqtt5:
    """The dialect.

    Args:
        envelope: names the event in user properties, or makes a document of it.
    """

    def __init__(self, envelope: RawEnvelope | CloudEvents) -> None:
        self.publish = _publisher(envelope)
        """PUBLISH at QoS 1 (section 3.3)."""

    def connect(self, login: Login) -> bytes:
        """CONNECT with a clean start (section 3.1)."""
        return mqtt5.ConnectPacket(
            login.client_id,
            username=login.username,
            password=login.password,
            clean_start=True,
            keep_alive=login.keep_alive_s,
            max_packet_size=INCOMING_BYTES_MAX,
        ).write()

    def session(self, connack: bytes) -> Session | DeliveryError:
        """Section 3.2."""
        if connack == _V311_REFUSES_VERSION:  # the answer of a server that only knows 3.1.1 (its section 3.2.2.3)
            return mqtt_reasons.of_connack(0x84, "") or Session()
        if len(connack) < 2:
            raise ValueError("malformed CONNACK")
        found = _read_properties(connack, 2)
        error = mqtt_reasons.of_connack(connack[1], found.reason())
        if error is not None:
            return error
        granted = found.integers
        if granted.get(_MAXIMUM_QOS) == 0:
            return Blocked("the server takes QoS 0 only, which acknowledges nothing: another server is needed")
        return Session(
            inflight_max=granted.get(_RECEIVE_MAXIMUM, INFLIGHT_MAX),
            packet_bytes_max=granted.get(_MAXIMUM_PACKET_SIZE, PACKET_BYTES_MAX),
            retain=granted.get(_RETAIN_AVAILABLE) != 0,
            keep_alive_s=granted.get(_SERVER_KEEP_ALIVE),
        )

    def answer(self, puback: bytes) -> Answer:
        """Section 3.4."""
        if len(puback) < 2:
            raise ValueError("malformed PUBACK")
        packet_id = int.from_bytes(puback[:2], "big")
        if len(puback) == 2:
            return Answer(packet_id, None)
        return Answer(packet_id, mqtt_reasons.of_puback(puback[2], _read_properties(puback, 3).reason()))

    def farewell(self, disconnect: bytes) -> DeliveryError | Poison:
        """Section 3.14."""
        code = disconnect[0] if disconnect else 0
        return mqtt_reasons.of_disconnect(code, _read_properties(disconnect, 1).reason())


def _publisher(envelope: RawEnvelope | CloudEvents) -> Publish:
    if isinstance(envelope, RawEnvelope):
        return Publisher(envelope).write_run
    publisher = BinaryPublisher(envelope) if envelope.is_binary else StructuredPublisher(envelope)
    return partial(write_each, publisher.write)


def _read_properties(body: bytes, at: int) -> _Properties:
    """The properties that end `body` (section 2.2.2); none at all if it ends before them."""
    found = _Properties({}, {})
    if at >= len(body):
        return found
    length = read_length(body, at)
    if length is None or sum(length) != len(body):
        raise ValueError("malformed properties")
    for identifier, value in properties.read(body, length[1]):
        if isinstance(value, int):
            found.integers[identifier] = value
        elif isinstance(value, bytes):
            found.texts[identifier] = value
    return found
