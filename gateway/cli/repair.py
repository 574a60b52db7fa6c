"""`gateway repair`: look over every segment while the gateway is stopped, and salvage what can be read."""

from __future__ import annotations

import json

import typer

from gateway.cli.options import ConfigOption, JsonOption, read_config
from gateway.clock import SystemClock
from gateway.eventlog import repair as log_repair


def repair(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Look over the whole log and mend what is damaged. The gateway must not run; nothing is deleted."""
    settings = read_config(config)
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
