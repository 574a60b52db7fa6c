"""One round of one system: an outage, the drain after it, forwarding, latencies, and a local subscriber of everything.

The clock is the monotonic one, which is the same in all processes of a Linux machine.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import curves
from benchmarks.figures import percentile
from benchmarks.processes import BenchmarkError, Worker
from benchmarks.sampler import MemorySampler
from benchmarks.systems import SYSTEMS
from benchmarks.trial import PHASE_S, STALL_S, Trial, arm, trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.curves import Curve, Mark

LIVE_S = 5.0  # how long from its first arrival events come in beside a drain, if they do
CURVE_STEP_S = 0.2
LOCAL_STALL_S = {0: 3.0, 1: STALL_S}  # at QoS 0 events may be missing, and nothing is gained by waiting for them

Figures = dict[str, float]


class Outcome(NamedTuple):
    """What a round has measured: single figures, and curves over the backlog."""

    figures: Figures
    curves: dict[str, Curve]


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
    mqtt_version: str = "5"  # by which the gateway forwards


class Round:
    """The phases, and the figures so far."""

    def __init__(self, one: Trial, plan: Plan) -> None:
        self._trial, self._plan = one, plan
        self._server = one.server
        self.figures: Figures = {"idle_mb": one.memory_mb()}
        self.curves: dict[str, Curve] = {}

    def _load(self, numbers: range, rate: float = 0.0) -> Worker:
        return self._trial.load(numbers, rate, devices=self._plan.devices, window=self._plan.window)

    def ingest(self) -> range:
        """Publish while the upstream is down; the numbers that wait for it now."""
        events = self._plan.events
        numbers = self._trial.take(events)
        with self._load(numbers) as load, MemorySampler(self._server) as memory:
            cpu_s, written = self._server.cpu_s(), self._server.written_bytes()
            load.tell(go=True)
            result = load.answer(PHASE_S)
        seconds = result["ended"] - result["began"]
        self.figures |= {
            "ingest_per_s": result["acked"] / seconds,
            "ingest_cpu_us": (self._server.cpu_s() - cpu_s) / events * 1e6,
            "generator_cpu_us": result["cpu_s"] / events * 1e6,
            "generator_cpu_share": result["cpu_s"] / seconds,
            "backlog_rss_mb": self._trial.memory_mb(),
            "backlog_peak_mb": self._trial.memory_mb("VmHWM"),
        }
        self._note_written("written_bytes", written, events)
        if self._trial.data.exists():
            self.figures["disk_bytes"] = bytes_in(self._trial.data) / events
        self._note_curves("ingest", result["marks"], memory, 0, 1)
        return numbers

    def _note_curves(self, name: str, marks: list[Mark], memory: MemorySampler, start: int, sign: int) -> None:
        self.curves[f"{name}_per_s"] = curves.rates(marks, start, sign, CURVE_STEP_S)
        self.curves[f"{name}_mb"] = curves.values(memory.samples, marks, start, sign)

    def _note_written(self, name: str, before: float | None, events: int) -> None:
        """Bytes written per event since `before`, of a system that keeps events on the disk."""
        after = self._server.written_bytes()
        if self._trial.data.exists() and before is not None and after is not None:
            self.figures[name] = (after - before) / events

    def drain(self, backlog: range) -> None:
        """Bring the upstream back and wait for the backlog; with a live rate, events keep coming beside it."""
        one = self._trial
        cpu_s = self._server.cpu_s()
        live = one.take(int(self._plan.live_rate * LIVE_S))
        with ExitStack() as stack:
            memory = stack.enter_context(MemorySampler(self._server))
            beside = stack.enter_context(self._load(live, self._plan.live_rate)) if live else None
            one.expect({"backlog": backlog, "live": live}, announce=bool(live))
            one.open_upstream()
            if beside:
                self._wait_for_first()
                beside.tell(go=True)
                beside.answer(PHASE_S)
            reply = one.counted()
        self._note_drain(reply, cpu_s, memory, len(backlog), len(live))

    def _note_drain(self, reply: dict[str, Any], cpu_s: float, memory: MemorySampler, backlog: int, live: int) -> None:
        seen = reply["counted"]["ranges"]["backlog"]
        if seen["first"] is None:
            return
        seconds = max(seen["last"] - seen["first"], 1e-3)
        self.figures |= {
            "first_s": seen["first"] - reply["up_at"],
            "drain_from_up_per_s": seen["arrived"] / (seen["last"] - reply["up_at"]),
            "drain_per_s": seen["arrived"] / seconds,
            "drain_cpu_us": (self._server.cpu_s() - cpu_s) / (backlog + live) * 1e6,
            "receiver_cpu_us": reply["cpu_s"] / (backlog + live) * 1e6,
            "drained_rss_mb": self._trial.memory_mb(),
        }
        marks = [mark for mark in reply["counted"]["marks"] if mark[0] <= seen["last"]]
        self._note_curves("drain", marks, memory, backlog, -1)
        upstream_cpu_s = self._trial.upstream.cpu_s()
        if upstream_cpu_s is not None:
            each_s = upstream_cpu_s / (backlog + live)
            self.figures |= {"upstream_cpu_us": each_s * 1e6, "upstream_cpu_share": each_s * backlog / seconds}

    def _wait_for_first(self) -> None:
        if "first" not in self._trial.receiver.answer(PHASE_S):
            raise BenchmarkError(f"no event of the backlog reached the upstream within {STALL_S:g} s")

    def forward(self) -> None:
        """Publish with the upstream there, from the first publish to the last arrival."""
        events = self._plan.events
        numbers = self._trial.take(events)
        self._trial.expect({"events": numbers})
        cpu_s, upstream_cpu_s = self._server.cpu_s(), self._trial.upstream.cpu_s()
        with self._load(numbers) as load:
            load.tell(go=True)
            result = load.answer(PHASE_S)
        seen = self._trial.counted()["counted"]["ranges"]["events"]
        if seen["last"] is None:
            return
        seconds = seen["last"] - result["began"]
        self.figures |= {
            "end_to_end_per_s": seen["arrived"] / seconds,
            "live_acked_per_s": result["acked"] / (result["ended"] - result["began"]),
            "end_to_end_cpu_us": (self._server.cpu_s() - cpu_s) / events * 1e6,
        }
        after = self._trial.upstream.cpu_s()
        if upstream_cpu_s is not None and after is not None:
            self.figures["forward_upstream_cpu_share"] = (after - upstream_cpu_s) / seconds

    def latency(self) -> None:
        """Publish by the clock; every delay counts from the moment an event was due."""
        rate = self._plan.paced_rate
        numbers = self._trial.take(int(rate * self._plan.paced_s))
        self._trial.expect({"events": numbers}, stamps=True)
        with self._load(numbers, rate) as load:
            cpu_s, written = self._server.cpu_s(), self._server.written_bytes()
            load.tell(go=True)
            result = load.answer(PHASE_S)
        stamps = self._trial.counted()["counted"]["stamps"]
        self.figures["paced_cpu_us"] = (self._server.cpu_s() - cpu_s) / len(numbers) * 1e6
        self._note_written("paced_written_bytes", written, len(numbers))
        arrivals = [at - result["began"] - (number - numbers.start) / rate for number, at in stamps]
        for name, delays in (("ack", result["latencies_s"]), ("upstream", arrivals)):
            if delays:
                self.figures[f"{name}_p50_ms"] = percentile(delays, 0.5) * 1e3
                self.figures[f"{name}_p99_ms"] = percentile(delays, 0.99) * 1e3

    def local(self, qos: int) -> None:
        """One local subscriber of everything, with ingest and forwarding going on beside it."""
        numbers = self._trial.take(self._plan.events)
        settings = {"port": self._server.port, "local_qos": qos, "stall_s": LOCAL_STALL_S[qos]}
        with Worker("benchmarks.receiver", settings) as subscriber, self._load(numbers) as load:
            subscriber.answer(30)  # its subscription is granted
            arm(subscriber, {"events": numbers})
            self._trial.expect({"events": numbers})
            load.tell(go=True)
            result = load.answer(PHASE_S)
            seen = subscriber.answer(PHASE_S)["counted"]["ranges"]["events"]
        self._trial.counted()
        last = seen["last"] if seen["last"] is not None else result["ended"]
        self.figures |= {
            f"local_{qos}_per_s": seen["arrived"] / (last - result["began"]),
            f"local_{qos}_missing": seen["missing"],
        }


def run_round(system: str, plan: Plan, say: Callable[[str], None]) -> Outcome:
    """All phases of one system, in temporary folders, with processes of its own.

    Raises:
        BenchmarkError: a process did not start, ended or fell silent.
    """
    start = partial(SYSTEMS[system], mqtt_version=plan.mqtt_version)
    with trial(start, plan.folder, sink=plan.sink) as one:
        measured = Round(one, plan)
        say(f"{system}: ingest, upstream down")
        backlog = measured.ingest()
        say(f"{system}: drain")
        measured.drain(backlog)
        say(f"{system}: end to end")
        measured.forward()
        say(f"{system}: latency")
        measured.latency()
        measured.figures["peak_mb"] = one.memory_mb("VmHWM")
        for qos in (0, 1):
            say(f"{system}: local subscriber at QoS {qos}")
            measured.local(qos)
        measured.figures |= {"lost": one.lost, "repeated": one.repeated}
        return Outcome(measured.figures, measured.curves)


def bytes_in(folder: Path) -> int:
    """What the files of a folder take on the disk; one that vanishes meanwhile takes nothing."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_blocks * 512 if path.is_file() else 0
    return total
