"""The command: `python -m benchmarks`, from the top folder of the repository."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks.processes import ROOT, BenchmarkError
from benchmarks.report import as_json, table
from benchmarks.rounds import Plan, run_round
from benchmarks.systems import SYSTEMS, mosquitto_path

if TYPE_CHECKING:
    from benchmarks.rounds import Figures

WIDTH = 130  # of the table where there is no terminal to ask
RESULTS = ROOT / "benchmarks" / "results" / "latest.json"
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
    parser.add_argument("--live-rate", type=float, default=0, help="events/s beside the drain (0)")
    parser.add_argument("--folder", help="where temporary folders go: the disk that is measured")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the JSON file")
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
    path = mosquitto_path()
    version = subprocess.run([path, "-h"], capture_output=True, text=True, check=False).stdout if path else ""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "mosquitto": version.partition("\n")[0] or None,
        "upstream": "sink" if plan.sink else "mosquitto",
        "disk": filesystem(Path(plan.folder or tempfile.gettempdir()).resolve()),
        "load_before": os.getloadavg()[0],
        "plan": {name: value for name, value in asdict(plan).items() if name != "folder"},
    }


def filesystem(folder: Path) -> str:
    """The type of file system `folder` is on; on tmpfs an fsync costs nothing and proves nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(inside, default=(0, "unknown"))[1]


def measure(options: argparse.Namespace, console: Console) -> dict[str, list[Figures]]:
    """All rounds, the systems in turn, so that what else the machine does meets both."""
    plan = plan_of(options)
    wanted = [name for name in SYSTEMS if options.system in {None, name}]
    if mosquitto_path() is None:
        console.print("Mosquitto is not installed: only the gateway is measured, and a sink is its upstream.")
        wanted = ["gateway"]
    rounds: dict[str, list[Figures]] = {name: [] for name in SYSTEMS}
    for number in range(options.rounds):
        for name in wanted:
            with console.status("") as status:
                rounds[name].append(
                    run_round(name, plan, lambda doing: status.update(f"round {number + 1}: {doing}"))  # noqa: B023
                )
    return rounds


def main() -> int:
    options, began = arguments(), time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the brokers are stopped on the way out
    context = setting(plan_of(options))
    console.print(f"{context['machine']}, disk {context['disk']}, load {context['load_before']:.1f} before")
    if context["disk"] == "tmpfs":
        console.print("[yellow]The temporary folder is in memory; give --folder a folder on the disk.[/]")
    try:
        rounds = measure(options, console)
    except BenchmarkError as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print(table(rounds))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(as_json(rounds, context), indent=1) + "\n")
    lost = sum(figures["lost"] for each in rounds.values() for figures in each)
    console.print(f"{time.monotonic() - began:.0f} s; all figures are in {options.output.name}")
    if lost:
        console.print(f"[red]{lost:g} acknowledged events did not arrive.[/]")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
