"""`gateway devices`: who may log in. Changes count at once, whether the gateway runs or not."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway import control
from gateway.broker.login import hash_password
from gateway.broker.registry import Registry, check_name
from gateway.broker.roles import BUILT_IN_ROLES
from gateway.cli import show
from gateway.cli.options import ConfigOption, JsonOption, read_config
from gateway.errors import ConfigError
from gateway.eventlog.devices import at_rest
from gateway.external.config import ExternalBrokerConfig

if TYPE_CHECKING:
    from gateway.broker.config import BrokerConfig
    from gateway.config.model import Config

app = typer.Typer(help="Devices and other clients that may log in.", no_args_is_help=True, rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(help="User name of the device.")]

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
"""32 characters that cannot be taken for each other: a secret is sometimes typed into a device."""
_SECRET_CHARACTERS = 28
"""140 bits."""


@app.callback()
def _group() -> None:
    """Devices and other clients that may log in."""


@app.command("add")
def add(
    name: NameArgument,
    role: Annotated[str | None, typer.Option(help="A section [roles.NAME], or `local`.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a device log in, and print its secret, once: only a hash of it is kept."""
    settings = read_config(config)
    check_name(name)
    if role is not None and role not in {*BUILT_IN_ROLES, *settings.roles}:
        raise ConfigError(f"there is no role {role!r}", f"Add a section [roles.{role}] to the configuration first.")
    _give_secret(settings, "add", name, as_json=as_json, role=role)


@app.command("rotate")
def rotate(name: NameArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Give a device a new secret and print it, once. The old one is no good any more, and its connection is closed."""
    _give_secret(read_config(config), "rotate", name, as_json=as_json)


@app.command("disable")
def disable(name: NameArgument, config: ConfigOption = None) -> None:
    """Do not let a device log in any more, neither by secret nor by certificate; its connection is closed."""
    _ask(read_config(config), action="disable", name=name)


@app.command("enable")
def enable(name: NameArgument, config: ConfigOption = None) -> None:
    """Let a device that was disabled log in again, with the secret it has."""
    _ask(read_config(config), action="enable", name=name)


@app.command("remove")
def remove(name: NameArgument, config: ConfigOption = None) -> None:
    """Forget a device and its secret; its connection is closed. A certificate stays good: disable such a device."""
    _ask(read_config(config), action="remove", name=name)


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List everybody who may log in, and who is connected if the gateway runs."""
    rows = _ask(read_config(config), action="list")
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(_line(row))
    if not rows:
        typer.echo("Nobody may log in. See: gateway devices add NAME")


@app.command("hash")
def hash_(
    name: NameArgument,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for if not given.")
    ],
) -> None:
    """Print the line to put under [broker.users]; only the hash of the password is kept."""
    typer.echo(f'"{name}" = "{hash_password(password)}"')


def _give_secret(settings: Config, action: str, name: str, *, as_json: bool, role: str | None = None) -> None:
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARACTERS))
    _ask(settings, action=action, name=name, secret_hash=hash_password(secret), role=role)
    if as_json:
        typer.echo(json.dumps({"name": name, "secret": secret}))
        return
    typer.echo(f"user name  {name}\nsecret     {secret}")
    typer.echo("The secret is not kept: this is the only time it is shown.", err=True)


def _ask(settings: Config, **request: str | None) -> Any:
    """The answer of the running gateway; without one the change is made in its files."""
    if isinstance(settings.broker, ExternalBrokerConfig):
        raise ConfigError(
            f"devices log in at {settings.broker.url}, because broker.mode is external",
            "That broker has means of its own for it; with Mosquitto: mosquitto_passwd.",
        )
    asked = {"command": "devices", **request}
    answer = control.command(settings.gateway.data_dir, asked)
    return asyncio.run(_change_at_rest(settings, settings.broker, asked)) if answer is None else answer


async def _change_at_rest(settings: Config, broker: BrokerConfig, asked: dict[str, str | None]) -> Any:
    logging.getLogger("gateway.broker.registry").setLevel(logging.ERROR)  # what it warns of is in the list
    with at_rest(settings.gateway.data_dir) as store:
        return await Registry(broker.users, store, broker.devices_max).obey(asked)


def _line(row: dict[str, Any]) -> str:
    parts = ["enabled" if row["enabled"] else "disabled", f"role {show.plain(row['role'] or 'default')}"]
    if row["source"] == "config":
        parts.append("in [broker.users]")
    else:
        parts += [f"added {_day(row['created_s'])}", f"secret of {_day(row['rotated_s'])}"]
    if row["connected"]:
        parts.append(f"{row['connected']} connection(s)")
    return f"{show.plain(row['name'])}  {', '.join(parts)}"


def _day(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).date().isoformat()
