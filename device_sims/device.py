"""One simulated device: it generates at its rate, sends within its window, and reconnects until it is done.

Promises: an event goes into the ledger as acknowledged only after the broker's PUBACK or PUBCOMP; what stayed
unacknowledged is sent again with the same bytes, in order, before newer events. Memory is bounded by the outbox:
when it is full the device skips generating, counts that, and uses up no `n`.
"""

import asyncio
import random
from dataclasses import dataclass

from device_sims.backoff import next_due_s, retry_delay_s
from device_sims.clock import Clock
from device_sims.connection import Client, Connection, open_connection
from device_sims.endpoint import Endpoint
from device_sims.errors import ConnectionLost, first_error
from device_sims.event import Event, encode
from device_sims.fleet import DeviceSpec
from device_sims.ledger import LedgerWriter
from device_sims.outbox import Outbox
from device_sims.profiles import PROFILES
from device_sims.progress import Progress

WAKE_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all devices of a run share."""

    endpoint: Endpoint
    ledger: LedgerWriter
    clock: Clock
    progress: Progress
    start_spread_s: float


class Device:
    """A device of the fleet; `run` returns once it was told to stop and has nothing outstanding."""

    def __init__(self, spec: DeviceSpec, rng: random.Random, around: Surroundings) -> None:
        self._spec = spec
        self._rng = rng
        self._around = around
        self._signal = PROFILES[spec.group.profile](rng, spec.index)
        self._outbox = Outbox(events_max=spec.group.buffer_events_max, inflight_max=spec.group.inflight_max)
        self._n = 0
        self._connections = 0
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._done = asyncio.Event()
        self._generating: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Generate no more; `run` returns when all that was generated is acknowledged."""
        self._is_stopping = True
        if self._generating is not None:
            self._generating.cancel()
        self._finish_if_empty()

    def abandon(self) -> None:
        """Stop now, acknowledged or not."""
        self.stop()
        self._done.set()
        self._wake.set()

    async def run(self) -> None:
        """Generate and send until stopped. A broken connection is never an error here."""
        async with asyncio.TaskGroup() as tasks:
            if not self._is_stopping:
                self._generating = tasks.create_task(self._generate())
            tasks.create_task(self._deliver())

    async def _generate(self) -> None:
        clock, progress, group = self._around.clock, self._around.progress, self._spec.group
        interval_s = 1.0 / group.rate_hz
        due_s = clock.monotonic() + self._rng.uniform(0.0, interval_s)
        while True:
            await clock.sleep(max(0.0, due_s - clock.monotonic()))
            if self._outbox.is_full:
                progress.skipped += 1
            else:
                self._offer(clock.wall_ns())
            due_s = next_due_s(due_s, clock.monotonic(), interval_s, group.jitter, self._rng)

    def _offer(self, wall_ns: int) -> None:
        self._n += 1
        payload = encode(self._spec.device, self._n, wall_ns, self._signal(wall_ns / 1e9))
        self._outbox.offer(Event(self._n, self._spec.topic, payload))
        self._around.progress.generated += 1
        self._around.progress.outstanding += 1
        self._wake.set()

    async def _deliver(self) -> None:
        """The control flow of the connection: start at a random moment, then connect, send, and after a loss wait."""
        attempt = 0
        await self._wait_unless_done(self._rng.uniform(0.0, self._around.start_spread_s))
        while not self._done.is_set():
            connections = self._connections
            try:
                await self._send_over_one_connection()
            except* ConnectionLost as lost:
                self._around.progress.last_trouble = str(first_error(lost))
            self._outbox.rewind()
            attempt = 0 if self._connections > connections else attempt + 1
            await self._wait_unless_done(retry_delay_s(attempt, self._rng))

    async def _send_over_one_connection(self) -> None:
        group, progress = self._spec.group, self._around.progress
        # A clean session each time: the outbox sends again what was not acknowledged. In a kept session the broker
        # could take a new event for an unfinished old one that had the same packet id.
        client = Client(self._spec.device, clean_session=True, inflight_max=group.inflight_max)
        async with open_connection(self._around.endpoint, client) as connection:
            self._connections += 1
            progress.connections += 1
            progress.reconnects += self._connections > 1
            progress.connected += 1
            progress.last_trouble = ""
            try:
                await self._send_while_connected(connection)
            finally:
                progress.connected -= 1

    async def _send_while_connected(self, connection: Connection) -> None:
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(connection.broken())
            publishing: set[asyncio.Task[None]] = set()
            while not self._done.is_set():
                while (event := self._outbox.take()) is not None:
                    publish = tasks.create_task(self._publish(connection, event))
                    publishing.add(publish)
                    publish.add_done_callback(publishing.discard)
                await self._woken()
            for task in (watching, *publishing):
                task.cancel()

    async def _publish(self, connection: Connection, event: Event) -> None:
        progress, ledger, group = self._around.progress, self._around.ledger, self._spec.group
        if self._outbox.is_sent_first(event.n):
            progress.sent += 1
            ledger.sent(self._spec.device)
        else:
            progress.resent += 1
        await connection.publish(event, qos=group.qos, retain=group.retain)
        if group.qos > 0:
            progress.acknowledged += 1
            ledger.acknowledged(self._spec.device, event.n, event.topic, self._around.clock.wall_ns())
        self._outbox.settle(event.n)
        progress.outstanding -= 1
        self._finish_if_empty()
        self._wake.set()

    def _finish_if_empty(self) -> None:
        if self._is_stopping and not self._outbox:
            self._done.set()
            self._wake.set()

    async def _woken(self) -> None:
        """Return when something was generated, acknowledged or stopped, or after a while without any of it."""
        try:
            async with asyncio.timeout(WAKE_TIMEOUT_S):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    async def _wait_unless_done(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._done.wait()
        except TimeoutError:
            return
