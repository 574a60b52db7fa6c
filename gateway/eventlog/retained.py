"""The retained message of a topic (MQTT 3.1.1 section 3.3.1.3). Pure data.

There are limits for all of them together, and one client may take half of each, so that who floods them leaves room for
others. A message beyond a limit is an event like any other, and its topic has no retained message then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.event import QUARANTINED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.event import Event
    from gateway.eventlog.config import LogConfig

CATCH_UP_EVENTS_MAX = 100_000
"""So many events are looked through at start, or between two flushes of cursors."""
MESSAGE_OVERHEAD_BYTES = 400
"""What a retained message takes in memory beside its topic and payload, about."""


class Retained(NamedTuple):
    """The last event that was published to a topic with the RETAIN flag."""

    topic: str
    seq: int
    qos: int
    payload: bytes
    """Empty: the device has withdrawn the retained message."""


class RetainedMessages:
    """Retained messages by topic, what of them is not on disk yet, and what has still to be looked up in the log."""

    def __init__(self, known: Iterable[Retained], seq: int, config: LogConfig) -> None:
        self.current = {message.topic: message for message in known}
        """As of the head; whoever has this dict sees every change."""
        self.seq = seq
        """They are on disk as of this event."""
        self.changed: dict[str, Retained] = {}
        """Since then."""
        self.behind: tuple[int, int] | None = None
        """Events after the first number up to the second have still to be looked through, beside new ones."""
        self._newer: set[str] = set()
        self._most = config.retained_messages_max, config.retained_bytes_max
        self._bytes = sum(map(_cost, self.current.values()))
        self._owners: dict[str, str] = {}
        """By topic the client whose message it is, of those that came since the start."""
        self._shares: dict[str, tuple[int, int]] = {}
        """What each of them takes: messages and bytes."""
        self.refused = 0
        """Messages not retained since the start, because there were too many or they were too large together."""

    def note(self, event: Event) -> None:
        """A new event; it counts whatever an older one says. One that is quarantined counts for nothing."""
        if event.verdict == QUARANTINED:
            return
        if self.behind is not None:
            self._newer.add(event.topic)
        self._take(event)

    def catch_up(self, events: Sequence[Event]) -> None:
        """The next events of those that are `behind`, in order; none if there are no more."""
        if self.behind is None:
            return
        for event in events:
            if event.retain and event.topic not in self._newer and event.verdict != QUARANTINED:
                self._take(event)
        if events:
            self.behind = (events[-1].seq, self.behind[1])
        else:
            self.behind = None
            self._newer.clear()

    def _take(self, event: Event) -> None:
        topic, payload = event.topic, event.payload
        had = topic in self.current
        if had:
            self._drop(topic)
        if payload and not self._has_room(event.client_id, len(topic) + len(payload) + MESSAGE_OVERHEAD_BYTES):
            self.refused += 1
            if not had:  # the way of most events of a flood
                return
            payload = b""
        message = self.changed[topic] = Retained(topic, event.seq, event.qos, payload)
        if payload:
            self.current[topic] = message
            self._bytes += _cost(message)
            self._count(event.client_id, 1, _cost(message))
            self._owners[topic] = event.client_id

    def _drop(self, topic: str) -> None:
        bytes_ = _cost(self.current.pop(topic))
        self._bytes -= bytes_
        owner = self._owners.pop(topic, None)
        if owner is not None:
            self._count(owner, -1, -bytes_)

    def _has_room(self, client_id: str, bytes_: int) -> bool:
        messages_max, bytes_max = self._most
        messages, taken = self._shares.get(client_id, (0, 0))
        return (
            messages < max(1, messages_max // 2)
            and taken + bytes_ <= bytes_max // 2
            and len(self.current) < messages_max
            and self._bytes + bytes_ <= bytes_max
        )

    def _count(self, client_id: str, messages: int, bytes_: int) -> None:
        before = self._shares.pop(client_id, (0, 0))
        if before[0] + messages:
            self._shares[client_id] = before[0] + messages, before[1] + bytes_


def _cost(message: Retained) -> int:
    return len(message.topic) + len(message.payload) + MESSAGE_OVERHEAD_BYTES
