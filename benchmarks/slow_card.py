"""What a slow card costs: `python -m benchmarks.slow_card`.

Every fsync of the gateway takes 0, 5, 20 or 100 ms longer. 100 devices keep 20 events each in flight while the upstream
is down, and then publish by the clock for the latencies.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from rich.table import Table

from benchmarks.card import Card
from benchmarks.figures import percentile
from benchmarks.processes import BenchmarkError
from benchmarks.report import Goal
from benchmarks.setting import add_folders, begin, machine, write
from benchmarks.systems import start_gateway
from benchmarks.trial import trial

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.processes import Server

DEVICES, WINDOW = 100, 20
PACED_PER_S = 5_000
GOALS = {20.0: Goal(at_least=20_000)}


def measure(delay_ms: float, seconds: float, folder: str | None) -> dict[str, float]:
    """One gateway with one delay."""
    cards: list[Card] = []

    def start(inside: Path, upstream_port: int) -> Server:
        cards.append(Card(inside))
        return start_gateway(inside, upstream_port, env=cards[0].env)

    with trial(start, folder) as one:
        card = cards[0]
        card.delay_syncs(delay_ms)
        # a commit takes what is in flight at most, so this many events last about so long
        events = int(seconds * min(50_000, DEVICES * WINDOW * 1000 / max(delay_ms, 1)))
        before = card.syncs
        full = one.publish(one.take(events), devices=DEVICES, window=WINDOW)
        syncs = card.syncs - before
        paced = one.publish(one.take(int(seconds * PACED_PER_S)), PACED_PER_S, devices=DEVICES)
    return {
        "delay_ms": delay_ms,
        "acked_per_s": full["acked"] / (full["ended"] - full["began"]),
        "events_per_sync": full["acked"] / syncs,
        "ack_p50_ms": percentile(paced["latencies_s"], 0.5) * 1e3,
        "ack_p99_ms": percentile(paced["latencies_s"], 0.99) * 1e3,
    }


def table(rows: list[dict[str, float]]) -> Table:
    out = Table(title=f"{DEVICES} devices, {WINDOW} in flight each; latencies at {PACED_PER_S:,} events/s")
    out.add_column("fsync takes longer by")
    for column in ("acknowledged/s", "goal", "events per fsync", "p50 ms", "p99 ms"):
        out.add_column(column, justify="right")
    for row in rows:
        goal = GOALS.get(row["delay_ms"])
        out.add_row(
            f"{row['delay_ms']:g} ms",
            f"{row['acked_per_s']:,.0f}",
            goal.verdict(row["acked_per_s"]) if goal else "",
            f"{row['events_per_sync']:,.0f}",
            f"{row['ack_p50_ms']:,.1f}",
            f"{row['ack_p99_ms']:,.1f}",
        )
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_card", description=__doc__)
    parser.add_argument("--delays-ms", type=float, nargs="+", default=[0, 5, 20, 100], help="of each run (0 5 20 100)")
    parser.add_argument("--seconds", type=float, default=5, help="about how long each of the two loads lasts (5)")
    parser.add_argument("--quick", action="store_true", help="1 second each: to see that it works")
    add_folders(parser, "slow_card")
    options = parser.parse_args()
    context = machine(options.folder)
    console = begin(context)
    seconds = 1.0 if options.quick else options.seconds
    try:
        rows = [measure(delay_ms, seconds, options.folder) for delay_ms in options.delays_ms]
    except BenchmarkError as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print(table(rows))
    write(options.output, {"setting": context, "delays": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
