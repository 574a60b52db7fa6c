"""What logins, rights, limits and contracts cost: `python -m benchmarks.guarded`.

Gateways that differ in their settings only (`guards.py`), in turn in each round and in another order in the next one,
take the same load while their upstream is down. Ingest is compared within a round, so that what else the machine does
meets all of them; processor time per event hardly depends on that.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from rich.table import Table

from benchmarks.figures import medians, ratio
from benchmarks.guards import guards
from benchmarks.processes import BenchmarkError
from benchmarks.report import Goal
from benchmarks.setting import add_folders, begin, machine, write
from benchmarks.systems import start_gateway
from benchmarks.trial import PHASE_S, trial

if TYPE_CHECKING:
    from rich.console import Console

    from benchmarks.guards import Guard

Figures = dict[str, float]
Rounds = dict[str, list[Figures]]
OPEN = "open"
WARM_UP_EVENTS = 20_000


def measure(guard: Guard, events: int, folder: str | None) -> Figures:
    """Ingest of one gateway, its upstream down."""
    start = partial(start_gateway, broker=guard.broker, sections=guard.sections)
    with trial(start, folder) as one:
        one.password = guard.password
        one.publish(one.take(WARM_UP_EVENTS))  # what the first load of all costs is not the settings'
        with one.load(one.take(events)) as load:
            cpu_s = one.server.cpu_s()
            load.tell(go=True)
            result = load.answer(PHASE_S)
        return {
            "ingest_per_s": result["acked"] / (result["ended"] - result["began"]),
            "cpu_us": (one.server.cpu_s() - cpu_s) / events * 1e6,
        }


def all_rounds(names: list[str], options: argparse.Namespace, console: Console) -> Rounds:
    """Every round, each in another order."""
    rounds: Rounds = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names if number % 2 == 0 else reversed(names):
            with console.status(f"round {number + 1}: {name}"):
                rounds[name].append(measure(guards()[name], options.events, options.folder))
    return rounds


def share(rounds: Rounds, name: str, figure: str) -> float | None:
    """A figure for one of that with open doors, the median of what it is in each round."""
    pairs = zip(rounds[name], rounds[OPEN], strict=True)
    quotients = [ratio(ours[figure], theirs[figure]) for ours, theirs in pairs]
    return median([each for each in quotients if each is not None]) if quotients else None


def table(rounds: Rounds) -> Table:
    """Medians of the rounds."""
    out = Table(title="ingest with the upstream down")
    for column in ("settings", "acknowledged/s", "ratio", "goal", "CPU per event, µs", "ratio"):
        out.add_column(column, justify="left" if column == "settings" else "right")
    for name, each in rounds.items():
        figures, guard = medians(each), guards()[name]
        ingest, cpu = (share(rounds, name, figure) for figure in ("ingest_per_s", "cpu_us"))
        goal = Goal(at_least_ratio=guard.at_least).verdict(None, ingest) if guard.at_least is not None else ""
        out.add_row(
            f"{name}: {guard.what}",
            f"{figures['ingest_per_s']:,.0f}",
            f"{ingest:.2f}" if ingest is not None else "-",
            goal,
            f"{figures['cpu_us']:.1f}",
            f"{cpu:.2f}" if cpu is not None else "-",
        )
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guarded", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turn (5)")
    parser.add_argument("--events", type=int, default=300_000, help="of each round (300,000)")
    parser.add_argument(
        "--only", choices=[*guards()][1:], action="append", help="compare only this one; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="one short round: to see that it works")
    add_folders(parser, "guarded")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.events = 1, 40_000
    names = [name for name in guards() if name == OPEN or options.only is None or name in options.only]
    context = machine(options.folder)
    console = begin(context)
    try:
        rounds = all_rounds(names, options, console)
    except BenchmarkError as error:
        console.print(f"[red]{error}[/]")
        return 1
    console.print(table(rounds))
    shares = {name: share(rounds, name, "ingest_per_s") for name in names}
    write(options.output, {"setting": context, "ingest_for_one_of_open": shares, "rounds": rounds})
    return 0


if __name__ == "__main__":
    sys.exit(main())
