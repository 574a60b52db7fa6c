"""The command `device-sims`: run a fleet, verify that nothing was lost, list what there is.

Results go to standard output, everything said on the way to standard error. Exit codes: 0 done, 1 failed (something
was lost, or no device ever connected), 2 wrong usage.
"""

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status
from rich.table import Table

from device_sims.clock import Clock
from device_sims.endpoint import parse_endpoint, read_credentials
from device_sims.errors import SimsError
from device_sims.fleet import Fleet, load_fleet
from device_sims.fleet_files import find_fleet, shipped_fleets
from device_sims.fleet_run import Limits, Stopping, run_fleet
from device_sims.ledger import LedgerWriter
from device_sims.open_files import raise_open_files_limit
from device_sims.profiles import PROFILES
from device_sims.progress import Progress
from device_sims.report import facts_table, live_line, run_facts

TROUBLE_INTERVAL_S = 5.0

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def main() -> None:
    """The entry point."""
    app()


@app.command()
def run(
    fleet: Annotated[str, typer.Argument(help="A fleet file, or the name of one in config/fleets.")],
    url: Annotated[str, typer.Option(help="The broker: mqtt://HOST:PORT or mqtts://HOST:PORT.")],
    ledger: Annotated[Path, typer.Option(help="Where to write what was acknowledged; must not exist yet.")],
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds to generate for; without it until ^C.")] = None,
    rate: Annotated[float, typer.Option(help="Multiply every device's rate by this.")] = 1.0,
    qos: Annotated[int | None, typer.Option(min=0, max=2, help="Use this QoS instead of the fleet's.")] = None,
    settle: Annotated[float, typer.Option(min=0, help="Seconds to wait at the end for acknowledgements.")] = 10.0,
    username: Annotated[str | None, typer.Option(help="The username of every device.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="A file with the password in its first line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate a fleet until the duration is over or SIGINT or SIGTERM comes; a second one ends it without settling."""
    with telling_errors():
        wanted = load_fleet(find_fleet(fleet)).adjusted(rate_factor=rate, qos=qos)
        endpoint = parse_endpoint(url, read_credentials(username, password_file))
        heading = wanted.fleet
        writer = LedgerWriter.create(ledger, fleet=heading.name, seed=heading.seed, started_ns=time.time_ns())
        raise_open_files_limit(wanted.device_count)
        try:
            with RunView(wanted, str(endpoint)) as view:

                async def running() -> Any:
                    stopping = Stopping()
                    for number in (signal.SIGINT, signal.SIGTERM):
                        asyncio.get_running_loop().add_signal_handler(number, stopping.request)
                    limits = Limits(duration, settle)
                    return await run_fleet(
                        wanted, endpoint, writer, limits, stopping, clock=Clock(), report=view.report
                    )

                outcome = asyncio.run(running())
        except* SimsError as group:
            raise group.exceptions[0] from group
        finally:
            writer.close()
        facts = run_facts(heading.name, wanted.device_count, outcome)
        show(facts, facts_table(facts), as_json=as_json)
        if outcome.progress.connections == 0:
            raise SimsError(
                f"no device ever connected to {endpoint}: {outcome.progress.last_trouble or 'stopped too early'}",
                hint="check that the broker runs there, and --username and --password-file if it asks for them",
            )


@app.command("list")
def list_fleets(*, as_json: AsJson = False) -> None:
    """List the fleets in config/fleets and the profiles."""
    with telling_errors():
        fleets = [
            {
                "name": name,
                "devices": fleet.device_count,
                "events_per_s": round(fleet.events_hz, 2),
                "profiles": sorted({group.profile for group in fleet.groups}),
                "file": str(path),
            }
            for name, path in shipped_fleets().items()
            for fleet in [load_fleet(path)]
        ]
    table = Table("fleet", "devices", "events per s", "profiles", "file")
    for row in fleets:
        table.add_row(*(", ".join(cell) if isinstance(cell, list) else str(cell) for cell in row.values()))
    show({"fleets": fleets, "profiles": sorted(PROFILES)}, table, as_json=as_json)
    if not as_json:
        out.print(f"profiles: {', '.join(sorted(PROFILES))}")


class RunView:
    """What is said while a run lasts: a live line on a terminal, and why no device is connected."""

    def __init__(self, fleet: Fleet, endpoint: str) -> None:
        self._fleet = fleet
        self._endpoint = endpoint
        self._status: Status | None = None
        self._told_s = -TROUBLE_INTERVAL_S

    def __enter__(self) -> "RunView":
        if err.is_terminal:
            self._status = err.status("starting")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def report(self, progress: Progress, seconds: float) -> None:
        """Called a few times a second by the run."""
        if self._status is not None:
            self._status.update(live_line(self._fleet.fleet.name, self._fleet.device_count, progress, seconds))
        if progress.connected == 0 and progress.last_trouble and seconds - self._told_s >= TROUBLE_INTERVAL_S:
            self._told_s = seconds
            err.print(
                f"no device is connected to {self._endpoint}: {progress.last_trouble}; trying again", markup=False
            )


@contextmanager
def telling_errors() -> Iterator[None]:
    """Turn an error that is meant for the person at the terminal into two lines and an exit code."""
    try:
        yield
    except SimsError as error:
        err.print(f"error: {error}", markup=False)
        if error.hint:
            err.print(f"hint: {error.hint}", markup=False)
        raise typer.Exit(error.exit_code) from error


def show(facts: dict[str, Any], table: Table, *, as_json: bool) -> None:
    """Print the result."""
    if as_json:
        out.print_json(json.dumps(facts))
    else:
        out.print(table)
