"""Reads the next events while the ones before are on their way, so that the uplink need not wait for the disk.

At most one read is ahead, and only if a whole batch is there to be read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.event import Event
    from gateway.forward.log import Log


class ReadAhead:
    """Reads of one forwarder; what is read is the same whenever it is read, because events never change."""

    def __init__(self, log: Log, events_max: int) -> None:
        self._log = log
        self._events_max = events_max
        self._after_seq = 0
        self._task: asyncio.Task[Sequence[Event]] | None = None

    def begin(self, after_seq: int) -> None:
        """Start to read what follows `after_seq`, if that is a whole batch and nothing is being read yet."""
        if self._task is None and self._log.head - after_seq >= self._events_max:
            self._after_seq = after_seq
            self._task = asyncio.ensure_future(self._log.read(after_seq, self._events_max))

    async def read(self, after_seq: int) -> Sequence[Event]:
        """The next events after `after_seq`; empty if there are none.

        Raises:
            LogError: as the log says.
        """
        task, self._task = self._task, None
        if task is None:
            return await self._log.read(after_seq, self._events_max)
        if self._after_seq != after_seq:
            await _drop(task)
        elif events := await task:
            return events  # if there were none, what was to be read is lost, and more may have come meanwhile
        return await self._log.read(after_seq, self._events_max)

    async def close(self) -> None:
        """Give up what is being read."""
        task, self._task = self._task, None
        if task is not None:
            await _drop(task)


async def _drop(task: asyncio.Task[Sequence[Event]]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
