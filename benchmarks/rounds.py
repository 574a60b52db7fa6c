"""One round of one system: an outage, the drain after it, forwarding with the upstream there, and latencies.

The clock is the monotonic one, which is the same in all processes of a Linux machine.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.figures import percentile
from benchmarks.processes import BenchmarkError, Worker
from benchmarks.systems import SYSTEMS, MosquittoUpstream, SinkUpstream

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.processes import Server

MEGABYTE = 1_000_000
STALL_S = 15.0
PHASE_S = 180.0  # the longest any phase may take
LIVE_S = 5.0  # how long from its first arrival events come in beside a drain, if they do

Figures = dict[str, float]


@dataclass(frozen=True)
class Plan:
    """What a round does; the same for every system."""

    events: int
    devices: int
    window: int
    paced_rate: float
    paced_s: float
    live_rate: float  # beside the drain; 0: nothing
    folder: str | None  # where the temporary folders go; None: the system's place for them
    sink: bool
    mqtt_version: str  # by which the gateway forwards


class Round:
    """A system under test, its upstream, and the figures so far."""

    def __init__(self, server: Server, plan: Plan, receiver: Worker, data: Path) -> None:
        self._server, self._plan, self._receiver = server, plan, receiver
        self._data = data  # where the system keeps events, if it does
        self._next = 0
        self.figures: Figures = {"lost": 0, "repeated": 0}

    def take(self, count: int) -> range:
        """Fresh event numbers."""
        self._next += count
        return range(self._next - count, self._next)

    def load(self, numbers: range, rate: float = 0.0) -> Worker:
        """Connected devices that wait for their start."""
        plan = self._plan
        settings = {
            "port": self._server.port,
            "first": numbers.start,
            "events": len(numbers),
            "devices": plan.devices,
            "window": plan.window,
            "rate": rate,
            "stall_s": STALL_S,
        }
        worker = Worker("benchmarks.load", settings)
        worker.answer(30)
        return worker

    def expect(self, *, stamps: bool = False, announce: bool = False, **ranges: range) -> None:
        """Arm the receiver; `announce` the first arrival."""
        wanted = {name: [numbers.start, numbers.stop] for name, numbers in ranges.items()}
        self._receiver.tell(expect=wanted, stamps=stamps, announce=announce)
        self._receiver.answer(30)

    def counted(self) -> dict[str, Any]:
        """What the receiver saw; what it missed counts as lost."""
        reply = self._receiver.answer(PHASE_S)
        for one in reply["counted"]["ranges"].values():
            self.figures["lost"] += one["missing"]
        self.figures["repeated"] += reply["counted"]["repeated"]
        return reply

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Resident memory of the system now, or with `VmHWM` the most so far."""
        return self._server.memory_bytes(field) / MEGABYTE

    def ingest(self) -> range:
        """Publish while the upstream is down; the numbers that wait for it now."""
        numbers, events = self.take(self._plan.events), self._plan.events
        with self.load(numbers) as load:
            cpu_s, written = self._server.cpu_s(), self._server.written_bytes()
            load.tell(go=True)
            result = load.answer(PHASE_S)
        seconds = result["ended"] - result["began"]
        self.figures |= {
            "ingest_per_s": result["acked"] / seconds,
            "ingest_cpu_us": (self._server.cpu_s() - cpu_s) / events * 1e6,
            "generator_cpu_us": result["cpu_s"] / events * 1e6,
            "generator_cpu_share": result["cpu_s"] / seconds,
            "backlog_rss_mb": self.memory_mb(),
            "backlog_peak_mb": self.memory_mb("VmHWM"),
        }
        self._note_written("written_bytes", written, events)
        if self._data.exists():
            self.figures["disk_bytes"] = _bytes_in(self._data) / events
        return numbers

    def _note_written(self, name: str, before: float | None, events: int) -> None:
        """Bytes written per event since `before`, of a system that keeps events on the disk."""
        after = self._server.written_bytes()
        if self._data.exists() and before is not None and after is not None:
            self.figures[name] = (after - before) / events

    def drain(self, backlog: range, upstream: MosquittoUpstream | SinkUpstream) -> None:
        """Bring the upstream back and wait for the backlog; with a live rate, events keep coming beside it."""
        cpu_s = self._server.cpu_s()
        live = self.take(int(self._plan.live_rate * LIVE_S))
        with ExitStack() as stack:
            beside = stack.enter_context(self.load(live, self._plan.live_rate)) if live else None
            self.expect(backlog=backlog, live=live, announce=bool(live))
            upstream.start(self._receiver)
            if beside:
                self._wait_for_first()
                beside.tell(go=True)
                beside.answer(PHASE_S)
        reply = self.counted()
        seen = reply["counted"]["ranges"]["backlog"]
        if seen["first"] is None:
            return
        self.figures |= {
            "first_s": seen["first"] - reply["up_at"],
            "drain_per_s": seen["arrived"] / max(seen["last"] - seen["first"], 1e-3),
            "drain_cpu_us": (self._server.cpu_s() - cpu_s) / (len(backlog) + len(live)) * 1e6,
            "receiver_cpu_us": reply["cpu_s"] / len(backlog) * 1e6,
            "drained_rss_mb": self.memory_mb(),
        }
        upstream_cpu_s = upstream.cpu_s()
        if upstream_cpu_s is not None:
            self.figures["upstream_cpu_us"] = upstream_cpu_s / (len(backlog) + len(live)) * 1e6
            self.figures["upstream_cpu_share"] = upstream_cpu_s / max(seen["last"] - seen["first"], 1e-3)

    def _wait_for_first(self) -> None:
        if "first" not in self._receiver.answer(PHASE_S):
            raise BenchmarkError(f"no event of the backlog reached the upstream within {STALL_S:g} s")

    def forward(self) -> None:
        """Publish with the upstream there, from the first publish to the last arrival."""
        numbers, events = self.take(self._plan.events), self._plan.events
        self.expect(events=numbers)
        cpu_s = self._server.cpu_s()
        with self.load(numbers) as load:
            load.tell(go=True)
            result = load.answer(PHASE_S)
        seen = self.counted()["counted"]["ranges"]["events"]
        if seen["last"] is None:
            return
        self.figures |= {
            "end_to_end_per_s": seen["arrived"] / (seen["last"] - result["began"]),
            "live_acked_per_s": result["acked"] / (result["ended"] - result["began"]),
            "end_to_end_cpu_us": (self._server.cpu_s() - cpu_s) / events * 1e6,
        }

    def latency(self) -> None:
        """Publish by the clock; every delay counts from the moment an event was due."""
        rate = self._plan.paced_rate
        numbers = self.take(int(rate * self._plan.paced_s))
        self.expect(events=numbers, stamps=True)
        with self.load(numbers, rate) as load:
            cpu_s, written = self._server.cpu_s(), self._server.written_bytes()
            load.tell(go=True)
            result = load.answer(PHASE_S)
        stamps = self.counted()["counted"]["stamps"]
        self.figures["paced_cpu_us"] = (self._server.cpu_s() - cpu_s) / len(numbers) * 1e6
        self._note_written("paced_written_bytes", written, len(numbers))
        arrivals = [at - result["began"] - (number - numbers.start) / rate for number, at in stamps]
        for name, values in (("ack", result["latencies_s"]), ("upstream", arrivals)):
            if values:
                self.figures[f"{name}_p50_ms"] = percentile(values, 0.5) * 1e3
                self.figures[f"{name}_p99_ms"] = percentile(values, 0.99) * 1e3


def run_round(system: str, plan: Plan, say: Callable[[str], None]) -> Figures:
    """All phases of one system, in temporary folders, with processes of its own.

    Raises:
        BenchmarkError: a process did not start, ended or fell silent.
    """
    with tempfile.TemporaryDirectory(prefix="bench-", dir=plan.folder) as name, ExitStack() as stack:
        folder = Path(name)
        upstream = SinkUpstream() if plan.sink else MosquittoUpstream(folder)
        stack.callback(upstream.stop)
        server = SYSTEMS[system](folder, upstream.port, plan.mqtt_version)
        stack.callback(server.stop)
        server.wait_until_listening()
        settings = {"port": upstream.port, "sink": plan.sink, "stall_s": STALL_S}
        receiver = stack.enter_context(Worker("benchmarks.receiver", settings))
        one = Round(server, plan, receiver, folder / "data")
        one.figures["idle_mb"] = one.memory_mb()
        say(f"{system}: ingest, upstream down")
        backlog = one.ingest()
        say(f"{system}: drain")
        one.drain(backlog, upstream)
        say(f"{system}: end to end")
        one.forward()
        say(f"{system}: latency")
        one.latency()
        one.figures["peak_mb"] = one.memory_mb("VmHWM")
        return one.figures


def _bytes_in(folder: Path) -> int:
    """What the files of a folder take on the disk; one that vanishes meanwhile takes nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512 if path.is_file() else 0
    return total
