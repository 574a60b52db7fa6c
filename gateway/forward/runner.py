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
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway import backoff
from gateway.errors import Blocked, Busy, DeliveryError, LogError, Refused, Unreachable
from gateway.forward.caution import Caution
from gateway.forward.meter import Meter
from gateway.forward.read_ahead import ReadAhead
from gateway.forward.selection import Selection
from gateway.forward.status import ForwarderStatus
from gateway.forward.unless import unless
from gateway.forward.window import Window

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
    from typing import Any, NoReturn

    from gateway.clock import Clock
    from gateway.errors import GatewayError
    from gateway.event import Event
    from gateway.forward.config import UpstreamConfig
    from gateway.forward.log import Log
    from gateway.forward.status import State
    from gateway.forward.upstream import Upstream

CLOSE_TIMEOUT_S = 2.0
"""A stop is not held up by an upstream for longer."""
_LOOK_INTERVAL_S = 0.25
"""How often the cursor follows the acknowledgements while nothing else makes it."""

_logger = logging.getLogger(__name__)


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
        selection: of what the view shows, which is sent; by default what the configured topics match.
        is_too_old: asked of each event when its turn comes; one that is too old is not sent.
        role: tells this connection to the upstream from others in the log.
        meter: says how much may be sent; all connections to one upstream have the same.
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
        selection: Selection | None = None,
        is_too_old: Callable[[Event], bool] | None = None,
        role: str = "main",
        meter: Meter | None = None,
    ) -> None:
        self._name = name
        self._config = config
        self._upstream = upstream
        self._log = log
        self._clock = clock
        self._randomness = randomness
        self._ready = ready
        self._selection = selection or Selection(name, config.topics)
        self._is_too_old = is_too_old
        self._meter = meter or Meter(config, time.monotonic)
        self._status = ForwarderStatus(
            name=name,
            kind=config.type,
            url=config.url,
            cursor=log.cursor(name),
            role=role,
            since_mono_ns=clock.mono_ns(),
        )
        self._ahead = ReadAhead(log, config.batch_events_max)
        self._window = Window(self._status.cursor)
        self._acknowledged = 0
        """What the upstream had acknowledged when the window was settled last."""
        self._progressed_s = 0.0
        """When something was acknowledged last, or when something was under way again after nothing was."""
        self._is_sending = False
        """Whether a call of `send` is awaited."""
        self._deadline = asyncio.timeout(None)
        """Ends a connection on which nothing is acknowledged."""
        self._look_timer: asyncio.TimerHandle | None = None
        self._opened = False
        """Whether there has been a connection before."""
        self._failures = 0
        """Failed tries since the upstream last took an event."""
        self._caution = Caution()

    def status(self) -> ForwarderStatus:
        """A snapshot."""
        return replace(self._status, cursor=self._log.cursor(self._name))

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
            DeliveryError: something is in the way; what was not taken will be given again.
            LogError: the disk did not give or take what it should.
        """
        await self._open()
        if self._ready is not None:
            await self._ready()
        if (cursor := self._log.cursor(self._name)) >= self._window.read_to:
            self._window = Window(cursor)  # the log has moved it meanwhile over all that was read
        try:
            async with asyncio.timeout(None) as self._deadline:
                while True:
                    try:
                        await self._read()
                        self._ahead.begin(self._window.read_to)
                        await self._send()
                    except Busy as busy:
                        self._take_back()
                        await self._pause_after(busy)
        except TimeoutError:
            if not self._deadline.expired():
                raise
            self._status.stalls += 1
            raise Stalled(f"nothing was acknowledged for {self._config.stall_timeout_s:g} s") from None
        except Unreachable:
            self._settle()
            if (seqs := self._window.on_its_way) is not None:
                self._caution.ended(*seqs, self._upstream.acknowledged)
            raise
        finally:
            self._take_back()

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
        """Return when an event waits to be sent; the cursor moves over stretches in which nothing is wanted."""
        window = self._window
        while not window.waiting():
            head, read_to = self._log.head, max(window.read_to, self._log.cursor(self._name))
            events = await self._ahead.read(read_to) if head > read_to else ()
            if events:
                wanted = self._selection.of(events)
                if len(wanted) == len(events):
                    window.add(events, wanted)
                else:
                    held, of_lanes = self._selection.quarantined(events), self._selection.of_lanes(events)
                    window.add(events, wanted, held, of_lanes)
                self._settle()
            else:
                # Waiting for what comes after `head`, and not after what was read last, keeps this loop from
                # spinning should the newest events have been removed from the log.
                await self._idle(self._log.wait_beyond(max(head, read_to)))

    async def _idle(self, until: Coroutine[Any, Any, None]) -> None:
        """Return when `until` does, or something that was under way has to be given again, or may be.

        Raises:
            DeliveryError: the upstream turned something away, or the connection is gone.
        """
        done = asyncio.ensure_future(until)
        try:
            if self._window.under_way:
                await self._deliver(unless(done, self._upstream.send(())))
                if done.done() or self._window.waiting():
                    return
            if not self._window.waiting():
                self._enter("connected")
            error = await unless(done, self._upstream.wait_closed())
            if error is not None:
                raise error
        finally:
            if not done.done():
                done.cancel()
                await asyncio.gather(done, return_exceptions=True)

    async def _send(self) -> None:
        """Hand over what waits as soon as the rate allows it, unless it is too old by then."""
        meter, window = self._meter, self._window
        async with meter.turn:
            while wait_s := meter.wait_s():
                await self._idle(asyncio.sleep(wait_s))
        if self._is_too_old is not None:
            window.expire(self._config.batch_events_max, self._is_too_old)
            if not window.waiting():
                self._settle()
                return
        self._settle()
        if not window.under_way:
            self._acknowledged = self._upstream.acknowledged
            self._progressed_s = asyncio.get_running_loop().time()
        is_alone = self._caution.goes_alone(window.next_seq)
        given = window.give(1 if is_alone else meter.events_max, meter.bytes_max)
        meter.take(len(given), window.given_bytes)
        self._status.bytes_ += window.given_bytes
        await self._deliver(self._upstream.send(given))
        if is_alone:
            await self._deliver(self._upstream.send(()))

    async def _deliver(self, sending: Coroutine[Any, Any, None]) -> None:
        """Await a call of `send`: the cursor follows what is taken, and what is refused is quarantined."""
        self._is_sending = True
        if self._look_timer is None:
            self._look_later()
        try:
            await sending
            self._settle()
        except Refused as refused:
            self._is_sending = False  # what is refused counts as acknowledged now, and is not in quarantine yet
            self._caution.refused()
            await self._quarantine(refused.reasons)
        finally:
            self._is_sending = False

    def _look_later(self) -> None:
        interval_s = min(_LOOK_INTERVAL_S, self._config.stall_timeout_s / 4)
        self._look_timer = asyncio.get_running_loop().call_later(interval_s, self._look)

    def _look(self) -> None:
        """While events are under way, let the cursor follow; if none was taken for too long, end the wait for it."""
        self._look_timer = None
        if not self._window.under_way:
            return
        now_s = asyncio.get_running_loop().time()
        if not self._is_sending or self._settle() or now_s < self._progressed_s + self._config.stall_timeout_s:
            self._look_later()
        else:
            self._deadline.reschedule(now_s)

    async def _quarantine(self, reasons: Mapping[int, str]) -> None:
        """Store `reasons` before the cursor moves over the events they name."""
        try:
            await self._log.quarantine(self._name, reasons)
            self._settle(reasons)
        finally:
            self._window.take_back()
        _logger.warning(
            "events refused by the upstream and quarantined",
            extra={"upstream": self._name, "events": len(reasons), "reasons": _some(reasons)},
        )

    def _take_back(self) -> None:
        """Nothing is under way any more; what was not taken is given again."""
        self._settle()
        self._window.take_back()

    def _settle(self, refused: Collection[int] = ()) -> bool:
        """Move the cursor over what the upstream has acknowledged since, and what is not wanted; whether it had."""
        count = self._upstream.acknowledged - self._acknowledged if self._window.under_way else 0
        cursor = self._log.cursor(self._name)
        if not count and self._window.done_to <= cursor:
            return False
        self._acknowledged += count
        passed = self._window.settle(count, cursor, refused)
        if passed.seq > cursor:
            self._log.advance(
                self._name,
                passed.seq,
                forwarded=passed.forwarded,
                filtered=passed.filtered,
                quarantined=passed.quarantined,
                expired=passed.expired,
                taken=passed.taken,
            )
        self._status.forwarded += passed.forwarded
        self._status.filtered += passed.filtered
        self._status.quarantined += passed.quarantined
        self._status.expired += passed.expired
        if count:
            self._progressed_s = asyncio.get_running_loop().time()
            self._status.acknowledged_mono_ns = self._clock.mono_ns()
            self._failures = 0
            self._caution.taken()
            self._enter("connected")
        return count > 0

    async def _pause_after(self, error: DeliveryError | LogError) -> None:
        self._caution.trouble()
        self._failures += 1
        suspicion = self._caution.suspicion if isinstance(error, Unreachable) else ""
        self._enter(_STATES.get(type(error), "unreachable"), f"{error}{suspicion}")
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
            extra={
                "upstream": self._name,
                "role": self._status.role,
                "state": state,
                "reason": reason,
                "cursor": self._log.cursor(self._name),
            },
        )


def _some(reasons: Mapping[int, str], at_most: int = 5) -> dict[int, str]:
    """The first few, so that a log line stays a line."""
    return dict(sorted(reasons.items())[:at_most])
