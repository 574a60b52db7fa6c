"""Which events an upstream wants, which of those it is not sent, and which go ahead of others. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.event import QUARANTINED
from gateway.topics import matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gateway.event import Event

_TOPICS_CACHED_MAX = 10_000
"""Topics of which the verdict is remembered; beyond it all are forgotten at once, which costs little and is bounded."""
_NOT_WANTED = -2
_NO_LANE = -1


class Selection:
    """The events that match one of `topics` and that did not come from the upstream `name` itself.

    Args:
        name: of the upstream.
        topics: MQTT topic filters.
        lanes: topic filters of events that go ahead of others; an event is of the first lane that its topic matches.
        lane: choose those of this lane only; None: those of no lane.
    """

    def __init__(self, name: str, topics: Sequence[str], lanes: Sequence[str] = (), *, lane: int | None = None) -> None:
        self._name = name
        self._topics = tuple(topics)
        self._lanes = tuple(lanes)
        self._lane = _NO_LANE if lane is None else lane
        self._verdicts: dict[str, int] = {}

    def of(self, events: Iterable[Event]) -> list[Event]:
        """The wanted ones, in order, without those that are quarantined."""
        name, lane, verdicts, judge = self._name, self._lane, self._verdicts, self._judge
        return [
            event
            for event in events
            if event.origin != name
            and event.verdict != QUARANTINED
            and (verdict if (verdict := verdicts.get(event.topic)) is not None else judge(event.topic)) == lane
        ]

    def wants(self, topic: str) -> bool:
        """Whether events of this topic are wanted, if nothing else speaks against them."""
        return self._judge(topic) == self._lane

    def quarantined(self, events: Iterable[Event]) -> list[int]:
        """Seqs of those that would be wanted and are quarantined, in order; a lane leaves it to others to tell."""
        if self._lane != _NO_LANE:
            return []
        held = [event for event in events if event.verdict == QUARANTINED and event.origin != self._name]
        return [event.seq for event in held if self._judge(event.topic) != _NOT_WANTED]

    def of_lanes(self, events: Iterable[Event]) -> list[int]:
        """Seqs of those that would be wanted and are a lane's, in order."""
        if self._lane != _NO_LANE or not self._lanes:
            return []
        theirs = [event for event in events if event.verdict != QUARANTINED and event.origin != self._name]
        return [event.seq for event in theirs if self._judge(event.topic) > _NO_LANE]

    def _judge(self, topic: str) -> int:
        """The lane of a topic, `_NO_LANE`, or `_NOT_WANTED`."""
        verdict = self._verdicts.get(topic)
        if verdict is None:
            if len(self._verdicts) >= _TOPICS_CACHED_MAX:
                self._verdicts.clear()
            verdict = _NOT_WANTED
            if any(matches(topic_filter, topic) for topic_filter in self._topics):
                lanes = enumerate(self._lanes)
                verdict = next((lane for lane, topic_filter in lanes if matches(topic_filter, topic)), _NO_LANE)
            self._verdicts[topic] = verdict
        return verdict
