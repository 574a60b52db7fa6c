"""Which segments may go. Pure: it decides, somebody else unlinks."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

DROPPED = "dropped"
"""Removed because the log was too large."""
EXPIRED = "expired"
"""Removed because the events were too old."""


class SegmentFacts(NamedTuple):
    """What retention needs to know of a segment."""

    first_seq: int
    last_seq: int
    bytes_: int
    age_ns: int
    """How old its last event is at the least."""


class Surplus(NamedTuple):
    """A segment beyond a limit."""

    segment: SegmentFacts
    cause: str
    """`DROPPED` or `EXPIRED`."""


def surplus(segments: Sequence[SegmentFacts], *, bytes_max: int, age_s: float) -> list[Surplus]:
    """The segments beyond the limits, oldest first, whoever needs them. The newest stays. A limit of 0 is no limit."""
    total = sum(segment.bytes_ for segment in segments)
    found = []
    for segment in segments[:-1]:
        too_large = bytes_max > 0 and total > bytes_max
        too_old = age_s > 0 and segment.age_ns > age_s * 1e9
        if not (too_large or too_old):
            break
        found.append(Surplus(segment, EXPIRED if too_old else DROPPED))
        total -= segment.bytes_
    return found


def oldest(segments: Sequence[SegmentFacts]) -> list[Surplus]:
    """The oldest segment, to make room on the disk; none if it is the one being written."""
    return [Surplus(segment, DROPPED) for segment in segments[:-1][:1]]


def before(found: Sequence[Surplus], needed_from: int) -> list[Surplus]:
    """Those, from the oldest on, that hold no event at or after `needed_from`."""
    return list(takewhile(lambda each: each.segment.last_seq < needed_from, found))


def is_full(segments: Sequence[SegmentFacts], *, needed_from: int, bytes_max: int) -> bool:
    """Whether what somebody needs is more than the limit, so that nothing can go and nothing more may come."""
    needed = sum(segment.bytes_ for segment in segments if segment.last_seq >= needed_from)
    return 0 < bytes_max < needed
