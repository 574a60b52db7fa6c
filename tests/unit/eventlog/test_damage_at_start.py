"""Damage that is there when a log is opened: everybody is served, nothing is lost twice, no number given out again."""

from __future__ import annotations

import asyncio
import os
import shutil

import pytest

from gateway.eventlog.damage import wal_of
from gateway.eventlog.losses import ledger
from gateway.eventlog.segment import Segment, path_of
from gateway.eventlog.state import path_of as state_path_of
from tests.unit.eventlog.logs import ABOVE, execute, fill, firsts, newest, opened, power_cut, put, read_all

EVENTS = 40


async def killed(tmp_path):
    """What SIGKILL leaves of a log of three segments or more, of which the state knows no event."""
    async with opened(tmp_path / "running") as log:
        await fill(log, EVENTS)
        return await power_cut(log, tmp_path / "left")


async def stored(log, payload=b"new"):
    seq = put(log, payload)
    await log.intake.settled()
    return seq


def rows(data_dir):
    return [(row.first_seq, row.last_seq, row.events, row.cause) for row in ledger(state_path_of(data_dir))]


async def seqs(log):
    return [event.seq for event in await read_all(log)]


@pytest.mark.parametrize("payload_bytes", [100, 8 * 1024])
async def test_whoever_asks_first_everybody_gets_what_is_salvaged_and_it_is_mended_once(tmp_path, payload_bytes):
    async with opened(tmp_path, segment_bytes_max=10**7) as log:
        await fill(log, EVENTS, bytes(payload_bytes))
    with newest(tmp_path).open("r+b") as file:
        file.write(bytes(100))
    async with opened(tmp_path, segment_bytes_max=10**7) as log:
        found = await asyncio.gather(seqs(log), log.mend(), seqs(log), log.follow(), log.books(), seqs(log))
        assert [found[0], found[2], found[5]] == [[*range(1, EVENTS + 1)]] * 3
        assert await stored(log) == ABOVE
    assert len(list((tmp_path / "damaged").glob("*Z"))) == 1
    assert {row[3] for row in rows(tmp_path)} == {"gap"}


async def test_what_the_state_knows_of_is_booked_if_its_file_is_gone_though_no_cursor_ever_moved(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, EVENTS)
        await log.flush()
        left = await power_cut(log, tmp_path / "left")
    gone = firsts(left)[-1]
    path_of(left / "log", gone).unlink()
    wal_of(path_of(left / "log", gone)).unlink()
    async with opened(left) as log:
        assert await stored(log) == ABOVE
        assert await seqs(log) == [*range(1, gone), ABOVE]
    assert rows(left) == [(gone, EVENTS, EVENTS + 1 - gone, "damaged"), (EVENTS + 1, ABOVE - 1, 0, "gap")]


@pytest.mark.parametrize("what", ["segment", "log"])
async def test_what_nobody_knows_of_keeps_its_numbers_if_its_file_is_gone(tmp_path, what):
    left = await killed(tmp_path)
    path = newest(left)
    wal_of(path).unlink()
    if what == "segment":
        path.unlink()
    async with opened(left) as log:
        kept = log.head
        assert kept < EVENTS
        assert await stored(log) == ABOVE
        assert await seqs(log) == [*range(1, kept + 1), ABOVE]
    assert rows(left) == [(kept + 1, ABOVE - 1, 0, "gap")]


async def test_after_a_stop_and_after_a_kill_numbers_go_on_where_they_were(tmp_path):
    left = await killed(tmp_path)
    async with opened(left) as log:
        assert await stored(log) == EVENTS + 1
    assert not wal_of(newest(left)).exists()
    async with opened(left) as log:
        assert await stored(log) == EVENTS + 2
    assert rows(left) == []


@pytest.mark.parametrize("is_there", [True, False])
async def test_a_write_ahead_log_is_salvaged_when_its_segment_is_empty_or_gone(tmp_path, is_there):
    async with opened(tmp_path / "running", segment_bytes_max=10**7) as log:
        await fill(log, EVENTS, bytes(1000))
        left = await power_cut(log, tmp_path / "left")
    path = newest(left)
    if is_there:
        os.truncate(path, 0)
    else:
        path.unlink()
    async with opened(left, segment_bytes_max=10**7) as log:
        seq = await stored(log)
        assert await seqs(log) == [*range(1, EVENTS + 1), seq]
    assert {row[3] for row in rows(left)} == {"gap"}


async def test_what_is_left_of_a_segment_that_retention_removed_is_not_salvaged(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, EVENTS)
    oldest = path_of(tmp_path / "log", firsts(tmp_path)[0])
    oldest.unlink()
    wal_of(oldest).write_bytes(b"left over")
    begins = firsts(tmp_path)
    async with opened(tmp_path) as log:
        assert await stored(log) == EVENTS + 1
    assert firsts(tmp_path)[0] == begins[0]


@pytest.mark.parametrize("when", ["a segment is begun", "it stops"])
async def test_a_kill_at_any_moment_is_no_reason_to_leave_numbers_out(tmp_path, monkeypatch, when):
    seen = []

    def spying(function):
        def spied(*args, **more):
            try:
                return function(*args, **more)
            finally:  # what a kill right after it would leave
                shutil.copytree(tmp_path / "running", tmp_path / f"left-{len(seen)}")
                seen.append(function)

        return spied

    async with opened(tmp_path / "running") as log:
        await fill(log, EVENTS)
        if when == "a segment is begun":
            monkeypatch.setattr(log._writer, "_leave", spying(log._writer._leave))
            monkeypatch.setattr(Segment, "create", spying(Segment.create))
            await fill(log, 5)
        else:
            monkeypatch.setattr(log._writer, "close", spying(log._writer.close))
            monkeypatch.setattr(log._state, "set_meta", spying(log._state.set_meta))
    monkeypatch.undo()
    assert len(seen) >= 2
    for number in range(len(seen)):
        left = tmp_path / f"left-{number}"
        async with opened(left) as log:
            assert await stored(log) == log.head <= EVENTS + 6
        assert rows(left) == []


@pytest.mark.parametrize("which", ["newest", "older", "state"])
@pytest.mark.parametrize("ending", ["-wal", "-shm"])
async def test_a_folder_in_place_of_a_companion_stops_nothing(tmp_path, which, ending):
    async with opened(tmp_path) as log:
        await fill(log, EVENTS)
    path = (
        state_path_of(tmp_path)
        if which == "state"
        else path_of(tmp_path / "log", firsts(tmp_path)[-1 if which == "newest" else 1])
    )
    execute(path, "PRAGMA wal_checkpoint(TRUNCATE)")  # whoever closes it last removes its companions
    path.with_name(path.name + ending).mkdir()
    async with opened(tmp_path) as log:
        seq = await stored(log)
        assert await seqs(log) == [*range(1, EVENTS + 1), seq]
        assert all(line.balances for line in await log.books())


@pytest.mark.parametrize("which", ["newest", "older", "state"])
@pytest.mark.parametrize("what", ["folder", "broken link", "pipe"])
async def test_what_is_no_file_is_set_aside(tmp_path, which, what):
    async with opened(tmp_path) as log:
        await fill(log, EVENTS)
    begins = firsts(tmp_path)
    path = (
        state_path_of(tmp_path)
        if which == "state"
        else path_of(tmp_path / "log", begins[-1 if which == "newest" else 1])
    )
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "nowhere")
    async with opened(tmp_path) as log:
        seq = await stored(log)
        lost = {"newest": range(begins[-1], EVENTS + 1), "older": range(begins[1], begins[2]), "state": range(0)}[which]
        assert await seqs(log) == [n for n in (*range(1, EVENTS + 1), seq) if n not in lost]
        assert all(line.balances for line in await log.books())
    (aside,) = (tmp_path / "damaged").glob("*Z")
    assert aside.name.startswith(path.name)
