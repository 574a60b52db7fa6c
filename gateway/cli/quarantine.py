"""`gateway quarantine`: what went nowhere and why; release it, write it to a file, remove it."""

from __future__ import annotations

import base64
import json
from contextlib import nullcontext, suppress
from itertools import islice
from pathlib import Path  # noqa: TC003 - typer needs it at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway import control
from gateway.cli import show
from gateway.cli.events import stretch
from gateway.cli.options import (
    ConfigOption,
    DeviceOption,
    FromOption,
    JsonOption,
    ToOption,
    TopicOption,
    read_config,
)
from gateway.errors import ConfigError
from gateway.eventlog.history import History
from gateway.eventlog.quarantine_rows import Chosen
from gateway.ingest.release import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.eventlog.quarantine_rows import Kept

app = typer.Typer(
    help="Messages that violate their contract, and events that an upstream can never take.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

UpstreamOption = Annotated[
    str | None, typer.Option("--upstream", "-u", metavar="NAME", help="Only what this upstream refused.")
]
ContractOption = Annotated[str | None, typer.Option("--contract", metavar="NAME", help="Only what violates this one.")]
SeqOption = Annotated[list[int] | None, typer.Option("--seq", "-s", min=1, help="Only this event; may be repeated.")]
AllOption = Annotated[bool, typer.Option("--all", help="All there is, if nothing else says what.")]
ReleasedOption = Annotated[bool, typer.Option("--released", help="Also what was released.")]
_SEQS_MAX = 400
"""As many as one request to the gateway has room for."""
_ONLY_RUNNING = "Only a running gateway changes its quarantine (gateway run)."


@app.callback()
def _group() -> None:
    """Messages that violate their contract, and events that an upstream can never take."""


@app.command("list")
def list_(
    upstream: UpstreamOption = None,
    contract: ContractOption = None,
    device: DeviceOption = None,
    topic: TopicOption = "#",
    first: FromOption = "1",
    last: ToOption = None,
    seq: SeqOption = None,
    released: ReleasedOption = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Most printed; 0 is no limit.")] = 100,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what is in quarantine, oldest first. --json prints one JSON object a line."""
    chosen = _chosen(upstream, contract, device, topic, first, last, seq, released=released)
    printed = 0
    for row, time in islice(_rows(config, chosen), limit or None):
        typer.echo(json.dumps(_facts(row, time)) if as_json else _line(row, time))
        printed += 1
    if not printed and not as_json:
        typer.echo("There is nothing in quarantine that is meant.")


@app.command("show")
def show_(
    seq: Annotated[int, typer.Argument(min=1, help="Of the event.")],
    upstream: UpstreamOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of one event in quarantine. Exits with code 1 if it is not there."""
    found = [
        _facts(*each) for each in _rows(config, _chosen(upstream, None, None, "#", "1", None, [seq], released=True))
    ]
    if not found:
        raise ConfigError(f"event {seq} is not in quarantine", "What is there: gateway quarantine list")
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for facts in found:
        for key, value in facts.items():
            if value not in ("", None):
                typer.echo(f"{key:<14} {show.plain(str(value))}")
        typer.echo("")


@app.command("export")
def export(
    to: Annotated[Path | None, typer.Option("--to-file", metavar="FILE", help="Instead of the terminal.")] = None,
    upstream: UpstreamOption = None,
    contract: ContractOption = None,
    device: DeviceOption = None,
    topic: TopicOption = "#",
    first: FromOption = "1",
    last: ToOption = None,
    seq: SeqOption = None,
    released: ReleasedOption = False,
    config: ConfigOption = None,
) -> None:
    """Write what is in quarantine as JSON Lines, with whole payloads; a payload that is no text as base64."""
    chosen = _chosen(upstream, contract, device, topic, first, last, seq, released=released)
    count = 0
    with to.open("x", encoding="utf-8") if to is not None else nullcontext() as file:
        for row, time in _rows(config, chosen):
            typer.echo(json.dumps(_facts(row, time)), file=file)
            count += 1
    if to is not None:
        typer.echo(f"{count:,} event(s) in {to}")


@app.command("release")
def release(
    upstream: UpstreamOption = None,
    contract: ContractOption = None,
    device: DeviceOption = None,
    topic: TopicOption = "#",
    first: FromOption = "1",
    last: ToOption = None,
    seq: SeqOption = None,
    everything: AllOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge messages again by today's contracts, and let those go on that fulfil them, as new events.

    What an upstream refused is sent to it again under its own id, as a replay. Exits with code 1 if something stays.
    """
    chosen = _chosen(upstream, contract, device, topic, first, last, seq, released=False)
    answer = _change(config, "release", chosen, everything=everything)
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
    else:
        _show_release(answer)
    if answer["still"]:
        raise typer.Exit(1)


@app.command("purge")
def purge(
    upstream: UpstreamOption = None,
    contract: ContractOption = None,
    device: DeviceOption = None,
    topic: TopicOption = "#",
    first: FromOption = "1",
    last: ToOption = None,
    seq: SeqOption = None,
    released: ReleasedOption = False,
    everything: AllOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove rows for good; what was not released is booked in the loss ledger. The log itself keeps its events."""
    chosen = _chosen(upstream, contract, device, topic, first, last, seq, released=released)
    answer = _change(config, "purge", chosen, everything=everything)
    typer.echo(json.dumps(answer) if as_json else f"{answer['purged']:,} removed")


def _chosen(
    upstream: str | None,
    contract: str | None,
    device: str | None,
    topic: str,
    first: str,
    last: str | None,
    seqs: list[int] | None,
    *,
    released: bool,
) -> Chosen:
    wanted = stretch(first, last, topic, device, "")._replace(seqs=tuple(sorted(set(seqs or ()))))
    if len(wanted.seqs) > _SEQS_MAX:
        raise typer.BadParameter(f"--seq can be given {_SEQS_MAX} times; for more write --from and --to")
    return Chosen(wanted, upstream, contract, released)


def _rows(config: Path | None, chosen: Chosen) -> Iterator[tuple[Kept, str]]:
    """Rows with the true time of each message, from the files; a running gateway brings them up to date first."""
    data_dir = read_config(config).gateway.data_dir
    with suppress(ConfigError):  # it cannot, for trouble with its disk say: then what the files have is shown
        control.command(data_dir, {"command": "quarantine", "action": "follow"})
    with History(data_dir) as history:
        for row in history.quarantined(chosen):
            event = row.event()
            yield row, "" if event is None else show.rfc3339(history.boots.of(event)[0])


def _change(config: Path | None, action: str, chosen: Chosen, *, everything: bool) -> Any:
    nothing_said = chosen._replace(released=False) == _chosen(None, None, None, "#", "1", None, None, released=False)
    if nothing_said and not everything:
        raise typer.BadParameter(f"say what to {action}: --contract, --upstream, --seq and so on, or --all")
    wanted = chosen.wanted
    asked = {
        "command": "quarantine",
        "action": action,
        "upstream": chosen.upstream,
        "contract": chosen.contract,
        "released": chosen.released,
        "first_seq": wanted.first_seq,
        "last_seq": wanted.last_seq,
        "begin_ns": wanted.begin_ns,
        "end_ns": wanted.end_ns,
        "topic": wanted.topic,
        "device": wanted.device,
        "seqs": wanted.seqs,
    }
    data_dir = read_config(config).gateway.data_dir
    answer = control.command(data_dir, asked) if data_dir.is_dir() else None
    if answer is None:
        raise ConfigError("the gateway does not answer", _ONLY_RUNNING)
    return answer


def _show_release(answer: dict[str, Any]) -> None:
    typer.echo(f"{answer['released']:,} released as new events")
    for each in answer["replays"]:
        typer.echo(f"{each['events']:,} sent to {each['upstream']} again: gateway replay show {each['replay']}")
    for each in answer["why"]:
        typer.secho(f"  event {each['seq']} stays: {show.plain(each['why'])}", fg="yellow")
    if answer["still"] > len(answer["why"]):
        typer.secho(f"  and {answer['still'] - len(answer['why']):,} more", fg="yellow")


def why(row: Kept) -> str:
    """Why an event is in quarantine, as text for people."""
    if row.upstream:
        return f"refused by {row.upstream}: {row.reason}"
    return describe(row.contract, row.version, row.field, row.rule, row.value)


def _facts(row: Kept, time: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "seq": row.seq,
        "upstream": row.upstream,
        "time": time,
        "quarantined": show.rfc3339(row.quarantined_ns),
        "why": why(row),
        **{key: getattr(row, key) for key in ("reason", "contract", "version", "device", "field", "rule", "value")},
        "released_seq": row.released_seq,
        "whole": row.is_whole,
        "client_id": row.client_id,
        "topic": row.topic,
        "qos": row.qos,
        "retain": None if row.retain is None else bool(row.retain),
    }
    try:
        facts["payload"] = None if row.payload is None else row.payload.decode()
    except UnicodeDecodeError:
        facts["payload_base64"] = base64.b64encode(row.payload or b"").decode()
    if row.properties:
        facts["properties_base64"] = base64.b64encode(row.properties).decode()
    return facts


def _line(row: Kept, time: str) -> str:
    what = show.plain(
        f"{time[:23] or '(no copy of the message)'}  {row.client_id or ''}  {row.topic or ''}  {why(row)}"
    )
    released = f"  (released as {row.released_seq})" if row.released_seq else ""
    return f"{row.seq:>10}  {what}{'' if row.is_whole else '  (damaged)'}{released}"
