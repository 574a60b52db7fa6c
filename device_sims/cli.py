"""The command `device-sims`: run a fleet, verify that nothing was lost, list what there is.

Results go to standard output, everything said on the way to standard error. Exit codes: 0 done, 1 failed (something
was lost, or no device ever connected), 2 wrong usage.
"""

import asyncio
import hashlib
import random
import time
from pathlib import Path
from typing import Annotated

import typer

from device_sims.clock import Clock
from device_sims.endpoint import Endpoint, parse_endpoint, read_credentials
from device_sims.errors import SimsError
from device_sims.event_loop import run_to_end
from device_sims.fleet import Fleet, load_fleet
from device_sims.fleet_files import find_fleet, shipped_fleets
from device_sims.fleet_run import Limits, Outcome, Stopping, run_fleet
from device_sims.ledger import LedgerWriter
from device_sims.open_files import raise_open_files_limit
from device_sims.profiles import PROFILES
from device_sims.progress import Progress
from device_sims.recording import Recording, open_recording, read_recording
from device_sims.report import (
    facts_table,
    fleet_facts,
    fleets_table,
    live_line,
    run_facts,
    verdict_facts,
    verdict_table,
)
from device_sims.subscription import Subscription
from device_sims.terminal import LiveLine, on_stop_signal, out, say, show, telling_errors
from device_sims.verdict import Tally, identify
from device_sims.verification import Finding, Patience, Verification

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Url = Annotated[str, typer.Option(help="The broker: mqtt://HOST:PORT or mqtts://HOST:PORT.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Username = Annotated[str | None, typer.Option(help="The username to connect with.")]
PasswordFile = Annotated[Path | None, typer.Option(help="A file with the password in its first line.")]


def main() -> None:
    """The entry point."""
    app()


@app.command()
def run(
    fleet: Annotated[str, typer.Argument(help="A fleet file, or the name of one in config/fleets.")],
    *,
    url: Url,
    ledger: Annotated[Path, typer.Option(help="Where to write what was acknowledged; must not exist yet.")],
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds to generate for; without it until ^C.")] = None,
    rate: Annotated[float, typer.Option(help="Multiply every device's rate by this.")] = 1.0,
    qos: Annotated[int | None, typer.Option(min=0, max=2, help="Use this QoS instead of the fleet's.")] = None,
    settle: Annotated[float, typer.Option(min=0, help="Seconds to wait at the end for acknowledgements.")] = 10.0,
    username: Username = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Simulate a fleet until the duration is over or SIGINT or SIGTERM comes; a second one ends it without settling.

    A broker that cannot be reached is tried again and again. Each device numbers its events from 1 in every run, so
    give each run a ledger, and an upstream, that hold nothing from an earlier one.
    """
    with telling_errors():
        wanted = load_fleet(find_fleet(fleet)).adjusted(rate_factor=rate, qos=qos)
        endpoint = parse_endpoint(url, read_credentials(username, password_file))
        raise_open_files_limit(wanted.device_count)
        outcome = run_to_end(_run(wanted, endpoint, ledger, Limits(duration, settle)))
        facts = run_facts(wanted.fleet.name, wanted.device_count, outcome)
        show(facts, facts_table(facts), as_json=as_json)
        if outcome.progress.connections == 0:
            raise SimsError(
                f"no device ever connected to {endpoint}: {outcome.progress.last_trouble or 'stopped too early'}",
                hint="check that the broker runs there, and --username and --password-file if it asks for them",
            )


async def _run(fleet: Fleet, endpoint: Endpoint, path: Path, limits: Limits) -> Outcome:
    stopping = Stopping()
    on_stop_signal(stopping.request)
    writer = LedgerWriter.create(path, fleet=fleet.fleet.name, seed=fleet.fleet.seed, started_ns=time.time_ns())
    try:
        with LiveLine() as live:

            def report(progress: Progress, seconds: float) -> None:
                live.update(live_line(fleet.fleet.name, fleet.device_count, progress, seconds))
                if progress.connected == 0 and progress.last_trouble:
                    live.trouble(
                        f"no device is connected to {endpoint}: {progress.last_trouble}; trying again", seconds
                    )

            return await run_fleet(fleet, endpoint, writer, limits, stopping, clock=Clock(), report=report)
    finally:
        writer.close()


@app.command()
def verify(
    *,
    url: Url,
    ledger: Annotated[Path, typer.Option(help="The ledger of the run; verify waits for it if it is not there yet.")],
    topic: Annotated[str, typer.Option(help="The topic filter to subscribe to.")] = "#",
    idle: Annotated[
        float, typer.Option(min=0, help="End when nothing came for so long after the run finished.")
    ] = 10.0,
    timeout: Annotated[float | None, typer.Option(min=0, help="End after so many seconds in any case.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Keep deliveries in this file, and begin with those in it.")
    ] = None,
    accept_unfinished: Annotated[
        bool, typer.Option("--accept-unfinished", help="Judge the ledger of a run that was killed.")
    ] = False,
    every_device: Annotated[bool, typer.Option("--all", help="List every device, not only findings.")] = False,
    username: Username = None,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Check at the upstream that everything the ledger holds as acknowledged arrived, and in order.

    Subscribes at QoS 1 with a persistent session and says `subscribed` on standard error when the subscription
    stands. Start it before or during the run: a broker delivers what is published after that. Started after the run
    it sees only what --record has kept from an earlier verify and what the broker has queued since for its session,
    which is named after the ledger's path. The broker must be allowed to queue that much (Mosquitto: 1000 messages
    unless max_queued_messages says otherwise).

    Exits with 0 if nothing was lost and nothing came out of order, and the verdict is final; with 1 otherwise.
    """
    with telling_errors():
        endpoint = parse_endpoint(url, read_credentials(username, password_file))
        subscribing = (endpoint, _session_name(ledger), topic)
        finding = _find(ledger, subscribing, record, Patience(idle, timeout, accept_unfinished))
        facts = {"ended": finding.ended, "final": finding.is_final}
        facts |= verdict_facts(finding.verdict, every_device=every_device)
        show(facts, verdict_table(finding.verdict, every_device=every_device), as_json=as_json)
        if finding.passed_over:
            say(f"{finding.passed_over} retained messages were not counted: they are from before the subscription")
        say(f"ended: {finding.ended}{'' if finding.is_final else '; the verdict is not final'}")
    if not (finding.verdict.ok and finding.is_final):
        raise typer.Exit(1)


def _find(ledger: Path, subscribing: tuple[Endpoint, str, str], record: Path | None, patience: Patience) -> Finding:
    """Begin with what is on record, verify, and add to the record meanwhile."""
    tally = Tally()
    for device, n in read_recording(record) if record is not None else ():
        tally.deliver(device, n)
    recording = open_recording(record) if record is not None else None
    try:
        return run_to_end(_verify(ledger, subscribing, tally, recording, patience))
    finally:
        if recording is not None:
            recording.close()


def _session_name(ledger: Path) -> str:
    """One name for each ledger, short enough for every broker (23 characters: MQTT 3.1.1, 3.1.3.1)."""
    return f"sims-{hashlib.sha256(str(ledger.resolve()).encode()).hexdigest()[:16]}"


async def _verify(
    ledger: Path,
    subscribing: tuple[Endpoint, str, str],
    tally: Tally,
    recording: Recording | None,
    patience: Patience,
) -> Finding:
    def take(payload: bytes) -> None:
        identity = identify(payload)
        if identity is None:
            return
        if recording is not None:
            recording.append(*identity)
        tally.deliver(*identity)

    interrupted = asyncio.Event()
    on_stop_signal(interrupted.set)
    rng = random.Random()  # noqa: S311 - spreads reconnects, keeps no secrets
    subscription = Subscription(*subscribing, take, say, rng)
    with LiveLine() as live:

        def report() -> None:
            live.update(f"received {tally.received:,}  deliveries {tally.deliveries:,}")

        verification = Verification(
            ledger, tally, subscription, patience, Clock(), report, is_recorded=recording is not None
        )
        return await verification.run(interrupted)


@app.command("list")
def list_fleets(*, as_json: AsJson = False) -> None:
    """List the fleets in config/fleets and the profiles."""
    with telling_errors():
        fleets = [fleet_facts(name, path, load_fleet(path)) for name, path in shipped_fleets().items()]
        profiles = sorted(PROFILES)
        show({"fleets": fleets, "profiles": profiles}, fleets_table(fleets), as_json=as_json)
        if not as_json:
            out.print(f"profiles: {', '.join(profiles)}")
