"""What is under way on one connection: which events were sent, and what was said to each. Pure.

A packet id is the event's position modulo 65,535, plus 1. No id is used again before it was answered, because no more
than 65,535 positions lie between the first event that is not settled and the last one sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import Refused, Unreachable
from gateway.mqtt_reasons import Poison
from gateway.upstreams.mqtt_session import INFLIGHT_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.errors import DeliveryError
    from gateway.event import Event


class Flight:
    """Events sent in order and answered in any order, until one is turned away; then this one ends and is concluded."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        """What was given, from position `_first` on."""
        self._first = 0
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

    def give(self, events: Sequence[Event]) -> None:
        """Line up `events` to be sent; what was settled is forgotten."""
        if not self._poison:
            del self._events[: self._settled - self._first]
            self._first = self._settled
        self._events += events

    def next(self, inflight_max: int) -> tuple[int, Sequence[Event]]:
        """The packet id of the next event to be sent, and the events, beginning with it, that may be sent now.

        Their packet ids follow on each other, and 1 follows on 65,535.
        """
        room = min(inflight_max - self.in_flight, INFLIGHT_MAX - (self._sent - self._settled))
        at = self._sent - self._first
        return self._sent % INFLIGHT_MAX + 1, self._events[at : at + room] if room > 0 else ()

    def sent(self, count: int) -> None:
        """So many more events are on their way."""
        self._sent += count

    def is_sent(self) -> bool:
        """Whether everything given is on its way or answered."""
        return self._sent == self._first + len(self._events)

    def is_under_way(self) -> bool:
        """Whether everything given is on its way, and nothing was turned away."""
        return self.is_sent() and not self.is_stopped()

    def is_stopped(self) -> bool:
        """Whether an event was turned away: none is sent after that."""
        return bool(self._poison or self._troubles)

    def due(self) -> tuple[int, int]:
        """How many packet ids precede the next one to be answered in order, and how many follow on it, itself included.

        The second is 0 if answers have come out of order; ids that begin anew at 1 are not counted.
        """
        before = self._settled % INFLIGHT_MAX
        if self._early or self._troubles:
            return before, 0
        return before, min(self._sent - self._settled, INFLIGHT_MAX - before)

    def taken_in_order(self, count: int) -> None:
        """The server has the first `count` of those that `due` speaks of."""
        self._settled += count

    def taken(self, packet_id: int) -> None:
        """The server has the event.

        Raises:
            ValueError: nothing is in flight under this id.
        """
        position = self._position(packet_id)
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
        position = self._position(packet_id)
        if isinstance(why, Poison):
            self.taken(packet_id)
            self._poison[position] = why.reason
        else:
            self._check_in_flight(position)
            self._troubles[position] = why

    def refuse_only(self, poison: Poison) -> bool:
        """If exactly one event is in flight it is meant, and refused; whether that was so."""
        if self.in_flight != 1:
            return False
        known = self._early | self._troubles.keys()
        position = next(at for at in range(self._settled, self._sent) if at not in known)
        self.refused(position % INFLIGHT_MAX + 1, poison)
        return True

    def is_over(self) -> bool:
        """Whether nothing more will be sent and everything sent is answered."""
        return (self.is_sent() or self.is_stopped()) and self.in_flight == 0

    def conclude(self, end: DeliveryError | None) -> None:
        """Say how it went; `end` is why the connection is gone, if it is.

        Raises:
            Refused: poison among the leading events, whatever happened after them.
            DeliveryError: the first event that was turned away, or `end`.
        """
        self._concluded = True
        reasons = {self._events[at - self._first].seq: why for at, why in self._poison.items() if at < self._settled}
        if reasons:
            raise Refused(reasons)
        if self._troubles:
            raise self._troubles[min(self._troubles)]
        if self._settled < self._first + len(self._events):
            raise end or Unreachable("given up")

    def _position(self, packet_id: int) -> int:
        """The first position, from `_settled` on, that has this id."""
        if packet_id == 0:
            raise ValueError("an answer to packet 0, which does not exist")
        return self._settled + (packet_id - 1 - self._settled) % INFLIGHT_MAX

    def _check_in_flight(self, position: int) -> None:
        if position >= self._sent or position in self._early or position in self._troubles:
            raise ValueError(f"an answer to packet {position % INFLIGHT_MAX + 1}, which is not in flight")
