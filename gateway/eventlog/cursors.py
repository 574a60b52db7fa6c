"""How far each upstream is and what became of the events up to there, with what of it is not on disk yet. Pure.

A cursor and its counters move together and are stored together, so after a crash they go back together. What retention
drops moves them too, and its row of the ledger is stored in the same transaction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.eventlog import losses
from gateway.eventlog.books import Account
from gateway.eventlog.losses import Loss, Span, count_in

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from gateway.eventlog.losses import Missing

_VANISHED = "no file of the log holds these any more, and whether the upstream had them is not known"


class Unsaved(NamedTuple):
    """What has to be stored in one transaction."""

    accounts: dict[str, Account]
    lost: list[Loss]


class Cursors:
    """The cursors of all upstreams, those that are configured and those that once were."""

    def __init__(
        self, upstreams: Collection[str], known: Mapping[str, Account], missing: Missing, oldest: int, now_ns: int
    ) -> None:
        """Begin with what is on disk.

        Args:
            upstreams: those that are configured; one that is not known yet begins at the oldest event.
            known: what is on disk.
            missing: numbers without events, as the ledger knows them.
            oldest: where the oldest segment begins.
            now_ns: wall clock.
        """
        self.upstreams = frozenset(upstreams)
        self.missing = missing
        """To be replaced when more becomes known, and before a reader can step over it."""
        new = {name: Account(oldest - 1, oldest - 1) for name in upstreams if name not in known}
        self.accounts = {**known, **new}
        """By upstream; to be looked at only."""
        self.moved = new
        """Those that are not on disk yet."""
        self._lost: dict[tuple[str | None, str, str], Loss] = {}
        for name, account in known.items():
            if account.seq < oldest - 1:
                self._lose_vanished(name, account, oldest - 1, now_ns)

    def seq(self, upstream: str) -> int:
        """The last sequence number an upstream is done with; 0 before its first."""
        account = self.accounts.get(upstream)
        return 0 if account is None else account.seq

    def advance(self, upstream: str, seq: int, *, forwarded: int = 0, filtered: int = 0, quarantined: int = 0) -> bool:
        """Move a cursor on and count what became of the events it passes; whether it was before `seq`."""
        account = self.accounts.get(upstream) or Account(0, 0)
        if seq <= account.seq:
            return False
        moved = account.moved(seq, self.missing, forwarded=forwarded, filtered=filtered, quarantined=quarantined)
        self.accounts[upstream] = self.moved[upstream] = moved
        return True

    def taken_by_all(self, head: int) -> int:
        """The last number that every configured upstream has taken; `head` if there is no upstream."""
        return min((self.seq(name) for name in self.upstreams), default=head)

    def behind(self, seq: int) -> list[str]:
        """Every upstream whose cursor is before `seq`, also those that are configured no more."""
        return [name for name, account in self.accounts.items() if account.seq < seq]

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
            account = self.accounts[name]
            events = count_in(held, account.seq + 1, last_seq)
            self.accounts[name] = self.moved[name] = account.moved(last_seq, self.missing, dropped=events)
            if events:
                dropped[name] = events
                detail = "retention" if name in self.upstreams else "retention; the upstream was not configured"
                self._book(Loss(now_ns, name, account.seq + 1, last_seq, events, cause, detail, now_ns))
        return dropped

    def refuse(self, qos: int, head: int, now_ns: int) -> None:
        """Book an event that was refused because the log was full."""
        self._book(Loss(now_ns, None, head, head, 1, losses.REFUSED, f"QoS {qos}", now_ns))

    def unbooked_from(self, seq: int) -> int:
        """`seq`, or the first number before it of what a configured upstream misses without the ledger knowing."""
        return min([seq, *(row.first_seq for row in self._lost.values() if row.upstream in self.upstreams)])

    @property
    def lost(self) -> list[Loss]:
        """Rows of the ledger that are not on disk yet."""
        return list(self._lost.values())

    @property
    def unsaved(self) -> bool:
        """Whether anything has to be stored."""
        return bool(self.moved or self._lost)

    def take_unsaved(self) -> Unsaved:
        """What has to be stored; it counts as stored from now on."""
        unsaved = Unsaved(self.moved, self.lost)
        self.moved, self._lost = {}, {}
        return unsaved

    def put_back(self, unsaved: Unsaved) -> None:
        """What `take_unsaved` gave could not be stored."""
        self.moved = unsaved.accounts | self.moved
        newer, self._lost = self.lost, {}
        for row in (*unsaved.lost, *newer):
            self._book(row)

    def _book(self, row: Loss) -> None:
        key = row.upstream, row.cause, row.detail
        old = self._lost.get(key)
        self._lost[key] = row if old is None else losses.merged(old, row)

    def _lose_vanished(self, name: str, account: Account, last_seq: int, now_ns: int) -> None:
        """Events are gone that an upstream may have needed, and no transaction has said so."""
        span = Span(account.seq + 1, last_seq)
        known = (*self.missing.gaps, *self.missing.damaged)
        events = _count(losses.without([span], known))
        self.accounts[name] = self.moved[name] = account.moved(last_seq, self.missing, lost=events)
        if events:
            self._book(Loss(now_ns, name, *span, events, losses.DAMAGED, _VANISHED, now_ns))


def _count(spans: Iterable[Span]) -> int:
    return sum(span.last - span.first + 1 for span in spans)
