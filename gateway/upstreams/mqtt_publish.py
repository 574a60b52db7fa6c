"""PUBLISH packets of MQTT 5 at QoS 1 in the raw envelope, written by hand. Pure. Source: OASIS MQTT 5.0, section 3.3.

What stays the same from event to event is encoded once: the topic, the properties of a device, and time stamps, which
events that were read together share. A packet is then one join of bytes, and takes less than half the time that a codec
takes, which is given every property as text each time. The tests hold both equal, byte for byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.forward.envelope import NOTHING
from gateway.properties import beside, write_user
from gateway.upstreams.mqtt_frames import write_length
from gateway.upstreams.mqtt_parts import (
    TIME_BYTES,
    content_type_property,
    head,
    head_retaining,
    property_name,
    time_property,
    topic_name,
    write_publish,
)

if TYPE_CHECKING:
    from gateway.event import Event
    from gateway.forward.envelope import RawEnvelope

_FACES_MAX = 4096
"""Topics and devices that are remembered; beyond it all are forgotten at once, which costs little and is bounded."""
_IS_TEXT = b"\x01\x01"
"""Payload Format Indicator (section 3.3.2.3.2)."""


class _Face(NamedTuple):
    """What all events with one topic, device, clock quality and length of the seq have in common."""

    topic: bytes
    """Topic Name, as it is sent."""
    before_seq: bytes
    """From the length of the properties to the part of the id before the seq."""
    after_time: bytes
    """The properties behind the time."""
    bytes_: int
    """Length of the packet behind its fixed header, less the payload."""


class Publisher:
    """Writes packets.

    Args:
        envelope: names the event in user properties.
    """

    def __init__(self, envelope: RawEnvelope) -> None:
        self._envelope = envelope
        self._true_time = envelope.true_time.of
        self._id_prefix = envelope.id_prefix.encode()
        self._id_bytes = len(property_name("id")) + 2 + len(self._id_prefix)
        """Of the property `id`, before the seq."""
        self._faces: dict[tuple[str, str, str], _Face] = {}
        """By topic, device and clock quality, all for as many digits of the seq as the last one had."""
        self._digits = 0
        self._time_ns = -1
        self._time = b""
        """The property `time` of `_time_ns`."""

    def write(self, event: Event, packet_id: int, *, retain: bool) -> bytes:
        """One packet.

        Raises:
            ValueError: the topic or the payload is too long, or no topic comes of it.
        """
        true_ns, quality = self._true_time(event)
        if true_ns != self._time_ns:
            self._time, self._time_ns = time_property("time", true_ns), true_ns
        seq, _, _, _, client_id, topic, _, _, payload, _, properties, verdict = event
        digits = b"%d" % seq
        if len(digits) != self._digits:
            self._digits = len(digits)
            self._faces.clear()
        face = self._faces.get((topic, client_id, quality)) or self._look_at(topic, client_id, quality)
        if properties is not None or verdict:
            return self._write_own(event, packet_id, face, digits, retain=retain)
        topic_bytes, before_seq, after_time, bytes_ = face
        return b"".join(
            (
                head(bytes_ + len(payload)) if not retain else head_retaining(bytes_ + len(payload)),
                topic_bytes,
                packet_id.to_bytes(2, "big"),
                before_seq,
                digits,
                self._time,
                after_time,
                payload,
            )
        )

    def _write_own(self, event: Event, packet_id: int, face: _Face, digits: bytes, *, retain: bool) -> bytes:
        """A packet of an event that has properties of its own, which no other shares."""
        came_with = NOTHING if event.properties is None else beside(event.properties)
        is_text = came_with.is_text and _is_utf8(event.payload)  # a server refuses what is none and says it were
        parts = (
            _IS_TEXT if is_text else b"",
            content_type_property(came_with.content_type),
            face.before_seq[-self._id_bytes :],
            digits,
            self._time,
            face.after_time,
            write_user(self._envelope.of_event(event, came_with)),
        )
        return write_publish(face.topic, packet_id, b"".join(parts), event.payload, retain=retain)

    def _look_at(self, topic: str, client_id: str, quality: str) -> _Face:
        if len(self._faces) >= _FACES_MAX:
            self._faces.clear()
        topic_bytes = topic_name(self._envelope.topics.of(topic))
        id_length = (len(self._id_prefix) + self._digits).to_bytes(2, "big")
        after_time = write_user(self._envelope.after_time(topic, client_id, quality))
        time_bytes = len(property_name("time")) + 2 + TIME_BYTES
        properties_bytes = self._id_bytes + self._digits + time_bytes + len(after_time)
        length = write_length(properties_bytes)
        before_seq = length + property_name("id") + id_length + self._id_prefix
        bytes_ = len(topic_bytes) + 2 + len(length) + properties_bytes
        face = self._faces[topic, client_id, quality] = _Face(topic_bytes, before_seq, after_time, bytes_)
        return face


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True
