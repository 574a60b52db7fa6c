"""Which events an upstream wants, and which of those it is not sent. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.event import QUARANTINED
from gateway.topics import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.event import Event

_TOPICS_CACHED_MAX = 10_000
"""Topics of which the verdict is remembered; beyond it all are forgotten at once, which costs little and is bounded."""


class Selection:
    """The events that match one of `topics` and that did not come from the upstream `name` itself."""

    def __init__(self, name: str, topics: Sequence[str]) -> None:
        self._name = name
        self._topics = tuple(topics)
        self._verdicts: dict[str, bool] = {}

    def of(self, events: Iterable[Event]) -> list[Event]:
        """The wanted ones, in order, without those that are quarantined."""
        name, verdicts, judge = self._name, self._verdicts, self._judge
        return [
            event
            for event in events
            if event.origin != name
            and event.verdict != QUARANTINED
            and (verdict if (verdict := verdicts.get(event.topic)) is not None else judge(event.topic))
        ]

    def quarantined(self, events: Iterable[Event]) -> list[int]:
        """Seqs of those that would be wanted and are quarantined, in order."""
        held = [event for event in events if event.verdict == QUARANTINED and event.origin != self._name]
        return [event.seq for event in held if self._judge(event.topic)]

    def _judge(self, topic: str) -> bool:
        if len(self._verdicts) >= _TOPICS_CACHED_MAX:
            self._verdicts.clear()
        wanted = any(matches(topic_filter, topic) for topic_filter in self._topics)
        self._verdicts[topic] = wanted
        return wanted
