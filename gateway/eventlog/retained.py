"""The retained message of a topic (MQTT 3.1.1 section 3.3.1.3). Pure data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.event import Event


class Retained(NamedTuple):
    """The last event that was published to a topic with the RETAIN flag."""

    topic: str
    seq: int
    qos: int
    payload: bytes
    """Empty: the device has withdrawn the retained message."""


class RetainedMessages:
    """Retained messages by topic, what of them is not on disk yet, and what has still to be looked up in the log."""

    def __init__(self, known: Iterable[Retained], seq: int) -> None:
        self.current = {message.topic: message for message in known}
        """As of the head; whoever has this dict sees every change."""
        self.seq = seq
        """They are on disk as of this event."""
        self.changed: dict[str, Retained] = {}
        """Since then."""
        self.behind: tuple[int, int] | None = None
        """Events after the first number up to the second have still to be looked through, beside new ones."""
        self._newer: set[str] = set()

    def note(self, event: Event) -> None:
        """A new event; it counts whatever an older one says."""
        if self.behind is not None:
            self._newer.add(event.topic)
        self._take(event)

    def catch_up(self, events: Sequence[Event]) -> None:
        """The next events of those that are `behind`, in order; none if there are no more."""
        if self.behind is None:
            return
        for event in events:
            if event.retain and event.topic not in self._newer:
                self._take(event)
        if events:
            self.behind = (events[-1].seq, self.behind[1])
        else:
            self.behind = None
            self._newer.clear()

    def _take(self, event: Event) -> None:
        message = Retained(event.topic, event.seq, event.qos, event.payload)
        self.changed[event.topic] = message
        if message.payload:
            self.current[event.topic] = message
        else:
            self.current.pop(event.topic, None)
