"""How many events go at a time after trouble. Pure.

After any trouble the next event goes alone: so a try that fails again repeats no more than that one. If connections end
one after the other before more than a few events were taken, one event may be the cause, and its refusal lost: a server
that refuses an event and closes takes its last answers with it, unless nothing else was on its way. Then every event
that was on its way goes alone, and what the server says of each is heard. If a connection ends all the same without a
word on the event that was alone, it was no refusal, and events go as before.
"""

from __future__ import annotations

_FEW = 16
"""With fewer events taken, a connection has come to nothing; a bad link brings more before it breaks."""
_SHORT_IN_A_ROW = 2
_SUSPICIOUS = 3
"""Connections that end with the same event alone on its way, before it is named."""


class Caution:
    """Of one upstream."""

    def __init__(self) -> None:
        self._next_alone = False
        self._alone_to = 0
        self._short = 0
        """Connections in a row that have come to nothing."""
        self._has_refused = False
        """Whether this connection has refused an event: then its end says nothing of the event after that."""
        self._suspect = self._times = 0
        """The event that was alone on its way when a connection ended last, and how often that was so in a row."""

    def goes_alone(self, seq: int) -> bool:
        """Whether an event goes by itself, and is answered before another follows."""
        return self._next_alone or seq <= self._alone_to

    def trouble(self) -> None:
        """Something was in the way: the next event goes alone."""
        self._next_alone = True
        self._has_refused = False

    def refused(self) -> None:
        """An event was refused, and that was heard."""
        self._has_refused = True

    def taken(self) -> None:
        """The upstream has taken an event."""
        self._next_alone = False

    def ended(self, first_seq: int, last_seq: int, taken: int) -> None:
        """A connection that had `taken` so many events has ended, with `first_seq` to `last_seq` on their way."""
        self._short = self._short + 1 if taken < _FEW else 0
        if first_seq == last_seq:
            if not self._has_refused:
                self._alone_to = 0
        elif self._short >= _SHORT_IN_A_ROW:
            self._alone_to = last_seq
        is_same = first_seq == last_seq == self._suspect
        self._suspect = first_seq if first_seq == last_seq else 0
        self._times = self._times + 1 if is_same else 1

    @property
    def suspicion(self) -> str:
        """What an operator should know of the event that nothing comes after; empty if nothing is suspected."""
        if not self._suspect or self._times < _SUSPICIOUS:
            return ""
        return (
            f"; event {self._suspect} was alone on its way each of the last {self._times} times: does the server take"
            " it? (gateway events shows it; packet_bytes_max keeps what is too large for the server in quarantine)"
        )
