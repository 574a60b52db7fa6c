"""The quarantine through power cuts, damage and full disks: what is missing is taken over from the log again."""

from __future__ import annotations

import shutil

import pytest

from gateway.errors import LogError
from gateway.eventlog.history import History
from gateway.eventlog.quarantine_rows import Chosen
from gateway.eventlog.segment import path_of
from gateway.eventlog.wanted import Wanted
from tests.unit.eventlog.logs import execute, fill, firsts, opened, power_cut, put
from tests.unit.eventlog.quarantines import ALL, followed, kept, release, seqs, violate


async def test_what_a_power_cut_takes_is_taken_over_from_the_log_again(tmp_path):
    async with opened(tmp_path / "a", segment_bytes_max=64 * 1024) as log:
        violate(log)
        await followed(log)
        for _ in range(700):
            violate(log, bytes(2000))
        await fill(log, 10)
        release(log, 1)
        release(log, 5)
        await log.intake.settled()
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert len(firsts(left)) > 2
        await log.follow()
        found = await kept(log, ALL._replace(released=True))
        assert [row.seq for row in found] == [*range(1, 702)]
        assert {row.seq: row.released_seq for row in found if row.released_seq} == {1: 712, 5: 713}
        assert await seqs(log, ALL._replace(wanted=Wanted(last_seq=3))) == [("", 2), ("", 3)]
    async with opened(left) as log:
        await log.follow()
        assert len(await kept(log)) == 699


async def test_a_row_that_a_bit_has_changed_is_told_as_such(tmp_path):
    async with opened(tmp_path) as log:
        violate(log)
        violate(log)
        await followed(log)
        execute(tmp_path / "state.db", "UPDATE quarantine SET payload = x'00' WHERE seq = 1")
        assert [row.is_whole for row in await kept(log)] == [False, True]
        release(log, 1)
        await followed(log)
        assert [row.released_seq for row in await kept(log)] == [0, 0]


async def test_a_state_that_is_lost_leaves_its_quarantine_to_the_next(tmp_path):
    async with opened(tmp_path, upstreams=(), retention_bytes_max=1) as log:
        for _ in range(3):
            violate(log)
        release(log, 1)
        await followed(log)
        await log.quarantined.purge(await kept(log, Chosen(Wanted(seqs=(2,)))))
    execute(
        tmp_path / "state.db",
        "INSERT OR REPLACE INTO meta VALUES ('high_water', 'x')",
    )
    async with opened(tmp_path) as log:
        assert list((tmp_path / "damaged").glob("state.db*"))
        await log.follow()
        assert await seqs(log) == [("", 3)]
        assert [row.released_seq for row in await kept(log, ALL._replace(released=True))] == [4, 0]


async def test_a_state_that_is_gone_is_filled_from_the_log(tmp_path):
    async with opened(tmp_path) as log:
        for _ in range(3):
            violate(log)
        release(log, 1)
        await followed(log)
    (tmp_path / "state.db").unlink()
    async with opened(tmp_path) as log:
        await log.follow()
        assert await seqs(log) == [("", 2), ("", 3)]


async def test_violations_of_a_damaged_segment_are_taken_over_as_far_as_they_can_be_read(tmp_path):
    async with opened(tmp_path) as log:
        for _ in range(3):
            violate(log, bytes(100))
        for _ in range(800):
            put(log, bytes(80))
        await log.intake.settled()
        await fill(log, 1)
        left = await power_cut(log, tmp_path.parent / "left")
    path = path_of(left / "log", 1)
    with path.open("r+b") as file:
        file.write(bytes(2048))
    async with opened(left) as log:
        await log.follow()
        assert await seqs(log) == [("", 1), ("", 2), ("", 3)]
    shutil.rmtree(left)


async def test_violations_of_a_damaged_newest_segment_are_taken_over_when_it_is_mended(tmp_path):
    async with opened(tmp_path / "a") as log:
        for _ in range(3):
            violate(log, bytes(100))
        await log.intake.settled()
        left = await power_cut(log, tmp_path / "b")
    with path_of(left / "log", 1).open("r+b") as file:
        file.write(bytes(2048))
    async with opened(left) as log:
        assert log.head == 0
        await fill(log, 1)
        await log.follow()
        assert await seqs(log) == [("", 1), ("", 2), ("", 3)]


async def test_on_a_full_disk_a_refusal_is_stored_without_a_copy_in_the_room_of_cursors(tmp_path):
    async with opened(tmp_path, reserve_bytes=65536) as log:
        await fill(log, 2, b"payload" * 2000)
        (pages,) = log._state._db.execute("PRAGMA page_count").fetchone()
        log._state._db.execute(f"PRAGMA max_page_count = {pages}")
        await log.quarantine("cloud", {1: "too large"})
        assert [(row.seq, row.reason, row.payload) for row in await kept(log)] == [(1, "too large", None)]
    with History(tmp_path) as history:
        (row,) = history.quarantined(ALL)
        assert row.payload == b"payload" * 2000  # as long as the log has it


async def test_on_a_full_disk_violations_wait_in_the_log(tmp_path):
    async with opened(tmp_path) as log:
        seq = violate(log, b"payload" * 2000)
        await log.intake.settled()
        (pages,) = log._state._db.execute("PRAGMA page_count").fetchone()
        log._state._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(LogError):
            await log.follow()
        log._state._db.execute("PRAGMA max_page_count = 1000000")
        await log.follow()
        assert await seqs(log) == [("", seq)]


async def test_a_quarantine_whose_table_is_gone_is_damage_and_the_log_fills_it_again(tmp_path):
    async with opened(tmp_path) as log:
        violate(log)
        await followed(log)
    execute(tmp_path / "state.db", "DROP TABLE quarantine")
    async with opened(tmp_path) as log:
        assert list((tmp_path / "damaged").glob("state.db*"))
        await log.follow()
        assert await seqs(log) == [("", 1)]
