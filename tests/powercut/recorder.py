"""A gateway behind the shim: how to start it, how to steer its disk, and what was recorded."""

from __future__ import annotations

import errno
import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.powercut.images import Disk, look_at
from tests.powercut.trace import read_trace

if TYPE_CHECKING:
    from tests.powercut.trace import Record
    from tests.site.gateway_process import GatewayProcess

SOURCE = Path(__file__).with_name("shim.c")
WRITES: Final = 1
SYNCS: Final = 2
REFUSALS: Final = {"EIO": errno.EIO, "ENOSPC": errno.ENOSPC}


class Card:
    """The disk below the data directory of a gateway: what it is told to do, and how often it was asked.

    Mirrors `struct control` in `shim.c`.
    """

    _FIELD = struct.Struct("=Q")
    _FIELDS = ("sync_delay_us", "fail_kind", "fail_errno", "fail_from", "fail_count", "writes", "syncs", "failed")

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(8 * len(self._FIELDS)))
        with path.open("r+b") as file:
            self._page = mmap.mmap(file.fileno(), 0)

    def seen(self, what: int) -> int:
        """How many writes or fsyncs the gateway has asked for."""
        return self._get("writes" if what == WRITES else "syncs")

    @property
    def failed(self) -> int:
        """How many operations were refused."""
        return self._get("failed")

    @property
    def refuses(self) -> bool:
        """Whether it was told to, and not healed since."""
        return self._get("fail_kind") != 0

    def delay_syncs(self, delay_ms: float) -> None:
        self._set("sync_delay_us", int(delay_ms * 1000))

    def refuse(self, what: int, first: int, count: int, reason: str) -> None:
        """Let the `first`-th write or fsync since the start, and those after it, `count` in all, fail with `reason`."""
        self.heal()
        self._set("fail_errno", REFUSALS[reason])
        self._set("fail_from", first)
        self._set("fail_count", count)
        self._set("fail_kind", what)

    def heal(self) -> None:
        self._set("fail_kind", 0)

    def _get(self, name: str) -> int:
        return int(self._FIELD.unpack_from(self._page, 8 * self._FIELDS.index(name))[0])

    def _set(self, name: str, value: int) -> None:
        self._FIELD.pack_into(self._page, 8 * self._FIELDS.index(name), value)


class Recorder:
    """Records what one gateway does, over all of its lives."""

    def __init__(self, library: Path, folder: Path, gateway: GatewayProcess) -> None:
        """Look at the data directory as it is now; the gateway must not run yet."""
        folder.mkdir()
        self.root = gateway.data_dir.resolve()
        self.card = Card(folder / "control")
        self._found = look_at(self.root)
        self._trace = folder / "trace"
        self.env = {
            "LD_PRELOAD": str(library),
            "GATEWAY_SHIM_DIR": str(self.root),
            "GATEWAY_SHIM_TRACE": str(self._trace),
            "GATEWAY_SHIM_CONTROL": str(folder / "control"),
        }
        """To be given to `GatewayProcess.start`."""

    def records(self) -> list[Record]:
        """Everything so far; to be asked while the gateway does not run."""
        return read_trace(self._trace)

    def disk(self, seed: int = 0) -> Disk:
        """The disk as it was before the first record."""
        return Disk(self.root, self._found, seed)
