"""Finds the events of some topics in one segment, and builds no other.

Topics are interned per segment, so a segment that has none of them is passed over at once, and in any other SQLite
leaves out the rest: a million events are looked through in a second. It passes over no number that damage hides: as
when reading, numbers have no gap unless the segment was salvaged.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator

    from gateway.event import Event
    from gateway.eventlog.damage import Damaged

_STEP = 100_000
"""So many numbers are looked through at a time."""
_BYTES_MAX = 4 * 1024 * 1024
_WANTED_MAX = 16
"""For so many askers a segment remembers which of its topics they want."""
_HIGHEST = "SELECT max(seq) FROM events WHERE seq BETWEEN ? AND ?"
_EXTENT = "SELECT count(*), max(seq) FROM events WHERE seq BETWEEN ? AND ?"
_TOPICS = "SELECT id, name FROM topics WHERE id > ? ORDER BY id"
_OF_TOPICS = "BETWEEN ? AND ? AND topic IN (SELECT value FROM json_each(?)) ORDER"


class _Counted:
    """Rows, and how many of them somebody has seen."""

    def __init__(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for row in self._rows:
            self.count += 1
            yield row


class Finder:
    """Of one segment.

    Args:
        db: the segment, opened.
        read: the statement that reads events from one number to another, with a limit.
        events: makes events of rows, given the first number and a limit in bytes.
        wrong: makes the error that says what is wrong with the segment.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        read: str,
        events: Callable[[Iterable[tuple[Any, ...]], int, int], list[Event]],
        wrong: Callable[[str], Damaged],
    ) -> None:
        self._db = db
        self._find = read.replace("BETWEEN ? AND ? ORDER", _OF_TOPICS)
        self._events = events
        self._wrong = wrong
        self._wanted: dict[Callable[[str], bool], tuple[int, list[int]]] = {}
        """By asker, up to which id topics were looked at, and the ids of those that are wanted."""

    def find(
        self, first_seq: int, last_seq: int, is_wanted: Callable[[str], bool], events_max: int, *, may_have_gaps: bool
    ) -> tuple[list[Event], int]:
        """Events from `first_seq` to `last_seq` whose topic is wanted, and up to where all were looked at.

        It goes on until it has some, or is at the end.

        Raises:
            Damaged: the segment is not what was written.
            sqlite3.Error: likewise, or the disk did not give it.
        """
        topics = json.dumps(self._ids_of(is_wanted))
        # Behind a segment there may be a gap of any length, above which a log goes on that was restored.
        end = self._db.execute(_HIGHEST, (first_seq, last_seq)).fetchone()[0] or 0
        while first_seq <= end:
            last = min(end, first_seq + _STEP - 1)
            if not may_have_gaps:
                self._check(first_seq, last, end)
            cursor = self._db.execute(self._find, (first_seq, last, topics, events_max))
            rows = _Counted(cursor)
            events = self._events(rows, first_seq, _BYTES_MAX)
            cursor.close()
            if events:
                is_all = rows.count == len(events) < events_max
                return events, last if is_all else events[-1].seq
            first_seq = last + 1
        return [], last_seq

    def _check(self, first_seq: int, last_seq: int, end: int) -> None:
        """Numbers from `first_seq` to `last_seq` have no gap, but that the segment may end before, short of `end`.

        Raises:
            Damaged: they have one.
        """
        count, highest = self._db.execute(_EXTENT, (first_seq, last_seq)).fetchone()
        following = first_seq if highest is None else highest + 1
        if count != following - first_seq:
            raise self._wrong(f"an event between {first_seq} and {highest} is missing")
        if following <= last_seq and self._db.execute(_EXTENT, (following, end)).fetchone()[0]:
            raise self._wrong(f"event {following} is missing")

    def _ids_of(self, is_wanted: Callable[[str], bool]) -> list[int]:
        if is_wanted not in self._wanted and len(self._wanted) >= _WANTED_MAX:
            self._wanted.clear()
        seen, ids = self._wanted.get(is_wanted, (0, []))
        for number, name in self._db.execute(_TOPICS, (seen,)).fetchall():
            if type(name) is not str:
                raise self._wrong(f"name {number} is missing")
            if is_wanted(name):
                ids.append(number)
            seen = number
        self._wanted[is_wanted] = seen, ids
        return ids
