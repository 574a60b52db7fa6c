"""Events as they are printed: nothing a device says steers the terminal, and nothing is lost in JSON."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import show
from gateway.clock import Anchor
from gateway.event import Event
from gateway.eventlog.boots import Boots

NOON_NS = 1_795_435_200_123_456_789
BOOTS = Boots("boot")
"""Of a gateway whose clock was never set."""


def event(payload: bytes = b"21.5", *, topic: str = "a/b", client_id: str = "dev", seq: int = 7) -> Event:
    return Event(seq, NOON_NS, 42, "boot", client_id, topic, 1, True, payload)


def test_a_line_tells_seq_time_device_topic_and_payload() -> None:
    assert show.as_line(event(), BOOTS) == "         7  2026-11-23T12:00:00.123Z  dev  a/b  21.5"


STEERING = {
    "clear the screen": "\x1b[2J",
    "change the title": "\x1b]0;owned\x07",
    "go back to the beginning of the line": "safe\rforged",
    "begin another line": "one\ntwo",
    "CSI as one character": "\x9b2J",
    "delete": "\x08\x7f",
    "turn the direction of writing": "\u202eevil",
    "nothing to see": "\u200b\ufeff",
    "a line separator": "\u2028",
    "a tag beyond the basic plane": "\U000e0001",
}


@pytest.mark.parametrize("text", STEERING.values(), ids=STEERING)
def test_nothing_from_a_device_steers_the_terminal(text: str) -> None:
    for each in (event(text.encode()), event(topic=text), event(client_id=text)):
        assert show.as_line(each, BOOTS).isprintable()
        line = show.as_json(each, "log", BOOTS)
        assert line.isprintable()
        assert text in json.loads(line).values()


@given(st.binary(max_size=2000))
def test_any_payload_is_one_printable_line_of_bounded_length(payload: bytes) -> None:
    line = show.as_line(event(payload), BOOTS)
    assert line.isprintable()
    assert len(line) < 60 + 10 * 160


@given(st.binary(max_size=300), st.text(st.characters(exclude_categories=["Cs"])), st.text())
def test_json_gives_back_what_the_device_sent(payload: bytes, topic: str, client_id: str) -> None:
    line = show.as_json(event(payload, topic=topic, client_id=client_id), "log", BOOTS)
    assert line.isprintable()
    fields = json.loads(line)
    assert (fields["topic"], fields["client_id"]) == (topic, client_id)
    if "payload_base64" in fields:
        assert "payload" not in fields
        assert base64.b64decode(fields["payload_base64"]) == payload
    else:
        assert fields["payload"].encode() == payload


def test_json_has_every_field_of_the_event() -> None:
    assert json.loads(show.as_json(event(), "4f", BOOTS)) == {
        "id": "4f.7",
        "seq": 7,
        "time": "2026-11-23T12:00:00.123456789Z",
        "clockquality": "unsynced",
        "received_ns": NOON_NS,
        "mono_ns": 42,
        "boot_id": "boot",
        "client_id": "dev",
        "topic": "a/b",
        "qos": 1,
        "retain": True,
        "origin": "",
        "verdict": "accepted",
        "payload": "21.5",
    }


def test_the_time_shown_is_the_true_one() -> None:
    corrected = Boots("boot", [("boot", Anchor(100, NOON_NS - 42 + 5 * 10**9, "kernel"))])
    fields = json.loads(show.as_json(event(), "4f", corrected))
    assert (fields["time"], fields["clockquality"]) == ("2026-11-23T12:00:05.123456789Z", "corrected")
    assert fields["received_ns"] == NOON_NS
    assert "  2026-11-23T12:00:05.123Z  " in show.as_line(event(), corrected)


def test_readable_text_stays_readable_in_json() -> None:
    assert "21,5 °C im Gewächshaus 🌱" in show.as_json(event("21,5 °C im Gewächshaus 🌱".encode()), "log", BOOTS)


def test_a_payload_that_is_not_text_is_shown_as_escapes_and_in_base64() -> None:
    assert show.as_line(event(b"\xff\x00ok"), BOOTS).endswith("  \\xff\\x00ok")
    assert json.loads(show.as_json(event(b"\xff\x00ok"), "log", BOOTS))["payload_base64"] == "/wBvaw=="


@pytest.mark.parametrize("character", ["x", "ä", "€", "🌱"])
def test_a_long_payload_is_cut_and_its_size_told(character: str) -> None:
    assert show.as_line(event((character * 160).encode()), BOOTS).endswith("  " + character * 160)
    size = 200 * len(character.encode())
    assert show.as_line(event((character * 200).encode()), BOOTS).endswith(f"  {character * 160}… ({size} bytes)")


@given(st.integers(0, 253_402_300_799 * 10**9))
def test_a_moment_is_printed_to_the_nanosecond(moment_ns: int) -> None:
    text = show.rfc3339(moment_ns)
    whole, fraction = text.removesuffix("Z").split(".")
    assert datetime.fromisoformat(whole).replace(tzinfo=UTC).timestamp() == moment_ns // 10**9
    assert int(fraction) == moment_ns % 10**9
    assert len(text) == len("2026-11-23T04:05:06.123456789Z")
