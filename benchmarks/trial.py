"""One system under test with its upstream and its counter, and what every measurement does with them."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.frames import PAYLOAD_BYTES
from benchmarks.processes import Worker
from benchmarks.sampler import MEGABYTE
from benchmarks.systems import MosquittoUpstream, SinkUpstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.processes import Server

    Start = Callable[[Path, int], Server]

STALL_S = 15.0
PHASE_S = 180.0  # the longest any phase may take


class Trial:
    """The processes of one system, and the event numbers used so far."""

    def __init__(
        self, server: Server, upstream: MosquittoUpstream | SinkUpstream, receiver: Worker, folder: Path
    ) -> None:
        self.server, self.upstream, self.receiver = server, upstream, receiver
        self.data = folder / "data"  # where the gateway keeps events; the other system keeps none
        self.lost = self.repeated = 0
        self._next = 0
        self.payload_bytes = PAYLOAD_BYTES
        self.password = ""
        """What its devices log in with."""

    def take(self, count: int) -> range:
        """Fresh event numbers."""
        self._next += count
        return range(self._next - count, self._next)

    def load(self, numbers: range, rate: float = 0.0, *, devices: int = 20, window: int = 20) -> Worker:
        """Connected devices that wait for their start."""
        settings = {
            "port": self.server.port,
            "first": numbers.start,
            "events": len(numbers),
            "devices": devices,
            "window": window,
            "rate": rate,
            "stall_s": STALL_S,
            "password": self.password,
            "payload_bytes": self.payload_bytes,
        }
        worker = Worker("benchmarks.load", settings)
        worker.answer(30)
        return worker

    def publish(self, numbers: range, rate: float = 0.0, *, devices: int = 20, window: int = 20) -> dict[str, Any]:
        """Publish the events; what the devices saw."""
        with self.load(numbers, rate, devices=devices, window=window) as load:
            load.tell(go=True)
            return load.answer(PHASE_S)

    def open_upstream(self) -> None:
        """Let the upstream take connections from now on."""
        self.upstream.start(self.receiver)

    def expect(self, ranges: dict[str, range], *, stamps: bool = False, announce: bool = False) -> None:
        """Arm the counter at the upstream; `announce` the first arrival."""
        arm(self.receiver, ranges, stamps=stamps, announce=announce)

    def counted(self, timeout_s: float = PHASE_S) -> dict[str, Any]:
        """What arrived at the upstream; what is missing counts as lost."""
        reply = self.receiver.answer(timeout_s)
        self.lost += sum(one["missing"] for one in reply["counted"]["ranges"].values())
        self.repeated += reply["counted"]["repeated"]
        return reply

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Resident memory of the system now, or with `VmHWM` the most so far."""
        return self.server.memory_bytes(field) / MEGABYTE


def arm(receiver: Worker, ranges: dict[str, range], *, stamps: bool = False, announce: bool = False) -> None:
    """Tell a counter what it is to wait for."""
    wanted = {name: [numbers.start, numbers.stop] for name, numbers in ranges.items()}
    receiver.tell(expect=wanted, stamps=stamps, announce=announce)
    receiver.answer(30)


@contextmanager
def trial(start: Start, folder: str | None, *, sink: bool = True) -> Iterator[Trial]:
    """A system in a temporary folder in `folder`, its upstream still closed: the sink, or a Mosquitto.

    Raises:
        BenchmarkError: a process did not start.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as name, ExitStack() as stack:
        inside = Path(name)
        upstream = SinkUpstream() if sink else MosquittoUpstream(inside)
        stack.callback(upstream.stop)
        server = start(inside, upstream.port)
        stack.callback(server.stop)
        server.wait_until_listening()
        settings = {"port": upstream.port, "sink": sink, "stall_s": STALL_S}
        receiver = stack.enter_context(Worker("benchmarks.receiver", settings))
        yield Trial(server, upstream, receiver, inside)
