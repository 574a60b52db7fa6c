"""Bytes written per event: `python -m benchmarks.wear`.

At 1, 100 and 10,000 events a second by the clock, with the upstream there; with a longer
`log.commit_interval_ms`, which trades latency for fewer writes; and under full load with at most 50 events a commit.
"""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.table import Table

from benchmarks.card import Card, device_written_bytes
from benchmarks.figures import percentile
from benchmarks.frames import PAYLOAD_BYTES
from benchmarks.processes import BenchmarkError
from benchmarks.report import Goal
from benchmarks.setting import add_folders, begin, machine, write
from benchmarks.systems import start_gateway
from benchmarks.trial import trial

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import Server

WARM_EVENTS = 200  # before the count begins: new files, and the upstream's connection
SETTLE_S = 1.0  # after it: cursors are made durable every half second


@dataclass(frozen=True)
class Case:
    """A load and a setting."""

    label: str
    rate: float  # 0: as fast as it goes
    seconds: float
    log: dict[str, float] = field(default_factory=dict)
    goal: Goal | None = None
    payload_bytes: int = PAYLOAD_BYTES


CASES = (
    Case("1/s", 1, 20),
    Case("100/s", 100, 5),
    Case("10,000/s", 10_000, 5),
    Case("100/s, a commit each 100 ms", 100, 5, {"commit_interval_ms": 100}),
    Case("10,000/s, a commit each 50 ms", 10_000, 5, {"commit_interval_ms": 50}),
    Case("full load, 50 events a commit", 0, 4, {"batch_events_max": 50}),
    Case("the same with 180 bytes each", 0, 4, {"batch_events_max": 50}, Goal(at_most=4), 180),
)
FULL_PER_S = 15_000  # about what such small commits reach: for the length of that case


def measure(case: Case, seconds: float, folder: str | None) -> dict[str, float]:
    """One gateway under one load."""
    cards: list[Card] = []

    def start(inside: Path, upstream_port: int) -> Server:
        with suppress(BenchmarkError):  # without a compiler fsyncs are not counted
            cards.append(Card(inside))
        return start_gateway(inside, upstream_port, log=case.log, env=cards[0].env if cards else None)

    with trial(start, folder) as one:
        one.open_upstream()
        one.payload_bytes = case.payload_bytes
        warm, numbers = one.take(WARM_EVENTS), one.take(int((case.rate or FULL_PER_S) * seconds))
        one.expect({"warm": warm})
        one.publish(warm)
        one.counted()
        time.sleep(SETTLE_S)
        one.expect({"events": numbers})
        written, device = one.server.written_bytes(), device_written_bytes(one.data)
        syncs = cards[0].syncs if cards else 0
        result = one.publish(numbers, case.rate)
        one.counted()
        time.sleep(SETTLE_S)
        figures = {"payload_bytes": float(case.payload_bytes), "events": float(len(numbers)), "lost": float(one.lost)}
        after, device_after = one.server.written_bytes(), device_written_bytes(one.data)
        if written is not None and after is not None:
            figures["written_bytes"] = (after - written) / len(numbers)
        if device is not None and device_after is not None:
            figures["device_bytes"] = (device_after - device) / len(numbers)
        if cards:
            figures["events_per_sync"] = len(numbers) / max(1, cards[0].syncs - syncs)
        if result["latencies_s"]:
            figures["ack_p50_ms"] = percentile(result["latencies_s"], 0.5) * 1e3
            figures["ack_p99_ms"] = percentile(result["latencies_s"], 0.99) * 1e3
        return figures


def table(rows: dict[str, dict[str, float]]) -> Table:
    out = Table(title=f"written per event, of {PAYLOAD_BYTES} bytes of payload unless named, upstream there")
    out.add_column("load")
    columns = {
        "bytes": ("written_bytes", "{:,.0f}"),
        "device's bytes": ("device_bytes", "{:,.0f}"),
        "events per fsync": ("events_per_sync", "{:,.1f}"),
        "ack p50 ms": ("ack_p50_ms", "{:,.1f}"),
        "p99 ms": ("ack_p99_ms", "{:,.1f}"),
    }
    for column in columns:
        out.add_column(column, justify="right")
    out.add_column("x payload", justify="right")
    out.add_column("goal", justify="right")
    for case in CASES:
        row = rows[case.label]
        cells = [text.format(row[name]) if name in row else "-" for name, text in columns.values()]
        times = row["written_bytes"] / row["payload_bytes"] if "written_bytes" in row else None
        goal = case.goal.verdict(times) if case.goal else ""
        out.add_row(case.label, *cells, f"{times:,.2f}" if times is not None else "-", goal)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wear", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the time: to see that it works")
    add_folders(parser, "wear")
    options = parser.parse_args()
    context = machine(options.folder)
    console = begin(context)
    share = 0.25 if options.quick else 1.0
    try:
        rows = {case.label: measure(case, case.seconds * share, options.folder) for case in CASES}
    except BenchmarkError as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print(table(rows))
    console.print("bytes: of the gateway (write_bytes in /proc); device's bytes: all the machine wrote to that disk")
    write(options.output, {"setting": context, "cases": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
