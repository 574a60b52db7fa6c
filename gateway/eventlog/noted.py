"""A step through what segments note of events: violations with their events, and releases."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from gateway.event import QUARANTINED
from gateway.eventlog.reader import last_of
from gateway.eventlog.segment import path_of
from gateway.eventlog.segment_reader import SegmentReader

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from gateway.event import Event
    from gateway.eventlog.batch import Release, Violated

_ROWS_MAX = 500
_BYTES_MAX = 1024 * 1024


class Noted(NamedTuple):
    """What was found."""

    violations: list[tuple[Violated, Event]]
    """Of events that are quarantined."""
    releases: list[Release]
    seq: int
    """Up to here everything was looked at."""


def noted(folder: Path, segments: Sequence[int], after_seq: int, last_seq: int) -> Noted:
    """The next notes after `after_seq` up to `last_seq`, of one segment at the most.

    Raises:
        Damaged: the segment is not what was written.
        LogError: the disk did not give it.
    """
    for index, first in enumerate(segments):
        begin, end = max(first, after_seq + 1), min(last_seq, last_of(segments, index))
        if begin > end:
            continue
        with closing(SegmentReader(path_of(folder, first))) as reader:
            return _noted(reader, begin, end)
    return Noted([], [], last_seq)


def _noted(reader: SegmentReader, first_seq: int, last_seq: int) -> Noted:
    notes = reader.notes(first_seq, last_seq, _ROWS_MAX)
    full = [each[-1].seq for each in notes if len(each) == _ROWS_MAX]
    through = min([last_seq, *full])
    found: list[tuple[Violated, Event]] = []
    room = _BYTES_MAX
    for violated in notes.violations:
        if violated.seq > through:
            break
        events = reader.read(violated.seq, violated.seq, 1, _BYTES_MAX)
        if not events or events[0].verdict != QUARANTINED:
            continue
        room -= len(events[0].payload)
        if room < 0 and found:
            through = violated.seq - 1
            break
        found.append((violated, events[0]))
    return Noted(found, [release for release in notes.releases if release.seq <= through], through)
