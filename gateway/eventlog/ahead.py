"""What was done for an upstream beyond its cursor, and how the cursor takes it over. Pure.

Two things run ahead of a cursor. A *span* is a stretch of the log that was sent live while the backlog before it
waited: when the cursor reaches its beginning, it jumps to its end and takes its counters over. A *lane* sends the
events of some topics before all others; the cursor comes by later, and counts those as what the lane made of them.

The books balance at every moment: what was done ahead is pending no more, and each counter moves into the account in
the step in which the cursor passes what it counts. Only where retention drops a part of what lanes have done, nobody
knows which part: all that it drops counts as dropped, also what a lane had sent.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.eventlog.books import Account
from gateway.eventlog.losses import count_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from gateway.eventlog.losses import Missing, Span

SPANS_MAX = 64
"""Of one upstream; beyond it what comes live goes in order behind the last span, until the backlog has caught up."""


class LiveSpan(NamedTuple):
    """A stretch of the log that was sent live."""

    account: Account
    """`started`: it begins after this number; `seq`: it is done up to here; what became of the events in between."""
    taken: int = 0
    """Events in it that belong to lanes, and that lanes have done."""


class Ahead(NamedTuple):
    """Everything that was done for one upstream beyond its cursor."""

    spans: tuple[LiveSpan, ...] = ()
    """In order; they do not overlap, and all begin at the cursor or beyond."""
    terms: str = ""
    """What the lanes mean; they start over if somebody means something else."""
    lanes: tuple[int, ...] = ()
    """How far each lane is; one that is behind the cursor is at the cursor."""
    forwarded: int = 0
    """Events that lanes have sent and the cursor has not passed."""
    quarantined: int = 0
    """Likewise, of those that the upstream can never take."""
    expired: int = 0
    """Likewise, of those that were too old when their turn came. The ledger has them once the cursor has passed."""

    @property
    def done(self) -> int:
        """Events beyond the cursor and outside of spans that lanes are done with."""
        return self.forwarded + self.quarantined + self.expired - sum(span.taken for span in self.spans)

    @property
    def furthest(self) -> int:
        """The highest number that anything was done for; 0 if there is none."""
        return max([0, *self.lanes, *(span.account.seq for span in self.spans)])

    def between(self, seq: int, last: int) -> Iterator[tuple[int, int]]:
        """The stretches after the cursor `seq` up to `last` that are in no span: first and last number of each."""
        ends = [seq, *(end for each in self.spans for end in (each.account.started, each.account.seq)), last]
        for begin, end in zip(ends[::2], ends[1::2], strict=True):
            if min(end, last) > begin:
                yield begin + 1, min(end, last)

    def consumed(self, taken: int) -> tuple[Ahead, tuple[int, int, int]]:
        """The cursor passes so many events that lanes are done with: what counts as forwarded, quarantined, expired.

        Which of them was which is not known, and all of them together are; so each is taken from what is left.
        """
        expired = min(taken, self.expired)
        quarantined = min(taken - expired, self.quarantined)
        forwarded = taken - expired - quarantined
        left = self._replace(
            forwarded=max(0, self.forwarded - forwarded),
            quarantined=self.quarantined - quarantined,
            expired=self.expired - expired,
        )
        return left, (forwarded, quarantined, expired)


NOTHING = Ahead()


def pending_after(cursor: int, head: int, ahead: Ahead, gone: Sequence[Span] = ()) -> int:
    """How many events up to `head` wait for an upstream, if every number has one but those that are `gone`."""
    stretches = ahead.between(cursor, head)
    return max(0, sum(last - first + 1 - count_in(gone, first, last) for first, last in stretches) - ahead.done)


class Progress(NamedTuple):
    """The cursor of an upstream with its counters, and what is ahead of it; stored in one transaction."""

    account: Account
    ahead: Ahead = NOTHING
    expired: int = 0
    """Events that were too old, which the ledger has to be told of."""

    def advanced(
        self, seq: int, missing: Missing, *, forwarded: int, filtered: int, quarantined: int, expired: int, taken: int
    ) -> Progress:
        """With the cursor at `seq`, beyond where it is, and further if a span begins there."""
        ahead, of_lanes = self.ahead.consumed(taken)
        account = self.account.moved(
            seq,
            missing,
            forwarded=forwarded + of_lanes[0],
            filtered=filtered,
            quarantined=quarantined + of_lanes[1],
            dropped=expired + of_lanes[2],
        )
        return Progress(account, ahead, self.expired + expired + of_lanes[2]).joined()

    def joined(self) -> Progress:
        """With every span taken over that the cursor has reached."""
        account, ahead, expired = self
        while ahead.spans and account.seq >= ahead.spans[0].account.started:
            span = ahead.spans[0]
            ahead, of_lanes = ahead._replace(spans=ahead.spans[1:]).consumed(span.taken)
            account = account._replace(
                seq=max(account.seq, span.account.seq),
                forwarded=account.forwarded + span.account.forwarded + of_lanes[0],
                filtered=account.filtered + span.account.filtered,
                quarantined=account.quarantined + span.account.quarantined + of_lanes[1],
                dropped=account.dropped + span.account.dropped + of_lanes[2],
                lost=account.lost + span.account.lost,
            )
            expired += of_lanes[2]
        if account.seq >= max(ahead.lanes, default=account.seq):
            ahead = ahead._replace(forwarded=0, quarantined=0, expired=0)
        return Progress(account, ahead, expired)

    def given_up(
        self, last_seq: int, missing: Missing, count: Callable[[int, int], int], what: Literal["dropped", "lost"]
    ) -> tuple[Progress, int]:
        """With the cursor moved to `last_seq` over events that are gone, but for those in spans.

        Args:
            last_seq: beyond the cursor; if it is within a span, the cursor goes on to where that is done.
            missing: numbers without events.
            count: how many events there are from one number to another.
            what: the counter that they go to.

        Returns:
            The progress, and how many events are gone.
        """
        here, dropped = self.joined(), 0
        while here.account.seq < last_seq:
            spans, cursor = here.ahead.spans, here.account.seq
            end = min(last_seq, spans[0].account.started if spans else last_seq)
            events = count(cursor + 1, end)
            dropped += events
            here = here._replace(account=here.account.moved(end, missing, **{what: events})).joined()
        return here, dropped

    def begun(self, head: int) -> Progress:
        """With a span that begins at `head`, for what comes from now on; an empty one at the end begins anew there."""
        spans = self.ahead.spans
        if spans and spans[-1].account.seq == spans[-1].account.started:
            spans = spans[:-1]
        span = LiveSpan(Account(head, head))
        return self._replace(ahead=self.ahead._replace(spans=(*spans, span))).joined()

    def live(
        self,
        seq: int,
        missing: Missing,
        *,
        forwarded: int = 0,
        filtered: int = 0,
        quarantined: int = 0,
        expired: int = 0,
        taken: int = 0,
    ) -> Progress:
        """With the last span done up to `seq`, beyond where it is."""
        *before, span = self.ahead.spans
        # What lanes have done there is among the numbers of the span; `moved` must not take it for lost.
        account = span.account.moved(
            seq,
            missing,
            forwarded=forwarded + taken,
            filtered=filtered,
            quarantined=quarantined,
            dropped=expired,
        )
        account = account._replace(forwarded=account.forwarded - taken)
        spans = (*before, LiveSpan(account, span.taken + taken))
        return Progress(self.account, self.ahead._replace(spans=spans), self.expired + expired)

    def in_lane(self, lane: int, seq: int, *, forwarded: int, quarantined: int, expired: int) -> Progress:
        """With a lane done up to `seq`, which is beyond where it is."""
        ahead = self.ahead
        lanes = tuple(seq if at == lane else each for at, each in enumerate(ahead.lanes))
        return self._replace(
            ahead=ahead._replace(
                lanes=lanes,
                forwarded=ahead.forwarded + forwarded,
                quarantined=ahead.quarantined + quarantined,
                expired=ahead.expired + expired,
            )
        )

    def with_lanes(self, terms: str, count: int) -> Progress:
        """With so many lanes; if they are not those that there are, they begin at the cursor."""
        if (self.ahead.terms, len(self.ahead.lanes)) == (terms, count):
            return self
        lanes = (self.account.seq,) * count
        return self._replace(ahead=Ahead(spans=self.ahead.spans, terms=terms, lanes=lanes))


def as_text(ahead: Ahead) -> str:
    """As it is stored."""
    spans = [[*span.account, span.taken] for span in ahead.spans]
    return json.dumps([spans, *ahead[1:]])


def from_text(text: str) -> Ahead:
    """What `as_text` made a text of.

    Raises:
        ValueError: it did not make this.
    """
    found = json.loads(text)
    try:
        spans = tuple(LiveSpan(Account(*numbers[:-1]), numbers[-1]) for numbers in found[0])
        terms, lanes, *counters = found[1:]
        ahead = Ahead(spans, terms, tuple(lanes), *counters)
    except (TypeError, IndexError, KeyError) as error:
        raise ValueError("this is not what is done ahead of a cursor") from error
    numbers = [*(number for span in spans for number in (*span.account, span.taken)), *ahead.lanes, *ahead[3:]]
    if type(terms) is not str or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("this is not what is done ahead of a cursor")
    return ahead
