"""`gateway backup`: a copy of log and state that `gateway run` opens, made while the gateway runs or does not."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path  # noqa: TC003 - typer asks for it when the command is declared
from typing import Annotated

import typer

from gateway.cli.options import ConfigOption, JsonOption, read_config
from gateway.clock import SystemClock
from gateway.errors import ConfigError
from gateway.eventlog import backup as log_backup


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that is empty or does not exist.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy log and state to DIR, also while the gateway runs, and read the copy back."""
    data_dir = read_config(config).gateway.data_dir
    if folder.resolve().is_relative_to(data_dir.resolve()):
        raise typer.BadParameter(f"{folder} is within the data directory; name a folder elsewhere")
    try:
        log_backup.check_empty(folder)
    except ConfigError as error:
        raise typer.BadParameter(f"{error}. {error.hint}") from error
    before = os.umask(0o077)  # as `gateway run`: not for every user of this machine
    try:
        copied = log_backup.backup(data_dir, folder, SystemClock().wall_ns())
    finally:
        os.umask(before)
    if as_json:
        typer.echo(json.dumps({"folder": str(folder), **copied._asdict()}, indent=2))
    else:
        size = f"{copied.bytes_ / 1e6:,.1f} MB"
        typer.echo(f"{copied.events:,} event(s) up to {copied.last_seq:,} in {copied.segments} segment(s), {size}")
    for fault in copied.faults:
        sys.stderr.write(f"gateway: {fault}\n")
    if copied.faults:
        sys.stderr.write("  The log is damaged in the same way. Stop the gateway, run gateway repair, back up again.\n")
        raise typer.Exit(1)
