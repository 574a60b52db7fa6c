"""A backlog of ten million events: `python -m benchmarks.scale`.

The log is filled through the broker, at full speed, while the upstream is down. At each checkpoint the gateway is
killed and started again, with nothing of its files in the kernel's memory. Then the upstream comes, and the whole
backlog is drained into a sink. Rates, memory and the time of a start are shown over the backlog.

What else the machine does changes within minutes. Therefore rates are compared with those of a second gateway, whose
backlog is small: the last steps of filling are made with both in turn, and one is drained right after the other.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmarks import curves
from benchmarks.card import forget_pages
from benchmarks.figures import ratio
from benchmarks.filling import SMALL_EVENTS, SMALL_STEPS, Step, rate_near, steps
from benchmarks.plots import Panel, draw_from, kept
from benchmarks.processes import BenchmarkError
from benchmarks.report import Goal
from benchmarks.rounds import bytes_in
from benchmarks.sampler import MemorySampler
from benchmarks.setting import add_folders, begin, machine, write
from benchmarks.systems import start_gateway
from benchmarks.trial import Trial, trial

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.curves import Curve

CHECKPOINTS = (10_000, 100_000, 1_000_000, 3_000_000, 10_000_000)
SETTLE_S = 1.0  # after a start, before its memory is read
DRAIN_S = 1200.0
KEEP_ALL: dict[str, float] = {"retention_bytes_max": 0, "retention_age_s": 0}
GOALS = {
    "start_s": ("longest start, s", 2, Goal(below=2)),
    "highest_mb": ("memory, highest of all, MB", 1, Goal(below=80)),
    "started_above_empty_mb": ("  after a start, above that of an empty gateway, MB", 1, Goal(at_most=15)),
    "highest_above_empty_mb": ("  highest of all, above that of an empty idle gateway, MB", 1, Goal(at_most=15)),
    "ingest_ratio": ("ingest with the full backlog : with a small one, in turn", 2, Goal(at_least=0.8)),
    "drain_ratio": ("drain of the full backlog : of a small one, in turn", 2, Goal(at_least=0.8)),
    "lost": ("acknowledged and lost", 0, Goal(below=1)),
}


class Filling:
    """One gateway whose backlog grows, and what is measured on the way."""

    def __init__(self, one: Trial, say: Callable[[str], None]) -> None:
        self._trial, self._say = one, say
        self.ingest: Curve = []
        self.drained: Curve = []
        self.memory: dict[str, Curve] = {"ingest": [], "drain": []}
        self.starts: list[dict[str, float]] = []

    def start_again(self, backlog: int) -> None:
        """Kill it, make the kernel forget its files, and start it."""
        self._say(f"start with {backlog:,} events")
        server = self._trial.server
        server.stop(gently=False)
        forget_pages(self._trial.data)
        began = time.monotonic()
        server.start_again()
        server.wait_until_listening()
        seconds = time.monotonic() - began
        time.sleep(SETTLE_S)
        self.starts.append({"backlog": backlog, "start_s": seconds, "rss_mb": self._trial.memory_mb()})

    def fill(self, step: Step) -> None:
        """Publish the events of one step."""
        self._say(f"ingest beyond {step.start:,} events")
        with MemorySampler(self._trial.server) as memory:
            result = self._trial.publish(self._trial.take(step.events))
        self.ingest.append((step.start + step.events / 2, result["acked"] / (result["ended"] - result["began"])))
        self.memory["ingest"] += curves.values(memory.samples, result["marks"], step.start, 1)

    def drain(self, all_steps: list[Step]) -> None:
        """Open the upstream and wait for everything."""
        total = sum(step.events for step in all_steps)
        self._say(f"drain of {total:,} events")
        self._trial.expect({str(step.start): range(step.start, step.start + step.events) for step in all_steps})
        with MemorySampler(self._trial.server) as memory:
            self._trial.open_upstream()
            counted = self._trial.counted(DRAIN_S)["counted"]
        before: float | None = None
        for step in all_steps:
            seen = counted["ranges"][str(step.start)]
            if seen["last"] is None:
                return
            began = seen["first"] if before is None else before
            backlog = total - step.start - step.events / 2
            self.drained.append((backlog, step.events / max(seen["last"] - began, 1e-3)))
            before = seen["last"]
        self.memory["drain"] = curves.values(memory.samples, counted["marks"], total, -1)


def measure(events: int, folder: str | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Fill, start again at the checkpoints, drain; the small gateway beside it at the end."""
    all_steps, small_steps = steps(events, CHECKPOINTS), steps(SMALL_STEPS * SMALL_EVENTS, ())
    stops, first_pair = {events, *CHECKPOINTS}, len(all_steps) - len(small_steps)
    gateway = partial(start_gateway, log=KEEP_ALL)
    with trial(gateway, folder) as one, trial(gateway, folder) as other:
        full, small = Filling(one, say), Filling(other, say)
        full.start_again(0)
        for number, step in enumerate(all_steps):
            full.fill(step)
            if number >= first_pair:
                small.fill(small_steps[number - first_pair])
            if step.start + step.events in stops:
                full.start_again(step.start + step.events)
        small.start_again(SMALL_STEPS * SMALL_EVENTS)
        disk_bytes = bytes_in(one.data)
        small.drain(small_steps)
        full.drain(all_steps)
        return {
            "events": events,
            "disk_bytes_per_event": disk_bytes / events,
            "lost": one.lost + other.lost,
            "repeated": one.repeated + other.repeated,
            "starts": full.starts,
            "ingest": full.ingest,
            "drain": full.drained,
            "memory": full.memory,
            "small": {"starts": small.starts, "ingest": small.ingest, "drain": small.drained},
        }


def verdicts(result: dict[str, Any]) -> dict[str, float | None]:
    """What the goals are about."""
    empty, *filled = result["starts"]
    highest = max(value for each in result["memory"].values() for _, value in each)
    rates = {
        name: ratio(rate_near(result[name], result["events"]), rate_near(result["small"][name], 0))
        for name in ("ingest", "drain")
    }
    return {
        "start_s": max(each["start_s"] for each in filled),
        "highest_mb": highest,
        "started_above_empty_mb": max(each["rss_mb"] for each in filled) - empty["rss_mb"],
        "highest_above_empty_mb": highest - empty["rss_mb"],
        "ingest_ratio": rates["ingest"],
        "drain_ratio": rates["drain"],
        "lost": result["lost"],
    }


def tables(result: dict[str, Any]) -> list[Table]:
    """The figures at each checkpoint, and the goals."""
    points = Table(title=f"{result['events']:,} events; {result['disk_bytes_per_event']:.0f} bytes on disk each")
    for column in ("backlog", "ingest, events/s", "drain, events/s", "start, s", "memory after it, MB"):
        points.add_column(column, justify="right")
    for of, label in ((result, ""), (result["small"], " (small, at the end)")):
        for start in of["starts"]:
            near = [rate_near(of[name], start["backlog"]) if start["backlog"] else None for name in ("ingest", "drain")]
            rates = [f"{rate:,.0f}" if rate is not None else "" for rate in near]
            shown = (f"{start['backlog']:,}{label}", *rates, f"{start['start_s']:.2f}", f"{start['rss_mb']:.1f}")
            points.add_row(*shown)
    goals = Table(title="goals")
    for column in ("measure", "gateway", "goal"):
        goals.add_column(column, justify="left" if column == "measure" else "right")
    found = verdicts(result)
    for name, (label, digits, goal) in GOALS.items():
        value = found[name]
        goals.add_row(label, f"{value:,.{digits}f}" if value is not None else "-", goal.verdict(value))
    return [points, goals]


def panels(result: dict[str, Any]) -> list[Panel]:
    """Rates, memory and the time of a start over the backlog."""
    starts = {"after SIGKILL, cold files": [(each["backlog"], each["start_s"]) for each in result["starts"]]}
    rates = {name: result[name] for name in ("ingest", "drain")}
    after = {"after a start": [(each["backlog"], each["rss_mb"]) for each in result["starts"]]}
    return [
        Panel("throughput", "backlog, events", "events/s", rates),
        Panel("resident memory", "backlog, events", "MB", {**result["memory"], **after}, limit=80),
        Panel("start until connections are taken", "backlog, events", "s", starts, limit=2),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--events", type=int, help="of the full backlog (10,000,000)")
    parser.add_argument("--quick", action="store_true", help="with 300,000 events: to see that it works")
    add_folders(parser, "scale")
    options = parser.parse_args()
    events = options.events or (300_000 if options.quick else 10_000_000)
    if events < 2 * SMALL_STEPS * SMALL_EVENTS:
        parser.error(f"--events: at least {2 * SMALL_STEPS * SMALL_EVENTS:,}, twice the backlog of the small gateway")
    context = machine(options.folder)
    console = begin(context)
    began = time.monotonic()
    try:
        with console.status("") as status:
            result = measure(events, options.folder, status.update)
    except BenchmarkError as error:
        console.print(f"[red]{error}[/]")
        return 1
    for each in tables(result):
        console.print(each)
    plot = kept(f"a backlog of {events:,} events, filled and drained", panels(result))
    write(options.output, {"setting": context, "goals": verdicts(result), **result, "plot": plot})
    console.print(f"{time.monotonic() - began:.0f} s; {draw_from(options.output)}")
    return 1 if result["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
