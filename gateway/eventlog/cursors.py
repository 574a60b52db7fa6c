"""How far each upstream is and what became of the events up to there, with what of it is not on disk yet. Pure.

A cursor, its counters and what is done ahead of it (see `ahead`) move together and are stored together, so after a
crash they go back together. What retention drops moves them too, and its row of the ledger is stored in the same
transaction.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gateway.eventlog import losses
from gateway.eventlog.ahead import NOTHING, SPANS_MAX, Ahead, Progress, pending_after
from gateway.eventlog.books import Account
from gateway.eventlog.losses import Loss, Span, count_in
from gateway.eventlog.retention import EXPIRED

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from gateway.eventlog.losses import Missing

_SOUGHT = "gateway upstreams seek"
_SENT_AGAIN = "gateway upstreams seek: sent again from the first on, and the books begin anew there"
_VANISHED = "no file of the log holds these any more, and whether the upstream had them is not known"
_TOO_OLD = "older than time_to_live_s when their turn came"


class Unsaved(NamedTuple):
    """What has to be stored in one transaction."""

    accounts: dict[str, Account]
    ahead: dict[str, Ahead]
    lost: list[Loss]


class Cursors:
    """The cursors of all upstreams, those that are configured and those that once were."""

    def __init__(
        self,
        upstreams: Collection[str],
        known: Mapping[str, Account],
        missing: Missing,
        oldest: int,
        now_ns: int,
        ahead: Mapping[str, Ahead] | None = None,
    ) -> None:
        """Begin with what is on disk.

        Args:
            upstreams: those that are configured; one that is not known yet begins at the oldest event.
            known: what is on disk.
            missing: numbers without events, as the ledger knows them.
            oldest: where the oldest segment begins.
            now_ns: wall clock.
            ahead: what is on disk of what is done ahead of cursors.
        """
        self.upstreams = frozenset(upstreams)
        self.missing = missing
        """To be replaced when more becomes known, and before a reader can step over it."""
        new = {name: Account(oldest - 1, oldest - 1) for name in upstreams if name not in known}
        self.accounts = {**known, **new}
        """By upstream; to be looked at only."""
        self.ahead = {name: each for name, each in (ahead or {}).items() if name in known}
        """By upstream, what is done ahead of its cursor, if there ever was anything; to be looked at only."""
        self.on_moved: Callable[[], None] = _nothing
        """Called when a cursor, a span or a lane has moved."""
        self.moved = new
        """Those that are not on disk yet."""
        self._ahead_moved: dict[str, Ahead] = {}
        self._lost: dict[tuple[str | None, str, str, int], Loss] = {}
        self._rewound: dict[str | None, int] = {}
        """How often the books of an upstream were begun anew: rows of the ledger do not grow together over that."""
        for name, account in known.items():
            if account.seq < oldest - 1:
                self._lose_vanished(name, oldest - 1, now_ns)

    def seq(self, upstream: str) -> int:
        """The last sequence number an upstream is done with; 0 before its first."""
        account = self.accounts.get(upstream)
        return 0 if account is None else account.seq

    def pending(self, upstream: str, head: int) -> int:
        """How many events up to `head` wait for an upstream, as far as it is known which numbers have one."""
        gone = *self.missing.gaps, *self.missing.damaged
        return pending_after(self.seq(upstream), head, self.ahead.get(upstream, NOTHING), gone)

    def advance(
        self,
        upstream: str,
        seq: int,
        now_ns: int = 0,
        *,
        forwarded: int = 0,
        filtered: int = 0,
        quarantined: int = 0,
        expired: int = 0,
        taken: int = 0,
    ) -> None:
        """Move a cursor on and count what became of the events it passes; nothing happens if it is there or beyond.

        Args:
            upstream: its name.
            seq: the last event it is done with.
            now_ns: wall clock, for the ledger.
            forwarded: how many of the events it has taken.
            filtered: how many of them are not for it.
            quarantined: how many of them it can never take.
            expired: how many of them were too old.
            taken: how many of them lanes are done with.
        """
        progress = self.progress(upstream)
        if seq > progress.account.seq:
            counts = {"filtered": filtered, "quarantined": quarantined, "expired": expired, "taken": taken}
            self._go_on(upstream, progress.advanced(seq, self.missing, forwarded=forwarded, **counts), now_ns)

    # --- ahead of the cursor ---

    def progress(self, upstream: str) -> Progress:
        """The cursor with what is ahead of it."""
        return Progress(self.accounts.get(upstream) or Account(0, 0), self.ahead.get(upstream, NOTHING))

    def live_seq(self, upstream: str) -> int:
        """The last number an upstream is done with live: of its last span, or its cursor if it has none."""
        spans = self.ahead.get(upstream, NOTHING).spans
        return spans[-1].account.seq if spans else self.seq(upstream)

    def lane_seq(self, upstream: str, lane: int) -> int:
        """The last number a lane of an upstream is done with."""
        return max(self.seq(upstream), self.ahead[upstream].lanes[lane])

    def begin_span(self, upstream: str, head: int) -> bool:
        """Send live what comes after `head`; False: there are too many spans, and nothing has changed."""
        progress = self.progress(upstream)
        if len(progress.ahead.spans) >= SPANS_MAX or head <= progress.account.seq:
            return False
        self._go_on(upstream, progress.begun(head))
        return True

    def reach(self, upstream: str, seq: int) -> None:
        """No event is left between the cursor and `seq`, where the first span begins: take that over."""
        progress = self.progress(upstream)
        if progress.ahead.spans and progress.ahead.spans[0].account.started == seq:
            self.advance(upstream, seq)

    def advance_live(self, upstream: str, seq: int, now_ns: int, **counts: int) -> None:
        """As `advance`, for what is done live: the last span moves, or the cursor if there is none."""
        progress = self.progress(upstream)
        if not progress.ahead.spans:
            self.advance(upstream, seq, now_ns, **counts)
        elif seq > progress.ahead.spans[-1].account.seq:
            self._go_on(upstream, progress.live(seq, self.missing, **counts), now_ns)

    def set_lanes(self, upstream: str, terms: str, count: int) -> None:
        """Have so many lanes, which begin at the cursor unless they are those that there are (see `Ahead.terms`)."""
        self._go_on(upstream, self.progress(upstream).with_lanes(terms, count))

    def advance_lane(
        self, upstream: str, lane: int, seq: int, *, forwarded: int = 0, quarantined: int = 0, expired: int = 0
    ) -> None:
        """Move a lane on and count what became of its events; nothing happens if it is there or beyond."""
        if seq > self.lane_seq(upstream, lane):
            progress = self.progress(upstream)
            counts = {"quarantined": quarantined, "expired": expired}
            self._go_on(upstream, progress.in_lane(lane, seq, forwarded=forwarded, **counts))

    def _go_on(self, upstream: str, progress: Progress, now_ns: int = 0) -> None:
        account, ahead, expired = progress
        if account != (before := self.accounts.get(upstream)):
            self.accounts[upstream] = self.moved[upstream] = account
        if ahead != self.ahead.get(upstream, NOTHING):
            self.ahead[upstream] = self._ahead_moved[upstream] = ahead
        if expired:
            first, last = 1 + (before.seq if before else 0), max(account.seq, self.live_seq(upstream))
            self._book(Loss(now_ns, upstream, first, last, expired, EXPIRED, _TOO_OLD, now_ns))
        self.on_moved()

    # --- what retention needs ---

    def taken_by_all(self, head: int) -> int:
        """The last number that every configured upstream has taken; `head` if there is no upstream."""
        return min((self.seq(name) for name in self.upstreams), default=head)

    def behind(self, seq: int) -> list[str]:
        """Every upstream whose cursor is before `seq`, also those that are configured no more."""
        return [name for name, account in self.accounts.items() if account.seq < seq]

    def configure(self, upstreams: Collection[str]) -> None:
        """From now on these hold events back from retention, and no others; what is known of the others stays."""
        self.upstreams = frozenset(upstreams)

    def begin(self, upstream: str, seq: int) -> None:
        """Begin the books of an upstream that is not known yet, after `seq`."""
        self.accounts[upstream] = self.moved[upstream] = Account(seq, seq)

    def rewind(self, upstream: str, seq: int, now_ns: int) -> None:
        """Move a cursor back to `seq` and begin its books anew there; so do its lanes, and its spans are forgotten."""
        before, ahead = self.accounts[upstream].seq, self.ahead.get(upstream, NOTHING)
        anew = Ahead(terms=ahead.terms, lanes=(seq,) * len(ahead.lanes))
        self._go_on(upstream, Progress(Account(seq, seq), anew))
        self._book(Loss(now_ns, upstream, seq + 1, before, 0, losses.REWOUND, _SENT_AGAIN, now_ns))

    def skip(self, upstream: str, held: Sequence[Span], last_seq: int, now_ns: int) -> int:
        """Move a cursor on to `last_seq` and book what it passes, of which `held` has events; returns how many."""
        return self._drop(upstream, held, last_seq, losses.SKIPPED, _SOUGHT, now_ns)

    def drop(self, held: Sequence[Span], last_seq: int, cause: str, now_ns: int) -> dict[str, int]:
        """Move every cursor that is before `last_seq` there, and book what is dropped for its upstream.

        Args:
            held: the numbers up to `last_seq` that have an event.
            last_seq: the last number that will be gone.
            cause: `retention.DROPPED` or `retention.EXPIRED`.
            now_ns: wall clock.

        Returns:
            How many events are dropped, by upstream.
        """
        dropped = {}
        for name in self.behind(last_seq):
            detail = "retention" if name in self.upstreams else "retention; the upstream was not configured"
            events = self._drop(name, held, last_seq, cause, detail, now_ns)
            if events:
                dropped[name] = events
        return dropped

    def book(self, row: Loss) -> None:
        """Have a row of the ledger stored; rows of one upstream, cause and detail become one until then."""
        self._book(row)

    def _drop(self, name: str, held: Sequence[Span], last_seq: int, cause: str, detail: str, now_ns: int) -> int:
        first = self.seq(name) + 1
        progress, events = self.progress(name).given_up(last_seq, self.missing, partial(count_in, held), "dropped")
        self._go_on(name, progress, now_ns)
        if events:
            self._book(Loss(now_ns, name, first, last_seq, events, cause, detail, now_ns))
        return events

    def unbooked_from(self, seq: int) -> int:
        """`seq`, or the first number before it of what a configured upstream misses without the ledger knowing."""
        return min([seq, *(row.first_seq for row in self._lost.values() if row.upstream in self.upstreams)])

    # --- what is not on disk ---

    @property
    def lost(self) -> list[Loss]:
        """Rows of the ledger that are not on disk yet."""
        return list(self._lost.values())

    @property
    def unsaved(self) -> bool:
        """Whether anything has to be stored."""
        return bool(self.moved or self._ahead_moved or self._lost)

    def take_unsaved(self) -> Unsaved:
        """What has to be stored; it counts as stored from now on."""
        unsaved = Unsaved(self.moved, self._ahead_moved, self.lost)
        self.moved, self._ahead_moved, self._lost = {}, {}, {}
        return unsaved

    def put_back(self, unsaved: Unsaved) -> None:
        """What `take_unsaved` gave could not be stored."""
        self.moved = unsaved.accounts | self.moved
        self._ahead_moved = unsaved.ahead | self._ahead_moved
        newer, self._lost = self.lost, {}
        for row in (*unsaved.lost, *newer):
            self._book(row)

    def _book(self, row: Loss) -> None:
        if row.cause == losses.REWOUND:
            self._rewound[row.upstream] = self._rewound.get(row.upstream, 0) + 1
        key = row.upstream, row.cause, row.detail, self._rewound.get(row.upstream, 0)
        old = self._lost.get(key)
        self._lost[key] = row if old is None else losses.merged(old, row)

    def _lose_vanished(self, name: str, last_seq: int, now_ns: int) -> None:
        """Events are gone that an upstream may have needed, and no transaction has said so."""
        known = (*self.missing.gaps, *self.missing.damaged)

        def count(first: int, last: int) -> int:
            return _count(losses.without([Span(first, last)], known))

        first = self.seq(name) + 1
        progress, events = self.progress(name).given_up(last_seq, self.missing, count, "lost")
        self._go_on(name, progress, now_ns)
        if events:
            self._book(Loss(now_ns, name, first, last_seq, events, losses.DAMAGED, _VANISHED, now_ns))


def _nothing() -> None:
    """Nobody has asked to be called."""


def _count(spans: Iterable[Span]) -> int:
    return sum(span.last - span.first + 1 for span in spans)
