"""`gateway contracts learn`: propose a contract from what a topic has brought so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, get_args

import typer

from gateway.cli.events import stretch
from gateway.cli.options import ConfigOption, FromOption, ToOption, read_config
from gateway.contracts.codecs import Codec
from gateway.contracts.learn import Sample, learn
from gateway.errors import ConfigError
from gateway.eventlog.history import History
from gateway.patterns import TopicPattern

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.event import Event

_BYTES_MAX = 64 * 1024 * 1024
"""Of payloads that are looked at together."""


def learn_(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A topic, filter or pattern: sensors/{device}/t.")],
    config: ConfigOption = None,
    first: FromOption = "1",
    last: ToOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most events looked at, the oldest.")] = 10_000,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Of the contract. Default: made of TOPIC.")] = None,
    codec: Annotated[str | None, typer.Option(metavar="CODEC", help="How payloads are written.")] = None,
) -> None:
    """Print a contract, in TOML, that accepts what is stored of TOPIC, and what was seen in comments.

    It is a proposal: put it into a file that the configuration includes, and mend what you know better.
    """
    if codec is not None and codec not in get_args(Codec):
        raise typer.BadParameter(f"--codec {codec!r}: write {', '.join(get_args(Codec))}")
    try:
        pattern = TopicPattern(topic)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    wanted = stretch(first, last, pattern.filter, None, "")
    with History(read_config(config).gateway.data_dir) as history:
        samples = _samples(history.wanted(wanted), limit)
    known: Codec | None = codec  # type: ignore[assignment]  # looked at above
    try:
        text = learn(topic, samples, name=name, codec=known)
    except ValueError as error:
        hint = "Look at them: gateway events --topic FILTER" if samples else "Which are there? gateway events"
        raise ConfigError(str(error), hint) from error
    typer.echo(text, nl=False)


def _samples(events: Iterable[Event], limit: int) -> list[Sample]:
    """As many as may be, and not more than can be kept."""
    samples: list[Sample] = []
    bytes_ = 0
    for event in events:
        bytes_ += len(event.payload)
        if len(samples) == limit or bytes_ > _BYTES_MAX:
            typer.echo(f"stopped after {len(samples):,} event(s); --from begins further on", err=True)
            break
        samples.append(Sample(event.client_id, event.topic, event.payload, event.received_ns))
    return samples
