"""When the regular work of a log is done: its flushes, and the removal of what is beyond its limits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


class Rhythm:
    """Of one log.

    Args:
        interval_s: between two rounds of work at the most, and between two flushes at the least, but for new segments.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._moved = asyncio.Event()
        self._grown = asyncio.Event()
        self._grown.set()  # before the first round nobody has looked how large the log is

    def moved(self) -> None:
        """A cursor has moved."""
        self._moved.set()

    def grew(self) -> None:
        """A segment was begun: the one before may be one too many, and a flood brings the next one soon."""
        self._grown.set()
        self._moved.set()

    async def due(self) -> None:
        """Wait for a cursor to move, for an interval at the most.

        So the first move after a rest is flushed at once: were it always put off, a gateway that is killed again and
        again soon after its start would send the same events each time and get nowhere.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(self._interval_s):
                await self._moved.wait()
        self._moved.clear()

    def take_grown(self) -> bool:
        """Whether a segment was begun since this was asked last."""
        grown = self._grown.is_set()
        self._grown.clear()
        return grown

    async def rest(self, crash: asyncio.Future[None]) -> None:
        """Pause for an interval, or until a segment is begun.

        Raises:
            Exception: what `crash` ends with.
        """
        grown = asyncio.ensure_future(self._grown.wait())
        either: list[asyncio.Future[Any]] = [crash, grown]
        try:
            await asyncio.wait(either, timeout=self._interval_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            grown.cancel()
        if crash.done():
            crash.result()
