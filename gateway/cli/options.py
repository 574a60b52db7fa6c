"""Options that several commands share, and where they lead."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.conditions import json_of
from gateway.config import load
from gateway.contracts.build import build
from gateway.contracts.documents import Documents
from gateway.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.config.model import Config

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Default: config/gateway.toml, then /etc/gateway/gateway.toml."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
TopicOption = Annotated[
    str, typer.Option("--topic", "-t", metavar="FILTER", help="Only topics that match this MQTT filter.")
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", "-d", metavar="ID", help="Only events of this MQTT client id.")
]
FromOption = Annotated[str, typer.Option("--from", metavar="SEQ|TIME", help="First seq, or UTC time.")]
ToOption = Annotated[str | None, typer.Option("--to", metavar="SEQ|TIME", help="Last seq, or UTC time.")]
WhereOption = Annotated[
    str,
    typer.Option(
        "--where", "-w", metavar="CONDITION", help="Only payloads that fulfil this, as in 'temperature > 30'."
    ),
]


def reader_of(settings: Config) -> Callable[[str, bytes], Any]:
    """What reads payloads for `--where`: by the contracts of the configuration, as JSON without any."""
    if not settings.contracts:
        return json_of
    return Documents(build(settings.contracts)).of


def read_config(path: Path | None) -> Config:
    """The configuration that `--config` names.

    Exits with code 2 if there is no such file: that is wrong usage.

    Raises:
        ConfigError: it is there and wrong.
    """
    try:
        found = load.find(path)
    except ConfigError as error:
        sys.stderr.write(f"gateway: {error}\n  {error.hint}\n")
        raise typer.Exit(2) from error
    return load.load(found)
