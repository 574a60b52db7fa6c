"""The disk below a gateway: an fsync that takes longer, how many there were, and what the device was given.

The delay and the count come from the preloaded library of the power-cut tests, compiled here; its source says how it
is told what to do.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

from benchmarks.processes import ROOT, BenchmarkError

SOURCE = ROOT / "tests" / "powercut" / "shim.c"
SECTOR_BYTES = 512
_DELAY_AT, _SYNCS_AT = 0, 6 * 8  # in `struct control`
_NUMBER = struct.Struct("=Q")


def compiler() -> str | None:
    """The C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc")


class Card:
    """What stands between one gateway and its disk, made in `folder` before the gateway starts there."""

    def __init__(self, folder: Path) -> None:
        """Compile the library.

        Raises:
            BenchmarkError: there is no compiler, or it refused.
        """
        library, control = folder / "shim.so", folder / "shim.control"
        command = [compiler() or "cc", "-std=gnu11", "-O2", "-fPIC", "-shared", "-o", str(library), str(SOURCE)]
        try:
            done = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise BenchmarkError("no C compiler. On Debian: apt install gcc libc6-dev") from error
        if done.returncode:
            raise BenchmarkError(f"{SOURCE.name} was not compiled:\n{done.stderr}")
        control.write_bytes(bytes(mmap.PAGESIZE))
        with control.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)
        self.env = {
            "LD_PRELOAD": str(library),
            "GATEWAY_SHIM_DIR": str(folder.resolve() / "data"),
            "GATEWAY_SHIM_CONTROL": str(control),
        }

    def delay_syncs(self, delay_ms: float) -> None:
        """From now on every fsync below the data directory takes this much longer."""
        _NUMBER.pack_into(self._page, _DELAY_AT, int(delay_ms * 1000))

    @property
    def syncs(self) -> int:
        """How many there were so far."""
        return int(_NUMBER.unpack_from(self._page, _SYNCS_AT)[0])


def device_written_bytes(folder: Path) -> int | None:
    """What the block device below `folder` has been given by the whole machine; None where the kernel does not tell."""
    number = folder.stat().st_dev
    try:
        fields = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/stat").read_text().split()
    except OSError:
        return None
    return int(fields[6]) * SECTOR_BYTES


def forget_pages(folder: Path) -> None:
    """Let the kernel drop what it holds of the files in `folder` that is on the disk: the next reader waits for it."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
