"""Damaged write-ahead logs: what had been synced is salvaged or booked, what a power cut tore is no damage."""

from __future__ import annotations

import shutil

import pytest

from gateway.eventlog import wal
from gateway.eventlog.damage import page_bytes_of, wal_of
from gateway.eventlog.losses import ledger
from gateway.eventlog.pages import PAGE_BYTES
from gateway.eventlog.segment import Segment
from gateway.eventlog.state import path_of as state_path_of
from tests.unit.eventlog.logs import firsts, newest, opened, power_cut, put, read_all

EVENTS = 30
FRAME_BYTES = 24 + PAGE_BYTES


@pytest.fixture
async def cut(tmp_path):
    """A log whose newest segment has its events in the write-ahead log, one transaction each."""
    async with opened(tmp_path / "running", segment_bytes_max=10**7) as log:
        for n in range(EVENTS):
            put(log, b"%d " % n + bytes(500), f"t/{n % 3}")
            await log.intake.settled()
        return await power_cut(log, tmp_path / "cut")


def frames_of(data_dir):
    return (wal_of(newest(data_dir)).stat().st_size - 32) // FRAME_BYTES


def garble(path, at, what=b"\xff" * 40):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(what)


async def reopened(data_dir):
    """The numbers found after mending, and those in the ledger."""
    async with opened(data_dir, segment_bytes_max=10**7, recent_bytes_max=0) as log:
        await log.mend()
        found = [event.seq for event in await read_all(log)]
        assert put(log) > max(found, default=0)
    booked = [
        seq
        for row in ledger(state_path_of(data_dir))
        if row.cause == "damaged"
        for seq in range(row.first_seq, row.last_seq + 1)
    ]
    return found, booked


def test_a_whole_log_has_no_fault(cut):
    assert frames_of(cut) >= EVENTS
    assert wal.fault(newest(cut)) == ""


@pytest.mark.parametrize("place", [24, 24 + 2000, 8], ids=["start of the page", "middle of the page", "salts"])
async def test_a_broken_frame_costs_no_event_that_a_later_frame_holds(cut, tmp_path, place):
    frames = frames_of(cut)
    for frame in range(frames // 2, frames - 4, 3):
        data_dir = shutil.copytree(cut, tmp_path / f"broken-{frame}")
        garble(wal_of(newest(data_dir)), 32 + frame * FRAME_BYTES + place)
        before = wal_of(newest(data_dir)).read_bytes()
        assert "write-ahead log is damaged" in wal.fault(newest(data_dir))
        found, booked = await reopened(data_dir)
        assert sorted(found + booked) == [*range(1, EVENTS + 1)]
        assert len(booked) <= 7, "more than one page is lost"
        assert [each.read_bytes() for each in (data_dir / "damaged").glob("*-wal")] == [before]


async def test_a_lost_header_costs_nothing(cut):
    garble(wal_of(newest(cut)), 0, bytes(32))
    assert await reopened(cut) == ([*range(1, EVENTS + 1)], [])


@pytest.mark.parametrize("kept", [0, 24, 2000, FRAME_BYTES - 1])
async def test_a_last_transaction_that_was_torn_is_no_damage(cut, kept):
    path = wal_of(newest(cut))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - FRAME_BYTES + kept)
    assert await reopened(cut) == ([*range(1, EVENTS)], [])
    assert firsts(cut) == [1]


async def test_frames_left_over_from_before_a_checkpoint_are_no_damage(tmp_path):
    async with opened(tmp_path / "running", segment_bytes_max=10**7) as log:
        for _ in range(10):
            put(log, bytes(500))
            await log.intake.settled()
        log._writer._segment._db.execute("PRAGMA wal_checkpoint").fetchone()
        for _ in range(3):
            put(log, bytes(500))
            await log.intake.settled()
        data_dir = await power_cut(log, tmp_path / "cut")
    assert wal.fault(newest(data_dir)) == ""
    garble(wal_of(newest(data_dir)), 32 + 100)  # of three transactions, the first
    assert wal.fault(newest(data_dir))


async def test_a_sealed_segment_that_lost_its_log_is_noticed_and_its_end_booked(cut):
    path = newest(cut)
    wal_of(path).unlink()
    Segment.create(cut / "log", EVENTS + 1, {}, []).close()
    found, booked = await reopened(cut)
    assert found + booked == [*range(1, EVENTS + 1)]
    assert booked


async def test_a_state_whose_log_is_damaged_goes_back_a_little_and_not_to_the_oldest_event(tmp_path):
    async with opened(tmp_path / "running") as log:
        for _ in range(20):
            log.advance("cloud", put(log))
            await log.intake.settled()
            await log.flush()
        data_dir = await power_cut(log, tmp_path / "cut")
    path = wal_of(state_path_of(data_dir))
    frame_bytes = 24 + page_bytes_of(state_path_of(data_dir))
    frames = (path.stat().st_size - 32) // frame_bytes
    garble(path, 32 + (frames - 15) * frame_bytes + 100)
    async with opened(data_dir) as log:
        assert 0 < log.cursor("cloud") < 20
        assert log.head == 20
    assert len(list((data_dir / "damaged").glob("state.db.*Z*"))) == 2
