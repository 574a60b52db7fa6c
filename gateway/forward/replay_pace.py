"""When each event of a replay is due. Pure: the time is an argument.

What an upstream was too slow for, or away for, is not caught up in a burst: everything after it moves back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.event import Event
    from gateway.eventlog.replays import Pacing

TOGETHER_S = 0.02
"""Events due within so little time go together: one by one they would cost much more."""
_LATE_MAX_S = 1.0
"""Beyond it what is late stays late."""


class Pace:
    """Plans the events of one replay, in order.

    Args:
        pacing: events a second, or so many times as fast as they came; with neither everything is due at once.
        true_time: of an event, nanoseconds since 1970, and the quality of the clock behind it.
        now_s: when it begins, by a monotonic clock.
    """

    def __init__(self, pacing: Pacing, true_time: Callable[[Event], tuple[int, str]], now_s: float) -> None:
        self._pacing = pacing
        self._true_time = true_time
        self._planned_s = now_s
        self._late_s = 0.0
        self._before: Event | None = None

    def plan(self, events: Sequence[Event]) -> list[float]:
        """When the next events are due if nothing is late; to be called once for each, in order."""
        pacing = self._pacing
        if pacing.rate is None and pacing.speed is None:
            return [self._planned_s] * len(events)
        planned = []
        for event in events:
            if self._before is None:
                pass
            elif pacing.rate is not None:
                self._planned_s += 1 / pacing.rate
            elif pacing.speed is not None:
                self._planned_s += self._between_s(self._before, event) / pacing.speed
            self._before = event
            planned.append(self._planned_s)
        return planned

    def wait_s(self, planned_s: float, now_s: float) -> float:
        """How long until an event is due that was planned for then; 0 if it is."""
        return max(0.0, planned_s + self._late_s - now_s)

    def due(self, planned: list[float], now_s: float) -> int:
        """How many of the events that were planned for then, in order, may go now."""
        if not planned or planned[0] + self._late_s > now_s:
            return 0
        self._late_s += max(0.0, now_s - _LATE_MAX_S - planned[0] - self._late_s)
        until_s = now_s - self._late_s + TOGETHER_S
        return next((at for at, when_s in enumerate(planned) if when_s > until_s), len(planned))

    def _between_s(self, before: Event, event: Event) -> float:
        """Never negative; of two boots, of which the clock of one was never set, nobody knows what was between them."""
        if before.boot_id == event.boot_id:
            return max(0, event.mono_ns - before.mono_ns) / 1e9
        (earlier_ns, quality), (later_ns, its_quality) = self._true_time(before), self._true_time(event)
        if "unsynced" in (quality, its_quality):
            return 0.0
        return max(0, later_ns - earlier_ns) / 1e9
