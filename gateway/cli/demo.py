"""`gateway demo`: an outage and a power cut, with real processes, and the verdict whether anything was lost."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.options import JsonOption  # noqa: TC001 - typer reads it
from gateway.errors import GatewayError


def demo(
    duration: Annotated[
        float, typer.Option("--duration", min=4, max=3600, help="Seconds the devices publish; some more to drain.")
    ] = 40,
    fleet: Annotated[str, typer.Option("--fleet", help="A file, or a name in config/fleets.")] = "demo",
    keep: Annotated[Path | None, typer.Option("--keep", help="Keep logs and data in this new folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Cut the upstream, kill the gateway with SIGKILL meanwhile, restore it, and count what arrived.

    Exit code 0 only if no acknowledged event is missing and the order of every device is kept.
    """
    folder = keep or Path(tempfile.mkdtemp(prefix="gateway-demo-"))
    try:
        if keep is not None:
            keep.mkdir(parents=True)
    except OSError as error:
        raise GatewayError(f"--keep {keep}: {error.strerror}", "Name a folder that does not exist yet.") from error
    from gateway.cli.demo_play import play, show_verdict  # noqa: PLC0415 - `gateway run` can do without its libraries

    try:
        verdict = play(folder, fleet, duration, silent=as_json)
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        typer.echo(json.dumps(verdict))
    else:
        show_verdict(verdict)
    if not verdict["ok"]:
        raise typer.Exit(1)
