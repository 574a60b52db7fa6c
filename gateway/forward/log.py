"""The port between the forwarder and the events: the log as a view shows it (see `gateway.forward.view`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.event import Event


class Log(Protocol):
    """What a forwarder needs of the event log."""

    @property
    def head(self) -> int:
        """Seq of the last committed event; 0 if there never was one."""
        ...

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        """The next committed events after `after_seq`, in order; empty only if none is left up to `head`."""
        ...

    async def wait_beyond(self, seq: int) -> None:
        """Return when `head` is greater than `seq`."""
        ...

    def cursor(self, upstream: str) -> int:
        """Seq of the last event the upstream is done with.

        The log moves it by itself over events that it had to drop, and accounts for those.
        """
        ...

    def advance(
        self, upstream: str, seq: int, *, forwarded: int, filtered: int, quarantined: int, expired: int, taken: int
    ) -> None:
        """Move the cursor to `seq`; durable within the log's cursor interval, and never ahead of this call.

        The counts say what became of the events from the cursor before to `seq`; they become durable together with it.
        """
        ...

    async def quarantine(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """Keep the named events aside, with why; durable when it returns, and harmless if said twice."""
        ...
