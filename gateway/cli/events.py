"""`gateway events`: any stretch of the log, whether the gateway runs or not."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DeviceOption, JsonOption, TopicOption, read_config
from gateway.eventlog.history import History
from gateway.topics import is_valid_filter, matches

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.event import Event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRACTION = re.compile(r"[.,](\d{1,9})(?!\d)")
"""Of a second: to the nanosecond as we print it, which `datetime` cannot hold."""


def events(
    config: ConfigOption = None,
    first: Annotated[str, typer.Option("--from", metavar="SEQ|TIME", help="First seq, or UTC time.")] = "1",
    last: Annotated[str | None, typer.Option("--to", metavar="SEQ|TIME", help="Last seq, or UTC time.")] = None,
    topic: TopicOption = "#",
    device: DeviceOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Most events printed; 0 is no limit.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """Print stored events in order, oldest first. --json prints one JSON object a line."""
    wanted = chooser(topic, device)
    begin = _parse_point(first, "--from")
    end = Point() if last is None else _parse_point(last, "--to")
    with History(read_config(config).gateway.data_dir) as history:
        printed = 0
        for event in history.scan(max(0, (begin.seq or 1) - 1), end.seq):
            if not (wanted(event) and _is_between(begin, history.boots.of(event)[0], end)):
                continue
            typer.echo(show.stored(event, history, json_line=as_json))
            printed += 1
            if printed == limit:
                break


def chooser(topic: str, device: str | None) -> Callable[[Event], bool]:
    """Whether an event is wanted, by topic filter and client id."""
    if not is_valid_filter(topic):
        raise typer.BadParameter(f"{topic!r} is not an MQTT topic filter; for all topics write '#'")
    return lambda event: (device is None or event.client_id == device) and matches(topic, event.topic)


class Point(NamedTuple):
    """An end of a stretch of the log: a seq, a time, or neither, which is no limit."""

    seq: int | None = None
    time_ns: int | None = None


def _is_between(begin: Point, time_ns: int, end: Point) -> bool:
    return (begin.time_ns is None or begin.time_ns <= time_ns) and (end.time_ns is None or time_ns <= end.time_ns)


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
