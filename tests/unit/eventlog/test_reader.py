"""Reading by sequence number, across segments, beside a writer."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest

from gateway.errors import LogError
from gateway.eventlog import segment
from gateway.eventlog.batch import Batch
from gateway.eventlog.reader import LogReader, segments_in
from gateway.eventlog.segment import Segment
from gateway.eventlog.segment_reader import SegmentReader
from tests.unit.eventlog.logs import event, execute


def store(folder, first_seq, events, meta=None):
    """A closed segment with these events."""
    new = Segment.create(folder, first_seq, meta or {}, [])
    batch = Batch()
    batch.events += events
    new.append(batch)
    new.close()


def run(first, last, payload=b"x"):
    return [event(seq, payload) for seq in range(first, last + 1)]


@pytest.fixture
def folder(tmp_path):
    """Three segments: 1-10, 11-20, 21-25."""
    for first, last in ((1, 10), (11, 20), (21, 25)):
        store(tmp_path, first, run(first, last))
    return tmp_path


@pytest.fixture
def reader(folder):
    with closing(LogReader(folder)) as reader:
        yield reader


def seqs(events):
    return [each.seq for each in events]


def test_segments_are_found_by_their_names_and_nothing_else_is_one(folder):
    for name in ("notes.txt", "00000000000000000026.new", "00000000000000000001.db-wal", "broken.db", "1.db.aside"):
        (folder / name).write_bytes(b"")
    assert segments_in(folder) == [1, 11, 21]


def test_a_read_gives_the_events_after_a_number_in_order(reader):
    assert reader.read(0, None, 4) == run(1, 4)
    assert reader.read(4, None, 3) == run(5, 7)


def test_a_scan_crosses_every_segment(reader):
    assert list(reader.scan()) == run(1, 25)
    assert list(reader.scan(8, 22)) == run(9, 22)


@pytest.mark.parametrize("after_seq", range(26))
def test_a_read_begins_right_whatever_segment_its_event_is_in(reader, after_seq):
    assert seqs(reader.scan(after_seq)) == list(range(after_seq + 1, 26))


def test_there_is_nothing_beyond_the_end(reader):
    assert reader.read(25, None, 10) == []
    assert reader.read(10**12, None, 10) == []
    assert reader.read(20, 20, 10) == []


def test_a_read_within_one_segment_ends_at_its_last_event(reader):
    assert seqs(reader.read(7, None, 100)) == [8, 9, 10]


def test_what_was_removed_is_passed_over(folder):
    segment.remove(segment.path_of(folder, 1))
    with closing(LogReader(folder)) as reader:
        assert seqs(reader.scan(3)) == list(range(11, 26))
        assert reader.oldest() == event(11)


def stamps(reader, head):
    """Of the last event of each segment, the newest segment first."""
    asked = []
    reader.facts(head, lambda *each: asked.append(each) or 0)
    return asked


def test_a_segment_ends_where_the_next_begins_whatever_its_file_holds(folder):
    store(folder, 24, [event(24, b"second attempt"), event(25, b"second attempt"), event(26)])
    with closing(LogReader(folder)) as reader:
        assert [each.payload for each in reader.scan(22)] == [b"x", b"second attempt", b"second attempt", b"x"]
        received = [received_ns for _, _, received_ns in stamps(reader, 26)]
        assert received == [event(seq).received_ns for seq in (26, 23, 20, 10)]


def test_an_empty_newest_segment_hides_what_the_one_before_holds_beyond_it(folder):
    Segment.create(folder, 24, {}, []).close()
    with closing(LogReader(folder)) as reader:
        assert seqs(reader.scan(20)) == [21, 22, 23]
        assert reader.head() == 23


def test_the_head_is_the_highest_number_stored(reader, tmp_path):
    assert reader.head() == 25
    empty = tmp_path / "empty"
    empty.mkdir()
    with closing(LogReader(empty)) as nothing:
        assert nothing.head() == 0
        assert nothing.oldest() is None
        assert list(nothing.scan()) == []
    Segment.create(empty, 1, {}, []).close()
    with closing(LogReader(empty)) as nothing:
        assert nothing.head() == 0
        assert nothing.read(0, None, 10) == []


def test_a_refresh_finds_new_segments_and_misses_those_that_are_gone(reader, folder):
    store(folder, 26, run(26, 27))
    segment.remove(segment.path_of(folder, 1))
    assert seqs(reader.scan(20)) == list(range(21, 26))
    reader.refresh()
    assert seqs(reader.scan()) == list(range(11, 28))


def test_a_read_is_bounded_in_bytes(tmp_path):
    store(tmp_path, 1, run(1, 40, bytes(1000)))
    with closing(LogReader(tmp_path)) as reader:
        for bytes_max, most in ((10_000, 10), (10_999, 10), (1_000, 1), (3_500, 3), (40_000, 40)):
            found = reader.read(0, None, 100, bytes_max)
            assert 1 <= len(found) <= most
            assert found == run(1, len(found), bytes(1000))


def test_one_event_is_read_however_large_it_is(tmp_path):
    store(tmp_path, 1, [event(1, bytes(300_000)), event(2), event(3, bytes(300_000))])
    with closing(LogReader(tmp_path)) as reader:
        assert seqs(reader.read(0, None, 100, 1000)) == [1]
        assert seqs(reader.read(2, None, 100, 1000)) == [3]


def test_bytes_are_honoured_when_sizes_differ_a_lot(tmp_path):
    sizes = [10, 10, 10, 5_000, 10, 10, 9_000, 10]
    store(tmp_path, 1, [event(n, bytes(size)) for n, size in enumerate(sizes, 1)])
    with closing(LogReader(tmp_path)) as reader:
        seen = []
        while found := reader.read(len(seen), None, 100, 5_100):
            assert len(found) == 1 or sum(len(each.payload) for each in found) <= 5_100
            seen += seqs(found)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8]


def test_more_segments_than_may_be_open_are_read(tmp_path):
    for first in range(1, 20, 2):
        store(tmp_path, first, run(first, first + 1))
    with closing(LogReader(tmp_path)) as reader:
        assert seqs(reader.scan()) == list(range(1, 21))
        assert len(reader._open) <= 4
        assert seqs(reader.scan()) == list(range(1, 21))


def test_more_names_than_are_kept_in_memory_are_read_right(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.eventlog.segment_reader._NAMES_MAX", 5)
    monkeypatch.setattr("gateway.eventlog.plain_rows._FACES_MAX", 5)
    events = [event(n, topic=f"t/{n % 12}", client_id=f"c/{n % 7}") for n in range(1, 80)]
    store(tmp_path, 1, events)
    with closing(LogReader(tmp_path)) as reader:
        assert list(reader.scan()) == events


def test_one_read_gives_events_of_every_kind(tmp_path):
    events = [
        event(seq, b"%d" % seq, topic=f"t/{seq % 3}", retain=seq % 4 == 0, verdict=seq % 3)
        if seq < 5 or seq % 2
        else event(seq, origin="cloud" if seq % 4 else "", properties=b"" if seq % 3 else b"\x01\x01")
        for seq in range(1, 40)
    ]
    store(tmp_path, 1, events)
    with closing(LogReader(tmp_path)) as reader:
        assert reader.read(0, None, 100) == events
        assert reader.read(7, None, 11) == events[7:18]
        assert list(reader.scan()) == events


def test_ids_of_names_may_be_of_any_size(tmp_path):
    events = [event(seq, topic=f"t/{seq % 2}", client_id=f"dev{seq % 2}") for seq in range(1, 9)]
    store(tmp_path, 1, events)
    for table, column, to in (("topics", "topic", (1 << 24) + 2), ("clients", "client", (1 << 33) + 2)):
        execute(
            segment.path_of(tmp_path, 1),
            f"UPDATE {table} SET id = {to} WHERE id = 1",
            f"UPDATE events SET {column} = {to} WHERE {column} = 1",
        )
    with closing(LogReader(tmp_path)) as reader:
        assert reader.read(0, None, 100) == events


def test_a_reader_sees_what_is_committed_and_nothing_else(tmp_path):
    writer = Segment.create(tmp_path, 1, {}, [])
    with closing(LogReader(tmp_path)) as reader:
        writer._db.execute("BEGIN IMMEDIATE")
        writer._insert_events(run(1, 3), 300)
        assert list(reader.scan()) == []
        writer._db.execute("COMMIT")
        assert list(reader.scan()) == run(1, 3)
    writer.close()


def test_reading_beside_writing_gives_every_event_once_and_whole(tmp_path):
    writer = Segment.create(tmp_path, 1, {}, [])
    done = threading.Event()

    def write():
        for first in range(1, 1501, 5):
            batch = Batch()
            batch.events += run(first, first + 4, b"%d" % first * 50)
            writer.append(batch)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    with closing(LogReader(tmp_path)) as reader:
        while len(seen) < 1500 and not (done.is_set() and len(seen) == reader.head()):
            found = reader.read(len(seen), None, 100)
            assert len(found) % 5 == 0  # whole transactions
            seen += found
    thread.join()
    writer.close()
    assert seqs(seen) == list(range(1, 1501))
    assert all(each.payload == b"%d" % (each.seq - (each.seq - 1) % 5) * 50 for each in seen)


def test_a_segment_is_as_old_as_its_last_event_and_as_any_segment_after_it(reader):
    ages = {event(10).received_ns: 50, event(20).received_ns: 90, event(25).received_ns: 70}
    asked = []

    def age_ns(boot_id, mono_ns, received_ns):
        asked.append((boot_id, mono_ns))
        return ages[received_ns]

    assert [facts.age_ns for facts in reader.facts(25, age_ns)] == [90, 90, 70]
    assert asked == [(event(seq).boot_id, event(seq).mono_ns) for seq in (25, 20, 10)]
    ages[event(23).received_ns] = 5
    assert [facts.age_ns for facts in reader.facts(23, age_ns)] == [90, 90, 5]


def test_a_forgotten_segment_is_opened_anew(folder, reader):
    assert list(reader.scan(20)) == run(21, 25)
    segment.remove(segment.path_of(folder, 21))
    store(folder, 21, [event(21, b"new file")])
    reader.forget(21)
    reader.forget(99)
    assert list(reader.scan(20)) == [event(21, b"new file")]


@pytest.mark.parametrize(
    "look",
    [
        lambda reader: reader.read(0, None, 10),
        lambda reader: reader.head(),
        lambda reader: reader.facts(10, lambda *_: 0),
        lambda reader: reader.oldest(),
    ],
)
def test_a_damaged_segment_is_named(tmp_path, look):
    segment.path_of(tmp_path, 1).write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    with closing(LogReader(tmp_path)) as reader, pytest.raises(LogError, match=r"00001\.db cannot be read"):
        look(reader)


def test_a_segment_that_is_gone_is_named(tmp_path):
    with pytest.raises(LogError, match=r"00007\.db cannot be read"):
        SegmentReader(segment.path_of(tmp_path, 7))


def test_the_bounds_of_a_segment(folder):
    with closing(SegmentReader(segment.path_of(folder, 11))) as reader:
        assert reader.bounds() == (11, 20)


def test_a_reader_cannot_write(folder):
    with closing(SegmentReader(segment.path_of(folder, 11))) as reader, pytest.raises(Exception, match="readonly"):
        reader._db.execute("DELETE FROM events")
