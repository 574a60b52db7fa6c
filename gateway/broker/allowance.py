"""What all local subscribers together may hold back, and what had to be given up because one of them was too slow.

Each subscriber has limits of its own; a hundred slow ones would still fill the memory of a small machine. When all of
them together hold more than the allowance, whoever holds more than an equal share of it loses events; the others do
not notice. So no more than twice the allowance is ever held.
"""

from __future__ import annotations

MESSAGE_OVERHEAD_BYTES = 200
"""What a delivery that waits takes in memory beside its payload, about."""


class Allowance:
    """Shared by all outboxes."""

    __slots__ = (
        "_bytes_max",
        "disconnected",
        "holders",
        "overflowed",
        "owed_bytes",
        "owing",
        "unread",
        "waiting_bytes",
    )

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.waiting_bytes = 0
        """Deliveries queued or in flight, of all subscribers."""
        self.owed_bytes = 0
        """What sockets of subscribers owe, as it was at the last commit."""
        self.owing = 0
        """How many of them owe something."""
        self.holders = 0
        """Subscribers for whom something waits."""
        self.unread = 0
        """QoS 0 deliveries dropped since the start, because a subscriber did not read."""
        self.overflowed = 0
        """QoS 1 and 2 deliveries dropped since the start, because too many waited."""
        self.disconnected = 0
        """Subscribers disconnected since the start for the same reasons."""

    @property
    def dropped(self) -> int:
        """Deliveries given up since the start."""
        return self.unread + self.overflowed

    @property
    def is_exceeded(self) -> bool:
        """Whether all subscribers together hold more than they may."""
        return self.waiting_bytes + self.owed_bytes > self._bytes_max

    def allows(self, held_bytes: int) -> bool:
        """Whether one subscriber may hold so much."""
        return not self.is_exceeded or held_bytes <= self._bytes_max // max(1, self.holders + self.owing)
