"""`gateway upstreams`: how each upstream gets on, and pausing or moving one."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway import control
from gateway.cli import show, status
from gateway.cli.options import ConfigOption, JsonOption, read_config
from gateway.errors import ConfigError
from gateway.eventlog import rest

if TYPE_CHECKING:
    from gateway.config.model import Config

app = typer.Typer(help="How upstreams get on; pause and move them.", no_args_is_help=True, rich_markup_mode=None)

NameArgument = Annotated[str, typer.Argument(help="Name of the section [upstreams.NAME].")]
_NOT_RUNNING = "the gateway does not run"


@app.callback()
def _group() -> None:
    """How upstreams get on; pause and move them."""


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the upstreams, with what waits for each; also if the gateway does not run."""
    found = status.collect(read_config(config))["upstreams"]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for each in found:
        typer.echo(f"{typer.style(each['name'], bold=True)}  {each['state']}  {', '.join(show.progress(each))}")
    if not found:
        typer.echo("No upstream is configured.")


@app.command("show")
def show_(name: NameArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show all there is to know of one upstream."""
    found = _find(read_config(config), name)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        if value not in (None, "", []):
            typer.echo(f"{key:<12}{show.plain(f'{value:,}' if isinstance(value, int) else str(value))}")


@app.command("pause")
def pause(name: NameArgument, config: ConfigOption = None) -> None:
    """Stop forwarding to an upstream until it is resumed, also over restarts. Its events wait; none is lost by that."""
    settings = read_config(config)
    if _ask(settings, action="pause", name=name) is None:
        _require(settings, name)
        rest.pause(settings.gateway.data_dir, name, time.time_ns())
    typer.echo(f"{name} is paused. To go on: gateway upstreams resume {name}")


@app.command("resume")
def resume(name: NameArgument, config: ConfigOption = None) -> None:
    """Go on forwarding to an upstream that was paused."""
    settings = read_config(config)
    if _ask(settings, action="resume", name=name) is None:
        _require(settings, name)
        rest.resume(settings.gateway.data_dir, name)
    typer.echo(f"{name} is not paused.")


@app.command("seek")
def seek(
    name: NameArgument,
    to: Annotated[str, typer.Argument(metavar="SEQ|TIME|beginning|now", help="The event that is sent next.")],
    config: ConfigOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this, only tell what it would come to.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Move an upstream in the log. Back: events are sent again, under the same ids. On: events are skipped, and booked.

    Without --yes nothing is changed, and it exits with 1 if there is something to do.
    """
    move = _ask(read_config(config), action="seek", name=name, to=to, sure=yes)
    if move is None:
        raise ConfigError(
            _NOT_RUNNING, f"Start it. To keep it from sending before you have moved it: gateway upstreams pause {name}"
        )
    if as_json:
        typer.echo(json.dumps({**move, "done": yes}))
    else:
        typer.echo(_describe(name, move, done=yes))
    if not yes and move["to"] != move["cursor"]:
        if not as_json:
            typer.echo("Nothing was changed. To do it: the same with --yes")
        raise typer.Exit(1)


def _describe(name: str, move: dict[str, Any], *, done: bool) -> str:
    cursor, to, events = move["cursor"], move["to"], move["events"]
    if to == cursor:
        return f"{name} is there already: the next event is {to + 1:,}."
    goes = "goes" if done else "would go"
    where = f"{name} {goes} on with event {to + 1:,} instead of {cursor + 1:,}: {events:,} event(s) "
    if to < cursor:
        return where + "are sent again, under the same ids, and its books begin anew there."
    return where + "are skipped. They stay in the log until retention removes them, and the loss ledger names them."


def _find(settings: Config, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = status.collect(settings)["upstreams"]
    for each in found:
        if each["name"] == name:
            return each
    raise _unknown(name, [each["name"] for each in found])


def _require(settings: Config, name: str) -> None:
    """Make sure that the upstream is configured."""
    if name not in settings.upstreams:
        raise _unknown(name, settings.upstreams)


def _unknown(name: str, known: Any) -> ConfigError:
    return ConfigError(f"there is no upstream {name!r}", f"Configured are: {', '.join(known) or 'none'}.")


def _ask(settings: Config, **request: object) -> Any:
    """The answer of the running gateway; None if none runs."""
    return control.command(settings.gateway.data_dir, {"command": "upstreams", **request})
