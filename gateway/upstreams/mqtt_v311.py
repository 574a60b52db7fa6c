"""MQTT 3.1.1 for a publisher. Pure. Source: OASIS MQTT 3.1.1, section 3.

This version has no way to refuse a publish: what a server drops, for its size or its topic, it acknowledges all the
same or it closes the connection. It carries no properties either, so events arrive without id and time, except in
documents.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from gateway.errors import Blocked, Busy, DeliveryError, Unreachable
from gateway.forward.topic_map import AS_IT_CAME
from gateway.upstreams.mqtt_frames import write_length, write_string
from gateway.upstreams.mqtt_parts import head, head_retaining, topic_name, write_each
from gateway.upstreams.mqtt_session import Answer, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.event import Event
    from gateway.forward.topic_map import TopicMap
    from gateway.upstreams.mqtt_session import Login

_RETURN_CODES: dict[int, tuple[str, type[DeliveryError]]] = {
    1: ("it does not speak MQTT 3.1.1", Blocked),
    2: ("it does not accept the client id", Blocked),
    3: ("server unavailable", Busy),
    4: ("bad user name or password", Blocked),
    5: ("not authorized", Blocked),
}
"""Section 3.2.2.3."""


class Mqtt311:
    """The dialect.

    Args:
        topics: where events go.
        document: makes the payload of an event; by default it goes as it came.
    """

    def __init__(self, topics: TopicMap = AS_IT_CAME, document: Callable[[Event], bytes] | None = None) -> None:
        self._topics = topics
        self._document = document

    def connect(self, login: Login) -> bytes:
        """CONNECT with a clean session (section 3.1)."""
        flags = 0x02
        fields = [write_string(login.client_id.encode())]
        if login.username is not None:
            flags |= 0x80
            fields.append(write_string(login.username.encode()))
        if login.password is not None:
            flags |= 0x40
            fields.append(write_string(login.password))
        head = struct.pack(">H4sBBH", 4, b"MQTT", 4, flags, login.keep_alive_s)
        body = head + b"".join(fields)
        return b"\x10" + write_length(len(body)) + body

    def session(self, connack: bytes) -> Session | DeliveryError:
        """Section 3.2; the server says nothing of its limits."""
        if len(connack) != 2:
            raise ValueError("malformed CONNACK")
        code = connack[1]
        if code == 0:
            return Session()
        text, verdict = _RETURN_CODES.get(code, (f"return code {code}", Unreachable))
        return verdict(f"connection refused: {text}")

    def publish(self, events: Sequence[Event], packet_id: int, *, retain: bool, bytes_max: int) -> list[bytes]:
        """PUBLISH at QoS 1 (section 3.3)."""
        return write_each(self._write, events, packet_id, retain=retain, bytes_max=bytes_max)

    def _write(self, event: Event, packet_id: int, *, retain: bool) -> bytes:
        topic = topic_name(self._topics.of(event.topic))
        payload = event.payload if self._document is None else self._document(event)
        length = len(topic) + 2 + len(payload)
        first = head_retaining(length) if retain else head(length)
        return b"".join((first, topic, packet_id.to_bytes(2, "big"), payload))

    def answer(self, puback: bytes) -> Answer:
        """Section 3.4: it is always a yes."""
        if len(puback) != 2:
            raise ValueError("malformed PUBACK")
        return Answer(int.from_bytes(puback, "big"), None)

    def farewell(self, disconnect: bytes) -> DeliveryError:  # noqa: ARG002 - any is wrong
        """Only clients send DISCONNECT (section 3.14)."""
        raise ValueError("DISCONNECT from a server")
