"""Reading the log by sequence number, across segments, while it is being written or when nobody writes it.

A segment ends where the next one begins, whatever its file holds beyond that.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Literal

from gateway.eventlog.retention import SegmentFacts
from gateway.eventlog.segment import first_seq_of, path_of, size_of
from gateway.eventlog.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from gateway.event import Event
    from gateway.eventlog.segment_reader import Stamped, Stamps

_EMPTY_AGE_NS = 2**63 - 1
"""Nobody misses a segment without events."""
_OPEN_SEGMENTS_MAX = 4
_READ_BYTES_MAX = 4 * 1024 * 1024

UNSURE_FROM = "unsure_from"
"""In the meta of a segment that was begun after a gap: numbers from here up to its name may never have been used."""
LOST_FROM = "lost_from"
"""Likewise, but they were used, and the files do not hold them."""
BEGUN_ABOVE = frozenset({UNSURE_FROM, LOST_FROM})


def segments_in(folder: Path) -> list[int]:
    """First sequence numbers of the segments in a folder, in order."""
    return sorted(first_seq_of(path) for path in folder.glob("[0-9]" * 20 + ".db"))


def last_of(segments: Sequence[int], index: int) -> int:
    """The highest sequence number that can be in a segment: a segment ends where the next one begins."""
    return segments[index + 1] - 1 if index + 1 < len(segments) else 2**63 - 1


class LogReader:
    """Reads a log across its segments. Not thread-safe: one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.segments: list[int] = segments_in(folder)
        """First sequence numbers, in order; whoever adds or removes a segment puts a true list in its place."""
        self._open: dict[int, SegmentReader] = {}
        self._ends: dict[int, Stamps | None] = {}

    def refresh(self) -> None:
        """Look at the folder again: another process may have added or removed segments."""
        self.segments = segments_in(self._folder)

    def read(
        self, after_seq: int, last_seq: int | None, events_max: int, bytes_max: int = _READ_BYTES_MAX
    ) -> list[Event]:
        """The next events after `after_seq`, in order; fewer than `events_max` does not mean there are no more.

        An empty list means that there are none up to `last_seq` (None: up to the end).

        Raises:
            LogError: a segment is damaged.
        """
        segments = self.segments  # one look: another thread may put a new list in its place
        for index in range(max(0, bisect_right(segments, after_seq + 1) - 1), len(segments)):
            first = max(segments[index], after_seq + 1)
            last = last_of(segments, index) if last_seq is None else min(last_seq, last_of(segments, index))
            if first > last:
                continue
            events = self._segment(segments[index]).read(first, last, events_max, bytes_max)
            if events:
                return events
            if index + 1 < len(segments) and last == segments[index + 1] - 1:
                self._miss_end(segments[index], first, segments[index + 1])
        return []

    def find(
        self, after_seq: int, last_seq: int, is_wanted: Callable[[str], bool], events_max: int
    ) -> tuple[list[Event], int]:
        """The next events after `after_seq` whose topic is wanted, and up to where all were looked at.

        One step: it ends with the segment, so there may be none though more follow up to `last_seq`.

        Raises:
            LogError: a segment is damaged.
        """
        segments = self.segments  # as above
        index = max(0, bisect_right(segments, after_seq + 1) - 1)
        first, end = max(segments[index], after_seq + 1), last_of(segments, index)
        events, seen = self._segment(segments[index]).find(first, min(last_seq, end), is_wanted, events_max)
        if seen == end:
            bounds = self._segment(segments[index]).bounds()
            held = max(first - 1, bounds[1]) if bounds else first - 1
            if held < end:
                self._miss_end(segments[index], held + 1, segments[index + 1])
        return events, seen

    def scan(self, after_seq: int = 0, last_seq: int | None = None) -> Iterator[Event]:
        """Every event after `after_seq`, in order, in bounded memory."""
        while events := self.read(after_seq, last_seq, 1000):
            yield from events
            after_seq = events[-1].seq

    def head(self) -> int:
        """The highest sequence number stored; 0 if there is none."""
        segments = self.segments
        for index in reversed(range(len(segments))):
            bounds = self._segment(segments[index]).bounds()
            if bounds is not None:
                return min(bounds[1], last_of(segments, index))
            if index == len(segments) - 1 and segments[index] > 1:
                return segments[index] - 1
        return 0

    def oldest(self) -> Event | None:
        """The first event still in the log."""
        events = self.read(0, None, 1)
        return events[0] if events else None

    def stamped(
        self, segment: int, first_seq: int, last_seq: int, *, order: Literal["first", "last"] = "first"
    ) -> Stamped | None:
        """The first or the last event of a segment from `first_seq` to `last_seq`, both included; None if none is.

        Raises:
            LogError: the segment is damaged.
        """
        return self._segment(segment).stamped(first_seq, last_seq, order=order)

    def facts(self, head: int, age_ns: Callable[[str, int, int], int]) -> list[SegmentFacts]:
        """What retention needs to know of each segment of a log that ends at `head`.

        Args:
            head: the last event.
            age_ns: how old an event with these stamps is at the least. A segment is as old as the ones after it.
        """
        segments, found, oldest_ns = self.segments, [], 0
        for index in reversed(range(len(segments))):
            first, last = segments[index], min(head, last_of(segments, index))
            stamps = self._newest(first, last, sealed=index + 1 < len(segments))
            if stamps is not None:
                oldest_ns = max(oldest_ns, age_ns(*stamps))
            age_of_it_ns = _EMPTY_AGE_NS if stamps is None else oldest_ns
            found.append(SegmentFacts(first, last, size_of(path_of(self._folder, first)), age_of_it_ns))
        return found[::-1]

    def _newest(self, first_seq: int, last_seq: int, *, sealed: bool) -> Stamps | None:
        """Of a segment that changes no more, it is looked up once: so retention need not open every file each time."""
        if not sealed:
            return self._segment(first_seq).newest(last_seq)
        if first_seq not in self._ends:
            self._ends[first_seq] = self._segment(first_seq).newest(last_seq)
        return self._ends[first_seq]

    def forget(self, first_seq: int) -> None:
        """Let go of a segment before it is unlinked or replaced."""
        self._ends.pop(first_seq, None)
        reader = self._open.pop(first_seq, None)
        if reader is not None:
            reader.close()

    def close(self) -> None:
        """Let go of every file."""
        for reader in self._open.values():
            reader.close()
        self._open.clear()

    def _miss_end(self, first_seq: int, missing_from: int, following: int) -> None:
        """A segment ends before the next one begins: damage, unless one of the two says why.

        Raises:
            Damaged: neither does. Its write-ahead log was lost, say.
        """
        segment = self._segment(first_seq)
        if not (segment.may_have_gaps or BEGUN_ABOVE & self._segment(following).meta().keys()):
            raise segment.wrong(f"its events from {missing_from} on are missing")

    def _segment(self, first_seq: int) -> SegmentReader:
        reader = self._open.pop(first_seq, None)
        if reader is None:
            while len(self._open) >= _OPEN_SEGMENTS_MAX:
                self._open.pop(next(iter(self._open))).close()
            reader = SegmentReader(path_of(self._folder, first_seq))
        self._open[first_seq] = reader  # the last in the dict is the last used
        return reader
