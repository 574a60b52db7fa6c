"""Reads the events of some topics only, and builds no other: so few events are found quickly in a long log."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from gateway.event import Event
    from gateway.eventlog.reading import Reading
    from gateway.eventlog.recent import Recent

_LOOK_EVENTS = 5000
"""So many of the newest events are looked at in one turn of the loop."""


class Found(NamedTuple):
    """A step through the log."""

    events: Sequence[Event]
    """Those that match, in order."""
    seq: int
    """Up to here every event was looked at."""


class Matching:
    """Of one log; called in the event loop.

    Args:
        recent: the newest events.
        explain: books numbers without events up to a head.
        reading: of the log.
    """

    def __init__(self, recent: Recent, explain: Callable[[int], Awaitable[None]], reading: Reading) -> None:
        self._recent = recent
        self._explain = explain
        self._reading = reading

    async def read(self, after_seq: int, last_seq: int, is_wanted: Callable[[str], bool], events_max: int) -> Found:
        """The next events after `after_seq` up to `last_seq` whose topic is wanted, as far as one step goes.

        Args:
            after_seq: where to begin.
            last_seq: where to end, not beyond the head.
            is_wanted: asked for topics, about once each for a segment; the same object whenever the same is wanted.
            events_max: the most events.

        Raises:
            LogError: the disk refused.
        """
        recent = self._recent.read(after_seq, _LOOK_EVENTS)
        if recent is not None:
            return _matching(recent, last_seq, is_wanted, events_max)
        await self._explain(last_seq)
        return Found(*await self._reading.find(after_seq, last_seq, is_wanted, events_max))


def _matching(events: Sequence[Event], last_seq: int, is_wanted: Callable[[str], bool], events_max: int) -> Found:
    found: list[Event] = []
    for event in events:
        if event.seq > last_seq:
            break
        if is_wanted(event.topic):
            found.append(event)
            if len(found) == events_max:
                return Found(found, event.seq)
    return Found(found, min(last_seq, events[-1].seq if len(events) == _LOOK_EVENTS else last_seq))
