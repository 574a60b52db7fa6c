"""The file that events are appended to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from gateway.errors import LogError
from gateway.eventlog import segment
from gateway.eventlog.batch import Batch, InboundMark
from gateway.eventlog.pages import PAGE_BYTES
from gateway.eventlog.segment import Segment
from gateway.eventlog.segment_reader import SegmentReader
from tests.unit.eventlog.logs import HandClock, commit_held_back, event, execute, refuse_inserts

EVERY_BYTE = bytes(range(256))
TOPICS = ["a", "/", "Gewächshaus/7/温度", "🌡/x", "\ufeff/bom", "e\u0301 is not \u00e9", "\u00e9", "x" * 65_535, "'; --"]


def batch_of(*events, marks=()):
    batch = Batch()
    batch.events += events
    batch.marks += marks
    return batch


@pytest.fixture
def made(tmp_path):
    """A new segment that begins at 1."""
    new = Segment.create(tmp_path, 1, {"log_id": "abc"}, [])
    yield new
    new.close()


def stored(path):
    with closing(SegmentReader(path)) as reader:
        return reader.read(0, 2**63 - 1, 10**6, 10**9)


@pytest.mark.parametrize(
    "payload", [b"", b"\0", EVERY_BYTE, EVERY_BYTE * 1024, b'{"a": "\\u0000"}'], ids=["", "0", "all", "256KiB", "json"]
)
def test_a_payload_comes_back_as_it_went_in(made, payload):
    made.append(batch_of(event(1, payload)))
    assert [each.payload for each in stored(made.path)] == [payload]


def test_topics_and_client_ids_of_any_text_come_back_as_they_went_in(made):
    events = [event(n, topic=text, client_id=text) for n, text in enumerate(TOPICS, 1)]
    made.append(batch_of(*events))
    assert stored(made.path) == events


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_quality_of_service_and_retain_come_back(made, qos, retain):
    made.append(batch_of(event(1, qos=qos, retain=retain)))
    assert stored(made.path) == [event(1, qos=qos, retain=retain)]
    assert stored(made.path)[0].retain is retain


@pytest.mark.parametrize("origin", ["", "cloud", 'a "quoted" \\ name', "Wolke ☁"])
@pytest.mark.parametrize("properties", [None, b"", b"\0", EVERY_BYTE])
def test_origin_and_properties_come_back(made, origin, properties):
    made.append(batch_of(event(1, origin=origin, properties=properties)))
    assert stored(made.path) == [event(1, origin=origin, properties=properties)]


def test_times_come_back_to_the_nanosecond(made):
    events = [event(1, received_ns=2**63 - 1, mono_ns=2**63 - 1), event(2, received_ns=0, mono_ns=0)]
    made.append(batch_of(*events))
    assert stored(made.path) == events


@pytest.mark.parametrize("count", [1, 3, 4, 5, 19, 20, 21, 99, 100, 101, 499, 500, 501, 1_626])
def test_a_batch_of_any_size_is_stored_in_order(made, count):
    events = [event(n, str(n).encode()) for n in range(1, count + 1)]
    made.append(batch_of(*events))
    assert stored(made.path) == events


def test_each_boot_is_noted_with_the_clocks_at_its_first_event(tmp_path, made):
    made.append(batch_of(event(1), event(2)))
    made.close()
    again = Segment.open(made.path)
    again.append(batch_of(event(3, boot_id="another boot")))
    again.close()
    assert [each.boot_id for each in stored(made.path)] == [HandClock.boot_id] * 2 + ["another boot"]
    with closing(sqlite3.connect(made.path)) as connection:
        boots = connection.execute("SELECT boot_id, wall_ns, mono_ns FROM boots ORDER BY id").fetchall()
    assert boots == [
        (HandClock.boot_id, event(1).received_ns, event(1).mono_ns),
        ("another boot", event(3).received_ns, event(3).mono_ns),
    ]


def test_more_names_than_are_kept_in_memory_are_stored_right(made, monkeypatch):
    monkeypatch.setattr(segment, "_INTERNED_NAMES_MAX", 7)
    events = [event(n, topic=f"t/{n % 20}", client_id=f"c{n % 13}") for n in range(1, 200)]
    made.append(batch_of(*events[:120]))
    made.append(batch_of(*events[120:]))
    assert stored(made.path) == events


def test_a_commit_is_one_fsync_of_a_write_ahead_log(made):
    assert made._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert made._db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_of_a_batch_that_fails_in_its_middle_nothing_is_stored(made):
    made.append(batch_of(event(1)))
    refuse_inserts(made.path)
    with pytest.raises(LogError, match=r"00001\.db: the disk refuses") as caught:
        made.append(batch_of(*[event(n) for n in range(2, 700)], marks=[InboundMark("dev", 7, 2)]))
    assert "disk" in caught.value.hint
    made.close()
    assert stored(made.path) == [event(1)]
    assert Segment.open(made.path).inbound() == {}


def test_a_batch_with_a_sequence_number_that_is_stored_already_is_refused(made):
    made.append(batch_of(event(1), event(2)))
    with pytest.raises(LogError):
        made.append(batch_of(event(2, b"another"), event(3)))
    made.close()
    assert stored(made.path) == [event(1), event(2)]


def test_a_segment_that_somebody_else_locks_is_a_disk_that_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "_BUSY_TIMEOUT_S", 0.01)
    new = Segment.create(tmp_path, 1, {}, [])
    with commit_held_back(new.path), pytest.raises(LogError, match="locked"):
        new.append(batch_of(event(1)))
    new.close()
    assert stored(new.path) == []


def test_open_packet_ids_are_kept_with_the_events(made):
    made.append(batch_of(event(1), marks=[InboundMark("a", 1, 1), InboundMark("a", 2, 1), InboundMark("b", 1, 1)]))
    assert made.inbound() == {("a", 1): 1, ("a", 2): 1, ("b", 1): 1}
    made.append(batch_of(marks=[InboundMark("a", 1, 0), InboundMark("c", 5, 0)]))
    assert made.inbound() == {("a", 2): 1, ("b", 1): 1}
    made.append(batch_of(event(2), marks=[InboundMark("a", 9, 2), InboundMark("a", 0, 0), InboundMark("a", 3, 2)]))
    assert made.inbound() == {("a", 3): 2, ("b", 1): 1}


def test_a_new_segment_carries_on_what_it_is_told(tmp_path):
    new = Segment.create(tmp_path, 42, {"log_id": "abc"}, [("a", 7, 41)])
    assert (new.meta(), new.inbound(), new.last_seq()) == ({"log_id": "abc"}, {("a", 7): 41}, 41)
    assert new.path.name == f"{42:020d}.db"
    new.close()


def test_a_closed_segment_is_one_file(made):
    made.append(batch_of(event(1)))
    assert made.path.with_name(made.path.name + "-wal").exists()
    made.close()
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]


def test_a_segment_that_was_not_closed_is_recovered(tmp_path, made):
    made.append(batch_of(event(1), event(2), marks=[InboundMark("a", 7, 2)]))
    folder = tmp_path / "after the power cut"
    folder.mkdir()
    for path in made.path.parent.glob("*.db*"):
        (folder / path.name).write_bytes(path.read_bytes())
    recovered = Segment.open(folder / made.path.name)
    assert (recovered.last_seq(), recovered.inbound()) == (2, {("a", 7): 2})
    recovered.append(batch_of(event(3)))
    recovered.close()
    assert stored(recovered.path) == [event(1), event(2), event(3)]


def test_a_segment_has_no_name_before_it_is_complete(tmp_path):
    seen = []

    def inbound():
        seen.extend(path.suffix for path in tmp_path.iterdir())
        yield ("a", 1, 1)

    Segment.create(tmp_path, 1, {}, inbound()).close()
    assert seen
    assert ".db" not in seen


def test_a_segment_that_cannot_be_completed_never_gets_a_name(tmp_path):
    with pytest.raises(LogError, match="cannot be created") as caught:
        Segment.create(tmp_path, 1, {}, [("a", 1, 1), ("a", 1, 1)])
    assert "disk" in caught.value.hint
    assert not list(tmp_path.glob("*.db"))
    Segment.create(tmp_path, 1, {}, [("a", 1, 1)]).close()
    assert [path.name for path in tmp_path.iterdir()] == [segment.path_of(tmp_path, 1).name]


def test_a_segment_whose_file_does_not_hold_all_of_it_never_gets_a_name(tmp_path, monkeypatch):
    """SQLite says nothing when the checkpoint at a close fails, on a full disk say; here a reader is in its way."""
    monkeypatch.setattr(segment, "_BUSY_TIMEOUT_S", 0.01)
    readers = []

    def inbound():
        draft = next(tmp_path.glob("*.new"))
        readers.append(sqlite3.connect(draft, isolation_level=None))
        readers[0].execute("BEGIN")
        readers[0].execute("SELECT count(*) FROM inbound").fetchone()
        yield ("a", 1, 1)

    with pytest.raises(LogError, match="cannot be created"):
        Segment.create(tmp_path, 1, {}, inbound())
    readers[0].close()
    assert not list(tmp_path.glob("*.db"))


def test_a_folder_that_is_gone_is_a_disk_that_refuses(tmp_path):
    with pytest.raises(LogError):
        Segment.create(tmp_path / "gone", 1, {}, [])


@pytest.mark.parametrize("content", [b"this is not a database, however long it is" * 100, b"SQLite format 3\0" * 300])
def test_a_file_that_is_not_a_database_is_damaged(tmp_path, content):
    path = segment.path_of(tmp_path, 1)
    path.write_bytes(content)
    with pytest.raises(LogError) as caught:
        Segment.open(path)
    assert "00001.db" in str(caught.value)


@pytest.mark.parametrize("look", [Segment.last_seq, Segment.inbound, Segment.meta])
def test_a_damaged_page_is_told_as_damage(tmp_path, made, look):
    made.append(batch_of(*[event(n, bytes(2000), topic=f"t/{n}") for n in range(1, 50)]))
    made.close()
    content = made.path.read_bytes()
    with closing(sqlite3.connect(made.path)) as connection:
        rows = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name IN ('events', 'inbound', 'meta')")
        roots = rows.fetchall()
    for (root,) in roots:
        content = content[: (root - 1) * PAGE_BYTES] + b"\xff" * PAGE_BYTES + content[root * PAGE_BYTES :]
    made.path.write_bytes(content)
    damaged = Segment.open(made.path)
    with pytest.raises(LogError, match=r"00001\.db"):
        look(damaged)
    damaged.close()


def test_its_size_counts_everything_it_takes_on_the_disk(made):
    made.append(batch_of(*[event(n, bytes(1000), topic=f"{n}/" + "t" * 1000) for n in range(1, 200)]))
    on_disk = segment.size_of(made.path)
    assert on_disk >= made.path.with_name(made.path.name + "-wal").stat().st_size > 0
    made.close()
    assert segment.size_of(made.path) == made.path.stat().st_size
    assert segment.size_of(made.path.with_name("gone.db")) == 0


@pytest.mark.parametrize(
    "events",
    [
        [event(n, bytes(100)) for n in range(1, 1000)],
        [event(n, b"", topic=f"{n}/" + "t" * 1000) for n in range(1, 500)],
        [event(n, b"", client_id=f"{n}" + "c" * 1000) for n in range(1, 500)],
        [event(n, b"", properties=bytes(1000)) for n in range(1, 500)],
    ],
    ids=["payloads", "topics", "clients", "properties"],
)
def test_it_knows_how_large_it_has_grown_whatever_it_has_grown_by(made, events):
    made.append(batch_of(*events))
    known = made.bytes_
    made.close()
    assert 0.7 < known / made.path.stat().st_size < 1.5


def test_it_knows_after_an_open_how_large_it_has_grown(made):
    made.append(batch_of(*[event(n, bytes(1000)) for n in range(1, 300)]))
    made.close()
    again = Segment.open(made.path)
    assert again.bytes_ == made.path.stat().st_size
    again.close()


def test_a_removed_segment_leaves_nothing_behind(made):
    made.append(batch_of(event(1)))
    segment.remove(made.path)
    assert list(made.path.parent.iterdir()) == []
    segment.remove(made.path)


def test_closing_never_raises(made):
    made.append(batch_of(event(1)))
    execute(made.path, "DROP TABLE events")
    made.close()
    made.close()


def test_a_database_that_cannot_have_a_write_ahead_log_is_not_used_without_one():
    with pytest.raises(LogError, match="no write-ahead log, its journal mode stays 'memory'"):
        segment.connect(Path(":memory:"))
