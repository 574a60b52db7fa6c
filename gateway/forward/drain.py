"""How fast what is pending goes out, and when it will be gone. Pure: what is seen, and when, comes in as arguments."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

WINDOW_NS = 60 * 10**9
"""A rate is that of about the last minute."""


class Look(NamedTuple):
    """What was seen at one moment."""

    mono_ns: int
    passed: int
    """Events that the upstream is done with."""
    pending: int


class Drain:
    """Of one upstream, from looks at it every few seconds."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque()

    def note(self, look: Look) -> None:
        """Take in a look; what is older than a minute before it is forgotten, but for the last such."""
        self._looks.append(look)
        while len(self._looks) > 2 and self._looks[1].mono_ns <= look.mono_ns - WINDOW_NS:
            self._looks.popleft()

    def begin_anew(self) -> None:
        """Its cursor was moved: what was seen before says nothing of what comes."""
        self._looks.clear()

    @property
    def rate(self) -> float | None:
        """Events a second that the upstream was done with; None before there have been two looks."""
        if len(self._looks) < 2:
            return None
        first, last = self._looks[0], self._looks[-1]
        return max(0, last.passed - first.passed) / max(1, last.mono_ns - first.mono_ns) * 1e9

    @property
    def eta_s(self) -> float | None:
        """Seconds until nothing is pending, at the pace of the last minute; None if it does not become less."""
        if not self._looks or not self._looks[-1].pending:
            return 0.0 if self._looks else None
        first, last = self._looks[0], self._looks[-1]
        fewer = first.pending - last.pending
        return last.pending * (last.mono_ns - first.mono_ns) / 1e9 / fewer if fewer > 0 else None
