"""Finds events by their true time without reading the whole log. Pure, but for the reader it asks.

A stretch is what one segment holds of one boot. Within it the time since boot only rises, so a moment is found by
bisection. What the true time has to do with it is told by the events at the two ends of the stretch, and by when the
clock was set between them: if all say the same, up to two seconds, then so do the events between. If they do not, the
clock was stepped within the stretch, and the whole of it is looked through. So a log in which times jump back, because
a boot's clock was never set, costs a look at the ends of each segment and is right all the same.

What is found may hold other events too: whoever wants exactly those of a time looks at the time of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.eventlog.boots import AGREES_NS
from gateway.eventlog.losses import Span
from gateway.eventlog.reader import last_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.eventlog.boots import Boots
    from gateway.eventlog.reader import LogReader
    from gateway.eventlog.segment_reader import Stamped

SLACK_NS = 2 * AGREES_NS
"""A synced event may be a second off its anchor, to either side."""


class Stretch(NamedTuple):
    """Events of one boot in one segment."""

    segment: int
    """First sequence number of the segment."""
    first: Stamped
    last: Stamped


def seq_at(reader: LogReader, boots: Boots, time_ns: int, head: int) -> int:
    """The first event, in the order of the log, that came at `time_ns` or later; `head` + 1 if none did.

    Raises:
        LogError: a segment is damaged, or the disk refused.
    """
    for span in spans(reader, boots, time_ns, None, 1, head):
        for event in reader.scan(span.first - 1, span.last):
            if boots.of(event)[0] >= time_ns:
                return event.seq
    return head + 1


def bounds(
    reader: LogReader, boots: Boots, begin_ns: int | None, end_ns: int | None, first_seq: int, last_seq: int
) -> Span | None:
    """The first and the last number between which all events from `begin_ns` to `end_ns` are; None if there is none.

    Raises:
        LogError: a segment is damaged, or the disk refused.
    """
    found = list(spans(reader, boots, begin_ns, end_ns, first_seq, last_seq))
    return Span(found[0].first, found[-1].last) if found else None


def spans(
    reader: LogReader, boots: Boots, begin_ns: int | None, end_ns: int | None, first_seq: int, last_seq: int
) -> Iterator[Span]:
    """Where events from `begin_ns` to `end_ns` can be, both included, in order; None is no limit.

    Raises:
        LogError: a segment is damaged, or the disk refused.
    """
    for stretch in _stretches(reader, first_seq, last_seq):
        span = _within(reader, boots, stretch, begin_ns, end_ns)
        if span is not None:
            yield span


def _stretches(reader: LogReader, first_seq: int, last_seq: int) -> Iterator[Stretch]:
    segments = reader.segments
    for index, segment in enumerate(segments):
        high = min(last_seq, last_of(segments, index))
        first = reader.stamped(segment, max(segment, first_seq), high)
        while first is not None:
            last = _end_of_boot(reader, segment, first, high)
            yield Stretch(segment, first, last)
            first = reader.stamped(segment, last.seq + 1, high)


def _end_of_boot(reader: LogReader, segment: int, first: Stamped, high: int) -> Stamped:
    """The last event of the boot that `first` is of: a boot does not come back."""
    newest = reader.stamped(segment, first.seq, high, order="last") or first
    if newest.boot_id == first.boot_id:
        return newest
    after = _first(reader, segment, first.seq, newest.seq, lambda at: at.boot_id != first.boot_id)
    return newest if after is None else reader.stamped(segment, first.seq, after.seq - 1, order="last") or first


def _within(reader: LogReader, boots: Boots, stretch: Stretch, begin_ns: int | None, end_ns: int | None) -> Span | None:
    segment, first, last = stretch
    offsets = [boots.time_of(at.boot_id, at.mono_ns, at.received_ns)[0] - at.mono_ns for at in (first, last)]
    offsets += boots.offsets_between(first.boot_id, first.mono_ns, last.mono_ns)
    if max(offsets) - min(offsets) > SLACK_NS or last.mono_ns < first.mono_ns:
        return Span(first.seq, last.seq)
    earliest = first.mono_ns if begin_ns is None else begin_ns - max(offsets) - SLACK_NS
    latest = last.mono_ns if end_ns is None else end_ns - min(offsets) + SLACK_NS
    if last.mono_ns < earliest or first.mono_ns > latest:
        return None
    begin, end = first.seq, last.seq
    if first.mono_ns < earliest:
        found = _first(reader, segment, first.seq, last.seq, lambda at: at.mono_ns >= earliest)
        begin = last.seq if found is None else found.seq
    if last.mono_ns > latest:
        found = _first(reader, segment, begin, last.seq, lambda at: at.mono_ns > latest)
        end = last.seq if found is None else found.seq - 1
    return Span(begin, end) if begin <= end else None


def _first(
    reader: LogReader, segment: int, low: int, high: int, is_reached: Callable[[Stamped], bool]
) -> Stamped | None:
    """The first event from `low` to `high` for which `is_reached`, as it is for all that follow; None if for none."""
    found = None
    while low <= high:
        middle = reader.stamped(segment, (low + high) // 2, high)
        if middle is None or is_reached(middle):
            found, high = middle or found, (low + high) // 2 - 1
        else:
            low = middle.seq + 1
    return found
