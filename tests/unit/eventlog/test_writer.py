"""Which segment is written, and what is done when the disk refuses."""

from __future__ import annotations

from contextlib import closing

import pytest

from gateway.errors import LogError
from gateway.eventlog import segment
from gateway.eventlog.batch import Batch, InboundMark
from gateway.eventlog.reader import LogReader
from gateway.eventlog.segment import Segment
from gateway.eventlog.writer import SegmentWriter
from tests.unit.eventlog.logs import event, refuse_inserts

BYTES_MAX = 64 * 1024
BIG = bytes(4 * 1024)


def opened(folder, least_seq=1):
    writer = SegmentWriter(folder, "the log id", BYTES_MAX)
    writer.open(least_seq)
    return writer


def batch_of(*events, marks=()):
    batch = Batch()
    batch.events += events
    batch.marks += marks
    return batch


def write(writer, count, payload=b"x", marks=()):
    """Write `count` batches of one event; returns the segments begun for them."""
    return [
        begun
        for _ in range(count)
        if (begun := writer.write(batch_of(event(writer.next_seq, payload), marks=marks))) is not None
    ]


def firsts(folder):
    return sorted(int(path.stem) for path in folder.glob("*.db"))


def stored(folder):
    with closing(LogReader(folder)) as reader:
        return list(reader.scan())


def seqs(folder):
    return [each.seq for each in stored(folder)]


def test_the_first_segment_begins_at_1(tmp_path):
    with closing(opened(tmp_path)) as writer:
        assert writer.next_seq == 1
        assert write(writer, 2) == []
    assert firsts(tmp_path) == [1]


def test_a_full_segment_is_sealed_and_the_next_begins_where_it_ends(tmp_path):
    with closing(opened(tmp_path)) as writer:
        begun = write(writer, 30, BIG)
    assert len(begun) >= 3
    assert firsts(tmp_path) == [1, *begun]
    assert seqs(tmp_path) == list(range(1, 31))
    for path in sorted(tmp_path.glob("*.db"))[:-1]:
        assert BYTES_MAX <= path.stat().st_size < BYTES_MAX + 2 * len(BIG)


def test_segments_are_rotated_by_what_they_take_on_the_disk_and_not_by_payload(tmp_path):
    with closing(opened(tmp_path)) as writer:
        for n in range(60):
            writer.write(batch_of(event(writer.next_seq, b"", topic=f"{n}/" + "t" * 4000)))
    assert all(path.stat().st_size < 2 * BYTES_MAX for path in tmp_path.glob("*.db"))
    assert seqs(tmp_path) == list(range(1, 61))


def test_writing_goes_on_in_the_newest_segment_after_a_reopen(tmp_path):
    with closing(opened(tmp_path)) as writer:
        write(writer, 14, BIG)
    before = firsts(tmp_path)
    assert len(before) > 1
    with closing(opened(tmp_path)) as writer:
        assert writer.next_seq == 15
        assert writer.write(batch_of(event(15))) is None
    assert firsts(tmp_path) == before
    assert seqs(tmp_path) == list(range(1, 16))


def test_a_full_segment_is_not_written_again_after_a_reopen(tmp_path):
    with closing(opened(tmp_path)) as writer:
        writer.write(batch_of(event(1, bytes(BYTES_MAX))))
    with closing(opened(tmp_path)) as writer:
        assert writer.write(batch_of(event(2))) == 2
    assert firsts(tmp_path) == [1, 2]


def test_an_empty_newest_segment_gives_out_the_number_in_its_name(tmp_path):
    with closing(opened(tmp_path)) as writer:
        write(writer, 3)
    Segment.create(tmp_path, 100, {}, []).close()
    with closing(opened(tmp_path)) as writer:
        assert writer.next_seq == 100


def test_numbers_below_the_least_are_never_given_out(tmp_path):
    with closing(opened(tmp_path)) as writer:
        write(writer, 3)
    with closing(opened(tmp_path, least_seq=50)) as writer:
        assert (writer.lost_tail, writer.unsure_from, writer.next_seq) == ((4, 49), 50, 2_000_000)
        writer.write(batch_of(event(2_000_000)))
    assert firsts(tmp_path) == [1, 2_000_000]
    assert seqs(tmp_path) == [1, 2, 3, 2_000_000]
    empty = tmp_path / "empty"
    empty.mkdir()
    with closing(opened(empty, least_seq=50)) as writer:
        assert (writer.unsure_from, writer.next_seq) == (50, 2_000_000)
    assert firsts(empty) == [2_000_000]


def test_what_a_crash_left_of_a_segment_being_made_is_removed(tmp_path):
    with closing(opened(tmp_path)) as writer:
        write(writer, 1)
    for name in ("00000000000000000002.new", "00000000000000000002.new-wal", "00000000000000000002.new-shm"):
        (tmp_path / name).write_bytes(b"half of something")
    with closing(opened(tmp_path)) as writer:
        write(writer, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["00000000000000000001.db"]


def test_a_file_beside_the_segments_that_is_none_is_left_alone(tmp_path):
    (tmp_path / "broken.db").write_bytes(b"an operator moved this away")
    with closing(opened(tmp_path)) as writer:
        write(writer, 1)
    assert (tmp_path / "broken.db").exists()


def test_open_packet_ids_are_carried_into_every_new_segment(tmp_path):
    with closing(opened(tmp_path)) as writer:
        writer.write(batch_of(event(1), marks=[InboundMark("a", 7, 1), InboundMark("b", 8, 1)]))
        assert write(writer, 20, BIG)
        writer.write(batch_of(marks=[InboundMark("b", 8, 0)]))
        assert write(writer, 20, BIG)
        assert writer.inbound == {("a", 7): 1}
    with closing(opened(tmp_path)) as writer:
        assert writer.inbound == {("a", 7): 1}
        writer.write(batch_of(event(writer.next_seq), marks=[InboundMark("a", 0, 0)]))
        assert writer.inbound == {}
    with closing(opened(tmp_path)) as writer:
        assert writer.inbound == {}


def test_a_batch_of_marks_alone_is_kept(tmp_path):
    with closing(opened(tmp_path)) as writer:
        writer.write(batch_of(event(1), marks=[InboundMark("a", 7, 1)]))
        writer.write(batch_of(marks=[InboundMark("a", 7, 0)]))
        assert writer.next_seq == 2
    with closing(opened(tmp_path)) as writer:
        assert (writer.next_seq, writer.inbound) == (2, {})


def test_after_a_failed_write_the_same_batch_goes_into_a_new_segment(tmp_path):
    with closing(opened(tmp_path)) as writer:
        write(writer, 3)
        refuse_inserts(segment.path_of(tmp_path, 1))
        batch = batch_of(event(4), event(5), marks=[InboundMark("a", 7, 4)])
        with pytest.raises(LogError):
            writer.write(batch)
        assert (writer.next_seq, writer.inbound) == (4, {})
        assert writer.write(batch) == 4
        assert (writer.next_seq, writer.inbound) == (6, {("a", 7): 4})
    assert firsts(tmp_path) == [1, 4]
    assert seqs(tmp_path) == [1, 2, 3, 4, 5]


def test_rows_of_a_failed_write_that_the_disk_kept_after_all_are_never_read(tmp_path):
    """What a failed fsync leaves behind cannot be known; here all of it is left."""
    with closing(opened(tmp_path)) as writer:
        write(writer, 3, b"old")
        left = writer._segment
        refuse_inserts(segment.path_of(tmp_path, 1))
        with pytest.raises(LogError):
            writer.write(batch_of(event(4, b"new")))
        behind = Segment.open(left.path)
        behind._db.execute("DROP TRIGGER refusal")
        behind.append(batch_of(event(4, b"kept"), event(5, b"kept")))
        behind.close()
        writer.write(batch_of(event(4, b"new")))
    assert [each.payload for each in stored(tmp_path)] == [b"old"] * 3 + [b"new"]
    with closing(opened(tmp_path)) as writer:
        assert writer.next_seq == 5


def test_a_segment_in_which_the_first_write_failed_is_replaced_under_its_name(tmp_path):
    with closing(opened(tmp_path)) as writer:
        refuse_inserts(segment.path_of(tmp_path, 1))
        batch = batch_of(event(1))
        with pytest.raises(LogError):
            writer.write(batch)
        assert writer.write(batch) == 1
    assert firsts(tmp_path) == [1]
    assert seqs(tmp_path) == [1]


def test_a_disk_that_takes_no_new_segment_is_asked_again(tmp_path):
    with closing(opened(tmp_path)) as writer:
        write(writer, 3)
        refuse_inserts(segment.path_of(tmp_path, 1))
        batch = batch_of(event(4))
        in_the_way = tmp_path / "00000000000000000004.new"
        in_the_way.mkdir()
        for _ in range(3):
            with pytest.raises(LogError):
                writer.write(batch)
        in_the_way.rmdir()
        assert writer.write(batch) == 4
    assert seqs(tmp_path) == [1, 2, 3, 4]


def test_a_new_log_that_cannot_begin_says_so(tmp_path):
    writer = SegmentWriter(tmp_path / "gone", "id", BYTES_MAX)
    with pytest.raises(LogError):
        writer.open(1)


def test_above_a_damaged_newest_segment_a_new_one_begins_that_cannot_clash(tmp_path):
    segment.path_of(tmp_path, 1).write_bytes(b"no database at all" * 1000)
    with closing(opened(tmp_path, least_seq=50)) as writer:
        assert (writer.next_seq, writer.unsure_from) == (2_000_000, 50)
        assert "00001.db" in str(writer.damaged)
    assert firsts(tmp_path) == [1, 2_000_000]


def test_every_segment_says_which_log_it_belongs_to(tmp_path):
    with closing(opened(tmp_path)) as writer:
        write(writer, 12, BIG)
    for path in tmp_path.glob("*.db"):
        with closing(Segment.open(path)) as each:
            assert each.meta() == {"log_id": "the log id"}
