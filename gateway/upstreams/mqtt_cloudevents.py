"""PUBLISH packets with CloudEvents in them, at QoS 1. Pure. Source: MQTT protocol binding for CloudEvents 1.0.2.

Binary mode (MQTT 5): the payload as it came, its media type as Content Type, every other attribute as a user property
of its own name. Structured mode: a JSON document as payload; MQTT 5 names it as Content Type, 3.1.1 has no way to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.forward.cloudevents import SEQUENCE_DIGITS, STRUCTURED_TYPE, came_with, declared
from gateway.forward.content import media_type
from gateway.properties import write_user
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
    from gateway.forward.cloudevents import CloudEvents

_FACES_MAX = 4096
"""Topics and devices that are remembered; beyond it all are forgotten at once, which costs little and is bounded."""
_VERSION = write_user([("specversion", "1.0")])
_SEQUENCE = property_name("sequence") + SEQUENCE_DIGITS.to_bytes(2, "big")
_STRUCTURED = content_type_property(STRUCTURED_TYPE)
_TIMES_BYTES = sum(len(property_name(name)) + 2 + TIME_BYTES for name in ("time", "recordedtime"))


class _Face(NamedTuple):
    """What all events with one topic, device, clock quality, type, media type and length of the seq have in common."""

    topic: bytes
    """Topic Name, as it is sent."""
    before_seq: bytes
    """From the length of the properties to the part of the id before the seq."""
    after_sequence: bytes
    """The properties behind the sequence."""
    bytes_: int
    """Length of the packet behind its fixed header, less the payload."""


class BinaryPublisher:
    """Writes packets in binary mode, from parts that are encoded once as `mqtt_publish` does.

    Args:
        envelope: tells the attributes.
    """

    def __init__(self, envelope: CloudEvents) -> None:
        self._envelope = envelope
        self._true_time = envelope.true_time.of
        self._id_prefix = envelope.id_prefix.encode()
        self._describe = envelope.describe
        self._faces: dict[tuple[str, str, str, str, str], _Face] = {}
        """By topic, device, clock quality, type and media type, all for as many digits of the seq as the last one
        had."""
        self._digits = 0
        self._time_ns = -1
        self._time = self._received = b""
        """The property `time` of `_time_ns`; the property `recordedtime`, and the beginning of `sequence`."""

    def write(self, event: Event, packet_id: int, *, retain: bool) -> bytes:
        """One packet.

        Raises:
            ValueError: the topic or the payload is too long, or no topic comes of it.
        """
        true_ns, quality = self._true_time(event)
        if true_ns != self._time_ns:
            self._note_time(true_ns)
        time = self._time
        seq, _, _, _, client_id, topic, _, _, payload, _, properties, verdict = event
        digits = b"%d" % seq
        if len(digits) != self._digits:
            self._digits = len(digits)
            self._faces.clear()
        type_, own_ns, told = self._describe(topic, payload)
        if own_ns is not None:
            time = time_property("time", own_ns)
        if properties is not None or verdict:
            return self._write_own(event, packet_id, time, (quality, type_, told), retain=retain)
        content_type = told or media_type(payload)
        key = topic, client_id, quality, type_, content_type
        topic_bytes, before_seq, after_sequence, bytes_ = self._faces.get(key) or self._look_at(*key)
        return b"".join(
            (
                head(bytes_ + len(payload)) if not retain else head_retaining(bytes_ + len(payload)),
                topic_bytes,
                packet_id.to_bytes(2, "big"),
                before_seq,
                digits,
                time,
                self._received,
                b"%020d" % seq,
                after_sequence,
                payload,
            )
        )

    def _write_own(
        self, event: Event, packet_id: int, time: bytes, known: tuple[str, str, str], *, retain: bool
    ) -> bytes:
        """A packet of an event that has attributes of its own; `known` are its clock quality, type and media type."""
        quality, type_, told = known
        brought = came_with(event)
        envelope = self._envelope
        parts = (
            content_type_property(media_type(event.payload, declared(event, brought, told))),
            self._before_seq(),
            b"%d" % event.seq,
            time,
            self._received,
            b"%020d" % event.seq,
            write_user(envelope.shared(event.topic, event.client_id, quality, type_)),
            write_user(envelope.of_event(event, brought)),
        )
        topic = topic_name(envelope.topics.of(event.topic))
        return write_publish(topic, packet_id, b"".join(parts), event.payload, retain=retain)

    def _note_time(self, true_ns: int) -> None:
        self._time, self._time_ns = time_property("time", true_ns), true_ns
        self._received = time_property("recordedtime", true_ns) + _SEQUENCE

    def _before_seq(self) -> bytes:
        id_bytes = len(self._id_prefix) + self._digits
        return _VERSION + property_name("id") + id_bytes.to_bytes(2, "big") + self._id_prefix

    def _look_at(self, topic: str, client_id: str, quality: str, type_: str, content_type: str) -> _Face:
        if len(self._faces) >= _FACES_MAX:
            self._faces.clear()
        topic_bytes = topic_name(self._envelope.topics.of(topic))
        before_seq = content_type_property(content_type) + self._before_seq()
        after_sequence = write_user(self._envelope.shared(topic, client_id, quality, type_))
        properties_bytes = (
            len(before_seq) + self._digits + _TIMES_BYTES + len(_SEQUENCE) + SEQUENCE_DIGITS + len(after_sequence)
        )
        length = write_length(properties_bytes)
        bytes_ = len(topic_bytes) + 2 + len(length) + properties_bytes
        face = _Face(topic_bytes, length + before_seq, after_sequence, bytes_)
        self._faces[topic, client_id, quality, type_, content_type] = face
        return face


class StructuredPublisher:
    """Writes packets in structured mode.

    Args:
        envelope: makes the documents.
    """

    def __init__(self, envelope: CloudEvents) -> None:
        self._envelope = envelope

    def write(self, event: Event, packet_id: int, *, retain: bool) -> bytes:
        """One packet of MQTT 5.

        Raises:
            ValueError: the topic or the document is too long, or no topic comes of it.
        """
        topic = topic_name(self._envelope.topics.of(event.topic))
        return write_publish(topic, packet_id, _STRUCTURED, self._envelope.structured(event), retain=retain)
