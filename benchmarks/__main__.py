"""The command: `python -m benchmarks`, from the top folder of the repository."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.plots import draw_from, kept
from benchmarks.processes import BenchmarkError
from benchmarks.report import as_json, panels, table
from benchmarks.rounds import Plan, run_round
from benchmarks.setting import add_folders, begin, machine, write
from benchmarks.systems import SYSTEMS, mosquitto_path

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.rounds import Outcome

QUICK = {"events": 40_000, "rounds": 1, "paced_seconds": 2.0}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds of each system, in turn (3)")
    parser.add_argument("--events", type=int, help="events of a phase (200,000)")
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works")
    parser.add_argument("--system", choices=[*SYSTEMS], help="only this one")
    parser.add_argument("--upstream", choices=["mosquitto", "sink"], help="mosquitto, if it is installed")
    parser.add_argument("--mqtt-version", choices=["5", "3.1.1"], default="5", help="the gateway forwards by (5)")
    parser.add_argument("--devices", type=int, default=20, help="connections (20)")
    parser.add_argument("--window", type=int, default=20, help="in flight of each connection (20)")
    parser.add_argument("--paced-rate", type=float, default=5_000, help="events/s for the latencies (5,000)")
    parser.add_argument("--paced-seconds", type=float, help="and for how long (4)")
    parser.add_argument("--live-rate", type=float, default=2_000, help="events/s beside the drain; 0: none (2,000)")
    add_folders(parser, "latest")
    options = parser.parse_args()
    for name, usual in {"events": 200_000, "rounds": 3, "paced_seconds": 4.0}.items():
        if getattr(options, name) is None:
            setattr(options, name, QUICK[name] if options.quick else usual)
    return options


def plan_of(options: argparse.Namespace) -> Plan:
    return Plan(
        events=options.events,
        devices=options.devices,
        window=options.window,
        paced_rate=options.paced_rate,
        paced_s=options.paced_seconds,
        live_rate=options.live_rate,
        folder=options.folder,
        mqtt_version=options.mqtt_version,
        sink=options.upstream == "sink" or mosquitto_path() is None,
    )


def setting(plan: Plan) -> dict[str, Any]:
    """What a reader must know to compare the figures with others."""
    return {
        **machine(plan.folder),
        "upstream": "sink" if plan.sink else "mosquitto",
        "plan": {name: value for name, value in asdict(plan).items() if name != "folder"},
    }


def measure(options: argparse.Namespace, console: Console) -> dict[str, list[Outcome]]:
    """All rounds, the systems in turn, so that what else the machine does meets both."""
    plan = plan_of(options)
    wanted = [name for name in SYSTEMS if options.system in {None, name}]
    if mosquitto_path() is None:
        console.print("Mosquitto is not installed: only the gateway is measured, and a sink is its upstream.")
        wanted = ["gateway"]
    rounds: dict[str, list[Outcome]] = {name: [] for name in SYSTEMS}
    for number in range(options.rounds):
        for name in wanted:
            with console.status("") as status:
                rounds[name].append(
                    run_round(name, plan, lambda doing: status.update(f"round {number + 1}: {doing}"))  # noqa: B023
                )
    return rounds


def main() -> int:
    options, began = arguments(), time.monotonic()
    context = setting(plan_of(options))
    console = begin(context)
    try:
        outcomes = measure(options, console)
    except BenchmarkError as error:
        console.print(f"[red]{error}[/]")
        return 1
    rounds = {name: [one.figures for one in each] for name, each in outcomes.items()}
    curves = {name: each[-1].curves for name, each in outcomes.items() if each}
    console.print(table(rounds, judged=context["upstream"] == "mosquitto"))
    plot = kept("an outage and the drain after it, last round", panels(curves))
    write(options.output, {**as_json(rounds, context), "plot": plot})
    console.print(f"{time.monotonic() - began:.0f} s; all figures are in {options.output.name}")
    console.print(draw_from(options.output))
    lost = sum(figures["lost"] for each in rounds.values() for figures in each)
    if lost:
        console.print(f"[red]{lost:g} acknowledged events did not arrive.[/]")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
