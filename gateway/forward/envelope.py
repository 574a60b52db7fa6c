"""The raw envelope: topic and payload as they came, and beside them what names an event. Pure.

An event is sent with `id`, `time`, `source`, `device`, `clockquality`, `topic` if it is not the one it is sent to, the
marks of its connection, `verdict` if it violates its contract, and the user properties it came with. The time is what
`TrueTime` says when the event is sent, asked once for each try: an event that is sent again after the clock was set may
carry a better time under the same id.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

from gateway.event import FLAGGED
from gateway.forward.topic_map import AS_IT_CAME
from gateway.properties import beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.event import Event
    from gateway.forward.topic_map import TopicMap
    from gateway.properties import Beside

    Marks = Sequence[tuple[str, str]]
    """What all events of one connection have beside them, e.g. `("replay", "<id>")`."""


class TrueTime(Protocol):
    """Knows when an event really came, and how sure that is."""

    def of(self, event: Event) -> tuple[int, str]:
        """Nanoseconds since 1970 (UTC) to be sent, not negative, and the quality of the clock behind them.

        The quality is `synced`: the clock was set when the event came; `corrected`: it was set later, and the time was
        worked out from that; `unsynced`: it has never been set since, and the time may be wrong by years.
        Called in the loop for every event that is sent; it must not wait for anything.
        """
        ...


class ReceiveTime:
    """Takes every clock for set: the time is that of receipt."""

    def of(self, event: Event) -> tuple[int, str]:
        """The time of receipt, as `synced`."""
        return event.received_ns, "synced"


RECEIVE_TIME = ReceiveTime()

RESERVED = frozenset(("id", "time", "source", "device", "clockquality", "topic", "verdict", "replay", "historical"))
"""Names that the gateway gives a meaning. What an event came with under one of them is left out, so that no device can
say of its events what only the gateway may say."""
NOTHING = beside(b"")
"""What most events come with."""


@lru_cache(maxsize=64)
def second_text(seconds: int) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, without the zone, e.g. `2026-11-23T04:05:16`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def time_text(wall_ns: int) -> str:
    """RFC 3339 in UTC with microseconds, e.g. `2026-11-23T04:05:16.000001Z`; the rest is cut off, not rounded."""
    seconds, rest_ns = divmod(wall_ns, 1_000_000_000)
    return f"{second_text(seconds)}.{rest_ns // 1000:06d}Z"


class RawEnvelope:
    """Names events for the world outside this gateway.

    Args:
        gateway_id: id of this gateway, names the source of the event.
        log_id: id of the event log; with `seq` it names an event once and for all, on every try the same.
        true_time: tells the time of an event.
        marks: names and values that go beside every event.
        topics: where events go.
    """

    def __init__(
        self,
        *,
        gateway_id: str,
        log_id: str,
        true_time: TrueTime = RECEIVE_TIME,
        marks: Marks = (),
        topics: TopicMap = AS_IT_CAME,
    ) -> None:
        self.source = f"urn:gateway:{gateway_id}"
        self.id_prefix = f"{log_id}."
        """An event's id is this and its seq."""
        self.true_time = true_time
        self.marks = tuple(marks)
        self.topics = topics
        self._taken = RESERVED.union(name for name, _ in marks)

    def properties(self, event: Event) -> list[tuple[str, str]]:
        """User properties in the order they are sent: what names `event`, the marks, and those it came with."""
        true_ns, quality = self.true_time.of(event)
        return [
            ("id", f"{self.id_prefix}{event.seq}"),
            ("time", time_text(true_ns)),
            *self.after_time(event.topic, event.client_id, quality),
            *self.of_event(event, NOTHING if event.properties is None else beside(event.properties)),
        ]

    def after_time(self, topic: str, client_id: str, quality: str) -> list[tuple[str, str]]:
        """Those that all events of a device with a topic have in common; the topic if it is not what it is sent to."""
        mapped = [("topic", topic)] if self.topics.of(topic) != topic else []
        return [("source", self.source), ("device", client_id), ("clockquality", quality), *mapped, *self.marks]

    def of_event(self, event: Event, came_with: Beside) -> list[tuple[str, str]]:
        """Those that only this event has: how it was judged, and what it came with under names that are not ours."""
        own = [("verdict", "flagged")] if event.verdict == FLAGGED else []
        return own + [pair for pair in came_with.user if pair[0] not in self._taken]
