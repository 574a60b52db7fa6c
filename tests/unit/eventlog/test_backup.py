"""A copy of a log: consistent, whole, and nobody's twin."""

from __future__ import annotations

import asyncio
import shutil

import pytest

from gateway.errors import ConfigError
from gateway.eventlog.backup import backup
from gateway.eventlog.history import History
from gateway.eventlog.losses import ledger
from gateway.eventlog.recovery import RESTORED_GAP
from gateway.eventlog.segment import path_of
from gateway.eventlog.state import path_of as state_path_of
from tests.unit.eventlog.logs import WALL_NS, fill, firsts, newest, opened, put, read_all, seqs, until


async def make(data_dir, count=20):
    async with opened(data_dir) as log:
        await fill(log, count)
        log.advance("cloud", count // 2)


def held(data_dir):
    with History(data_dir) as history:
        return list(history.scan(0))


async def test_a_copy_of_a_stopped_log_holds_the_same(tmp_path):
    await make(tmp_path / "data")
    copied = backup(tmp_path / "data", tmp_path / "to", WALL_NS)
    assert (copied.events, copied.last_seq, copied.faults) == (20, 20, [])
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["log", "state.db"]
    assert held(tmp_path / "to") == held(tmp_path / "data")


async def test_no_cursor_of_a_copy_made_under_load_is_ahead_of_its_log(tmp_path):
    async with opened(tmp_path / "data", segment_bytes_max=256 * 1024, retention_bytes_max=1024 * 1024) as log:
        done = asyncio.Event()

        async def load():
            while not done.is_set():
                for _ in range(50):
                    put(log, bytes(1000))
                await log.intake.settled()
                log.advance("cloud", log.head)
                await log.flush()
                await log.retain()

        task = asyncio.create_task(load())
        await until(lambda: log.head, "a first event")
        for number in range(4):
            copied = await asyncio.to_thread(backup, tmp_path / "data", tmp_path / str(number), WALL_NS)
            assert copied.faults == []
        done.set()
        await task
    for number in range(4):
        to = tmp_path / str(number)
        async with opened(to, segment_bytes_max=256 * 1024, recent_bytes_max=0) as copy:
            found = seqs(await read_all(copy))
            assert found == [*range(found[0], found[-1] + 1)]
            assert copy.cursor("cloud") <= found[-1]
            assert copy.cursor("cloud") >= found[0] - 1


async def test_a_restored_log_keeps_its_id_and_never_gives_out_a_number_of_the_original(tmp_path):
    await make(tmp_path / "data")
    backup(tmp_path / "data", tmp_path / "one", WALL_NS)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    firsts_given = []
    async with opened(tmp_path / "data") as original:
        for name in ("one", "two"):
            async with opened(tmp_path / name, recent_bytes_max=0) as restored:
                assert restored.log_id == original.log_id
                assert (restored.head, restored.cursor("cloud")) == (20, 10)
                firsts_given.append(put(restored))
                await restored.intake.settled()
                assert seqs(await read_all(restored)) == [*range(1, 21), firsts_given[-1]]
    assert min(firsts_given) > RESTORED_GAP
    assert firsts_given[0] != firsts_given[1]
    gaps = [(row.first_seq, row.last_seq, row.events) for row in ledger(state_path_of(tmp_path / "one"))]
    assert gaps == [(21, firsts_given[0] - 1, 0)]


async def test_a_restored_log_leaps_once(tmp_path):
    await make(tmp_path / "data")
    backup(tmp_path / "data", tmp_path / "to", WALL_NS)
    async with opened(tmp_path / "to") as log:
        first = put(log)
        await log.intake.settled()
    async with opened(tmp_path / "to") as log:
        assert put(log) == first + 1


async def test_a_backup_is_not_written_over_anything(tmp_path):
    await make(tmp_path / "data", 3)
    backup(tmp_path / "data", tmp_path / "to", WALL_NS)
    before = newest(tmp_path / "to").read_bytes()
    with pytest.raises(ConfigError, match="is not empty"):
        backup(tmp_path / "data", tmp_path / "to", WALL_NS)
    assert newest(tmp_path / "to").read_bytes() == before


async def test_an_attempt_that_was_interrupted_does_not_stand_in_the_way(tmp_path):
    await make(tmp_path / "data", 3)
    (tmp_path / "to" / "incomplete" / "log").mkdir(parents=True)
    (tmp_path / "to" / "incomplete" / "log" / f"{7:020d}.db").write_bytes(b"half")
    assert backup(tmp_path / "data", tmp_path / "to", WALL_NS).faults == []
    assert firsts(tmp_path / "to") == firsts(tmp_path / "data")


async def test_damage_is_copied_as_it_is_and_told(tmp_path):
    await make(tmp_path / "data")
    path = path_of(tmp_path / "data" / "log", firsts(tmp_path / "data")[1])
    path.write_bytes(b"lost" * 5000)
    copied = backup(tmp_path / "data", tmp_path / "to", WALL_NS)
    assert [path.name in fault for fault in copied.faults] == [True]
    assert path_of(tmp_path / "to" / "log", int(path.stem)).read_bytes() == path.read_bytes()


async def test_a_flipped_bit_in_an_event_is_found_when_the_copy_is_read_back(tmp_path):
    async with opened(tmp_path / "data") as log:
        await fill(log, 3, b"payload-of-an-event")
    path = newest(tmp_path / "data")
    path.write_bytes(path.read_bytes().replace(b"payload-of", b"paylobd-of", 1))
    assert "checksum of event" in backup(tmp_path / "data", tmp_path / "to", WALL_NS).faults[0]


def test_where_there_is_no_log_there_is_no_backup(tmp_path):
    with pytest.raises(ConfigError, match="there is no log"):
        backup(tmp_path / "data", tmp_path / "to", WALL_NS)
    assert not (tmp_path / "to").exists()
