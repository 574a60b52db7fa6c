"""Events as lines for people and as JSON for programs."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.event import Event
    from gateway.eventlog.boots import Boots
    from gateway.eventlog.history import History

_PAYLOAD_CHARACTERS_MAX = 160


def rfc3339(moment_ns: int) -> str:
    """A moment in UTC with nanoseconds, as in `2026-11-23T04:05:06.123456789Z`."""
    seconds, nanoseconds = divmod(moment_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def stored(event: Event, history: History, *, json_line: bool) -> str:
    """An event of a log as JSON or as a line for people."""
    return as_json(event, history.log_id, history.boots) if json_line else as_line(event, history.boots)


def as_json(event: Event, log_id: str, boots: Boots) -> str:
    """One JSON object in one printable line; a payload that is not UTF-8 stands under `payload_base64`."""
    time_ns, quality = boots.of(event)
    fields: dict[str, Any] = {
        "id": f"{log_id}.{event.seq}",
        "seq": event.seq,
        "time": rfc3339(time_ns),
        "clockquality": quality,
        "received_ns": event.received_ns,
        "mono_ns": event.mono_ns,
        "boot_id": event.boot_id,
        "client_id": event.client_id,
        "topic": event.topic,
        "qos": event.qos,
        "retain": event.retain,
        "origin": event.origin,
        "verdict": ("accepted", "flagged", "quarantined")[event.verdict],
    }
    try:
        fields["payload"] = event.payload.decode()
    except UnicodeDecodeError:
        fields["payload_base64"] = base64.b64encode(event.payload).decode()
    line = json.dumps(fields, ensure_ascii=False)
    if line.isprintable():
        return line
    return "".join(character if character.isprintable() else json.dumps(character)[1:-1] for character in line)


def as_line(event: Event, boots: Boots) -> str:
    """seq, true time, device, topic and the beginning of the payload, control characters shown as escapes."""
    text = event.payload[: 4 * _PAYLOAD_CHARACTERS_MAX].decode(errors="backslashreplace")
    if len(text) > _PAYLOAD_CHARACTERS_MAX or len(event.payload) > 4 * _PAYLOAD_CHARACTERS_MAX:
        text = f"{text[:_PAYLOAD_CHARACTERS_MAX]}… ({len(event.payload)} bytes)"
    time = rfc3339(boots.of(event)[0])[:23] + "Z"
    return f"{event.seq:>10}  {time}  {plain(event.client_id)}  {plain(event.topic)}  {plain(text)}"


def plain(text: str) -> str:
    """Text from elsewhere with its control characters as escapes: it must not steer the terminal it is shown on."""
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)


def progress(facts: dict[str, Any]) -> list[str]:
    """How an upstream gets on, in a few words each: what is pending, since when, and when it will be gone."""
    parts = [f"{facts['pending']:,} pending"]
    if facts["pending"] and facts.get("oldest_s") is not None:
        parts.append(f"the oldest for {duration(facts['oldest_s'])}")
    if facts.get("rate"):
        parts.append(f"{facts['rate']:,.0f} a second" if facts["rate"] >= 10 else f"{facts['rate']:.1f} a second")
    if facts["pending"] and facts.get("eta_s") is not None:
        parts.append(f"gone in {duration(facts['eta_s'])} at this pace")
    return parts


def duration(seconds: float) -> str:
    """As in `48 s`, `12 min`, `3.5 h` or `12 days`."""
    if seconds < 120:
        return f"{seconds:,.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:,.0f} min"
    return f"{seconds / 3600:,.1f} h" if seconds < 2 * 86_400 else f"{seconds / 86_400:,.0f} days"
