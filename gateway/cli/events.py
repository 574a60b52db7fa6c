"""`gateway events`: any stretch of the log, whether the gateway runs or not."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from gateway.cli import show
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
from gateway.eventlog import points
from gateway.eventlog.history import History
from gateway.eventlog.points import Point
from gateway.eventlog.wanted import SEQ_MAX, Wanted


def events(
    config: ConfigOption = None,
    first: FromOption = "1",
    last: ToOption = None,
    topic: TopicOption = "#",
    device: DeviceOption = None,
    where: WhereOption = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Most events printed; 0 is no limit.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Print stored events in order, oldest first. --json prints one JSON object a line."""
    wanted = stretch(first, last, topic, device, where)
    settings = read_config(config)
    with History(settings.gateway.data_dir) as history:
        for event in islice(history.wanted(wanted, reader_of(settings)), limit or None):
            typer.echo(show.stored(event, history, json_line=as_json))


def stretch(first: str, last: str | None, topic: str, device: str | None, where: str) -> Wanted:
    """What options ask for of the log, quarantined events as well."""
    begin, end = _parse_point(first, "--from"), _parse_point(last or "now", "--to")
    wanted = Wanted(
        first_seq=max(1, begin.number) if begin.kind == "seq" else 1,
        last_seq=end.number if end.kind == "seq" else SEQ_MAX,
        begin_ns=begin.number if begin.kind == "time" else None,
        end_ns=end.number if end.kind == "time" else None,
        topic=topic,
        device=device,
        where=where,
        quarantined=True,
    )
    try:
        wanted.check()
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return wanted


def _parse_point(text: str, option: str) -> Point:
    try:
        point = points.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option} {error}") from error
    at = {"beginning": 1, "now": SEQ_MAX}
    return Point("seq", at[point.kind]) if point.kind in at else point
