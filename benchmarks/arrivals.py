"""What has arrived at the upstream: which of the awaited events, how many twice, when the first and the last.

Pure. Numbers are looked for in the raw bytes, so the count needs no framing and does not care for the envelope.
"""

from __future__ import annotations

from typing import Any

from benchmarks.frames import NUMBER, NUMBER_BYTES

MARK_S = 0.05  # between two marks
OPEN_MAX = 3  # ranges that are looked for at a time: a set of ten million numbers would be memory to fight for


class Awaited:
    """A range of events that are to arrive. Until it is opened, none of them is looked for."""

    def __init__(self, low: int, high: int) -> None:
        self._numbers = range(low, high)
        self._set: set[bytes] | None = None
        self.total = high - low
        self.first: float | None = None
        self.last: float | None = None

    def open(self) -> None:
        """Look for its events from now on."""
        if self._set is None:
            self._set = {b"%08d" % number for number in self._numbers}

    @property
    def missing(self) -> int:
        """How many have not arrived."""
        return self.total if self._set is None else len(self._set)

    def strike_off(self, found: list[bytes], now: float) -> int:
        """Take `found` off the list; how many were on it."""
        if not self._set:
            return 0
        before = len(self._set)
        self._set.difference_update(found)
        fresh = before - len(self._set)
        if not self._set:
            self._set = set()  # an emptied set keeps its memory
        if fresh:
            self.first = self.first if self.first is not None else now
            self.last = now
        return fresh


class Arrivals:
    """The awaited ranges of one phase, in the order of their events, fed with the bytes that came in."""

    def __init__(self, ranges: dict[str, tuple[int, int]], *, keep_stamps: bool) -> None:
        self.awaited = {name: Awaited(low, high) for name, (low, high) in ranges.items()}
        self.repeated = 0
        self.stamps: list[tuple[int, float]] | None = [] if keep_stamps else None
        self.marks: list[tuple[float, int]] = []  # how many had arrived when
        self._arrived = 0
        self._carry: dict[int, bytes] = {}
        self._waiting = list(self.awaited.values())
        self._open: list[Awaited] = []
        self._open_more()

    def feed(self, chunk: bytes, now: float, of: int = 0) -> None:
        """Count the events in `chunk`, which continues the chunk before of the same connection."""
        text = self._carry.get(of, b"") + chunk
        found = NUMBER.findall(text)
        self._carry[of] = text[1 - NUMBER_BYTES :]
        if not found:
            return
        fresh = sum(awaited.strike_off(found, now) for awaited in self._open)
        self.repeated += len(found) - fresh
        self._arrived += fresh
        if not self.marks or now - self.marks[-1][0] >= MARK_S:
            self.marks.append((now, self._arrived))
        if not all(awaited.missing for awaited in self._open):
            self._open_more()
        if self.stamps is not None:
            self.stamps.extend((int(number), now) for number in found)

    def _open_more(self) -> None:
        self._open = [awaited for awaited in self._open if awaited.missing]
        while self._waiting and len(self._open) < OPEN_MAX:
            awaited = self._waiting.pop(0)
            awaited.open()
            if awaited.missing:
                self._open.append(awaited)

    def complete(self) -> bool:
        """Nothing is missing any more."""
        return not self._open

    def latest(self) -> float | None:
        """When something that had been missing came in last."""
        return max((one.last for one in self.awaited.values() if one.last is not None), default=None)

    def report(self) -> dict[str, Any]:
        """The state as plain data; times are of the monotonic clock all processes of a machine share."""
        ranges = {
            name: {
                "arrived": one.total - one.missing,
                "missing": one.missing,
                "first": one.first,
                "last": one.last,
            }
            for name, one in self.awaited.items()
        }
        return {"ranges": ranges, "repeated": self.repeated, "stamps": self.stamps, "marks": self._all_marks()}

    def _all_marks(self) -> list[tuple[float, int]]:
        last = self.latest()
        return self.marks if last is None else [*self.marks, (last, self._arrived)]
