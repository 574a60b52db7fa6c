"""Fakes for the two ports of the forwarder: a log in memory and an upstream that follows a script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import Refused
from gateway.event import Event
from gateway.forward.config import UpstreamConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.errors import DeliveryError


def make_event(seq: int, topic: str = "dev/1/t", origin: str = "", payload: bytes = b"x") -> Event:
    return Event(seq, 1_700_000_000_000_000_000, seq, "boot", "dev", topic, 1, False, payload, origin)


def make_config(**changes: object) -> UpstreamConfig:
    quick = {
        "type": "fake",
        "url": "fake://here",
        "backoff_initial_s": 0.001,
        "backoff_max_s": 0.01,
        "blocked_retry_s": 0.01,
        "connect_timeout_s": 5,
        "stall_timeout_s": 5,
    }
    return UpstreamConfig.model_validate(quick | changes)


class MemoryLog:
    """Fulfils `gateway.forward.log.Log`."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self.events = list(events)
        self.head = self.events[-1].seq if self.events else 0
        self.cursors: dict[str, int] = {}
        self.quarantined: dict[int, str] = {}
        self.booked = {"forwarded": 0, "filtered": 0, "quarantined": 0}
        self._changed = asyncio.Condition()
        self.quarantine_error: Exception | None = None
        self.quarantine_done = asyncio.Event()
        """The disk takes a quarantine once this is set, and from the beginning unless a test clears it."""
        self.quarantine_done.set()

    async def read(self, after_seq: int, events_max: int) -> Sequence[Event]:
        await asyncio.sleep(0)
        return [event for event in self.events if event.seq > after_seq][:events_max]

    async def wait_beyond(self, seq: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.head > seq)

    def cursor(self, upstream: str) -> int:
        return self.cursors.get(upstream, 0)

    def advance(self, upstream: str, seq: int, **counts: int) -> None:
        assert seq > self.cursor(upstream)
        self.cursors[upstream] = seq
        for what, count in counts.items():
            assert count >= 0
            if count or what in self.booked:
                self.booked[what] = self.booked.get(what, 0) + count

    async def quarantine(self, upstream: str, reasons: Mapping[int, str]) -> None:
        await asyncio.sleep(0)
        await self.quarantine_done.wait()
        if self.quarantine_error is not None:
            error, self.quarantine_error = self.quarantine_error, None
            raise error
        assert self.cursor(upstream) < min(reasons)
        self.quarantined.update(reasons)

    async def append(self, event: Event) -> None:
        async with self._changed:
            self.events.append(event)
            self.head = event.seq
            self._changed.notify_all()


class ScriptedUpstream:
    """Takes everything, except where the test has put something in the way.

    `on_open` and `on_send` are asked before anything is taken: they return an error to raise, or None.
    `hold` makes `send` wait before the event of that seq until `release` is set.
    """

    def __init__(self) -> None:
        self.acknowledged = 0
        self.taken: list[int] = []
        self.batches: list[list[int]] = []
        self.opens = 0
        self.closes = 0
        self.on_open: Callable[[], DeliveryError | None] = lambda: None
        self.on_send: Callable[[Sequence[Event]], tuple[int, DeliveryError] | None] = lambda _: None
        self.hold: int | None = None
        self.holding = asyncio.Event()
        self.release = asyncio.Event()
        self._closed: asyncio.Future[DeliveryError] | None = None

    async def open(self) -> None:
        self.opens += 1
        await asyncio.sleep(0)
        error = self.on_open()
        if error is not None:
            raise error
        self.acknowledged = 0
        self._closed = asyncio.get_running_loop().create_future()

    async def send(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self.batches.append([event.seq for event in events])
        trouble = self.on_send(events)
        count, error = (len(events), None) if trouble is None else trouble
        for event in events[:count]:
            if event.seq == self.hold:
                self.holding.set()
                await self.release.wait()
            self._take(event.seq)
        await asyncio.sleep(0)
        if error is not None:
            raise error

    async def wait_closed(self) -> DeliveryError:
        assert self._closed is not None
        return await asyncio.shield(self._closed)

    def drop(self, error: DeliveryError) -> None:
        assert self._closed is not None
        self._closed.set_result(error)

    async def close(self) -> None:
        self.closes += 1
        await asyncio.sleep(0)

    def _take(self, seq: int) -> None:
        self.taken.append(seq)
        self.acknowledged += 1


class StreamingUpstream(ScriptedUpstream):
    """Returns from `send` at once and takes nothing until the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.under_way: list[int] = []
        self._error: DeliveryError | None = None
        self._changed = asyncio.Event()

    async def open(self) -> None:
        await super().open()
        self.under_way.clear()
        self._error = None

    async def send(self, events: Sequence[Event]) -> None:
        if events:
            self.batches.append([event.seq for event in events])
            self.under_way += [event.seq for event in events]
        while self._error is None and self.under_way and not events:
            self._changed.clear()
            await self._changed.wait()
        if self._error is not None:
            error, self._error = self._error, None
            if isinstance(error, Refused):
                self.acknowledged += len(error.reasons)
            self.under_way.clear()
            raise error

    def answer(self, count: int) -> None:
        """Take the first few of those under way."""
        for seq in self.under_way[:count]:
            self._take(seq)
        del self.under_way[:count]
        self._changed.set()

    def fail(self, error: DeliveryError) -> None:
        """What the call of `send` that runs, or the next one, raises; if refused, the next few under way are meant."""
        self._error = error
        self._changed.set()
