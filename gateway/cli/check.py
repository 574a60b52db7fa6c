"""`gateway check`: is the configuration right?"""

from __future__ import annotations

import json
import os

import typer

from gateway.cli.options import ConfigOption, JsonOption, read_config
from gateway.config import load


def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check the configuration without starting anything; prints what would run."""
    settings = read_config(config)
    data_dir = settings.gateway.data_dir
    nearest = next(folder for folder in (data_dir, *data_dir.absolute().parents) if folder.exists())
    warnings = []
    if not os.access(nearest, os.W_OK | os.X_OK):
        warnings.append(f"gateway.data_dir: {data_dir} is not writable for this user (uid {os.getuid()})")
    if not settings.upstreams:
        warnings.append("no [upstreams.<name>] section: events are stored and go nowhere")
    if not settings.broker.users and not settings.broker.allow_anonymous:
        warnings.append("broker.users is empty and allow_anonymous is false: no device can connect")
    report = {
        "config": str(load.find(config)),
        "id": settings.gateway.id,
        "data_dir": str(data_dir),
        "listen": settings.broker.listen,
        "upstreams": {name: f"{each.type} {each.url}" for name, each in settings.upstreams.items()},
        "warnings": warnings,
    }
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"{report['config']} is right.")
    typer.echo(f"  gateway   {settings.gateway.id}, data in {data_dir}")
    typer.echo(f"  listens   {', '.join(settings.broker.listen)}")
    for name, each in settings.upstreams.items():
        typer.echo(f"  upstream  {name}: {each.type} {each.url}, topics {', '.join(each.topics)}")
    for warning in warnings:
        typer.echo(f"  warning   {warning}")
