"""Runs of plain messages: the way that nearly every message takes, with nothing on it that only others need.

Plain is a PUBLISH with QoS 1, no duplicate, on a topic that was admitted before, whole and short. Whatever else comes,
malformed packets above all, ends the run and is looked at by the connection, which knows the rest of the protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.broker.limits import Pace

_PUBLISH = 0x32
"""First byte of a PUBLISH with QoS 1, less its RETAIN flag."""
_BYTES_MAX = 0x3FFF
"""Longest body whose length takes two bytes."""
_PACKET_BYTES_MIN = 7
"""Shortest plain packet: header, a topic of one character, packet identifier."""
_RECEIPT_BYTES = 4


class Intake(Protocol):
    """Who takes messages in; its `append` may be another one tomorrow, when contracts change."""

    @property
    def append(self) -> Callable[..., int]:
        """See `Ingest.append`."""
        ...


class PlainRun:
    """Takes in the plain messages of one client.

    Args:
        client_id: of the client.
        topics: those that it may publish to, by their bytes; looked at each time.
        intake: takes messages in.
        packet_bytes_max: longer packets are for the connection to refuse.
        pace: how many messages the client may bring; None: as many as it likes.
    """

    __slots__ = ("_bytes_max", "_client_id", "_intake", "_pace", "_topics")

    def __init__(
        self,
        client_id: str,
        topics: Mapping[bytes, str],
        intake: Intake,
        packet_bytes_max: int,
        pace: Pace | None = None,
    ) -> None:
        self._client_id = client_id
        self._topics = topics
        self._intake = intake
        self._bytes_max = min(packet_bytes_max, _BYTES_MAX)
        self._pace = pace

    def take(self, stamp: tuple[int, int], data: bytes, at: int, until: int, receipts: bytearray) -> int:
        """Take in the run that begins at `at`, up to about `until`; its receipts are added. Returns where it ends."""
        size, topics, append = len(data), self._topics, self._intake.append
        client_id, bytes_max = self._client_id, self._bytes_max
        received_ns, mono_ns = stamp
        before, pace = len(receipts), self._pace
        if pace is not None:
            until = min(until, at + pace.room * _PACKET_BYTES_MIN)
        while at < until and at + 4 <= size:
            first, length, start = data[at], data[at + 1], at + 2
            if length >= 0x80:
                length += (data[start] << 7) - 0x80
                start += 1
            end = start + length
            if first & 0xFE != _PUBLISH or end > size or not 4 <= length <= bytes_max:
                break
            topic_end = start + 2 + (data[start] << 8 | data[start + 1])
            body = topic_end + 2
            topic = topics.get(data[start + 2 : topic_end])
            raw_id = data[topic_end:body]
            if topic is None or body > end or raw_id == b"\0\0":
                break
            append(received_ns, mono_ns, client_id, topic, 1, first == _PUBLISH | 1, data[body:end])
            receipts += b"\x40\x02" + raw_id
            at = end
        if pace is not None:
            pace.spend((len(receipts) - before) // _RECEIPT_BYTES)
        return at


class _Nobody:
    def append(self, *_: object) -> int:
        raise AssertionError


NO_RUN = PlainRun("", {}, _Nobody(), 0)
"""Of a client that is not admitted."""
