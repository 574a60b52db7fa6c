"""A batch under way: which of its events were sent, and what was said to each. Pure.

Packet ids are positions in the batch, counted from 1; a batch therefore has at most 65,535 events. No id of an earlier
batch can be in flight, because a batch is over only when everything sent has been answered, or the connection is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import Refused, Unreachable
from gateway.upstreams.mqtt_reasons import Poison

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.errors import DeliveryError
    from gateway.event import Event


class Flight:
    """The events of one batch, sent in order and answered in any order."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._events = events
        self._sent = 0
        self._settled = 0
        """How many leading events are taken or poison."""
        self._early: set[int] = set()
        """Positions beyond `_settled` that are taken or poison."""
        self._poison: dict[int, str] = {}
        self._troubles: dict[int, DeliveryError] = {}
        """Positions of events that were turned away, but not for ever."""
        self._concluded = False

    @property
    def acknowledged(self) -> int:
        """How many leading events were taken; poison counts after `conclude` has named it."""
        if self._poison and not self._concluded:
            return min(self._settled, *self._poison)
        return self._settled

    @property
    def in_flight(self) -> int:
        """How many were sent and not answered."""
        return self._sent - self._settled - len(self._early) - len(self._troubles)

    def room(self, inflight_max: int) -> int:
        """How many events may be sent now."""
        return min(inflight_max - self.in_flight, len(self._events) - self._sent)

    def is_stopped(self) -> bool:
        """Whether an event was turned away: none is sent after that."""
        return bool(self._poison or self._troubles)

    def next(self) -> tuple[int, Event]:
        """The next event to be sent, and its packet id."""
        event = self._events[self._sent]
        self._sent += 1
        return self._sent, event

    def taken(self, packet_id: int) -> None:
        """The server has the event.

        Raises:
            ValueError: nothing is in flight under this id.
        """
        position = packet_id - 1
        if position != self._settled or position >= self._sent or self._troubles:
            self._check_in_flight(position)
            self._early.add(position)
        else:
            self._settled += 1
        while self._early and self._settled in self._early:
            self._early.remove(self._settled)
            self._settled += 1

    def refused(self, packet_id: int, why: DeliveryError | Poison) -> None:
        """The event was turned away.

        Raises:
            ValueError: nothing is in flight under this id.
        """
        if isinstance(why, Poison):
            self.taken(packet_id)
            self._poison[packet_id - 1] = why.reason
        else:
            self._check_in_flight(packet_id - 1)
            self._troubles[packet_id - 1] = why

    def refuse_only(self, poison: Poison) -> bool:
        """If exactly one event is in flight it is meant, and refused; whether that was so."""
        if self.in_flight != 1:
            return False
        known = self._early | self._troubles.keys()
        position = next(at for at in range(self._settled, self._sent) if at not in known)
        self.refused(position + 1, poison)
        return True

    def is_over(self) -> bool:
        """Whether nothing more will be sent and everything sent is answered."""
        return (self._sent == len(self._events) or self.is_stopped()) and self.in_flight == 0

    def conclude(self, end: DeliveryError | None) -> None:
        """Say how it went; `end` is why the connection is gone, if it is.

        Raises:
            Refused: poison among the leading events, whatever happened after them.
            DeliveryError: the first event that was turned away, or `end`.
        """
        self._concluded = True
        reasons = {self._events[at].seq: why for at, why in self._poison.items() if at < self._settled}
        if reasons:
            raise Refused(reasons)
        if self._troubles:
            raise self._troubles[min(self._troubles)]
        if self._settled < len(self._events):
            raise end or Unreachable("the batch was given up")

    def _check_in_flight(self, position: int) -> None:
        if not self._settled <= position < self._sent or position in self._early or position in self._troubles:
            raise ValueError(f"an answer to packet {position + 1}, which is not in flight")
