"""`gateway events`: any stretch of the log, whether the gateway runs or not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated, NamedTuple

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
)
from gateway.eventlog.history import History
from gateway.eventlog.wanted import SEQ_MAX, Wanted

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(r"[.,](\d{1,9})(?!\d)")
"""Of a second: to the nanosecond as we print it, which `datetime` cannot hold."""


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
    with History(read_config(config).gateway.data_dir) as history:
        for event in islice(history.wanted(wanted), limit or None):
            typer.echo(show.stored(event, history, json_line=as_json))


def stretch(first: str, last: str | None, topic: str, device: str | None, where: str) -> Wanted:
    """What options ask for of the log, quarantined events as well."""
    begin = _parse_point(first, "--from")
    end = Point() if last is None else _parse_point(last, "--to")
    wanted = Wanted(
        first_seq=max(1, begin.seq or 1),
        last_seq=SEQ_MAX if end.seq is None else end.seq,
        begin_ns=begin.time_ns,
        end_ns=end.time_ns,
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


class Point(NamedTuple):
    """An end of a stretch of the log: a seq, a time, or neither, which is no limit."""

    seq: int | None = None
    time_ns: int | None = None


def _parse_point(text: str, option: str) -> Point:
    if text.isdecimal():
        return Point(seq=int(text))
    fraction = _FRACTION.search(text)
    try:
        moment = datetime.fromisoformat(_FRACTION.sub("", text))
    except ValueError as error:
        raise typer.BadParameter(
            f"{option} {text!r} is neither a seq nor a time; write for example 1200 or 2026-11-23T15:00"
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    seconds = (moment - _EPOCH) // timedelta(seconds=1)
    nanoseconds = int(fraction[1].ljust(9, "0")) if fraction else 0
    return Point(time_ns=seconds * 1_000_000_000 + nanoseconds)
