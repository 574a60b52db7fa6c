"""`gateway tail`: the end of the log, and what comes next."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import show
from gateway.cli.events import stretch
from gateway.cli.options import ConfigOption, DeviceOption, JsonOption, TopicOption, WhereOption, read_config, reader_of
from gateway.eventlog.history import History

if TYPE_CHECKING:
    from gateway.event import Event

_POLL_INTERVAL_S = 0.2
_LOOK_BACK_EVENTS_MAX = 100_000


def tail(
    config: ConfigOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Events to begin with.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with events as they are stored.")] = False,
    topic: TopicOption = "#",
    device: DeviceOption = None,
    where: WhereOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print the newest events; with --follow, every event from then on until Ctrl-C."""
    settings, asked = read_config(config), stretch("1", None, topic, device, where)
    wanted = asked.chooser(lambda _: 0, reader_of(settings))
    with History(settings.gateway.data_dir) as history:
        seq = history.head()
        step = max(lines, 1)
        found: list[Event] = []
        while len(found) < lines and step <= _LOOK_BACK_EVENTS_MAX:  # further and further back, until there are enough
            found = [event for event in history.scan(max(0, seq - step), seq) if wanted(event)][-lines:]
            if step >= seq:
                break
            step *= 10
        for event in found:
            typer.echo(show.stored(event, history, json_line=as_json))
        with suppress(KeyboardInterrupt):
            while follow:
                time.sleep(_POLL_INTERVAL_S)
                for event in history.scan(seq):
                    seq = event.seq
                    if wanted(event):
                        typer.echo(show.stored(event, history, json_line=as_json))
