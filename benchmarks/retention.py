"""What deleting does to latency: `python -m benchmarks.retention`.

Two gateways in turn, under the same load by the clock, with the upstream there. One keeps every segment, the other is
allowed so little that it unlinks one after the other. Once with small segments, so that a file goes several times a
second, and once with large ones.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from functools import partial

from rich.table import Table

from benchmarks.figures import medians, percentile, ratio
from benchmarks.processes import BenchmarkError
from benchmarks.setting import add_folders, begin, machine, write
from benchmarks.systems import start_gateway
from benchmarks.trial import Trial, trial

Figures = dict[str, float]
KIB = 1024


@dataclass(frozen=True)
class Case:
    """A size of segments, and a pace that fills them."""

    label: str
    segment_bytes: int
    rate: float


CASES = (
    Case("256 KiB segments, 5,000/s", 256 * KIB, 5_000),
    Case("2 MiB segments, 10,000/s", 2048 * KIB, 10_000),
)


def measure(case: Case, seconds: float, folder: str | None, *, deleting: bool) -> Figures:
    """One gateway."""
    log = {
        "segment_bytes_max": case.segment_bytes,
        "retention_bytes_max": case.segment_bytes if deleting else 0,
        "retention_interval_s": 0.1,
    }
    with trial(partial(start_gateway, log=log), folder) as one:
        one.open_upstream()
        numbers = one.take(int(case.rate * seconds))
        one.expect({"events": numbers}, stamps=True)
        result = one.publish(numbers, case.rate)
        stamps = one.counted()["counted"]["stamps"]
        left = len(segments(one))
        arrivals = [at - result["began"] - (number - numbers.start) / case.rate for number, at in stamps]
        figures = {"segments": float(left), "lost": float(one.lost)}
        for name, delays in (("ack", result["latencies_s"]), ("upstream", arrivals)):
            figures |= {
                f"{name}_p50_ms": percentile(delays, 0.5) * 1e3,
                f"{name}_p99_ms": percentile(delays, 0.99) * 1e3,
                f"{name}_max_ms": max(delays) * 1e3,
            }
        return figures


def segments(one: Trial) -> list[str]:
    """The segments there are."""
    return sorted(path.name for path in (one.data / "log").glob("*.db"))


def table(rows: dict[str, dict[str, Figures]]) -> Table:
    """Medians of the rounds."""
    out = Table(title="paced ingest while segments are unlinked, and without")
    out.add_column("measure")
    for column in ("keeping", "deleting", "ratio"):
        out.add_column(column, justify="right")
    for label, row in rows.items():
        keeping, deleting = row["keeping"], row["deleting"]
        out.add_row(label, style="bold")
        removed = keeping["segments"] - deleting["segments"]
        out.add_row("  segments unlinked", "0", f"{removed:.0f}", "")
        for end, where in (("ack", "acknowledgement"), ("upstream", "upstream")):
            for name in ("p50", "p99", "max"):
                before, after = keeping[f"{end}_{name}_ms"], deleting[f"{end}_{name}_ms"]
                quotient = ratio(after, before)
                shown = f"{quotient:.2f}" if quotient is not None else "-"
                out.add_row(f"  device to {where}, {name} ms", f"{before:.2f}", f"{after:.2f}", shown)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retention", description=__doc__)
    parser.add_argument("--rounds", type=int, default=2, help="of each, in turn (2)")
    parser.add_argument("--seconds", type=float, default=8, help="how long each load lasts (8)")
    parser.add_argument("--quick", action="store_true", help="one round of 3 seconds: to see that it works")
    add_folders(parser, "retention")
    options = parser.parse_args()
    context = machine(options.folder)
    console = begin(context)
    rounds, seconds = (1, 3.0) if options.quick else (options.rounds, options.seconds)
    rows: dict[str, dict[str, list[Figures]]] = {}
    try:
        for case in CASES:
            row = rows[case.label] = {"keeping": [], "deleting": []}
            for _ in range(rounds):
                for name, each in row.items():
                    each.append(measure(case, seconds, options.folder, deleting=name == "deleting"))
    except BenchmarkError as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print(table({label: {name: medians(each) for name, each in row.items()} for label, row in rows.items()}))
    write(options.output, {"setting": context, "rounds": rows})
    lost = sum(one["lost"] for row in rows.values() for each in row.values() for one in each)
    if lost:
        console.print(f"[red]{lost:g} acknowledged events did not arrive.[/]")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
