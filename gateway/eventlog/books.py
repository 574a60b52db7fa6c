"""The books of an upstream: what became of every event since it began. Pure.

    received = forwarded + pending + quarantined + filtered + dropped

Each comes from a source of its own, so that a difference means something: received from the numbers given out, less
those the ledger says never stood for an event; pending from what the log holds; what the cursor has passed from
counters that are stored with the cursor; and what was dropped is held against the ledger once more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.eventlog.losses import count_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

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
) -> list[Line]:
    """Add up the books of all upstreams, those first that are configured.

    Args:
        accounts: as stored, by upstream.
        head: the last number given out.
        held: the numbers up to `head` that the log holds an event of, from the foremost cursor on.
        missing: what the ledger knows of numbers without events.
        booked: how many events rows of the ledger say retention has dropped, by upstream.
        configured: names of the upstreams in the configuration.
    """
    found = []
    for name, account in accounts.items():
        received = head - account.started - count_in(missing.gaps, account.started + 1, head)
        pending = count_in(held, account.seq + 1, head)
        lost = account.lost + count_in(missing.damaged, account.seq + 1, head)
        dropped = account.dropped + lost
        told = account.forwarded + pending + account.quarantined + account.filtered + dropped
        line = Line(
            name,
            name in configured,
            account.started,
            account.seq,
            received,
            account.forwarded,
            pending,
            account.quarantined,
            account.filtered,
            dropped,
            lost,
            received - told,
            account.dropped - booked.get(name, 0),
        )
        found.append(line)
    return sorted(found, key=lambda line: (not line.configured, line.upstream))
