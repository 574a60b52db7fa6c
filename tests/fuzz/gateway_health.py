"""What can be seen of a running gateway from outside: memory, descriptors, tasks, and what its log says."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tests.site.ports import wait_for

if TYPE_CHECKING:
    from tests.site.gateway_process import GatewayProcess

_TAIL_BYTES = 20_000
_LOG_FILES = 6
"""A segment that begins, or is read, is a database of three files."""


class GatewayLog:
    """The log, read on and on."""

    def __init__(self, gateway: GatewayProcess) -> None:
        self._path = gateway.log_path
        self._read_bytes = 0

    def check(self) -> None:
        """Raises AssertionError if an exception has come as far as the log since the last look."""
        with self._path.open("rb") as log:
            log.seek(self._read_bytes)
            text = log.read()
        self._read_bytes += len(text)
        at = text.find(b"Traceback")
        assert at < 0, text[max(at - 500, 0) : at + _TAIL_BYTES].decode(errors="replace")


class GatewayHealth:
    """Made when the gateway is warm; what comes later is compared with that moment."""

    def __init__(self, gateway: GatewayProcess) -> None:
        assert gateway.process is not None
        self._gateway = gateway
        self._proc = Path("/proc") / str(gateway.process.pid)
        wait_for(self._is_idle, what="the end of all connections")
        self._sockets, self._others = self._descriptors()
        self._tasks = int(gateway.status()["tasks"])
        self._memory_bytes = self._resident_bytes()

    def growth_bytes(self) -> int:
        return self._resident_bytes() - self._memory_bytes

    def check_idle(self) -> None:
        """Nobody is connected, and nothing that belonged to connections is left."""
        wait_for(self._is_idle, what="the end of all connections")
        wait_for(
            self._has_no_more_descriptors, what=f"{self._sockets} sockets and {self._others} files, as at the start"
        )
        wait_for(lambda: self._gateway.status()["tasks"] <= self._tasks, what=f"{self._tasks} tasks, as at the start")

    def _has_no_more_descriptors(self) -> bool:
        sockets, others = self._descriptors()
        return sockets <= self._sockets and others <= self._others + _LOG_FILES

    def _is_idle(self) -> bool:
        broker = self._gateway.status()["broker"]
        return broker["connections"] == broker["clients"] == 0

    def _descriptors(self) -> tuple[int, int]:
        """Sockets, and everything else."""
        kinds = []
        for path in (self._proc / "fd").iterdir():
            with suppress(FileNotFoundError):  # it was closed at this moment
                kinds.append(str(path.readlink()).startswith("socket:"))
        return sum(kinds), len(kinds) - sum(kinds)

    def _resident_bytes(self) -> int:
        found = re.search(r"VmRSS:\s+(\d+) kB", (self._proc / "status").read_text(encoding="ascii"))
        assert found is not None
        return int(found[1]) * 1024
