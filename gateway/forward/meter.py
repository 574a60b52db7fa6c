"""What may go to one upstream: how much at a time, and how much a second on a metered link.

All connections to the upstream share one meter. It never cuts an event into pieces: one that is larger than what a
second allows goes alone, and what comes next waits for it.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from gateway.forward.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.forward.config import UpstreamConfig

BURST_S = 1.0
"""After a rest so much of the rate may go at once."""


class Meter:
    """Of one upstream.

    Args:
        config: its section.
        now_s: monotonic time.
    """

    def __init__(self, config: UpstreamConfig, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.turn = asyncio.Lock()
        """Held while a connection waits: they take turns, or an alarm would wait as long as a backlog is faster."""
        rates = config.rate_events_max, config.rate_bytes_max
        self._events, self._bytes = (Pace(rate, rate * BURST_S, now_s()) if rate else None for rate in rates)
        self.events_max = int(min(config.batch_events_max, _most(rates[0])))
        """Events that may be given at a time."""
        self.bytes_max = min(config.batch_bytes_max, _most(rates[1]))
        """Bytes of topics and payloads that may be given at a time, one event excepted."""

    def wait_s(self) -> float:
        """Seconds until something may be given; 0: now."""
        now_s = self._now_s()
        return max((pace.wait_s(now_s) for pace in (self._events, self._bytes) if pace is not None), default=0.0)

    def take(self, events: int, bytes_: int) -> None:
        """Note what was given."""
        now_s = self._now_s()
        if self._events is not None:
            self._events.take(events, now_s)
        if self._bytes is not None:
            self._bytes.take(bytes_, now_s)


def _most(rate: float) -> float:
    return max(1, int(rate * BURST_S)) if rate else math.inf
