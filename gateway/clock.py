"""The clocks of this machine, as one argument that tests can replace.

Wall time stamps events and is shown to people; every wait, backoff, age and timeout uses monotonic time, because the
wall clock of a Raspberry Pi without a battery jumps by years when the network comes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple, Protocol

_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


class Anchor(NamedTuple):
    """A moment since when a boot's wall clock is known to be right."""

    mono_ns: int
    """The moment, as time since that boot."""
    offset_ns: int
    """Wall clock less time since boot. Only a step of the wall clock changes it: slewing moves both clocks."""
    source: str
    """On whose word: `kernel`, `timesyncd` or `trust` (see `gateway.health.clocksync`)."""


class Clock(Protocol):
    """What the gateway asks of a clock."""

    boot_id: str
    """The kernel's random id of this boot."""

    def wall_ns(self) -> int:
        """Wall clock (UTC), nanoseconds since 1970."""
        ...

    def mono_ns(self) -> int:
        """Nanoseconds since this boot, time asleep included; never steps."""
        ...


class SystemClock:
    """The clocks of the machine this process runs on (Linux)."""

    def __init__(self) -> None:
        self.boot_id = _BOOT_ID_FILE.read_text(encoding="ascii").strip()

    def wall_ns(self) -> int:
        """Wall clock (UTC), nanoseconds since 1970."""
        return time.time_ns()

    def mono_ns(self) -> int:
        """Nanoseconds since this boot, time asleep included; never steps."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
