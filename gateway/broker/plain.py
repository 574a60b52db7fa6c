"""Runs of plain messages: the way that nearly every message takes, with nothing on it that only others need.

Plain is a PUBLISH with QoS 1, no duplicate, on a topic that was admitted before, whole and short. Whatever else comes,
malformed packets above all, ends the run and is looked at by the connection, which knows the rest of the protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.broker.limits import Pace
    from gateway.ingest.ingest import AppendRun, Message

_PUBLISH = 0x32
"""First byte of a PUBLISH with QoS 1, less its RETAIN flag."""
_BYTES_MAX = 0x3FFF
"""Longest body whose length takes two bytes."""
_PACKET_BYTES_MIN = 7
"""Shortest plain packet: header, a topic of one character, packet identifier."""


class Intake(Protocol):
    """Who takes messages in; its `append_run` may be another one tomorrow, when contracts change."""

    @property
    def append_run(self) -> AppendRun:
        """See `Ingest.append_run`."""
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
        size, topics, bytes_max = len(data), self._topics, self._bytes_max
        messages: list[Message] = []
        raw_ids: list[bytes] = []
        pace = self._pace
        if pace is not None:
            until = min(until, at + pace.room * _PACKET_BYTES_MIN)
        prefix, id_from, bytes_, name, retain = b"", 0, 0, "", False
        while at < until and at + 4 <= size:
            if not bytes_ or not data.startswith(prefix, at):  # else it is on the same topic and as long
                first, length, start = data[at], data[at + 1], at + 2
                if length >= 0x80:
                    length += (data[start] << 7) - 0x80
                    start += 1
                end = start + length
                if first & 0xFE != _PUBLISH or end > size or not 4 <= length <= bytes_max:
                    break
                topic_end = start + 2 + (data[start] << 8 | data[start + 1])
                topic = topics.get(data[start + 2 : topic_end])
                if topic is None or topic_end + 2 > end:
                    break
                prefix, id_from, bytes_ = data[at:topic_end], topic_end - at, end - at
                name, retain = topic, first == _PUBLISH | 1
            body, end = at + id_from + 2, at + bytes_
            raw_id = data[body - 2 : body]
            if raw_id == b"\0\0" or end > size:
                break
            messages.append((name, retain, data[body:end]))
            raw_ids.append(raw_id)
            at = end
        if messages:
            self._intake.append_run(*stamp, self._client_id, messages)
            receipts += b"\x40\x02" + b"\x40\x02".join(raw_ids)
            if pace is not None:
                pace.spend(len(messages))
        return at


class _Nobody:
    def append_run(self, *_: object) -> None:
        raise AssertionError


NO_RUN = PlainRun("", {}, _Nobody(), 0)
"""Of a client that is not admitted."""
