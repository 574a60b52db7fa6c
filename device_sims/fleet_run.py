"""A run: all devices of a fleet in one task group, from the first connection to the settled ledger.

Promises: a run ends within its duration, its settle time and one attempt to connect (10 s at most); when it returns,
the ledger is committed and marked as finished. A ledger that cannot be written ends the run with `LedgerError`.
"""

import asyncio
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from device_sims.clock import Clock
from device_sims.device import Device, Surroundings
from device_sims.endpoint import Endpoint
from device_sims.fleet import Fleet
from device_sims.ledger import LedgerWriter
from device_sims.progress import Progress

COMMIT_INTERVAL_S = 0.1
REPORT_INTERVAL_S = 0.5
# The library connects in threads; this many devices can wait for an unresponsive broker at the same time.
CONNECT_THREADS_MAX = 32
STARTS_PER_S = 100.0
START_SPREAD_MAX_S = 5.0

Report = Callable[[Progress, float], None]
"""Called a few times a second with the progress and the seconds since the start."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a run may take. None means until stopped."""

    duration_s: float | None = None
    settle_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Stopping:
    """How a run is told to stop from outside: first to settle, then at once."""

    settle: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: asyncio.Event = field(default_factory=asyncio.Event)

    def request(self) -> None:
        """Ask once to stop generating and settle; ask again to stop without settling."""
        if self.settle.is_set():
            self.at_once.set()
        self.settle.set()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; `seconds` is the time it generated for."""

    progress: Progress
    seconds: float


async def run_fleet(
    fleet: Fleet,
    endpoint: Endpoint,
    ledger: LedgerWriter,
    limits: Limits,
    stopping: Stopping,
    *,
    clock: Clock,
    report: Report,
) -> Outcome:
    """Run `fleet` until its duration is over or it is told to stop, settle, and finish the ledger.

    Every device draws from a generator seeded with the fleet's seed and the device's name.

    Raises:
        LedgerError: the ledger could not be written.
    """
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(CONNECT_THREADS_MAX, "connect"))
    progress = Progress()
    spread_s = min(START_SPREAD_MAX_S, fleet.device_count / STARTS_PER_S)
    around = Surroundings(endpoint, ledger, clock, progress, spread_s)
    devices = [
        Device(spec, random.Random(f"{fleet.fleet.seed}/{spec.device}"), around)  # noqa: S311 - repeatable on purpose
        for spec in fleet.devices()
    ]
    started_s = clock.monotonic()
    with ThreadPoolExecutor(1, "ledger") as ledger_thread:
        async with asyncio.TaskGroup() as tasks:
            beside = [
                tasks.create_task(_commit_repeatedly(ledger, ledger_thread, clock)),
                tasks.create_task(_report_repeatedly(report, progress, clock)),
            ]
            running = [tasks.create_task(device.run()) for device in devices]
            await _within(limits.duration_s, stopping.settle)
            seconds = clock.monotonic() - started_s
            for device in devices:
                device.stop()
            await _settled(running, limits.settle_s, stopping.at_once)
            for device in devices:
                device.abandon()
            await asyncio.wait(running)
            for task in beside:
                task.cancel()
    ledger.finish(clock.wall_ns())
    return Outcome(progress, seconds)


async def _commit_repeatedly(ledger: LedgerWriter, thread: ThreadPoolExecutor, clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await clock.sleep(COMMIT_INTERVAL_S)
        # Shielded: when this task is cancelled, the batch in the thread is still written, and `finish` comes after it.
        await asyncio.shield(loop.run_in_executor(thread, ledger.write, ledger.gather()))


async def _report_repeatedly(report: Report, progress: Progress, clock: Clock) -> None:
    started_s = clock.monotonic()
    while True:
        report(progress, clock.monotonic() - started_s)
        await clock.sleep(REPORT_INTERVAL_S)


async def _within(seconds: float | None, event: asyncio.Event) -> None:
    """Return when `event` is set or `seconds` have passed."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


async def _settled(running: list[asyncio.Task[None]], settle_s: float, at_once: asyncio.Event) -> None:
    """Return when every device is done, the settle time is over, or it is to end at once."""
    ending = asyncio.create_task(at_once.wait())
    done = asyncio.create_task(_all_done(running))
    await asyncio.wait({ending, done}, timeout=settle_s, return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    done.cancel()


async def _all_done(running: list[asyncio.Task[None]]) -> None:
    await asyncio.wait(running)
