"""The stretch of the log between an upstream's cursor and what was read for it. Pure.

It knows which of the events in it are wanted, which of those are under way, and what became of each that the cursor
has passed. An event leaves it once, so that the sums are exact whatever is given again in between.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from itertools import accumulate
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from gateway.event import Event

_seq = attrgetter("seq")


class Passed(NamedTuple):
    """How far the cursor may move, and what became of the events it passes."""

    seq: int
    forwarded: int
    filtered: int
    quarantined: int
    expired: int = 0
    """Too old when their turn came."""
    taken: int = 0
    """Done by a lane (see `selection`)."""


class Window:
    """Events of one upstream, from the first that is not settled to the last that was read."""

    def __init__(self, cursor: int) -> None:
        self.read_to = cursor
        """Everything up to this seq is settled or in here."""
        self.given_bytes = 0
        """Bytes of topics and payloads of what was given last."""
        self.under_way = 0
        """How many events were given out and are not settled: they lead the wanted ones."""
        self._wanted: list[Event] = []
        self._unwanted: list[int] = []
        """Seqs of events that were read and are not for this upstream."""
        self._held: list[int] = []
        """Seqs of events that would be for it, and are quarantined."""
        self._of_lanes: list[int] = []
        """Seqs of events that are for it, and that lanes have sent."""
        self._expired: list[int] = []
        """Seqs of events that were too old when their turn came."""

    @property
    def done_to(self) -> int:
        """Up to this seq nothing is left to be given or settled as taken."""
        return self._wanted[0].seq - 1 if self._wanted else self.read_to

    @property
    def on_its_way(self) -> tuple[int, int] | None:
        """Seqs of the first and the last event under way; None if none is."""
        return (self._wanted[0].seq, self._wanted[self.under_way - 1].seq) if self.under_way else None

    @property
    def next_seq(self) -> int:
        """Seq of the next event to be given out, where one waits."""
        return self._wanted[self.under_way].seq

    def waiting(self) -> bool:
        """Whether a wanted event has not been given out."""
        return len(self._wanted) > self.under_way

    def add(
        self,
        read: Sequence[Event],
        wanted: Sequence[Event],
        held: Sequence[int] = (),
        of_lanes: Sequence[int] = (),
    ) -> None:
        """Take in `read`, which follows on `read_to` and is not empty.

        Args:
            read: the next events.
            wanted: those of it to be given out.
            held: seqs of those of it that would be, and are quarantined.
            of_lanes: seqs of those of it that would be, and that lanes have sent.
        """
        if len(wanted) < len(read):
            seqs = {event.seq for event in wanted}.union(held, of_lanes)
            self._of_lanes += of_lanes
            self._unwanted += [event.seq for event in read if event.seq not in seqs]
            self._held += held
        self._wanted += wanted
        self.read_to = read[-1].seq

    def give(self, events_max: int, bytes_max: float = math.inf) -> Sequence[Event]:
        """The next wanted events, which are under way from now on: at least one, if one waits."""
        given = self._wanted[self.under_way : self.under_way + events_max]
        self.given_bytes = size_of(given)
        if self.given_bytes > bytes_max:
            sizes = accumulate(len(event.payload) + len(event.topic) for event in given)
            del given[max(1, sum(1 for size in sizes if size <= bytes_max)) :]
            self.given_bytes = size_of(given)
        self.under_way += len(given)
        return given

    def expire(self, events_max: int, is_too_old: Callable[[Event], bool]) -> None:
        """Leave out those of the next wanted events that are too old."""
        following = self._wanted[self.under_way : self.under_way + events_max]
        left = [event for event in following if not is_too_old(event)]
        if len(left) < len(following):
            self._wanted[self.under_way : self.under_way + events_max] = left
            fresh = {event.seq for event in left}
            self._expired += [event.seq for event in following if event.seq not in fresh]
            self._expired.sort()  # what was given before and is given again may be older than what is here already

    def take_back(self) -> None:
        """Nothing is under way any more: what is not settled is given again, in order."""
        self.under_way = 0

    def settle(self, count: int, cursor: int, refused: Collection[int] = ()) -> Passed:
        """Let go of the first `count` events under way, and of unwanted ones before the next that is wanted.

        Args:
            count: so many the upstream has, less those `refused`.
            cursor: where the log has the cursor. It moves it by itself over events that it drops and accounts for, so
                that nothing up to it is counted here.
            refused: seqs of those among them that the upstream can never take.
        """
        done = self._wanted[:count]
        del self._wanted[:count]
        self.under_way -= count
        seq = self.done_to
        filtered, held = _take(self._unwanted, seq, cursor), _take(self._held, seq, cursor)
        expired, taken = _take(self._expired, seq, cursor), _take(self._of_lanes, seq, cursor)
        settled = count - bisect_right(done, cursor, key=_seq)
        quarantined = sum(one > cursor for one in refused)
        return Passed(seq, settled - quarantined, filtered, quarantined + held, expired, taken)


def _take(seqs: list[int], to_seq: int, cursor: int) -> int:
    """Remove those up to `to_seq`; how many of them are after `cursor`."""
    count = bisect_right(seqs, to_seq)
    after = count - bisect_right(seqs, cursor, hi=count)
    del seqs[:count]
    return after


def size_of(events: Sequence[Event]) -> int:
    """Bytes of topics and payloads; a topic counts by its characters, which is the same as long as they are ASCII."""
    return sum([len(event.payload) + len(event.topic) for event in events])
