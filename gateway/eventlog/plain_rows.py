"""Reads runs of plain rows of a segment: the way that nearly every event takes out of the log.

Plain is a row without origin and properties, whose checksum is right. The checksum covers every value of the event and
its number, so that nothing else has to be looked at: whatever else is there ends the run, be it damage or not, and is
for the reader to look at column by column. What rows have in common, their names above all, is put together once.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from zlib import crc32

from gateway.event import LOCAL, new_event
from gateway.eventlog import checksum

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from gateway.event import Event

    Named: TypeAlias = tuple[str, int]
    Names: TypeAlias = tuple[Named, Named, Named]

_ROWS = """
    SELECT received_ns, mono_ns, (boot << 56) | (client << 32) | (topic << 8) | flags, payload,
    coalesce(origin, properties), crc
    FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?"""
"""The ids of an event's names and its flags are one number here, because each value of a row costs time. Ids beyond
its room make a number that stands for others: the checksum tells, and the run ends."""
_ID_MASK = 0xFFFFFF
_FACES_MAX = 10_000


class _Face(NamedTuple):
    """What rows of one boot, client and topic with the same flags have in common."""

    boot_id: str
    client_id: str
    topic: str
    qos: int
    retain: bool
    verdict: int
    shared: bytes
    """Their part of the checksum (see `checksum.shared`)."""


class PlainRows:
    """Of one segment without gaps, whose events have checksums.

    Args:
        db: the segment, opened.
        names: the names of a boot, a client and a topic by their ids, each with its checksum; None if one is missing.
        flags: all that an event may have.
    """

    def __init__(
        self, db: sqlite3.Connection, names: Callable[[int, int, int], Names | None], flags: frozenset[int]
    ) -> None:
        self._db = db
        self._names = names
        self._flags = flags
        self._faces: dict[object, _Face] = {}

    def read(self, first_seq: int, last_seq: int, events_max: int, bytes_max: int) -> tuple[list[Event], bool]:
        """The events from `first_seq` on, as many as the limits allow; and whether a row that is not plain ended them.

        Raises:
            sqlite3.Error: the segment is not what was written, or the disk did not give it.
            UnicodeDecodeError: likewise.
        """
        events: list[Event] = []
        append = events.append
        faces, look_at, pack, room = self._faces, self._look_at, checksum.pack_shared, bytes_max
        seq = first_seq
        rows = self._db.execute(_ROWS, (first_seq, last_seq, events_max))
        try:
            for received_ns, mono_ns, key, payload, rest, crc in rows:
                face = faces.get(key) or look_at(key)
                if face is None:
                    return events, True
                boot_id, client_id, topic, qos, retain, verdict, shared = face
                if rest is not None or crc32(pack(seq, received_ns, mono_ns, shared) + payload) != crc:
                    return events, True
                room -= len(payload)
                if room < 0 and events:
                    break
                append(new_event((
                    seq, received_ns, mono_ns, boot_id, client_id, topic, qos, retain, payload, LOCAL, None, verdict
                )))  # fmt: skip
                seq += 1
        except (struct.error, TypeError):  # a value is not of the type that it was written with
            return events, True
        finally:
            rows.close()  # a statement left open would keep the write-ahead log from being checkpointed
        return events, False

    def _look_at(self, key: object) -> _Face | None:
        if not isinstance(key, int) or key & 0xFF not in self._flags:
            return None
        names = self._names(key >> 56 & 0xFF, key >> 32 & _ID_MASK, key >> 8 & _ID_MASK)
        if names is None:
            return None
        if len(self._faces) >= _FACES_MAX:
            self._faces.clear()
        (boot_id, boot), (client_id, client), (topic, topic_sum) = names
        flags = key & 0xFF
        shared = checksum.shared(boot, client, topic_sum, flags)
        face = _Face(boot_id, client_id, topic, flags & 3, flags & 4 > 0, flags >> 3, shared)
        self._faces[key] = face
        return face
