"""What one forwarder sees of the log: a view fulfils `gateway.forward.runner.Log`, and a forwarder knows nothing else.

The main view of an upstream shows it everything from its cursor to the head, and what it tells of these events moves
the upstream's cursor and its books. Nobody else moves them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.event import Event
    from gateway.eventlog.log import EventLog


class MainView:
    """The log as the main forwarder of an upstream sees it.

    Args:
        log: where the events are.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log

    @property
    def head(self) -> int:
        """Seq of the last event that may be read; 0 if there never was one."""
        return self._log.head

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        """The next events after `after_seq`, in order; empty only if none is left up to `head`.

        Raises:
            LogError: the disk refused.
        """
        return await self._log.read(after_seq, events_max)

    async def wait_beyond(self, seq: int) -> None:
        """Return when `head` is greater than `seq`."""
        await self._log.wait_beyond(seq)

    def cursor(self, upstream: str) -> int:
        """Seq of the last event the upstream is done with."""
        return self._log.cursor(upstream)

    def advance(self, upstream: str, seq: int, *, forwarded: int, filtered: int, quarantined: int) -> None:
        """Move the cursor, with what became of the events up to `seq`; durable within the log's cursor interval."""
        self._log.advance(upstream, seq, forwarded=forwarded, filtered=filtered, quarantined=quarantined)

    async def quarantine(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """Keep the named events aside, with why; durable when it returns.

        Raises:
            LogError: the disk refused.
        """
        await self._log.quarantine(upstream, reasons)
