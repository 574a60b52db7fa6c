"""The log as the rest of the gateway sees it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from contextlib import closing, suppress

import pytest

from gateway.errors import ConfigError, LogError
from gateway.eventlog import segment
from gateway.eventlog.log import EventLog
from gateway.eventlog.reader import LogReader
from gateway.eventlog.state import Retained, path_of
from tests.unit.eventlog.logs import (
    WALL_NS,
    Device,
    HandClock,
    commit_held_back,
    execute,
    fill,
    firsts,
    limits,
    newest,
    opened,
    power_cut,
    put,
    read_all,
    refuse_inserts,
    turns,
    until,
)

EVERY_BYTE = bytes(range(256))
CLOUD = "cloud"


def seqs(events):
    return [event.seq for event in events]


# --- events ---


@pytest.mark.parametrize("recent_bytes_max", [0, 10**9], ids=["from the disk", "from memory"])
async def test_events_come_back_as_they_went_in(tmp_path, recent_bytes_max):
    async with opened(tmp_path, recent_bytes_max=recent_bytes_max) as log:
        put(log, b"", "Gewächshaus/温度", qos=0)
        put(log, EVERY_BYTE, "a", client_id="Gerät", retain=True, qos=2)
        put(log, EVERY_BYTE * 1024, "🌡", origin="cloud", properties=b"")
        put(log, b"1", origin="cloud", properties=EVERY_BYTE)
        await log.intake.settled()
        put(log)
        await log.intake.settled()  # so that a window of 0 bytes holds this one alone
        found = [tuple(event)[4:] for event in await read_all(log)]
    assert found == [
        ("dev", "Gewächshaus/温度", 0, False, b"", "", None),
        ("Gerät", "a", 2, True, EVERY_BYTE, "", None),
        ("dev", "🌡", 1, False, EVERY_BYTE * 1024, "cloud", b""),
        ("dev", "dev/t", 1, False, b"1", "cloud", EVERY_BYTE),
        ("dev", "dev/t", 1, False, b"x", "", None),
    ]


async def test_an_event_carries_the_boot_it_was_received_in(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 1)
    clock = HandClock()
    clock.boot_id = "the next boot"
    async with opened(tmp_path, clock=clock) as log:
        await fill(log, 1)
        assert [event.boot_id for event in await read_all(log)] == [HandClock.boot_id, "the next boot"]


async def test_events_of_every_segment_are_read_in_order(tmp_path):
    async with opened(tmp_path) as log:
        written = await fill(log, 30)
        assert len(firsts(tmp_path)) > 5
        assert seqs(await read_all(log)) == written == list(range(1, 31))
        assert log.status().segments == len(firsts(tmp_path))


async def test_a_read_gives_nothing_that_is_not_committed(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 1)
        with commit_held_back(newest(tmp_path)):
            put(log)
            await until(lambda: log.intake.pending_events == 0)
            await turns()
            assert log.head == 1
            assert await log.read(1, 10) == []
        await log.intake.settled()
        assert seqs(await log.read(1, 10)) == [2]


async def test_a_read_ends_at_its_limit(tmp_path):
    async with opened(tmp_path, recent_bytes_max=0) as log:
        await fill(log, 10, b"x")
        assert seqs(await log.read(2, 3)) == [3, 4, 5]
        assert await log.read(10, 3) == []
        assert await log.read(99, 3) == []


async def test_reading_goes_on_beside_writing_and_rotation(tmp_path):
    async with opened(tmp_path, recent_bytes_max=0, commit_interval_ms=0) as log:

        async def read():
            seen = []
            while len(seen) < 300:
                await log.wait_beyond(len(seen))
                seen += await log.read(len(seen), 7)
            return seen

        readers = [asyncio.ensure_future(read()) for _ in range(2)]
        for n in range(300):
            put(log, b"%d" % n + bytes(3000))
            if n % 5 == 0:
                await log.intake.settled()
        for reader in readers:
            assert seqs(await reader) == list(range(1, 301))
        assert len(firsts(tmp_path)) > 20


async def test_those_who_wait_are_told_of_a_commit(tmp_path):
    async with opened(tmp_path) as log:
        await log.wait_beyond(-1)
        waiting = [asyncio.ensure_future(log.wait_beyond(seq)) for seq in (0, 1, 2)]
        await turns()
        assert [task.done() for task in waiting] == [False, False, False]
        await fill(log, 2)
        await asyncio.gather(*waiting[:2])
        assert not waiting[2].done()
        await fill(log, 1)
        await waiting[2]


async def test_those_who_give_up_waiting_are_forgotten(tmp_path):
    async with opened(tmp_path) as log:
        for _ in range(10):
            waiting = asyncio.ensure_future(log.wait_beyond(0))
            await turns(2)
            waiting.cancel()
            await asyncio.wait([waiting])
        assert log._waiters == []


async def test_receipts_come_before_the_events_are_told_and_both_after_the_commit(tmp_path):
    async with opened(tmp_path) as log:
        told = []
        device = Device()
        log.on_committed.append(lambda events: told.append((seqs(events), list(device.receipts), log.head)))
        with commit_held_back(newest(tmp_path)):
            put(log)
            put(log)
            log.intake.ask_receipt(device, b"ack")
            await until(lambda: log.intake.pending_events == 0)
            await turns()
            assert told == []
        await log.intake.settled()
    assert told == [([1, 2], [b"ack"], 2)]


# --- reopening ---


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
        log.advance(CLOUD, 5)
    shutil.rmtree(tmp_path / "log")
    async with opened(tmp_path) as log:
        assert (log.head, log.cursor(CLOUD)) == (5, 5)
        assert put(log) == 6
        await log.intake.settled()
        assert seqs(await read_all(log)) == [6]


async def test_a_number_is_never_given_out_twice_when_retained_messages_tell_of_it(tmp_path):
    async with opened(tmp_path, upstreams=()) as log:
        await fill(log, 4)
        put(log, b"21.5", "room", retain=True)
        await log.intake.settled()
    shutil.rmtree(tmp_path / "log")
    async with opened(tmp_path, upstreams=()) as log:
        assert put(log) == 6
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


# --- one gateway per directory ---


async def test_a_second_log_in_the_same_directory_is_refused(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 1)
        with pytest.raises(ConfigError, match=rf"in use by another gateway \(process {os.getpid()}\)"):
            EventLog(tmp_path, limits(), HandClock(), [])
        assert await fill(log, 1) == [2]
    async with opened(tmp_path):
        pass


def test_a_directory_that_cannot_be_made_is_the_operators_to_mend(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError) as caught:
        EventLog(tmp_path / "file", limits(), HandClock(), [])
    assert "gateway.data_dir" in str(caught.value)
    assert caught.value.hint


def test_a_directory_that_may_not_be_written_is_the_operators_to_mend(unprivileged, public_path):
    (public_path / "log").mkdir()
    public_path.chmod(0o555)
    said = unprivileged(
        """
        from gateway.clock import SystemClock
        from gateway.errors import ConfigError
        from gateway.eventlog.config import LogConfig
        try:
            gateway.eventlog.log.EventLog(path, LogConfig(), SystemClock(), [])
        except ConfigError as error:
            print(error, "|", error.hint)
        """
    )
    assert "is not writable | Create it" in said


@pytest.mark.parametrize("damaged", ["log/00000000000000000001.db", "state.db"])
@pytest.mark.parametrize("damage", [b"SQLite format 3\0" + b"\xff" * 9000, b"no database" * 1000])
async def test_a_damaged_file_is_named_and_the_directory_is_let_go(tmp_path, damaged, damage):
    async with opened(tmp_path) as log:
        await fill(log, 1)
    whole = (tmp_path / damaged).read_bytes()
    (tmp_path / damaged).write_bytes(damage)
    with pytest.raises(LogError, match=damaged.rpartition("/")[2]):
        EventLog(tmp_path, limits(), HandClock(), [])
    (tmp_path / damaged).write_bytes(whole)
    async with opened(tmp_path) as log:
        assert log.head == 1


@pytest.mark.parametrize("damaged", ["log/00000000000000000001.db", "state.db"])
async def test_a_damaged_page_anywhere_in_a_file_is_told_as_an_error_of_the_log_or_does_no_harm(tmp_path, damaged):
    async with opened(tmp_path) as log:
        put(log, b"21.5", "room", retain=True)
        log.intake.mark_inbound("dev", 7, put(log, qos=2))
        await log.intake.settled()
        log.advance(CLOUD, 2)
        await log.keep_session("panel", {"#": 1})
    whole = (tmp_path / damaged).read_bytes()
    refused = 0
    for at in range(0, len(whole), 4096):
        (tmp_path / damaged).write_bytes(whole[:at] + b"\xff" * 4096 + whole[at + 4096 :])
        with suppress(LogError):
            refused += 1
            log = EventLog(tmp_path, limits(), HandClock(), [CLOUD])
            refused -= 1
            with suppress(LogError):
                log.sessions()
            await log.close(1)
        (tmp_path / damaged).write_bytes(whole)
    assert refused


# --- a disk that refuses ---


async def test_a_refused_commit_acknowledges_nothing_and_loses_nothing(tmp_path):
    async with opened(tmp_path, recent_bytes_max=0) as log:
        device = Device()
        await fill(log, 3, b"x")
        refuse_inserts(newest(tmp_path))
        in_the_way = tmp_path / "log" / f"{4:020d}.new"
        in_the_way.mkdir()
        for n in range(10):
            put(log, b"%d" % n)
            log.intake.ask_receipt(device, b"%d" % n)
            await turns(2)
        await until(lambda: "cannot be created" in log.status().error)
        assert (device.receipts, log.head) == ([], 3)
        assert seqs(await read_all(log)) == [1, 2, 3]
        in_the_way.rmdir()
        await log.intake.settled()
        assert b"".join(device.receipts) == b"0123456789"
        assert firsts(tmp_path) == [1, 4]
        assert [event.payload for event in await read_all(log)] == [b"x"] * 3 + [b"%d" % n for n in range(10)]
        assert log.status().error == ""
    async with opened(tmp_path) as log:
        assert seqs(await read_all(log)) == list(range(1, 14))


FULL_DISK = """
import asyncio, json, resource, sys
from pathlib import Path
from gateway.eventlog.history import History
from gateway.eventlog.log import EventLog
from tests.unit.eventlog.logs import Device, HandClock, limits, put, until

async def main(data_dir):
    log = EventLog(data_dir, limits(segment_bytes_max=10**9), HandClock(), ["cloud"])
    device, given, told = Device(), [], {}
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    while not log.status().error:
        given.append(put(log, b"%d" % (len(given) + 1) + bytes(5_000)))
        log.intake.ask_receipt(device, b"+")
        await asyncio.sleep(0)
    for _ in range(20):
        given.append(put(log, b"%d" % (len(given) + 1) + bytes(50_000)))
        log.intake.ask_receipt(device, b"+")
    told["error"] = log.status().error
    told["acknowledged"] = len(b"".join(device.receipts))
    with History(data_dir) as history:
        told["stored"] = history.head()
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    await log.intake.settled()
    told["given"] = given
    told["acknowledged later"] = len(b"".join(device.receipts))
    told["segments"] = log.status().segments
    await log.close(5)
    with History(data_dir) as history:
        events = list(history.scan(0))
    told["read"] = [event.seq for event in events]
    told["whole"] = all(int(event.payload.rstrip(bytes(1))) == event.seq for event in events)
    print(json.dumps(told))

asyncio.run(main(Path(sys.argv[1])))
"""


def test_a_full_disk_stops_acknowledgements_and_loses_nothing(tmp_path):
    """The largest size of a file stands for a full disk; it binds a whole process, so this is one of its own."""
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert ".db" in told["error"]
    assert 0 < told["acknowledged"] <= told["stored"] < len(told["given"])
    assert told["given"] == told["read"] == list(range(1, len(told["given"]) + 1))
    assert told["acknowledged later"] == len(told["given"])
    assert told["whole"]
    assert told["segments"] >= 2


# --- cursors ---


async def test_a_cursor_begins_at_0_and_never_goes_back(tmp_path):
    async with opened(tmp_path, ["a", "b"]) as log:
        await fill(log, 5, b"x")
        assert (log.cursor("a"), log.cursor("b"), log.cursor("unknown")) == (0, 0, 0)
        log.advance("a", 3)
        log.advance("a", 3)
        log.advance("a", 2)
        log.advance("b", 0)
        assert (log.cursor("a"), log.cursor("b")) == (3, 0)


async def test_cursors_survive_a_clean_stop(tmp_path):
    async with opened(tmp_path, ["a", "b"]) as log:
        await fill(log, 5, b"x")
        log.advance("a", 3)
        log.advance("b", 5)
    async with opened(tmp_path, ["a", "c"]) as log:
        assert (log.cursor("a"), log.cursor("b"), log.cursor("c")) == (3, 5, 0)


async def test_flushed_cursors_survive_a_power_cut_and_later_ones_are_behind(tmp_path):
    async with opened(tmp_path / "a") as log:
        await fill(log, 5, b"x")
        log.advance(CLOUD, 3)
        await log.flush()
        log.advance(CLOUD, 5)
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert (log.cursor(CLOUD), log.head) == (3, 5)


async def test_cursors_are_flushed_while_it_runs(tmp_path):
    async with opened(tmp_path / "a", cursor_interval_s=0.01) as log:
        running = asyncio.ensure_future(log.run())
        await fill(log, 5, b"x")
        log.advance(CLOUD, 4)
        await until(lambda: not log._moved)
        await log.beat()
        left = await power_cut(log, tmp_path / "b")
        running.cancel()
        await asyncio.wait([running])
    async with opened(left) as log:
        assert log.cursor(CLOUD) == 4


async def test_the_first_move_of_a_cursor_is_on_disk_without_waiting_for_the_interval(tmp_path):
    # A gateway that is killed again and again soon after its start must get on nevertheless.
    async with opened(tmp_path / "a", cursor_interval_s=30) as log:
        running = asyncio.ensure_future(log.run())
        await fill(log, 5, b"x")
        log.advance(CLOUD, 4)
        await until(lambda: not log._moved)
        await log.beat()
        left = await power_cut(log, tmp_path / "b")
        running.cancel()
        await asyncio.wait([running])
    async with opened(left) as log:
        assert log.cursor(CLOUD) == 4


async def test_a_flush_that_the_disk_refuses_is_made_up_for(tmp_path):
    async with opened(tmp_path) as log:
        put(log, b"21.5", "room", retain=True)
        await log.intake.settled()
        log.advance(CLOUD, 1)
        execute(path_of(tmp_path), "ALTER TABLE cursors RENAME TO away")
        with pytest.raises(LogError, match=r"state\.db: no such table: cursors"):
            await log.flush()
        assert log.cursor(CLOUD) == 1
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO cursors")
        await log.flush()
        assert (log._state.cursors(), log._state.retained_seq()) == ({CLOUD: 1}, 1)
        assert [message.topic for message in log._state.retained()] == ["room"]


async def test_a_flush_that_is_cancelled_is_made_up_for(tmp_path):
    """Whoever stops the gateway cancels `run`, perhaps while its flush waits behind a commit."""
    async with opened(tmp_path) as log:
        put(log, b"21.5", "room", retain=True)
        await log.intake.settled()
        log.advance(CLOUD, 1)
        with commit_held_back(newest(tmp_path)):
            put(log)
            await until(lambda: log.intake.pending_events == 0)
            flush = asyncio.ensure_future(log.flush())
            await turns()
            flush.cancel()
            await asyncio.wait([flush])
        put(log, b"3", "other room", retain=True)
    with suppress(FileNotFoundError):
        shutil.rmtree(tmp_path / "log")
    async with opened(tmp_path) as log:
        assert log.cursor(CLOUD) == 1
        assert set(log.retained) == {"room", "other room"}


async def test_trouble_with_cursors_is_told_and_ends(tmp_path, caplog):
    async with opened(tmp_path, cursor_interval_s=0.005) as log:
        running = asyncio.ensure_future(log.run())
        execute(path_of(tmp_path), "ALTER TABLE cursors RENAME TO away")
        await fill(log, 1)
        log.advance(CLOUD, 1)
        await until(lambda: "state.db" in log.status().error)
        assert await fill(log, 1) == [2]
        assert "state.db" in log.status().error
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO cursors")
        await until(lambda: log.status().error == "")
        running.cancel()
        await asyncio.wait([running])
    assert caplog.text.count("the disk refuses regular work") == 1


async def test_a_bug_in_the_writer_ends_run(tmp_path):
    log = EventLog(tmp_path, limits(), HandClock(), [])
    running = asyncio.ensure_future(log.run())
    await turns()
    log.intake._writer._segment.append = None
    put(log)
    with pytest.raises(TypeError):
        await running
    await log.close(0.01)


async def test_quarantined_events_are_kept_with_their_reasons(tmp_path):
    async with opened(tmp_path) as log:
        await log.quarantine(CLOUD, {3: "too large", 5: "topic"})
        await log.quarantine(CLOUD, {5: "topic again"})
        left = await power_cut(log, tmp_path.with_name(tmp_path.name + " cut"))
    async with opened(left) as log:
        rows = log._state._db.execute("SELECT upstream, seq, reason, quarantined_ns FROM quarantine").fetchall()
    assert rows == [(CLOUD, 3, "too large", WALL_NS), (CLOUD, 5, "topic again", WALL_NS)]


async def test_sessions_are_kept_until_they_are_dropped(tmp_path):
    async with opened(tmp_path / "a") as log:
        assert log.sessions() == {}
        await log.keep_session("panel", {"haus/#": 1, "Gerät/+": 2})
        await log.keep_session("other", {})
        await log.keep_session("gone", {"#": 0})
        await log.drop_session("gone")
        await log.keep_session("other", {"a": 0})
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert log.sessions() == {"panel": {"haus/#": 1, "Gerät/+": 2}, "other": {"a": 0}}


async def test_a_beat_waits_for_the_writer_thread(tmp_path):
    async with opened(tmp_path) as log:
        await log.beat()
        with commit_held_back(newest(tmp_path)):
            put(log)
            await until(lambda: log.intake.pending_events == 0)
            beat = asyncio.ensure_future(log.beat())
            await turns()
            assert not beat.done()
        await beat


# --- retained messages ---


async def retain(log, **messages):
    for topic, payload in messages.items():
        put(log, payload.encode(), topic, retain=True)
    await log.intake.settled()


def retained(log):
    return {topic: message.payload.decode() for topic, message in log.retained.items()}


async def test_the_last_retained_message_of_a_topic_counts(tmp_path):
    async with opened(tmp_path) as log:
        await retain(log, a="1", b="1")
        await retain(log, a="2")
        put(log, b"not retained", "b")
        await log.intake.settled()
        assert retained(log) == {"a": "2", "b": "1"}
        assert log.retained["a"] == Retained("a", 3, 1, b"2")
    async with opened(tmp_path) as log:
        assert retained(log) == {"a": "2", "b": "1"}
        assert log.retained["a"] == Retained("a", 3, 1, b"2")


async def test_an_empty_payload_withdraws_a_retained_message(tmp_path):
    async with opened(tmp_path) as log:
        await retain(log, a="1", b="1")
        await log.flush()
        await retain(log, a="")
        assert retained(log) == {"b": "1"}
    async with opened(tmp_path) as log:
        assert retained(log) == {"b": "1"}


async def test_a_retained_message_counts_from_its_commit_on(tmp_path):
    async with opened(tmp_path) as log:
        with commit_held_back(newest(tmp_path)):
            put(log, b"1", "a", retain=True)
            await until(lambda: log.intake.pending_events == 0)
            await turns()
            assert log.retained == {}
        await log.intake.settled()
        assert retained(log) == {"a": "1"}


async def test_retained_messages_survive_a_power_cut_before_they_were_flushed(tmp_path):
    async with opened(tmp_path / "a") as log:
        await retain(log, a="1", b="1", c="1")
        await log.flush()
        await retain(log, a="2", b="", d="1")
        await fill(log, 10)
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert retained(log) == {"a": "2", "c": "1", "d": "1"}


async def test_what_was_recovered_after_a_power_cut_survives_later_flushes(tmp_path):
    async with opened(tmp_path / "a") as log:
        await retain(log, a="1", b="1")
        await log.flush()
        await retain(log, b="", c="1")
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        await retain(log, d="1")
    async with opened(left) as log:
        assert retained(log) == {"a": "1", "c": "1", "d": "1"}


# --- retention ---


async def test_segments_go_that_every_upstream_has_once_the_log_is_too_large(tmp_path):
    async with opened(tmp_path, ["a", "b"], retention_bytes_max=150_000, recent_bytes_max=0) as log:
        await fill(log, 30)
        before = firsts(tmp_path)
        await log.retain()
        assert firsts(tmp_path) == before
        log.advance("a", 30)
        await log.retain()
        assert firsts(tmp_path) == before
        log.advance("b", before[3])
        await log.retain()
        assert firsts(tmp_path) == before[3:]
        log.advance("b", 30)
        await log.retain()
        assert before[3:] != firsts(tmp_path) == before[-len(firsts(tmp_path)) :]
        assert log.status().size_bytes <= 150_000
        assert log.status().oldest == firsts(tmp_path)[0]
        assert seqs(await read_all(log)) == list(range(firsts(tmp_path)[0], 31))
        assert await fill(log, 1) == [31]
    async with opened(tmp_path, ["a", "b"]) as log:
        assert log.head == 31


async def test_old_segments_go_and_the_newest_stays(tmp_path):
    clock = HandClock()
    async with opened(tmp_path, clock=clock, retention_bytes_max=0, retention_age_s=100) as log:
        await fill(log, 10)
        log.advance(CLOUD, 10)
        before = firsts(tmp_path)
        await log.retain()
        assert firsts(tmp_path) == before
        clock.now_ns = 101 * 10**9
        await log.retain()
        assert firsts(tmp_path) == before[-1:]
        assert log.head == 10
    async with opened(tmp_path) as log:
        assert put(log) == 11


async def test_a_log_without_upstreams_is_bounded_too(tmp_path):
    async with opened(tmp_path, [], retention_bytes_max=1) as log:
        await fill(log, 10)
        await log.retain()
        assert len(firsts(tmp_path)) == 1


async def test_a_segment_goes_with_its_companions(tmp_path):
    async with opened(tmp_path, [], retention_bytes_max=1, recent_bytes_max=0) as log:
        for _ in range(10):
            await fill(log, 1)
            await read_all(log)  # a reader has every segment open while it is sealed
        await log.retain()
        assert {path.name[:20] for path in (tmp_path / "log").iterdir()} == {newest(tmp_path).stem}


async def test_retention_works_while_it_runs(tmp_path):
    changes = {"cursor_interval_s": 0.005, "retention_interval_s": 0.01, "retention_bytes_max": 1}
    async with opened(tmp_path, **changes) as log:
        running = asyncio.ensure_future(log.run())
        await fill(log, 10)
        assert len(firsts(tmp_path)) > 1
        log.advance(CLOUD, 10)
        await until(lambda: len(firsts(tmp_path)) == 1)
        running.cancel()
        await asyncio.wait([running])


async def test_retained_messages_survive_the_segment_they_were_published_in(tmp_path):
    async with opened(tmp_path / "a", [], retention_bytes_max=1) as log:
        await retain(log, a="1")
        await fill(log, 10)
        await log.retain()
        assert log.status().oldest > 1
        left = await power_cut(log, tmp_path / "b")
    async with opened(left) as log:
        assert retained(log) == {"a": "1"}


async def test_a_disk_too_full_for_cursors_gets_room_by_retention(tmp_path):
    async with opened(tmp_path, retention_bytes_max=1) as log:
        await fill(log, 5)
        await retain(log, a="1")
        await log.flush()
        flushed = log.head
        await retain(log, b="1")
        await fill(log, 10)
        log.advance(CLOUD, log.head)
        before = firsts(tmp_path)
        execute(path_of(tmp_path), "ALTER TABLE cursors RENAME TO away")
        await log.retain()
        execute(path_of(tmp_path), "ALTER TABLE away RENAME TO cursors")
        kept = firsts(tmp_path)
        assert kept != before
        assert kept[0] <= flushed + 1 < kept[1]  # what only the log knows of the retained messages is still there
        await log.retain()
        assert firsts(tmp_path) == before[-1:]


async def test_segments_that_are_begun_during_retention_are_not_lost(tmp_path):
    async with opened(tmp_path, [], retention_bytes_max=1, recent_bytes_max=0, commit_interval_ms=0) as log:
        for _ in range(20):
            filling = asyncio.ensure_future(fill(log, 6))
            while not filling.done():
                await log.retain()
                await turns(1)
            await log.retain()
            assert seqs(await read_all(log))[-1] == log.head
            assert log._reader.segments == firsts(tmp_path)


async def test_a_segment_that_cannot_be_unlinked_is_an_error_of_the_log(tmp_path):
    async with opened(tmp_path, [], retention_bytes_max=1) as log:
        await fill(log, 10)
        path = segment.path_of(tmp_path / "log", 1)
        companion = path.with_name(path.name + "-shm")
        companion.unlink(missing_ok=True)
        companion.mkdir()
        with pytest.raises(LogError, match=r"00001\.db cannot be removed"):
            await log.retain()
        companion.rmdir()
        await log.retain()


# --- status ---


async def test_the_status_of_a_log(tmp_path):
    async with opened(tmp_path) as log:
        assert log.status()._replace(size_bytes=0) == (0, 1, 1, 0, 0, "")
        await fill(log, 10)
        status = log.status()
    assert (status.head, status.oldest, status.segments) == (10, 1, len(firsts(tmp_path)))
    assert status.size_bytes > 80_000
