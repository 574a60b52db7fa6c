"""`gateway replay`: send any stretch of the log again to an upstream, or write it to a file."""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway import control
from gateway.cli import show
from gateway.cli.events import stretch
from gateway.cli.export import export
from gateway.cli.options import (
    ConfigOption,
    DeviceOption,
    FromOption,
    JsonOption,
    ToOption,
    TopicOption,
    WhereOption,
    read_config,
    reader_of,
)
from gateway.errors import ConfigError
from gateway.eventlog.history import History
from gateway.eventlog.replays import described
from gateway.forward.selection import Selection

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.eventlog.wanted import Wanted

app = typer.Typer(help="Send events again to an upstream, or write them to a file.", rich_markup_mode=None)

_POLL_INTERVAL_S = 0.5
_START_IT = "Only a running gateway replays to an upstream (gateway run). --to-file and --dry-run work without one."

IdArgument = Annotated[str, typer.Argument(help="Of the replay: gateway replay list.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Print the progress until it has ended.")]


@app.callback(invoke_without_command=True)
def replay(
    context: typer.Context,
    upstream: Annotated[str | None, typer.Option("--upstream", "-u", metavar="NAME", help="Where to.")] = None,
    to_file: Annotated[
        str | None,
        typer.Option("--to-file", metavar="FILE", help="Write a file instead, by its ending: .jsonl, .csv, .parquet."),
    ] = None,
    first: FromOption = "1",
    last: ToOption = None,
    topic: TopicOption = "#",
    device: DeviceOption = None,
    where: WhereOption = "",
    rate: Annotated[float | None, typer.Option("--rate", min=1e-6, metavar="N", help="Events a second.")] = None,
    speed: Annotated[
        float | None, typer.Option("--speed", min=1e-6, metavar="X", help="So many times as fast as they came.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell how much that would be.")] = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="To a file: also events that violate their contract.")
    ] = False,
    follow: FollowOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a stretch of the log again, beside live events and marked as a replay; or write it to a file."""
    if context.invoked_subcommand is not None:
        return
    wanted = stretch(first, last, topic, device, where)._replace(quarantined=quarantined)
    _check_usage(upstream, to_file, rate, speed, dry_run=dry_run, quarantined=quarantined)
    settings = read_config(config)
    if dry_run:
        _print_extent(settings, wanted, upstream, as_json=as_json)
    elif to_file is not None:
        export(settings.gateway.data_dir, wanted, to_file, reader_of(settings))
    else:
        asked = {
            key: value
            for key, value in _asked(wanted, from_the_oldest=first in {"1", "beginning"}).items()
            if value is not None
        }
        begun = _ask(settings, action="begin", upstream=upstream, **asked, rate=rate, speed=speed)
        _print(settings, begun, follow=follow, as_json=as_json)


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List replays, oldest first: those under way, and the last that have ended."""
    settings = read_config(config)
    rows = control.command(settings.gateway.data_dir, {"command": "replay", "action": "list"})
    if rows is None:
        with History(settings.gateway.data_dir) as history:
            rows = [described(each) for each in history.replays()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(line(row))
    if not rows:
        typer.echo("Nothing was ever replayed.")


@app.command("show")
def show_(
    id_: IdArgument, follow: FollowOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Show what a replay is of, how far it is and what became of the events."""
    settings = read_config(config)
    _print(settings, _look(settings, id_), follow=follow, as_json=as_json)


@app.command("cancel")
def cancel(id_: IdArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """End a replay where it is. What was sent stays sent."""
    settings = read_config(config)
    _print(settings, _ask(settings, action="cancel", id=id_), as_json=as_json)


@app.command("pause")
def pause(id_: IdArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Have a replay rest where it is, over restarts too."""
    settings = read_config(config)
    _print(settings, _ask(settings, action="pause", id=id_), as_json=as_json)


@app.command("resume")
def resume(id_: IdArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Go on with a replay that was paused."""
    settings = read_config(config)
    _print(settings, _ask(settings, action="resume", id=id_), as_json=as_json)


def _check_usage(
    upstream: str | None,
    to_file: str | None,
    rate: float | None,
    speed: float | None,
    *,
    dry_run: bool,
    quarantined: bool,
) -> None:
    if (upstream is None) == (to_file is None) and not (dry_run and upstream is None):
        raise typer.BadParameter("say where to: --upstream NAME or --to-file FILE")
    if rate is not None and speed is not None:
        raise typer.BadParameter("--rate and --speed exclude each other: leave one out")
    if to_file is not None and (rate is not None or speed is not None):
        raise typer.BadParameter("a file is written as fast as the disk takes it: leave out --rate and --speed")
    if upstream is not None and quarantined:
        raise typer.BadParameter("no upstream is sent quarantined events; release them: gateway quarantine release")


def _asked(wanted: Wanted, *, from_the_oldest: bool) -> dict[str, Any]:
    asked = wanted._asdict()
    del asked["quarantined"], asked["seqs"]
    if from_the_oldest:
        del asked["first_seq"]
    return asked


def _print_extent(settings: Config, wanted: Wanted, upstream: str | None, *, as_json: bool) -> None:
    """How many events and bytes a replay would be of, and from when to when."""
    selected = _selection(settings, upstream)
    events = bytes_ = 0
    firsts: list[tuple[int, int]] = []
    last = (0, 0)
    with History(settings.gateway.data_dir) as history:
        for event in history.wanted(wanted, reader_of(settings)):
            if selected is not None and not selected.of((event,)):
                continue
            events += 1
            bytes_ += len(event.topic) + len(event.payload)
            last = event.seq, history.boots.of(event)[0]
            if not firsts:
                firsts.append(last)
    found: dict[str, Any] = {"events": events, "bytes": bytes_}
    if firsts:
        found |= {"first_seq": firsts[0][0], "last_seq": last[0]}
        found |= {"first_time": show.rfc3339(firsts[0][1]), "last_time": show.rfc3339(last[1])}
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    typer.echo(f"{events:,} event(s), {bytes_:,} bytes of topics and payloads")
    if firsts:
        typer.echo(f"from event {found['first_seq']}, {found['first_time']}")
        typer.echo(f"to event {found['last_seq']}, {found['last_time']}")


def _selection(settings: Config, upstream: str | None) -> Selection | None:
    """What an upstream is meant to have; None: no upstream is asked about."""
    if upstream is None:
        return None
    if upstream not in settings.upstreams:
        known = ", ".join(settings.upstreams) or "none"
        raise ConfigError(f"there is no upstream {upstream!r}", f"Configured are: {known}.")
    return Selection(upstream, settings.upstreams[upstream].topics)


def _ask(settings: Config, **request: object) -> Any:
    answer = control.command(settings.gateway.data_dir, {"command": "replay", **request})
    if answer is None:
        raise ConfigError("the gateway does not run", _START_IT)
    return answer


def _look(settings: Config, id_: str) -> dict[str, Any]:
    answer = control.command(settings.gateway.data_dir, {"command": "replay", "action": "show", "id": id_})
    if answer is None:
        with History(settings.gateway.data_dir) as history:
            answer = next((described(each) for each in history.replays() if each.id == id_), None)
        if answer is None:
            raise ConfigError(f"there is no replay {id_!r}", "See: gateway replay list")
    found: dict[str, Any] = answer
    return found


def _print(settings: Config, row: dict[str, Any], *, follow: bool = False, as_json: bool) -> None:
    """Exits with code 1 if it was followed and has not come to its end."""
    if not follow:
        typer.echo(json.dumps(row, indent=2) if as_json else _text(row))
        return
    with suppress(KeyboardInterrupt):
        while row["state"] == "running":
            typer.echo(json.dumps(row) if as_json else line(row))
            sys.stdout.flush()
            time.sleep(_POLL_INTERVAL_S)
            row = _look(settings, row["id"])
        typer.echo(json.dumps(row) if as_json else _text(row))
        if row["state"] != "done":
            raise typer.Exit(1)


def line(row: dict[str, Any]) -> str:
    """What is shown of a replay in one line."""
    parts = [f"{row['id']}  {show.plain(row['upstream'])}  {row['state']} {100 * row['done']:.1f} %"]
    parts.append(f"{row['sent']:,} sent")
    parts += [f"{row[what]:,} {what}" for what in ("filtered", "refused", "missing") if row[what]]
    if row["events_per_s"] is not None:
        parts.append(f"{row['events_per_s']:,.0f}/s")
    if row["eta_s"] is not None:
        parts.append(f"{timedelta(seconds=round(row['eta_s']))} left")
    if row["reason"]:
        parts.append(show.plain(row["reason"]))
    return ", ".join(parts)


def _text(row: dict[str, Any]) -> str:
    lines = [line(row), f"  events {row['first_seq']:,} to {row['last_seq']:,}, done up to {row['position']:,}"]
    if row["seqs"]:
        lines.append(f"  {row['seqs']:,} of them, by number")
    for what, key in (("from", "begin_ns"), ("to", "end_ns"), ("begun", "created_ns"), ("ended", "ended_ns")):
        if row[key]:
            lines.append(f"  {what} {show.rfc3339(row[key])}")
    named = (("topic", "topic"), ("device", "device"), ("where", "where"), ("events/s", "rate"), ("speed", "speed"))
    lines += [f"  {what} {show.plain(str(row[key]))}" for what, key in named if row[key] not in {None, "", "#"}]
    if row["missing"]:
        lines.append(f"  {row['missing']:,} number(s) of the stretch had no event any more when their turn came")
    if row["refused"]:
        lines.append(f"  {row['refused']:,} event(s) were refused and are in quarantine")
    return "\n".join(lines)
