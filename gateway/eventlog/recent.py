"""The newest committed events, in memory, so that a forwarder level with the log never touches the disk."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.event import Event


class Recent:
    """A window on the end of the log, bounded in bytes; it forgets whole commits, oldest first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._commits: deque[tuple[list[Event], int]] = deque()

    def add(self, events: list[Event], bytes_: int) -> None:
        """Keep a commit. Sequence numbers follow on from the last one kept."""
        self._commits.append((events, bytes_))
        self._bytes += bytes_
        while self._bytes > self._bytes_max and len(self._commits) > 1:
            self._bytes -= self._commits.popleft()[1]

    def read(self, after_seq: int, events_max: int) -> list[Event] | None:
        """The events after `after_seq`; None if the window does not reach back that far."""
        if not self._commits or after_seq + 1 < self._commits[0][0][0].seq:
            return None
        found: list[Event] = []
        for events, _ in self._commits:
            if events[-1].seq <= after_seq:
                continue
            start = max(0, after_seq + 1 - events[0].seq)
            found += events[start : start + events_max - len(found)]
            if len(found) >= events_max:
                break
        return found
