"""The newest committed events, in memory, so that a forwarder level with the log never touches the disk."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.event import Event


class Recent:
    """A window on the end of the log, bounded in bytes; it forgets whole commits, oldest first.

    Sequence numbers in it have no gap, so that an event is found by counting and not by searching.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._events: list[Event] = []
        self._commits: deque[tuple[int, int]] = deque()
        """Of each commit, how many events and bytes it has."""

    def add(self, events: Sequence[Event], bytes_: int) -> None:
        """Keep a commit; its first event follows on from the last one kept."""
        self._events += events
        self._commits.append((len(events), bytes_))
        self._bytes += bytes_
        surplus = 0
        while self._bytes > self._bytes_max and len(self._commits) > 1:
            count, size = self._commits.popleft()
            self._bytes -= size
            surplus += count
        if surplus:
            del self._events[:surplus]

    def read(self, after_seq: int, events_max: int) -> list[Event] | None:
        """The events after `after_seq`; None if the window does not reach back that far."""
        if not self._events:
            return None
        start = after_seq + 1 - self._events[0].seq
        return None if start < 0 else self._events[start : start + events_max]
