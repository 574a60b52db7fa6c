"""Which segments may go. Pure: it decides, somebody else unlinks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class SegmentFacts(NamedTuple):
    """What retention needs to know of a segment."""

    first_seq: int
    last_seq: int
    bytes_: int
    age_ns: int
    """How old its last event is at the least."""


def surplus(segments: Sequence[SegmentFacts], *, needed_from: int, bytes_max: int, age_s: float) -> list[int]:
    """First sequence numbers of the segments to remove, oldest first.

    The newest segment stays, and so does every one that holds an event at or after `needed_from`, the first event
    that some upstream has not taken. A limit of 0 is no limit.
    """
    total = sum(segment.bytes_ for segment in segments)
    gone = []
    for segment in segments[:-1]:
        too_large = bytes_max > 0 and total > bytes_max
        too_old = age_s > 0 and segment.age_ns > age_s * 1e9
        if segment.last_seq >= needed_from or not (too_large or too_old):
            break
        gone.append(segment.first_seq)
        total -= segment.bytes_
    return gone
