"""`gateway events`: any stretch of the log, whether the gateway runs or not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import show
from gateway.cli.options import ConfigOption, DeviceOption, JsonOption, TopicOption, read_config
from gateway.eventlog.history import History
from gateway.topics import is_valid_filter, matches

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.event import Event


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
    after, until = _parse_point(first, "--from"), None if last is None else _parse_point(last, "--to")
    with History(read_config(config).gateway.data_dir) as history:
        printed = 0
        for event in history.scan(after - 1 if isinstance(after, int) else 0):
            if isinstance(after, datetime) and event.received_ns < after.timestamp() * 1e9:
                continue
            if isinstance(until, int) and event.seq > until:
                break
            if isinstance(until, datetime) and event.received_ns > until.timestamp() * 1e9:
                continue
            if not wanted(event):
                continue
            typer.echo(show.as_json(event, history.log_id) if as_json else show.as_line(event))
            printed += 1
            if printed == limit:
                break


def chooser(topic: str, device: str | None) -> Callable[[Event], bool]:
    """Whether an event is wanted, by topic filter and client id."""
    if not is_valid_filter(topic):
        raise typer.BadParameter(f"{topic!r} is not an MQTT topic filter; for all topics write '#'")
    return lambda event: (device is None or event.client_id == device) and matches(topic, event.topic)


def _parse_point(text: str, option: str) -> int | datetime:
    if text.isdigit():
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{option} {text!r} is neither a seq nor a time; write for example 1200 or 2026-11-23T15:00"
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
