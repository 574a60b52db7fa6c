"""`gateway contracts`: what payloads have to be, whether new versions keep their promises, and payloads on trial."""

from __future__ import annotations

import json
from pathlib import Path  # noqa: TC003 - typer needs it at run time
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from gateway.cli import show
from gateway.cli.contracts_export import export
from gateway.cli.contracts_learn import learn_
from gateway.cli.options import ConfigOption, JsonOption, read_config
from gateway.cli.trial import judge, read_lines
from gateway.config.load import load_contracts
from gateway.contracts.build import build
from gateway.contracts.compatibility import Break, breaks, breaks_between
from gateway.contracts.config import Compatibility, family_and_version
from gateway.errors import ConfigError
from gateway.topics import is_valid_topic

if TYPE_CHECKING:
    from gateway.cli.trial import Outcome
    from gateway.config.model import Config
    from gateway.contracts.contracts import Contract

app = typer.Typer(help="What the payloads of topics must be.", no_args_is_help=True, rich_markup_mode=None)

app.command("export")(export)
app.command("learn")(learn_)

Promise = Literal["backward", "forward", "full"]


@app.callback()
def _group() -> None:
    """What the payloads of topics must be."""


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the contracts of the configuration, and of the files that it includes."""
    rows = rows_of(read_config(config))
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['name']}  version {row['version']}  {row['topic']}  {row['codec']}, {row['told_by']}")
    if not rows:
        typer.echo("There is no contract. See docs/contracts.md")


def rows_of(settings: Config) -> list[dict[str, str]]:
    """A line for each contract, plain values."""
    rows = []
    for name, each in settings.contracts.items():
        ways = [way for way in ("fields", "value", "schema_file", "model") if getattr(each, way) is not None]
        rows.append(
            {
                "name": name,
                "version": family_and_version(name, each.version)[1],
                "topic": each.topic,
                "codec": each.codec,
                "told_by": ways[0] if ways else "codec",
                "policy": each.policy,
                "compatibility": each.compatibility,
            }
        )
    return rows


@app.command("check")
def check(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="TOML with [contracts.NAME], or a JSON Schema (.json).")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The same, later.")],
    compatibility: Annotated[
        str | None,
        typer.Option(metavar="backward|forward|full", help="Default: as NEW declares it, else backward."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell every change from OLD to NEW that breaks a promise; exit code 1 if there is one."""
    if compatibility is not None and compatibility not in get_args(Promise):
        raise typer.BadParameter(f"--compatibility {compatibility!r}: write backward, forward or full")
    for path in (old, new):
        if not path.is_file():
            raise typer.BadParameter(f"{path}: there is no such file")
    asked: Promise | None = compatibility  # type: ignore[assignment]  # looked at above
    found = _between_schemas(old, new, asked) if new.suffix == ".json" else _between_contracts(old, new, asked)
    if as_json:
        lines = [{"contract": name, **broken._asdict(), "told": str(broken)} for name, broken in found]
        typer.echo(json.dumps(lines, indent=2))
    else:
        for name, broken in found:
            typer.echo(f"{name}: {show.plain(str(broken))}")
        if not found:
            typer.echo("compatible")
    if found:
        raise typer.Exit(1)


def _between_schemas(old: Path, new: Path, asked: Promise | None) -> list[tuple[str, Break]]:
    from gateway.contracts.schema_shape import SchemaShape, read_schema  # noqa: PLC0415 - 6 MB, for this only

    def schema_in(path: Path) -> dict[str, Any]:
        try:
            return SchemaShape(read_schema(path)).json_schema()
        except ValueError as error:
            raise ConfigError(f"{path}: {error}", "Mend the JSON Schema.") from error

    return [(new.name, each) for each in breaks(schema_in(old), schema_in(new), asked or "backward")]


def _between_contracts(old: Path, new: Path, asked: Promise | None) -> list[tuple[str, Break]]:
    """Of contracts of one name the newest versions are compared."""
    old_ones, new_configs = _newest(old), load_contracts(new)
    found = []
    for family, contract in _newest(new).items():
        before = old_ones.get(family)
        declared: Compatibility = new_configs[contract.name].compatibility
        if before is not None:
            promise = asked or ("backward" if declared == "none" else declared)
            found += [(contract.name, each) for each in breaks_between(before, contract, promise)]
    if not {*old_ones} & {family_and_version(name, None)[0] for name in new_configs}:
        raise ConfigError(f"{old} and {new} have no contract in common", "Versions of one contract share its name.")
    return found


def _newest(path: Path) -> dict[str, Contract]:
    newest: dict[str, Contract] = {}
    for contract in build(load_contracts(path)).all:  # newest first
        newest.setdefault(family_and_version(contract.name, None)[0], contract)
    return newest


@app.command("test")
def try_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="Lines of JSON, as `gateway events --json` prints them; - is stdin."),
    ],
    contract: Annotated[str | None, typer.Option(metavar="NAME", help="Judge by this contract alone.")] = None,
    topic: Annotated[str | None, typer.Option("--topic", "-t", help="Each line is a payload to this topic.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge payloads by the contracts of the configuration; exit code 1 if one violates them.

    A line is {"topic": ..., "payload": ...}, where a payload that is text stands for itself and anything else for its
    JSON; `payload_base64` may stand instead. With --topic or --contract a line may also be the payload itself.
    """
    if topic is not None and not is_valid_topic(topic):
        raise typer.BadParameter(f"--topic {topic!r} is no topic; for example sensors/d1/temperature")
    settings = read_config(config)
    contracts = build(settings.contracts, settings.ingest.without_contract)
    only = next((each for each in contracts.all if each.name == contract), None)
    if contract is not None and only is None:
        names = ", ".join(settings.contracts) or "there is none"
        raise typer.BadParameter(f"--contract {contract!r}: there is no such contract; known are: {names}")
    outcomes = [judge(line, contracts, only) for line in read_lines(file, topic, bare=only is not None)]
    for each in outcomes:
        typer.echo(json.dumps(each.as_json()) if as_json else _line(each))
    bad = sum(not each.accepted for each in outcomes)
    typer.echo(f"{len(outcomes)} payload(s), {bad} of them not as they should be", err=True)
    if bad:
        raise typer.Exit(1)


def _line(outcome: Outcome) -> str:
    where = f"line {outcome.number}  {show.plain(outcome.topic)}"
    violation = outcome.violation
    if violation is None:
        stamp = "".join(
            f", {name} {value}"
            for name, value in (("number", outcome.sequence), ("time", outcome.time))
            if value is not None
        )
        return f"{where}  accepted by {outcome.contract}{stamp}" if outcome.contract else f"{where}  has no contract"
    if not violation.contract:
        return f"{where}  has no contract, and is {'refused' if violation.policy == 'reject' else 'flagged'}"
    value = f" (it is {violation.value})" if violation.value else ""
    return (
        f"{where}  violates {violation.contract}, version {violation.version}: "
        f"{violation.field or 'the payload'}: {violation.rule}{value}"
    )
