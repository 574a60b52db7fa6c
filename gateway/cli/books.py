"""`gateway status --books` and `--losses`: what became of every event, and what was lost of them and why."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from gateway import control
from gateway.cli import show
from gateway.eventlog.books import Line
from gateway.eventlog.history import History

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.eventlog.losses import Loss


def print_books(settings: Config, *, as_json: bool) -> None:
    """Print the books of every upstream. Exits with code 1 if one of them does not balance."""
    lines = collect(settings)
    if as_json:
        typer.echo(json.dumps([{**line._asdict(), "balances": line.balances} for line in lines], indent=2))
    else:
        for line in lines:
            _show(line)
        if not lines:
            typer.echo("No upstream is configured: nobody keeps books.")
    if not all(line.balances for line in lines):
        raise typer.Exit(1)


def collect(settings: Config) -> list[Line]:
    """Ask the running gateway; if none answers, read its files."""
    data_dir = settings.gateway.data_dir
    answer = control.ask_books(data_dir)
    if answer is not None:
        return [Line(**line) for line in answer]
    with History(data_dir) as history:
        return history.books(settings.upstreams)


def _show(line: Line) -> None:
    note = "" if line.configured else " (no longer configured: retention does not wait for it)"
    typer.echo(f"{typer.style(line.upstream, bold=True)}{note}, since event {line.started + 1:,}")
    typer.echo(
        f"  {line.received:,} received = {line.forwarded:,} forwarded + {line.pending:,} pending"
        f" + {line.quarantined:,} quarantined + {line.filtered:,} filtered + {line.dropped:,} dropped"
    )
    if line.lost:
        typer.echo(f"  {line.lost:,} of those dropped were lost to damage (gateway status --losses)")
    if line.difference:
        what = "that nobody accounts for" if line.difference > 0 else "more than were received"
        typer.secho(f"  does not balance: {abs(line.difference):,} event(s) {what}", fg="red")
    if line.unbooked:
        typer.secho(
            f"  does not balance: retention dropped {line.unbooked:+,} event(s) against the loss ledger", fg="red"
        )
    if not line.balances:
        typer.echo(
            "  If the gateway does not run, start it: it books what is missing. If it runs and this stays, look for"
            " damage (gateway repair, with the gateway stopped) and report it with the output of this command and of"
            " gateway status --losses --json."
        )


def print_losses(settings: Config, *, as_json: bool) -> None:
    """Print the loss ledger, oldest first."""
    with History(settings.gateway.data_dir) as history:
        rows = history.losses()
    if as_json:
        typer.echo(json.dumps([row._asdict() for row in rows], indent=2))
        return
    for row in rows:
        typer.echo(_as_line(row))
    if not rows:
        typer.echo("Nothing was ever lost, dropped or refused.")


def _as_line(row: Loss) -> str:
    whose = "every upstream" if row.upstream is None else row.upstream
    until = f" to {_time(row.until_ns)}" if row.until_ns != row.at_ns else ""
    span = f"events {row.first_seq:,} to {row.last_seq:,}"
    return show.plain(f"{_time(row.at_ns)}{until}  {row.cause}  {row.events:,}  {whose}: {span} ({row.detail})")


def _time(ns: int) -> str:
    return f"{datetime.fromtimestamp(ns / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ}"
