"""The command `gateway`: exit code 0 for done, 1 for failed, 2 for wrong usage."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli import (
    backup,
    check,
    contracts,
    demo,
    devices,
    events,
    init,
    quarantine,
    repair,
    replay,
    run,
    status,
    tail,
    upstreams,
)
from gateway.errors import GatewayError

app = typer.Typer(
    name="gateway",
    help="An IoT edge gateway that never loses an acknowledged event.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("init")(init.init)
app.command("check")(check.check)
app.command("status")(status.status)
app.command("tail")(tail.tail)
app.command("events")(events.events)
app.command("repair")(repair.repair)
app.command("backup")(backup.backup)
app.command("demo")(demo.demo)
app.add_typer(devices.app, name="devices")
app.add_typer(contracts.app, name="contracts")
app.add_typer(replay.app, name="replay")
app.add_typer(upstreams.app, name="upstreams")
app.add_typer(quarantine.app, name="quarantine")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """An IoT edge gateway that never loses an acknowledged event."""


def main() -> None:
    """Run the command; an error the gateway raises on purpose is two lines, not a traceback."""
    try:
        app()
    except GatewayError as error:
        sys.stderr.write(f"gateway: {error}\n")
        if error.hint:
            sys.stderr.write(f"  {error.hint}\n")
        sys.exit(1)
    except PermissionError as error:
        sys.stderr.write(f"gateway: {error.filename}: {error.strerror}\n")
        sys.stderr.write(f"  Run it as the user the gateway runs as; this is uid {os.getuid()}.\n")
        sys.exit(1)
    except BrokenPipeError:  # `gateway events | head` has read enough
        sys.stderr.close()
        sys.exit(0)
