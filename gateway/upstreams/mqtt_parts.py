"""Parts of PUBLISH packets at QoS 1 that come again and again, encoded once. Pure.

Source: OASIS MQTT 5.0, section 3.3.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from gateway.forward.envelope import second_text
from gateway.upstreams.mqtt_frames import write_length, write_string

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.event import Event

TIME_BYTES = len("2026-11-23T04:05:16.000001Z")


class Write(Protocol):
    """Makes one packet."""

    def __call__(self, event: Event, packet_id: int, *, retain: bool) -> bytes:
        """PUBLISH at QoS 1.

        Raises:
            ValueError: it cannot be made.
        """
        ...


def write_each(write: Write, events: Sequence[Event], packet_id: int, *, retain: bool, bytes_max: int) -> list[bytes]:
    """`Dialect.publish`, by a writer of one packet."""
    packets: list[bytes] = []
    bytes_ = 0
    for each_id, event in enumerate(events, packet_id):
        packets.append(write(event, each_id, retain=retain and event.retain))
        bytes_ += len(packets[-1])
        if bytes_ >= bytes_max:
            break
    return packets


@lru_cache(maxsize=2048)
def head(length: int) -> bytes:
    """The fixed header (section 3.3.1)."""
    return b"\x32" + write_length(length)


@lru_cache(maxsize=128)
def head_retaining(length: int) -> bytes:
    """The fixed header with the RETAIN flag."""
    return b"\x33" + write_length(length)


@lru_cache(maxsize=4096)
def topic_name(topic: str) -> bytes:
    """A Topic Name.

    Raises:
        ValueError: it is too long.
    """
    return write_string(topic.encode())


@lru_cache(maxsize=64)
def until_second(name: str, seconds: int) -> bytes:
    """A user property that is a time, without what follows the second."""
    return property_name(name) + TIME_BYTES.to_bytes(2, "big") + second_text(seconds).encode()


def time_property(name: str, wall_ns: int) -> bytes:
    """A user property that is a time: RFC 3339 in UTC with microseconds."""
    seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
    return b"%b.%06dZ" % (until_second(name, seconds), rest_ns // 1000)


def property_name(name: str) -> bytes:
    """The beginning of a user property, which its value follows."""
    return b"\x26" + write_string(name.encode())


def content_type_property(content_type: str) -> bytes:
    """The property that tells the type of the payload; nothing if it is empty."""
    return b"\x03" + write_string(content_type.encode()) if content_type else b""


def write_publish(topic: bytes, packet_id: int, properties: bytes, payload: bytes, *, retain: bool) -> bytes:
    """A whole packet; `topic` as `topic_name` makes it, `properties` without their length.

    Raises:
        ValueError: it is too long.
    """
    properties_length = write_length(len(properties))
    length = len(topic) + 2 + len(properties_length) + len(properties) + len(payload)
    return b"".join(
        (
            head_retaining(length) if retain else head(length),
            topic,
            packet_id.to_bytes(2, "big"),
            properties_length,
            properties,
            payload,
        )
    )
