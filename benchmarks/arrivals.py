"""What has arrived at the upstream: which of the awaited events, how many twice, when the first and the last.

Pure. Numbers are looked for in the raw bytes, so the count needs no framing and does not care for the envelope.
"""

from __future__ import annotations

from typing import Any

from benchmarks.frames import NUMBER, NUMBER_BYTES


class Awaited:
    """A range of events that are to arrive."""

    def __init__(self, low: int, high: int) -> None:
        self.missing = {b"%08d" % number for number in range(low, high)}
        self.total = high - low
        self.first: float | None = None
        self.last: float | None = None

    def strike_off(self, found: list[bytes], now: float) -> int:
        """Take `found` off the list; how many were on it."""
        before = len(self.missing)
        self.missing.difference_update(found)
        fresh = before - len(self.missing)
        if fresh:
            self.first = self.first if self.first is not None else now
            self.last = now
        return fresh


class Arrivals:
    """The awaited ranges of one phase, fed with the bytes that came in."""

    def __init__(self, ranges: dict[str, tuple[int, int]], *, keep_stamps: bool) -> None:
        self.awaited = {name: Awaited(low, high) for name, (low, high) in ranges.items()}
        self.repeated = 0
        self.stamps: list[tuple[int, float]] | None = [] if keep_stamps else None
        self._carry = b""

    def feed(self, chunk: bytes, now: float) -> None:
        """Count the events in `chunk`, which continues the chunk before."""
        text = self._carry + chunk
        found = NUMBER.findall(text)
        self._carry = text[1 - NUMBER_BYTES :]
        if not found:
            return
        fresh = sum(awaited.strike_off(found, now) for awaited in self.awaited.values())
        self.repeated += len(found) - fresh
        if self.stamps is not None:
            self.stamps.extend((int(number), now) for number in found)

    def complete(self) -> bool:
        """Nothing is missing any more."""
        return not any(awaited.missing for awaited in self.awaited.values())

    def latest(self) -> float | None:
        """When something that had been missing came in last."""
        return max((one.last for one in self.awaited.values() if one.last is not None), default=None)

    def report(self) -> dict[str, Any]:
        """The state as plain data; times are of the monotonic clock all processes of a machine share."""
        ranges = {
            name: {
                "arrived": one.total - len(one.missing),
                "missing": len(one.missing),
                "first": one.first,
                "last": one.last,
            }
            for name, one in self.awaited.items()
        }
        return {"ranges": ranges, "repeated": self.repeated, "stamps": self.stamps}
