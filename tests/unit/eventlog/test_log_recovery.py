"""What a log is after a stop or a power cut, and that a number is never given out twice."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing

from gateway.eventlog import segment
from gateway.eventlog.log import EventLog
from gateway.eventlog.reader import LogReader
from tests.unit.eventlog.logs import (
    ABOVE,
    CLOUD,
    Device,
    HandClock,
    fill,
    firsts,
    limits,
    newest,
    opened,
    power_cut,
    put,
    read_all,
    refuse_inserts,
    seqs,
    turns,
    until,
)


async def test_a_number_is_never_given_out_twice(tmp_path):
    given = []
    for _ in range(4):
        async with opened(tmp_path) as log:
            given += await fill(log, 5)
    assert given == list(range(1, 21))
    with closing(LogReader(tmp_path / "log")) as reader:
        assert seqs(reader.scan()) == given


async def test_a_number_is_never_given_out_twice_when_the_newest_segment_is_empty(tmp_path):
    async with opened(tmp_path) as log:
        given = await fill(log, 5)
    segment.Segment.create(tmp_path / "log", 6, {}, []).close()
    async with opened(tmp_path) as log:
        assert log.head == 5
        assert put(log) == 6
        await log.intake.settled()
        assert seqs(await read_all(log)) == [*given, 6]


async def test_a_number_is_never_given_out_twice_when_cursors_are_ahead_of_the_files(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 5)
        log.advance(CLOUD, 5, forwarded=5)
    shutil.rmtree(tmp_path / "log")
    async with opened(tmp_path) as log:
        assert (log.head, log.cursor(CLOUD)) == (5, ABOVE - 1)
        assert put(log) == ABOVE
        await log.intake.settled()
        assert seqs(await read_all(log)) == [ABOVE]
        (line,) = await log.books()
        assert (line.forwarded, line.pending, line.dropped, line.balances) == (5, 1, 0, True)


async def test_a_number_is_never_given_out_twice_when_retained_messages_tell_of_it(tmp_path):
    async with opened(tmp_path, upstreams=()) as log:
        await fill(log, 4)
        put(log, b"21.5", "room", retain=True)
        await log.intake.settled()
    shutil.rmtree(tmp_path / "log")
    async with opened(tmp_path, upstreams=()) as log:
        assert put(log) == ABOVE
        await log.intake.settled()
    async with opened(tmp_path, upstreams=()) as log:
        assert log.retained["room"].payload == b"21.5"


async def test_whatever_was_acknowledged_survives_a_power_cut(tmp_path):
    async with opened(tmp_path / "a", commit_interval_ms=0) as log:
        device = Device()
        for n in range(40):
            put(log, b"%d" % n + bytes(3000))
            log.intake.ask_receipt(device, b"+")
            await turns(3)
        await until(lambda: device.receipts)
        left = await power_cut(log, tmp_path / "b")
        await turns()
        acknowledged = len(b"".join(device.receipts))
    async with opened(left) as log:
        assert acknowledged - 1 <= log.head  # one commit may have been told while the files were copied
        found = await read_all(log)
        assert seqs(found) == list(range(1, log.head + 1))
        assert [event.payload for event in found] == [b"%d" % n + bytes(3000) for n in range(log.head)]


async def test_a_log_keeps_its_id(tmp_path):
    async with opened(tmp_path) as log:
        first = log.log_id
    async with opened(tmp_path) as log:
        assert log.log_id == first
    async with opened(tmp_path / "other") as log:
        assert log.log_id != first
    assert len(first) == 32


async def test_open_packet_ids_survive_rotation_and_reopening(tmp_path):
    async with opened(tmp_path) as log:
        log.intake.mark_inbound("dev", 7, put(log, qos=2))
        log.intake.mark_inbound("dev", 8, put(log, qos=2))
        await fill(log, 20)
        log.intake.mark_inbound("dev", 8, 0)
    async with opened(tmp_path) as log:
        assert log.inbound == {("dev", 7): 1}


async def test_a_clean_stop_leaves_no_write_ahead_log(tmp_path):
    async with opened(tmp_path, recent_bytes_max=0) as log:
        await fill(log, 2)
        await log.read(0, 1)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "00000000000000000001.db",
        "lock",
        "reserve",
        "state.db",
    ]


async def test_a_stop_commits_what_waits(tmp_path):
    device = Device()
    async with opened(tmp_path) as log:
        for _ in range(100):
            put(log)
        log.intake.ask_receipt(device, b"ack")
    assert device.receipts == [b"ack"]
    async with opened(tmp_path) as log:
        assert log.head == 100


async def test_a_stop_ends_in_time_when_the_disk_refuses(tmp_path, caplog):
    device = Device()
    log = EventLog(tmp_path, limits(retry_interval_s=60), HandClock(), [CLOUD])
    await fill(log, 1)
    refuse_inserts(newest(tmp_path))
    put(log)
    log.intake.ask_receipt(device, b"ack")
    await until(lambda: log.intake.error)
    await log.close(0.05)
    assert "the log could not be flushed before the stop" in caplog.text
    async with opened(tmp_path) as log:
        assert (log.head, device.receipts) == (1, [])


async def test_after_a_stop_nothing_is_stored_any_more(tmp_path):
    log = EventLog(tmp_path, limits(retry_interval_s=0.05), HandClock(), [CLOUD])
    await fill(log, 1)
    refuse_inserts(newest(tmp_path))
    put(log)
    await until(lambda: log.intake.error)
    await log.close(0)
    written = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: written.append(context))
    await asyncio.sleep(0.1)  # longer than the time to the next attempt
    assert (written, firsts(tmp_path)) == ([], [1])
