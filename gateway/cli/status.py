"""`gateway status`: what the gateway holds and where it goes, whether it runs or not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway import control
from gateway.cli import books, certificates, replay, show
from gateway.cli.options import ConfigOption, JsonOption, read_config
from gateway.eventlog.history import History
from gateway.health.wear import SETTLED_AFTER_S

if TYPE_CHECKING:
    from gateway.config.model import Config


_REFUSALS_SHOWN_MAX = 10
_CLOCK_SOURCES = {
    "kernel": "the kernel says so",
    "timesyncd": "systemd-timesyncd says so",
    "trust": "gateway.clock is trust",
}


def status(
    config: ConfigOption = None,
    as_json: JsonOption = False,
    of_books: Annotated[bool, typer.Option("--books", help="What became of every event; exits 1 if in doubt.")] = False,
    of_losses: Annotated[bool, typer.Option("--losses", help="What was lost, dropped or refused, and why.")] = False,
) -> None:
    """Show the state of the gateway: log, devices, and each upstream with what is pending for it."""
    settings = read_config(config)
    if of_books or of_losses:
        if of_losses:
            books.print_losses(settings, as_json=as_json)
        if of_books:
            books.print_books(settings, as_json=as_json)
        return
    facts = collect(settings)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _show(facts)


def collect(settings: Config) -> dict[str, Any]:
    """Ask the running gateway; if none answers, read its files."""
    data_dir = settings.gateway.data_dir
    answer = control.ask_status(data_dir)
    if answer is not None:
        return answer
    with History(data_dir) as history:
        facts = {"id": settings.gateway.id, **history.status(settings.upstreams)}
    found, errors = certificates.read(settings)
    facts["certificates"] = certificates.describe(found)
    facts["certificate_problems"] = [str(error) for error in errors]
    for name, upstream in settings.upstreams.items():
        for each in facts["upstreams"]:
            if each["name"] == name:
                each["type"], each["url"] = upstream.type, upstream.url
    return facts


def _show(facts: dict[str, Any]) -> None:
    log = facts["log"]
    running = f"running for {facts['uptime_s']:,.0f} s" if "uptime_s" in facts else "not running"
    if facts["running"] and "uptime_s" not in facts:
        running = "running, but it does not answer"
    typer.echo(f"{typer.style(facts['id'], bold=True)}  {running}")
    typer.echo(
        f"log       the newest event is {log['head']:,}, the oldest that is kept {log['oldest']:,}; "
        f"{log['segments']} segment(s), {log['size_bytes'] / 1e6:,.1f} MB"
    )
    if clock := facts.get("clock"):
        _show_clock(clock)
    if wear := facts.get("wear"):
        typer.echo(f"card      {_describe_wear(wear, facts['uptime_s'])}")
    _show_trouble(log)
    if broker := facts.get("broker"):
        _show_broker(broker)
    if source := facts.get("source"):
        _show_source(source)
    _show_upstreams(facts)
    if reloading := facts.get("config"):
        _show_reloading(reloading)
    if repeats := facts.get("ingest", {}).get("repeats"):  # not known of a gateway that does not run
        typer.echo(f"ingest    {repeats:,} repeated message(s) stored once")
    _show_quarantine(facts.get("quarantine"))
    certificates.print_all(facts)


def _show_trouble(log: dict[str, Any]) -> None:
    if log["error"]:
        typer.secho(f"disk      nothing is stored or acknowledged: {show.plain(log['error'])}", fg="red")
    if log["full"]:
        typer.secho(f"log       full, devices are not read from: {show.plain(log['full'])}", fg="red")
    if times := log.get("retained_refused"):  # not known of a gateway that does not run
        typer.secho(
            f"log       {times:,} message(s) not retained, beyond log.retained_messages_max or _bytes_max", fg="yellow"
        )


def _show_broker(broker: dict[str, Any]) -> None:
    typer.echo(f"broker    {', '.join(broker['listen'])}")
    typer.echo(
        f"          {broker['clients']:,} client(s), {broker['logins']:,} login(s) and {broker['refused_logins']:,} "
        f"refused, {broker['violations']:,} closed for breaking the protocol, "
        f"{broker['deliveries_dropped']:,} local deliveries dropped"
    )
    told = {
        "unfinished_closed": "connection(s) closed, because unfinished packets took too much memory",
        "held_up": "connection(s) not read, because the log is full",
        "turned_away": "connection(s) turned away beyond connections_max",
        "deliveries_unread": "of QoS 0 dropped, because a subscriber did not read",
        "deliveries_overflowed": "of QoS 1 and 2 dropped, because too many waited for a subscriber",
        "subscribers_disconnected": "slow subscriber(s) disconnected",
        "wills_dropped": "will(s) dropped, because the log was full",
        "refused_publishes": "message(s) refused for want of a right",
        "refused_subscriptions": "subscription(s) refused for want of a right",
        "refused_client_ids": "connection(s) refused under another login's client id",
    }
    for key, what in told.items():
        if broker[key]:
            typer.secho(f"          {broker[key]:,} {what}", fg="yellow")
    if tls := broker["tls"]:
        _show_tls(tls)
    for limit, times in broker["over_limits"].items():
        if times:
            typer.secho(f"          {times:,} time(s) somebody was slowed, refused or closed at {limit}", fg="yellow")
    for each in broker["refusals"][:_REFUSALS_SHOWN_MAX]:
        who = show.plain(each["client_id"]) + (f" (user {show.plain(each['username'])})" if each["username"] else "")
        what = f"{each['action']} {show.plain(each['topic'])}".strip()
        typer.echo(f"          refused {each['times']:,} time(s): {who}: {what}: {show.plain(each['reason'])}")


def _show_source(source: dict[str, Any]) -> None:
    state = typer.style(source["state"], fg="green" if source["state"] == "connected" else "red")
    typer.echo(
        f"source    {source['url']} as {show.plain(source['client_id'])}: {state} for {source['state_s']:,.0f} s"
    )
    if source["reason"]:
        typer.secho(f"          {show.plain(source['reason'])}", fg="red")
    typer.echo(
        f"          {source['messages']:,} message(s) taken in, {source['repeats']:,} repeat(s) not stored again, "
        f"{source['reconnects']:,} reconnect(s)"
    )
    told = {
        "held_up": "nothing is read, because the log is full",
        "sessions_lost": f"{source['sessions_lost']:,} time(s) the broker had forgotten our session",
        "invalid": f"{source['invalid']:,} message(s) thrown away, because their topic is none",
    }
    for key, what in told.items():
        if source[key]:
            typer.secho(f"          {what}", fg="yellow")


def _show_tls(tls: dict[str, Any]) -> None:
    if tls["failed"] or tls["given_up"]:
        typer.secho(
            f"          {tls['failed']:,} TLS handshake(s) failed and {tls['given_up']:,} given up, the last: "
            f"{show.plain(tls['last_failure'])}",
            fg="yellow",
        )
    if tls["reload_error"]:
        typer.secho(f"          certificates not reloaded: {show.plain(tls['reload_error'])}", fg="red")


def _show_clock(clock: dict[str, Any]) -> None:
    if not clock["set"]:
        text, colour = "not set since this boot: times are what it shows, and go out as unsynced", "yellow"
    elif not clock["agrees"]:
        text, colour = "was set, and has been stepped since: times are corrected", "yellow"
    else:
        text, colour = f"set for {clock['set_s']:,.0f} s ({_CLOCK_SOURCES[clock['source']]})", None
    if clock["steps"]:
        text += f"; {clock['steps']} step(s) since the start, the last by {clock['last_step_s']:+,.1f} s"
    typer.echo(f"clock     {typer.style(text, fg=colour)}")


def _describe_wear(wear: dict[str, Any], uptime_s: float) -> str:
    parts = [f"{wear['written_bytes'] / 1e6:,.1f} MB written since the start"]
    if wear["bytes_per_event"] is not None:
        parts.append(f"{wear['bytes_per_event']:,} bytes per event")
    if wear["bytes_per_day"] is not None:
        pace = "at this pace" if uptime_s >= SETTLED_AFTER_S else "at the pace of the first minutes"
        parts.append(f"{wear['bytes_per_day'] / 1e6:,.1f} MB a day {pace}")
    if wear["card_years"] is not None:
        parts.append(f"at which the card lasts {wear['card_years']:,.1f} years")
    return ", ".join(parts)


def _show_reloading(reloading: dict[str, Any]) -> None:
    if reloading["error"]:
        typer.secho(f"config    not taken over, all is as it was: {show.plain(reloading['error'])}", fg="red")
    if keys := reloading["needs_restart"]:
        typer.secho(f"config    changed, and in force after a restart: {', '.join(keys)}", fg="yellow")


def _show_quarantine(told: dict[str, Any] | None) -> None:
    if not told or not told["events"]:
        return
    parts = [f"{events:,} violate {show.plain(name) or 'no contract'}" for name, events in told["contracts"].items()]
    parts += [f"{events:,} refused by {show.plain(name)}" for name, events in told["upstreams"].items()]
    typer.secho(f"quarantine  {', '.join(parts)} (gateway quarantine list)", fg="yellow")


def _show_upstreams(facts: dict[str, Any]) -> None:
    for each in facts["upstreams"]:
        _show_upstream(each)
    if not facts["upstreams"]:
        typer.echo("upstream  none configured: events are stored and go nowhere")
    for each in facts.get("replays", ()):  # a gateway that does not run has none under way
        typer.echo(f"replay    {replay.line(each)}")


def _show_upstream(facts: dict[str, Any]) -> None:
    colour = {"connected": "green", "stopped": None, "paused": "yellow", "resting": None}.get(facts["state"], "red")
    where = facts.get("url", "no longer configured")
    typer.echo(f"upstream  {facts['name']} ({where}): {typer.style(facts['state'], fg=colour)}")
    if facts.get("reason"):
        typer.secho(f"          {show.plain(facts['reason'])}", fg="red")
    typer.echo(
        f"          {', '.join(show.progress(facts))}; forwarded up to {facts['cursor']:,}, "
        f"{facts['quarantined']:,} quarantined"
    )
    for way in facts.get("ways", ()):
        _show_way(way)


def _show_way(way: dict[str, Any]) -> None:
    """A connection of an upstream beside its first one; that of a backlog only while there is one."""
    waits = max(0, way["end"] - way["seq"])
    if way["role"] == "backlog" and not waits:
        return
    what = "backlog" if way["role"] == "backlog" else f"priority {show.plain(way['role'])}"
    typer.echo(f"          {what}: {way['state']}, up to {way['seq']:,} of {way['end']:,}")
    if way["reason"]:
        typer.secho(f"          {show.plain(way['reason'])}", fg="red")
