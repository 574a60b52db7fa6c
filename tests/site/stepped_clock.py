"""A wall clock for one process that a test sets and steps, and a kernel that says whether it is set."""

from __future__ import annotations

import mmap
import struct
import time
import uuid
from pathlib import Path
from typing import Final

from gateway.health.clocksync import BUILT

SOURCE = Path(__file__).with_name("clock_shim.c")
SECOND_NS: Final = 1_000_000_000
YEARS_30_NS: Final = 30 * 365 * 86_400 * SECOND_NS
_TRUE_OFFSET_NS: Final = (int(BUILT.timestamp()) + 100 * 86_400) * SECOND_NS
"""In the world of these tests the machine was booted 100 days after this version was made."""
_KERNEL = {"unset": 0, "set": 1, "refuses": 2, "small error": 3}


def true_ns() -> int:
    """What a right clock shows now."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) + _TRUE_OFFSET_NS


class SteppedClock:
    """Mirrors `struct control` in `clock_shim.c`. It begins as a Pi without a battery: in 1970, and not set.

    The time since boot is this machine's, whatever boot it is.
    """

    def __init__(self, library: Path, control: Path) -> None:
        control.write_bytes(bytes(16))
        with control.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)
        self._boot_id = control.with_suffix(".boot")
        self.env = {
            "LD_PRELOAD": str(library),
            "GATEWAY_CLOCK_CONTROL": str(control),
            "GATEWAY_CLOCK_BOOT_ID": str(self._boot_id),
        }
        """To be given to `GatewayProcess.start`."""
        self.boot()

    def boot(self) -> None:
        """Another boot: the clock shows 1970 again, and is not set."""
        self._boot_id.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
        self.kernel_says("unset")
        struct.pack_into("=q", self._page, 0, 0)

    def set_right(self) -> None:
        """As a time service does: the clock is stepped to the true time, and the kernel told so."""
        self.step(0)
        self.kernel_says("set")

    def step(self, error_ns: int) -> None:
        """As `date -s` does: the clock is wrong by so much from now on, and the kernel vouches for nothing."""
        self.kernel_says("unset")
        struct.pack_into("=q", self._page, 0, _TRUE_OFFSET_NS + error_ns)

    def kernel_says(self, what: str) -> None:
        """`set`, `unset`, `small error` as with chrony without `rtcsync`, or `refuses` to be asked."""
        struct.pack_into("=q", self._page, 8, _KERNEL[what])
