"""What the upstream of the benchmark takes at most, beside what both systems drain: `python -m benchmarks.ceiling`.

A client that costs next to nothing sends over one connection what a gateway and what a bridge would send: every packet
written beforehand, acknowledgements compared in bulk, as many in flight as the gateway has by default. The processor
time that the upstream takes for one of them then says how many it could take if it never had to wait: no forwarder can
be faster into it on this machine, whatever it is made of. Nothing is published beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from benchmarks.figures import medians
from benchmarks.processes import BenchmarkError, Worker
from benchmarks.rounds import Plan, Round
from benchmarks.setting import add_folders, begin, machine, write
from benchmarks.systems import SYSTEMS, MosquittoUpstream, mosquitto_path
from benchmarks.trial import PHASE_S, STALL_S, arm, trial

if TYPE_CHECKING:
    from benchmarks.rounds import Figures

INFLIGHT = 1000  # `inflight_max` of an upstream, by default
ROWS = {
    "gateway": "gateway: drain, MQTT 5",
    "gateway_packets": "its packets, written beforehand",
    "mosquitto": "Mosquitto's bridge: drain, MQTT 3.1.1",
    "mosquitto_packets": "its packets, written beforehand",
}


def drain(system: str, plan: Plan) -> Figures:
    """A backlog of one system, and its drain with nothing beside it."""
    with trial(SYSTEMS[system], plan.folder, sink=False) as one:
        measured = Round(one, plan)
        measured.drain(measured.ingest())
        if one.lost:
            raise BenchmarkError(f"{one.lost} acknowledged events did not arrive")
        return {
            "per_s": measured.figures["drain_per_s"],
            "upstream_cpu_us": measured.figures["upstream_cpu_us"],
            "upstream_cpu_share": measured.figures["upstream_cpu_share"],
        }


def ceiling(events: int, folder: str | None, *, forwarded: bool) -> Figures:
    """The same upstream and counter, and packets that were written before the clock started."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=folder) as name:
        upstream = MosquittoUpstream(Path(name))
        settings = {"port": upstream.port, "sink": False, "stall_s": STALL_S}
        try:
            with Worker("benchmarks.receiver", settings) as receiver:
                upstream.start(receiver)
                upstream.wait_until_listening()
                arm(receiver, {"events": range(events)})
                seen, cpu_s = _send(upstream, receiver, events, forwarded=forwarded)
        finally:
            upstream.stop()
    seconds = seen["last"] - seen["first"]
    return {
        "per_s": seen["arrived"] / seconds,
        "upstream_cpu_us": cpu_s / events * 1e6,
        "upstream_cpu_share": cpu_s / seconds,
    }


def _send(upstream: MosquittoUpstream, receiver: Worker, events: int, *, forwarded: bool) -> tuple[Figures, float]:
    """What the receiver saw, and what the upstream's processor was busy with it."""
    load_settings = {
        "port": upstream.port,
        "first": 0,
        "events": events,
        "devices": 1,
        "window": INFLIGHT,
        "rate": 0.0,
        "stall_s": STALL_S,
        "forwarded": forwarded,
    }
    with Worker("benchmarks.load", load_settings) as load:
        load.answer(30)
        before_s = upstream.cpu_s() or 0.0
        load.tell(go=True)
        load.answer(PHASE_S)
        seen = receiver.answer(PHASE_S)["counted"]["ranges"]["events"]
        if seen["missing"]:
            raise BenchmarkError(f"{seen['missing']} events did not arrive")
        return seen, (upstream.cpu_s() or 0.0) - before_s


def table(rounds: dict[str, list[Figures]]) -> Table:
    out = Table(title="into a Mosquitto that hands everything to one subscriber, medians of the rounds")
    out.add_column("what is sent, and by whom")
    for column in ("events/s", "upstream, µs an event", "busy", "so at most, events/s", "for one of the bridge's"):
        out.add_column(column, justify="right")
    figures = {name: medians(each) for name, each in rounds.items()}
    bridge_per_s = figures["mosquitto"]["per_s"]
    for name, label in ROWS.items():
        mine = figures[name]
        at_most_per_s = 1e6 / mine["upstream_cpu_us"]
        out.add_row(
            label,
            f"{mine['per_s']:,.0f}",
            f"{mine['upstream_cpu_us']:.1f}",
            f"{mine['upstream_cpu_share']:.2f}",
            f"{at_most_per_s:,.0f}",
            f"{at_most_per_s / bridge_per_s:.2f}",
        )
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ceiling", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of each of the four, in turn (3)")
    parser.add_argument("--events", type=int, default=200_000, help="of each (200,000)")
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works")
    add_folders(parser, "ceiling")
    options = parser.parse_args()
    context = machine(options.folder)
    console = begin(context)
    if mosquitto_path() is None:
        console.print("[red]Mosquitto is not installed: it is the upstream that is measured.[/]")
        return 1
    count, events = (1, 40_000) if options.quick else (options.rounds, options.events)
    plan = Plan(
        events=events, devices=20, window=20, paced_rate=0, paced_s=0, live_rate=0, folder=options.folder, sink=False
    )
    rounds: dict[str, list[Figures]] = {name: [] for name in ROWS}
    try:
        for _ in range(count):
            for system in SYSTEMS:
                rounds[system].append(drain(system, plan))
                packets = ceiling(events, options.folder, forwarded=system == "gateway")
                rounds[f"{system}_packets"].append(packets)
    except BenchmarkError as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print(table(rounds))
    write(options.output, {"setting": context, "rounds": rounds})
    console.print(f"all figures are in {options.output.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
