"""A directory that is in use or not writable, files that are damaged, and a disk that refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gateway.errors import ConfigError
from gateway.eventlog.log import EventLog
from tests.unit.eventlog.logs import (
    Device,
    HandClock,
    fill,
    firsts,
    limits,
    newest,
    opened,
    put,
    read_all,
    refuse_inserts,
    seqs,
    turns,
    until,
)


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
