"""`gateway repair`: mend the log while the gateway is stopped, or put events back from files that were set aside."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer asks for it when the command is declared
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.options import ConfigOption, JsonOption, read_config
from gateway.clock import SystemClock
from gateway.eventlog import repair as log_repair

if TYPE_CHECKING:
    from gateway.config.model import Config


def repair(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Segments set aside (damaged/...); without one, the log itself."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mend every damaged segment, or put what the log lacks back from FILEs. The gateway must not run.

    Nothing is deleted or overwritten, and doing it again does no harm.
    """
    settings = read_config(config)
    if files:
        _put_back(settings, files, as_json)
    else:
        _mend(settings, as_json)


def _mend(settings: Config, as_json: bool) -> None:  # noqa: FBT001 - as the command has it
    done = log_repair.repair(settings.gateway.data_dir, settings.log, SystemClock())
    if as_json:
        report = [
            {
                "first_seq": each.first_seq,
                "salvaged": each.events,
                "lost": [list(span) for span in each.missing],
                "set_aside": str(each.aside),
            }
            for each in done
        ]
        typer.echo(json.dumps(report, indent=2))
        return
    for each in done:
        lost = sum(span.last - span.first + 1 for span in each.missing)
        typer.echo(f"segment {each.first_seq}: {each.events:,} event(s) salvaged, {lost:,} lost, see {each.aside}")
    if not done:
        typer.echo("Every segment is whole.")


def _put_back(settings: Config, files: list[Path], as_json: bool) -> None:  # noqa: FBT001
    done = log_repair.put_back(settings.gateway.data_dir, files, settings.log, SystemClock())
    if as_json:
        typer.echo(json.dumps([each._asdict() | {"file": str(each.file)} for each in done], indent=2))
        return
    for each in done:
        typer.echo(f"{each.file}: {each.readable:,} event(s) readable, {each.put_back:,} put back into the log")
        if each.passed_by:
            typer.echo(f"  Not forwarded by itself to {', '.join(each.passed_by)}: its cursor is beyond some of them.")
