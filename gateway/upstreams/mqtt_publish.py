"""PUBLISH packets of MQTT 5 at QoS 1 in the raw envelope, written by hand. Pure. Source: OASIS MQTT 5.0, section 3.3.

What stays the same from event to event is encoded once: the topic, the properties of a device, and time stamps, which
events that were read together share; they are sent together too, so one loop writes a run of events. A packet is then
one join of bytes, and takes a third of the time that a codec takes, which is given every property as text each time.
The tests hold both equal, byte for byte.
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
    from collections.abc import Sequence

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

    def write_run(self, events: Sequence[Event], packet_id: int, *, retain: bool, bytes_max: int) -> list[bytes]:
        """A packet of each event, as `Dialect.publish` says.

        Raises:
            ValueError: the topic or the payload of one is too long, or no topic comes of it.
        """
        packets: list[bytes] = []
        append, join, faces = packets.append, b"".join, self._faces
        written, at_mono_ns, at_received_ns = 0, -1, -1
        at_boot_id = at_topic = at_client_id = quality = ""
        time = topic_bytes = before_seq = after_seq = b""
        bytes_ = 0
        for event in events:
            seq, received_ns, mono_ns, boot_id, client_id, topic, _, retained, payload, _, properties, verdict = event
            digits = b"%d" % seq
            is_other = topic != at_topic or client_id != at_client_id
            if mono_ns != at_mono_ns or received_ns != at_received_ns or boot_id != at_boot_id:
                at_mono_ns, at_received_ns, at_boot_id, is_other = mono_ns, received_ns, boot_id, True
                true_ns, quality = self._true_time(event)
                time = time_property("time", true_ns)
            if len(digits) != self._digits:
                self._digits, is_other = len(digits), True
                faces.clear()
            if is_other:
                at_topic, at_client_id = topic, client_id
                face = faces.get((topic, client_id, quality)) or self._look_at(topic, client_id, quality)
                topic_bytes, before_seq, after_time, bytes_ = face
                after_seq = time + after_time
            if properties is not None or verdict:
                named = before_seq[-self._id_bytes :], digits, after_seq
                packet = self._write_own(event, packet_id, topic_bytes, named, retain=retained and retain)
            else:
                length = bytes_ + len(payload)
                first = head_retaining(length) if retained and retain else head(length)
                packet = join(
                    (first, topic_bytes, packet_id.to_bytes(2, "big"), before_seq, digits, after_seq, payload)
                )
            append(packet)
            packet_id += 1
            written += len(packet)
            if written >= bytes_max:
                break
        return packets

    def _write_own(self, event: Event, packet_id: int, topic: bytes, named: Sequence[bytes], *, retain: bool) -> bytes:
        """A packet of an event that has properties of its own, which no other shares, beside those that name it."""
        came_with = NOTHING if event.properties is None else beside(event.properties)
        is_text = came_with.is_text and _is_utf8(event.payload)  # a server refuses what is none and says it were
        parts = (
            _IS_TEXT if is_text else b"",
            content_type_property(came_with.content_type),
            *named,
            write_user(self._envelope.of_event(event, came_with)),
        )
        return write_publish(topic, packet_id, b"".join(parts), event.payload, retain=retain)

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
