"""The books of an upstream: what became of every event since it began. Pure.

    received = forwarded + pending + quarantined + filtered + dropped

Each comes from a source of its own, so that a difference means something: received from the numbers given out, less
those the ledger says never stood for an event; pending from what the log holds; what the cursor has passed, and what
was done ahead of it, from counters that are stored with the cursor; and what was dropped is held against the ledger
once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.eventlog.losses import count_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from gateway.eventlog.ahead import Ahead
    from gateway.eventlog.losses import Missing, Span


class Account(NamedTuple):
    """How far an upstream is, and what became of the events up to there; stored in one row."""

    seq: int
    """The cursor."""
    started: int
    """The books begin after this number."""
    forwarded: int = 0
    filtered: int = 0
    quarantined: int = 0
    dropped: int = 0
    """By retention, before the upstream had them."""
    lost: int = 0
    """To damage, before the upstream had them."""

    def moved(
        self,
        seq: int,
        missing: Missing,
        *,
        forwarded: int = 0,
        filtered: int = 0,
        quarantined: int = 0,
        dropped: int = 0,
        lost: int = 0,
    ) -> Account:
        """The account with its cursor at `seq`, which is beyond where it is.

        Numbers that nobody counted count as lost as far as the ledger says so: no more, so that an event somebody
        forgot makes a difference in the books.
        """
        unseen = seq - self.seq - (forwarded + filtered + quarantined + dropped + lost)
        if unseen > 0:
            unseen -= count_in(missing.gaps, self.seq + 1, seq)
            lost += max(0, min(unseen, count_in(missing.damaged, self.seq + 1, seq)))
        return Account(
            seq,
            self.started,
            self.forwarded + forwarded,
            self.filtered + filtered,
            self.quarantined + quarantined,
            self.dropped + dropped,
            self.lost + lost,
        )


class Line(NamedTuple):
    """The books of one upstream, added up."""

    upstream: str
    configured: bool
    """If not, retention does not wait for it any more."""
    started: int
    cursor: int
    received: int
    forwarded: int
    pending: int
    quarantined: int
    filtered: int
    dropped: int
    lost: int
    """Of `dropped`, those that were lost to damage; retention dropped the others."""
    difference: int
    """Received, less all the others; 0 if the books balance."""
    unbooked: int
    """Dropped by retention, less what the ledger says of it; 0 if the books balance."""

    @property
    def balances(self) -> bool:
        """Whether every event is accounted for."""
        return self.difference == 0 == self.unbooked


def lines(
    accounts: Mapping[str, Account],
    *,
    head: int,
    held: Sequence[Span],
    missing: Missing,
    booked: Mapping[str, int],
    configured: Collection[str],
    ahead: Mapping[str, Ahead] | None = None,
) -> list[Line]:
    """Add up the books of all upstreams, those first that are configured.

    Args:
        accounts: as stored, by upstream.
        head: the last number given out.
        held: the numbers up to `head` that the log holds an event of, from the foremost cursor on.
        missing: what the ledger knows of numbers without events.
        booked: how many events rows of the ledger say retention has dropped, by upstream.
        configured: names of the upstreams in the configuration.
        ahead: what is done ahead of the cursors, by upstream.
    """
    ahead = ahead or {}
    found = [
        _line(name, account, ahead.get(name), head, held, missing, booked.get(name, 0), configured)
        for name, account in accounts.items()
    ]
    return sorted(found, key=lambda line: (not line.configured, line.upstream))


def _line(
    name: str,
    account: Account,
    ahead: Ahead | None,
    head: int,
    held: Sequence[Span],
    missing: Missing,
    booked: int,
    configured: Collection[str],
) -> Line:
    received = head - account.started - count_in(missing.gaps, account.started + 1, head)
    open_ = [(account.seq + 1, head)] if ahead is None else list(ahead.between(account.seq, head))
    pending = sum(count_in(held, first, last) for first, last in open_)
    lost = account.lost + sum(count_in(missing.damaged, first, last) for first, last in open_)
    forwarded, filtered, quarantined, dropped = account[2:6]
    too_old = 0
    if ahead is not None:
        spans = [span.account for span in ahead.spans]
        pending -= ahead.done
        lost += sum(span.lost for span in spans)
        forwarded += ahead.forwarded + sum(span.forwarded for span in spans)
        filtered += sum(span.filtered for span in spans)
        quarantined += ahead.quarantined + sum(span.quarantined for span in spans)
        dropped += sum(span.dropped for span in spans)
        too_old = ahead.expired  # by lanes: in the ledger once the cursor has passed them
    told = forwarded + pending + quarantined + filtered + dropped + too_old + lost
    return Line(
        upstream=name,
        configured=name in configured,
        started=account.started,
        cursor=account.seq,
        received=received,
        forwarded=forwarded,
        pending=pending,
        quarantined=quarantined,
        filtered=filtered,
        dropped=dropped + too_old + lost,
        lost=lost,
        difference=received - told,
        unbooked=dropped - booked,
    )
