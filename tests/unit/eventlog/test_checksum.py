"""The checksum of an event: what is not what was written is neither delivered nor salvaged."""

from __future__ import annotations

from zlib import crc32

import pytest

from gateway.eventlog import checksum
from gateway.eventlog.damage import Damaged
from gateway.eventlog.mending import Mender
from gateway.eventlog.segment import Segment, path_of
from gateway.eventlog.segment_reader import SegmentReader
from gateway.eventlog.state import State
from gateway.eventlog.state import path_of as state_path_of
from tests.unit.eventlog.logs import HandClock, event, execute

EVENTS = [
    event(1, b"one"),
    event(2, b"two", topic="other/topic", client_id="other", origin="cloud", properties=b"\x26\x00\x01a\x00\x01b"),
    event(3, b"three", retain=True),
]


@pytest.fixture
def data_dir(tmp_path):
    (tmp_path / "log").mkdir()
    State(state_path_of(tmp_path)).close()
    segment = Segment.create(tmp_path / "log", 1, {"log_id": "a" * 32}, [])
    segment.append_runs([EVENTS])
    segment.close()
    return tmp_path


def stored(data_dir):
    reader = SegmentReader(path_of(data_dir / "log", 1))
    try:
        return reader.read(1, 10, 100, 10**6)
    finally:
        reader.close()


def flip(data_dir, what, occurrence):
    """Flip a bit in one place where the file says `what`."""
    path = path_of(data_dir / "log", 1)
    content = bytearray(path.read_bytes())
    at = -1
    for _ in range(occurrence):
        at = content.index(what, at + 1)
    content[at] ^= 2
    path.write_bytes(content)


def test_an_undamaged_event_is_read_as_it_was_stored(data_dir):
    assert stored(data_dir) == EVENTS


@pytest.mark.parametrize(
    "change",
    [
        "received_ns = received_ns + 1",
        "received_ns = received_ns + (1 << 40)",
        "mono_ns = mono_ns + 1",
        "boot = 2",
        "client = 1",
        "topic = 1",
        "flags = 2",
        "origin = 'clout'",
        "origin = NULL",
        "properties = x'2600016100016300'",
        "properties = NULL",
        "properties = 'text'",
        "payload = x'747770'",
        "payload = x''",
        "crc = crc + 1",
    ],
)
def test_a_changed_value_is_damage_and_costs_one_event(data_dir, change):
    path = path_of(data_dir / "log", 1)
    execute(path, "INSERT INTO boots VALUES (2, 'another', 0, 0)", f"UPDATE events SET {change} WHERE seq = 2")
    with pytest.raises(Damaged, match=r"of event 2 is wrong|event 2 is not"):
        stored(data_dir)
    mended = Mender(data_dir, "a" * 32, HandClock()).mend(1, 4, 0, "a test")
    assert [tuple(span) for span in mended.missing] == [(2, 2)]
    assert stored(data_dir) == [EVENTS[0], EVENTS[2]]


@pytest.mark.parametrize("occurrence", [1, 2])
@pytest.mark.parametrize("name", [b"other/topic", b"other", b"b007b007-0000"])
def test_a_flipped_bit_in_a_name_costs_nothing_as_each_name_is_there_twice(data_dir, name, occurrence):
    flip(data_dir, name, occurrence)
    Mender(data_dir, "a" * 32, HandClock()).mend(1, 4, 0, "a test")
    assert stored(data_dir) == EVENTS


def test_a_name_that_another_has_become_in_every_place_is_noticed(data_dir):
    execute(path_of(data_dir / "log", 1), "UPDATE topics SET name = 'dev/u' WHERE name = 'dev/t'")
    with pytest.raises(Damaged, match="the checksum of event 1 is wrong"):
        stored(data_dir)


def test_an_event_of_a_version_without_checksums_is_taken_as_it_is(data_dir):
    execute(path_of(data_dir / "log", 1), "UPDATE events SET crc = NULL, payload = x'00' WHERE seq = 2")
    assert [each.payload for each in stored(data_dir)] == [b"one", b"\0", b"three"]


def test_the_checksum_is_the_same_in_every_version():
    """It is stored: another result would make damage of every event on every disk."""
    plain = crc32(checksum.pack(1, 2, 3, 4, 5, 6, 1) + b"payload")
    rich = checksum.with_rest(plain, "cloud", b"properties")
    assert (plain, rich, checksum.of_name("tøpic")) == (0x9221D068, 0x1B973F2B, 0x63779256)
