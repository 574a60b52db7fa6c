"""Whether the wall clock of this machine is set, and since when: looks twice a second, and notes what it may believe.

A Pi without a battery boots with the time of its last shutdown, or with 1970. Its clock counts as set when whoever
disciplines it says so (see `believed`). Then an anchor is stored, by which the times of all events of this boot are
told (`gateway.eventlog.boots`), and another one whenever the clock was stepped and is said to be right again. A step
that nobody vouches for, an operator's `date -s` say, makes no anchor. Once set, a clock stays set until the machine
reboots: the kernel takes its word back after 9 hours without a time server, in which a Pi loses a second or two.

Nothing is timed by the wall clock. One thing waits for it: when the uplink comes, time service and upstream race for
it, and a backlog that goes out first goes out with wrong times; so forwarding gives the time service a start (`wait`).
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from gateway.clock import Anchor
from gateway.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import NoReturn

    from gateway.clock import Clock

ClockMode = Literal["kernel", "trust"]

BUILT = datetime(2026, 11, 1, tzinfo=UTC)
"""This version did not exist before: a clock that shows less is wrong, whatever is said of it. Raised with each
release (a test compares it with the changelog). Not taken from the times of our own files, which may have been unpacked
while the clock was wrong in the other direction, and would then refuse every right time."""
LOOK_INTERVAL_S = 0.5
_STEP_NS = 500_000_000
"""A change of the offset by more is a step, and makes an anchor; less is noise of reading two clocks, or a step so
small that the events' own wall clock is taken as it is."""
_STAMP_TRIES = 5
_STAMP_GAP_NS = 1_000_000
_TIMESYNCD = Path("/run/systemd/timesync/synchronized")
"""Made by systemd-timesyncd when it has set the clock for the first time since boot (systemd-timesyncd.service(8))."""
_TIME_SERVICES = (Path("/run/systemd/timesync"), Path("/run/chrony"))
"""The runtime directories of those that set the clock of a Pi."""
_STA_UNSYNC = 0x40
_MAXERROR_US = 16_000_000
"""The kernel's bound of the error of a clock that nobody disciplines (NTP_PHASE_LIMIT)."""
_libc = ctypes.CDLL(None, use_errno=True)

logger = logging.getLogger(__name__)


class _Timex(ctypes.Structure):
    """The beginning of `struct timex` (adjtimex(2)), and room for the rest of it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def kernel_vouches() -> bool | None:
    """Whether the kernel takes the wall clock for set; None if it may not be asked.

    It is if STA_UNSYNC is clear, or if somebody keeps the bound of its error down, which is all that chrony does
    without `rtcsync`. A step of the clock undoes both.
    """
    timex = _Timex(modes=0)  # 0 changes nothing and needs no privilege
    if _libc.adjtimex(ctypes.byref(timex)) < 0:
        return None
    return not timex.status & _STA_UNSYNC or timex.maxerror < _MAXERROR_US


def believed(
    mode: ClockMode,
    wall_ns: int,
    *,
    kernel: Callable[[], bool | None] = kernel_vouches,
    timesyncd: Path = _TIMESYNCD,
) -> str:
    """On whose word a wall clock that shows `wall_ns` is right: the source of an `Anchor`; empty if on nobody's."""
    if wall_ns < int(BUILT.timestamp()) * 1_000_000_000:
        return ""
    if mode == "trust":
        return "trust"
    vouches = kernel()
    if vouches is None:
        return "timesyncd" if timesyncd.exists() else ""
    return "kernel" if vouches else ""


def time_service_runs(directories: Iterable[Path] = _TIME_SERVICES) -> bool:
    """Whether anybody on this machine will set the clock when he can."""
    return any(directory.exists() for directory in directories)


class ClockStatus(NamedTuple):
    """A look at the clock."""

    set: bool
    """Whether it was set in this boot."""
    source: str
    """On whose word."""
    set_s: float | None
    """How long ago that was, or the last step that was believed."""
    agrees: bool
    """Whether the wall clock now shows what it was set to; false after a step that nobody vouches for."""
    steps: int
    """Steps seen since the start, believed or not."""
    last_step_s: float | None
    """How far the last one went."""


class ClockSync:
    """Watches the wall clock of this boot.

    Args:
        clock: the clock.
        source: tells on whose word a wall clock (nanoseconds) is right, as `believed` does.
        newest: the last anchor of this boot that is stored.
        keep: stores an anchor durably, and then lets times be told by it; raises LogError if the disk refuses.
        wait_s: how long `wait` waits at the most.
    """

    def __init__(
        self,
        clock: Clock,
        source: Callable[[int], str],
        newest: Anchor | None,
        keep: Callable[[Anchor], Awaitable[None]],
        *,
        wait_s: float = 0,
    ) -> None:
        self._clock = clock
        self._source = source
        self._anchor = newest
        self._keep = keep
        self._offset_ns: int | None = None
        self._steps = 0
        self._last_step_ns: int | None = None
        self._refused = False
        self._is_set = asyncio.Event()
        if newest is not None:
            self._is_set.set()
        self._wait_s = wait_s
        self._wait_until_s: float | None = None

    async def watch(self) -> NoReturn:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def look(self) -> None:
        """See whether the clock was stepped or set; a new anchor is durable, or will be tried again, on return."""
        mono_ns, offset_ns = self._stamp()
        source = self._source(mono_ns + offset_ns)
        if abs(self._stamp()[1] - offset_ns) > _STEP_NS:
            return  # stepped just now: whose word was that about? The next look knows
        self._note_step(offset_ns)
        if source and (self._anchor is None or abs(offset_ns - self._anchor.offset_ns) > _STEP_NS):
            await self._settle(Anchor(mono_ns, offset_ns, source))

    async def wait(self) -> None:
        """Return when the clock is set; `wait_s` after the first call at the latest, and from then on at once."""
        if self._is_set.is_set() or self._wait_s <= 0:
            return
        if self._wait_until_s is None:
            self._wait_until_s = asyncio.get_running_loop().time() + self._wait_s
            logger.info("forwarding waits for the clock to be set", extra={"at_most_s": self._wait_s})
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._wait_until_s):
                await self._is_set.wait()

    def status(self) -> ClockStatus:
        """What `gateway status` shows."""
        mono_ns, offset_ns = self._stamp()
        anchor = self._anchor
        return ClockStatus(
            set=anchor is not None,
            source=anchor.source if anchor else "",
            set_s=round((mono_ns - anchor.mono_ns) / 1e9, 1) if anchor else None,
            agrees=anchor is not None and abs(offset_ns - anchor.offset_ns) <= _STEP_NS,
            steps=self._steps,
            last_step_s=None if self._last_step_ns is None else round(self._last_step_ns / 1e9, 1),
        )

    async def _settle(self, anchor: Anchor) -> None:
        try:
            await self._keep(anchor)
        except LogError as error:
            if not self._refused:
                logger.error("that the clock is set cannot be stored", extra={"reason": str(error)})  # noqa: TRY400
            self._refused = True
            return
        self._anchor, self._refused = anchor, False
        self._is_set.set()
        logger.info(
            "the clock is set: times of this boot are corrected by it",
            extra={"source": anchor.source, "boot_s": round(anchor.mono_ns / 1e9, 1)},
        )

    def _note_step(self, offset_ns: int) -> None:
        before_ns, self._offset_ns = self._offset_ns, offset_ns
        if before_ns is None or abs(offset_ns - before_ns) <= _STEP_NS:
            return
        self._steps += 1
        self._last_step_ns = offset_ns - before_ns
        logger.warning("the wall clock was stepped", extra={"by_s": round(self._last_step_ns / 1e9, 1)})

    def _stamp(self) -> tuple[int, int]:
        """Time since boot, and how far the wall clock is ahead of it, read as close together as can be."""
        clock, best_gap_ns = self._clock, None
        for _ in range(_STAMP_TRIES):
            before_ns, wall_ns, after_ns = clock.mono_ns(), clock.wall_ns(), clock.mono_ns()
            gap_ns = after_ns - before_ns
            if best_gap_ns is None or gap_ns < best_gap_ns:
                best_gap_ns, mono_ns, offset_ns = gap_ns, before_ns, wall_ns - before_ns - gap_ns // 2
            if gap_ns <= _STAMP_GAP_NS:
                break
        return mono_ns, offset_ns
