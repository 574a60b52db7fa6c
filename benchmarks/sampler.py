"""Resident memory of a process over time, read from /proc beside the measurement."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from benchmarks.curves import Sample
    from benchmarks.processes import Server

INTERVAL_S = 0.1
MEGABYTE = 1_000_000


class MemorySampler:
    """A thread of the command, which has little else to do: time and `VmRSS` in MB, every 100 ms."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            resident = self._server.resident_bytes()
            if resident is not None:  # it runs
                self.samples.append((time.monotonic(), resident / MEGABYTE))
            if self._stop.wait(INTERVAL_S):
                return
