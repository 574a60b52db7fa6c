"""How fast the past is sent again, and what that does to the present: `python -m benchmarks.replay`.

A gateway stores and forwards events to the sink. Then devices publish by the clock, first alone, then beside a replay
of everything that was stored, over a connection of its own to the same sink.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from rich.table import Table

from benchmarks.figures import medians, percentile, ratio
from benchmarks.processes import BenchmarkError
from benchmarks.setting import add_folders, begin, machine, write
from benchmarks.systems import start_gateway
from benchmarks.trial import PHASE_S, Trial, trial
from gateway import control

Figures = dict[str, float]
GOAL_PER_S = 50_000
LIVE_RATE = 1_000.0
LEAD_S = 0.5  # live events begin so much before the replay


def measure(events: int, live_s: float, folder: str | None) -> Figures:
    """One gateway."""
    with trial(start_gateway, folder) as one:
        one.open_upstream()
        stored = one.take(events)
        one.expect({"stored": stored})
        one.publish(stored)
        one.counted()
        figures = {f"alone_{name}": value for name, value in live(one, live_s, None).items()}
        figures |= {f"beside_{name}": value for name, value in live(one, live_s, stored).items()}
        figures["replayed_per_s"] = figures.pop("beside_replayed_per_s")
        figures["cpu_us"] = (figures["beside_cpu_s"] - figures["alone_cpu_s"]) / events * 1e6
        return {**figures, "memory_mb": one.memory_mb("VmHWM"), "lost": float(one.lost)}


def live(one: Trial, live_s: float, replayed: range | None) -> Figures:
    """Delays of live events, with what was stored replayed beside them or not."""
    numbers = one.take(int(LIVE_RATE * live_s))
    ranges = {"live": numbers} if replayed is None else {"live": numbers, "replayed": replayed}
    with one.load(numbers, LIVE_RATE) as load:
        one.expect(ranges, stamps=True)
        cpu_s = one.server.cpu_s()
        load.tell(go=True)
        if replayed is not None:
            time.sleep(LEAD_S)
            begin_replay(one, len(replayed))
        result = load.answer(PHASE_S)
    counted = one.counted()["counted"]
    figures = {"cpu_s": one.server.cpu_s() - cpu_s}
    arrivals = [
        at - result["began"] - (number - numbers.start) / LIVE_RATE
        for number, at in counted["stamps"]
        if number in numbers
    ]
    for name, delays in (("ack", result["latencies_s"]), ("upstream", arrivals)):
        figures |= {f"{name}_p50_ms": percentile(delays, 0.5) * 1e3, f"{name}_p99_ms": percentile(delays, 0.99) * 1e3}
    if replayed is not None:
        times = counted["ranges"]["replayed"]
        figures["replayed_per_s"] = len(replayed) / (times["last"] - times["first"])
    return figures


def begin_replay(one: Trial, last_seq: int) -> None:
    """Have everything that was stored first sent again.

    Raises:
        BenchmarkError: the gateway does not answer.
    """
    request: dict[str, Any] = {"command": "replay", "action": "begin", "upstream": "bench", "last_seq": last_seq}
    if control.command(one.data, request) is None:
        raise BenchmarkError("the gateway does not begin the replay")


def table(row: Figures) -> Table:
    """Medians of the rounds."""
    out = Table(title=f"a replay beside {LIVE_RATE:,.0f} live events/s")
    out.add_column("measure")
    for column in ("alone", "beside a replay", "ratio"):
        out.add_column(column, justify="right")
    for end, where in (("ack", "acknowledgement"), ("upstream", "upstream")):
        for name in ("p50", "p99"):
            before, after = row[f"alone_{end}_{name}_ms"], row[f"beside_{end}_{name}_ms"]
            quotient = ratio(after, before)
            shown = f"{quotient:.2f}" if quotient is not None else "-"
            out.add_row(f"live, device to {where}, {name} ms", f"{before:.2f}", f"{after:.2f}", shown)
    verdict = "met" if row["replayed_per_s"] >= GOAL_PER_S else "missed"
    out.add_row(f"replayed events/s (goal {GOAL_PER_S:,}: {verdict})", "", f"{row['replayed_per_s']:,.0f}", "")
    out.add_row("processor per replayed event, µs", "", f"{row['cpu_us']:.1f}", "")
    out.add_row("memory, highest, MB", "", f"{row['memory_mb']:.1f}", "")
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="gateways, one after the other (3)")
    parser.add_argument("--events", type=int, default=200_000, help="stored and replayed (200,000)")
    parser.add_argument("--seconds", type=float, default=6, help="how long live events are published (6)")
    parser.add_argument("--quick", action="store_true", help="one round of 40,000: to see that it works")
    add_folders(parser, "replay")
    options = parser.parse_args()
    context = machine(options.folder)
    console = begin(context)
    rounds, events, seconds = (1, 40_000, 3.0) if options.quick else (options.rounds, options.events, options.seconds)
    figures: list[Figures] = []
    try:
        for number in range(rounds):
            with console.status(f"round {number + 1}"):
                figures.append(measure(events, seconds, options.folder))
    except BenchmarkError as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print(table(medians(figures)))
    write(options.output, {"setting": context, "rounds": figures})
    lost = sum(each["lost"] for each in figures)
    if lost:
        console.print(f"[red]{lost:g} events did not arrive.[/]")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
