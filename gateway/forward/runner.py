"""The loop that reads the log, sends and moves the cursor. The only retry in the system is here.

It promises that the cursor of its upstream stands after an event only if the upstream has taken the event, or it is
quarantined on disk, or it was not meant for the upstream. So each event reaches the upstream at least once and in
order, and after a crash or a broken connection the same events go out again under the same ids. It refuses to give an
event up because an upstream is away, busy or forbids it: then everything waits in the log.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from gateway.errors import Blocked, Busy, DeliveryError, LogError, Refused, Unreachable
from gateway.forward import backoff
from gateway.forward.read_ahead import ReadAhead
from gateway.forward.selection import Selection
from gateway.forward.status import ForwarderStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
    from typing import NoReturn

    from gateway.clock import Clock
    from gateway.errors import GatewayError
    from gateway.event import Event
    from gateway.forward.config import UpstreamConfig
    from gateway.forward.status import State
    from gateway.forward.upstream import Upstream

CLOSE_TIMEOUT_S = 2.0
"""A stop is not held up by an upstream for longer."""
_LOOK_INTERVAL_S = 0.25
"""How often the cursor follows the acknowledgements while a batch is under way."""

_logger = logging.getLogger(__name__)


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
        """Seq of the last event the upstream is done with."""
        ...

    def advance(self, upstream: str, seq: int) -> None:
        """Move the cursor; durable within the log's cursor interval, and never ahead of this call."""
        ...

    async def quarantine(self, upstream: str, reasons: Mapping[int, str]) -> None:
        """Keep the named events aside, with why; durable when it returns, and harmless if said twice."""
        ...


class Stalled(DeliveryError):  # noqa: N818 - a state of the upstream, as its siblings
    """The upstream is connected and acknowledges nothing."""


_STATES: dict[type[GatewayError], State] = {Busy: "busy", Blocked: "blocked", Stalled: "stalled", LogError: "stalled"}
_LEVELS = {
    "unreachable": logging.WARNING,
    "busy": logging.WARNING,
    "stalled": logging.ERROR,
    "blocked": logging.ERROR,
}


class Forwarder:
    """Moves events from the log to one upstream, for as long as `run` runs.

    Args:
        name: of the upstream, in the configuration and in the log.
        config: limits and topic filters.
        upstream: the destination; nobody else may use it.
        log: where the events are.
        clock: its monotonic time stamps state changes.
        randomness: numbers from 0 to 1, for the jitter of waits.
        ready: awaited after each connect, before anything is sent.
    """

    def __init__(
        self,
        name: str,
        config: UpstreamConfig,
        upstream: Upstream,
        log: Log,
        clock: Clock,
        *,
        randomness: Callable[[], float] = random.random,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._name = name
        self._config = config
        self._upstream = upstream
        self._log = log
        self._clock = clock
        self._randomness = randomness
        self._ready = ready
        self._selection = Selection(name, config.topics)
        self._status = ForwarderStatus(
            name=name, kind=config.type, url=config.url, cursor=log.cursor(name), since_mono_ns=clock.mono_ns()
        )
        self._ahead = ReadAhead(log, config.batch_events_max)
        self._pending: Sequence[Event] = ()
        """Wanted events that were read and that the upstream has not taken."""
        self._read_to = self._status.cursor
        """Everything up to this seq is settled or in `_pending`."""
        self._skipped = 0
        """Events that were read together with `_pending` and are not wanted."""
        self._settled = 0
        """How many of the batch under way the cursor has moved over."""
        self._opened = False
        """Whether there has been a connection before."""
        self._failures = 0
        """Failed tries since the upstream last took an event."""
        self._probing = False
        """The next batch is a single event: it tells a poison event from a broken upstream, and a try that fails
        again does not duplicate a whole batch."""

    def status(self) -> ForwarderStatus:
        """A snapshot."""
        return replace(self._status)

    async def run(self) -> NoReturn:
        """Forward until cancelled; then the upstream is closed and the cursor stands at the acknowledged prefix."""
        try:
            while True:
                try:
                    await self._forward()
                except (DeliveryError, LogError) as error:
                    await self._close()
                    await self._pause_after(error)
        finally:
            await self._ahead.close()
            await self._close()
            self._enter("stopped")

    async def _forward(self) -> NoReturn:
        """Connect, then send whatever the log has.

        Raises:
            DeliveryError: something is in the way; the pending events are the same as before, less what was taken.
            LogError: the disk did not give or take what it should.
        """
        await self._open()
        if self._ready is not None:
            await self._ready()
        while True:
            if not self._pending:
                await self._read()
            self._ahead.begin(self._read_to)
            try:
                await self._send(self._pending[:1] if self._probing else self._pending)
            except Busy as busy:
                await self._pause_after(busy)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._config.connect_timeout_s) as deadline:
                await self._upstream.open()
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Unreachable(f"no connection within {self._config.connect_timeout_s:g} s") from None
        self._status.reconnects += self._opened
        self._opened = True
        if self._status.state == "connecting":
            self._enter("connected")

    async def _read(self) -> None:
        """Fill `_pending`, moving the cursor over stretches in which nothing is wanted."""
        while not self._pending:
            head = self._log.head
            events = await self._ahead.read(self._read_to)
            if not events:
                # Waiting for what comes after `head`, and not after what was read last, keeps this loop from
                # spinning should the newest events have been removed from the log.
                await self._idle(max(head, self._read_to))
                continue
            self._pending = self._selection.of(events)
            self._skipped = len(events) - len(self._pending)
            self._read_to = events[-1].seq
            self._drop_settled()

    async def _idle(self, seq: int) -> None:
        """Return when the log has an event beyond `seq`.

        Raises:
            DeliveryError: the connection is gone.
        """
        self._enter("connected")
        beyond = asyncio.ensure_future(self._log.wait_beyond(seq))
        closed = asyncio.ensure_future(self._upstream.wait_closed())
        try:
            await asyncio.wait((beyond, closed), return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                raise closed.result()
            beyond.result()
        finally:
            beyond.cancel()
            closed.cancel()
            await asyncio.gather(beyond, closed, return_exceptions=True)

    async def _send(self, batch: Sequence[Event]) -> None:
        """Hand over `batch`, the head of `_pending`; what is settled leaves `_pending`, however this ends."""
        try:
            async with asyncio.timeout(self._config.stall_timeout_s) as deadline:
                with self._watch(deadline):
                    await self._upstream.send(batch)
            self._settle()
        except Refused as refused:
            await self._quarantine(refused.reasons)
        except TimeoutError:
            if not deadline.expired():
                raise
            self._settle()
            self._status.stalls += 1
            raise Stalled(f"nothing was acknowledged for {self._config.stall_timeout_s:g} s") from None
        except (DeliveryError, asyncio.CancelledError):
            self._settle()
            raise
        finally:
            self._drop_settled()

    async def _quarantine(self, reasons: Mapping[int, str]) -> None:
        """Store `reasons` before the cursor moves over the events they name."""
        await self._log.quarantine(self._name, reasons)
        self._status.quarantined += len(reasons)
        self._settle(refused=len(reasons))
        _logger.warning(
            "events refused by the upstream and quarantined",
            extra={"upstream": self._name, "events": len(reasons), "reasons": _some(reasons)},
        )

    @contextmanager
    def _watch(self, deadline: asyncio.Timeout) -> Iterator[None]:
        """While a batch is under way, let the cursor follow it and put the deadline off at each progress."""
        loop = asyncio.get_running_loop()
        stall_timeout_s = self._config.stall_timeout_s
        interval_s = min(_LOOK_INTERVAL_S, stall_timeout_s / 4)
        timer: asyncio.TimerHandle

        def look() -> None:
            nonlocal timer
            if self._settle() and not deadline.expired():
                deadline.reschedule(loop.time() + stall_timeout_s)
            timer = loop.call_later(interval_s, look)

        timer = loop.call_later(interval_s, look)
        try:
            yield
        finally:
            timer.cancel()

    def _settle(self, *, refused: int = 0) -> bool:
        """Move the cursor over what the upstream has acknowledged since; whether there was any."""
        settled = self._upstream.acknowledged
        progress = settled - self._settled
        if progress <= 0:
            return False
        self._settled = settled
        self._status.forwarded += progress - refused
        self._status.acknowledged_mono_ns = self._clock.mono_ns()
        self._failures = 0
        self._probing = False
        self._enter("connected")
        self._move_cursor()
        return True

    def _drop_settled(self) -> None:
        if self._settled:
            self._pending = self._pending[self._settled :]
            self._settled = 0
        if not self._pending:
            self._status.filtered += self._skipped
            self._skipped = 0
        self._move_cursor()

    def _move_cursor(self) -> None:
        """The cursor stands right before the first event that is still wanted."""
        seq = self._pending[self._settled].seq - 1 if self._settled < len(self._pending) else self._read_to
        if seq > self._status.cursor:
            self._status.cursor = seq
            self._log.advance(self._name, seq)

    async def _pause_after(self, error: DeliveryError | LogError) -> None:
        self._probing = True
        self._failures += 1
        self._enter(_STATES.get(type(error), "unreachable"), str(error))
        await asyncio.sleep(self._wait_s(error))

    def _wait_s(self, error: DeliveryError | LogError) -> float:
        config = self._config
        if isinstance(error, Blocked):
            return config.blocked_retry_s
        if isinstance(error, Busy) and error.wait_s is not None:
            return min(error.wait_s, config.backoff_max_s)
        return backoff.wait_s(
            self._failures,
            initial_s=config.backoff_initial_s,
            max_s=config.backoff_max_s,
            randomness=self._randomness(),
        )

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._upstream.close()
        except TimeoutError:
            _logger.error(  # noqa: TRY400 - the stack of a timeout tells nothing
                "upstream did not close in time", extra={"upstream": self._name, "timeout_s": CLOSE_TIMEOUT_S}
            )

    def _enter(self, state: State, reason: str = "") -> None:
        self._status.reason = reason
        if state == self._status.state:
            return
        self._status.state = state
        self._status.since_mono_ns = self._clock.mono_ns()
        _logger.log(
            _LEVELS.get(state, logging.INFO),
            "upstream state changed",
            extra={"upstream": self._name, "state": state, "reason": reason, "cursor": self._status.cursor},
        )


def _some(reasons: Mapping[int, str], at_most: int = 5) -> dict[int, str]:
    """The first few, so that a log line stays a line."""
    return dict(sorted(reasons.items())[:at_most])
