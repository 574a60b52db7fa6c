"""Room for cursors on a full disk; `tests/faults/test_disk_full.py` fills real ones under load."""

from __future__ import annotations

import os
import sqlite3

import pytest

from gateway.errors import LogError
from gateway.eventlog.batch import Batch
from gateway.eventlog.reserve import DiskFull, Reserve, refusal, with_reserve
from gateway.eventlog.segment import Segment
from gateway.eventlog.writer import SegmentWriter
from tests.unit.eventlog.logs import event

BYTES = 65536


class Disk:
    """Has room for the `takes`-th write only."""

    def __init__(self, reserve: Reserve, takes: int) -> None:
        self.reserve = reserve
        self.done: list[str] = []
        self._takes = takes

    def begin_log_anew(self) -> None:
        self.done.append("anew")

    @with_reserve
    def write(self, what: str) -> None:
        self.done.append(what)
        self._takes -= 1
        if self._takes:
            raise DiskFull("full")


def allocated(path):
    return path.stat().st_blocks * 512


def test_the_reserve_takes_room_and_not_only_a_name(tmp_path):
    reserve = Reserve(tmp_path / "reserve", BYTES)
    reserve.hold()
    assert allocated(tmp_path / "reserve") >= BYTES
    (tmp_path / "reserve").unlink()
    (tmp_path / "reserve").touch()
    os.truncate(tmp_path / "reserve", BYTES)  # as a copy of it would be: of the right size, and without any room
    Reserve(tmp_path / "reserve", BYTES).hold()
    assert allocated(tmp_path / "reserve") >= BYTES


def test_a_smaller_reserve_gives_room_back_and_one_of_zero_is_removed(tmp_path):
    Reserve(tmp_path / "reserve", BYTES).hold()
    Reserve(tmp_path / "reserve", BYTES // 2).hold()
    assert (tmp_path / "reserve").stat().st_size == BYTES // 2
    Reserve(tmp_path / "reserve", 0).hold()
    assert not (tmp_path / "reserve").exists()


@pytest.mark.parametrize(
    ("takes", "done"), [(1, ["x"]), (2, ["x", "anew", "x"]), (3, ["x", "anew", "x", "anew", "x"])], ids=str
)
def test_the_log_of_the_state_is_begun_anew_before_the_reserve_is_given_up(tmp_path, takes, done):
    reserve = Reserve(tmp_path / "reserve", BYTES)
    reserve.hold()
    disk = Disk(reserve, takes)
    disk.write("x")
    assert disk.done == done
    assert (tmp_path / "reserve").exists() == (takes < 3)


def test_a_write_without_room_is_refused_once_nothing_is_left_to_give_up(tmp_path):
    with pytest.raises(DiskFull):
        Disk(Reserve(tmp_path / "reserve", BYTES), 3).write("x")
    with pytest.raises(DiskFull):
        Disk(Reserve(tmp_path / "reserve", 0), 3).write("x")


def test_no_event_is_stored_while_the_reserve_cannot_be_had(tmp_path):
    (tmp_path / "log").mkdir()
    in_the_way = tmp_path / "reserve"
    in_the_way.mkdir()
    writer = SegmentWriter(tmp_path / "log", "log", 10**6, Reserve(in_the_way, BYTES))
    writer.open(1)
    batch = Batch()
    batch.events.append(event(1))
    for _ in range(2):
        with pytest.raises(LogError, match="no room for the reserve of 65536 bytes") as caught:
            writer.write(batch)
        assert caught.value.hint
    in_the_way.rmdir()
    writer.write(batch)
    writer.close()
    assert allocated(tmp_path / "reserve") >= BYTES
    segment = Segment.open(next((tmp_path / "log").glob("*.db")))
    assert segment.last_seq() == 1
    segment.close()


def test_a_full_disk_is_told_from_a_failing_one(tmp_path):
    with sqlite3.connect(tmp_path / "some.db") as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as full:
            db.execute("INSERT INTO t VALUES (zeroblob(100000))")
    db.close()
    assert isinstance(refusal(full.value, "full"), DiskFull)
    assert "df, log.retention_bytes_max" in refusal(full.value, "full").hint
    assert not isinstance(refusal(sqlite3.OperationalError("disk I/O error"), "failing"), DiskFull)
