"""The log for commands, beside a gateway or without one."""

from __future__ import annotations

import json

import pytest

from gateway.errors import ConfigError, LogError
from gateway.eventlog.history import History
from tests.unit.eventlog.logs import fill, firsts, newest, opened, power_cut, put

CLOUD = "cloud"
LOOK = """
import json
with gateway.eventlog.history.History(path) as history:
    status = history.status()
    print(json.dumps([[event.seq for event in history.scan(0)], history.head(), status["running"], history.log_id]))
"""


def seqs(events):
    return [event.seq for event in events]


async def test_it_reads_a_log_that_is_closed(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 12)
        put(log, b"payload", "a/b", retain=True)
    with History(tmp_path) as history:
        events = list(history.scan(0))
        assert seqs(events) == list(range(1, 14))
        assert (events[-1].topic, events[-1].payload, events[-1].retain) == ("a/b", b"payload", True)
        assert (history.head(), history.log_id) == (13, log.log_id)


async def test_it_reads_a_log_in_use_and_sees_what_comes(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 3)
        with History(tmp_path) as history:
            assert seqs(history.scan(0)) == [1, 2, 3]
            await fill(log, 10)
            assert seqs(history.scan(3)) == list(range(4, 14))
            assert history.head() == 13
            log.advance(CLOUD, 13)
            await log.flush()
            assert history.status()["upstreams"][0]["cursor"] == 13


async def test_it_does_not_hold_up_the_writer(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 3)
        with History(tmp_path) as history:
            scan = history.scan(0)
            next(scan)
            assert await fill(log, 3) == [4, 5, 6]
            assert seqs(scan)[-1] >= 3


async def test_a_scan_ends_where_it_is_told(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 12)
    with History(tmp_path) as history:
        assert seqs(history.scan(4, 7)) == [5, 6, 7]
        assert seqs(history.scan(12)) == []


async def test_it_reads_what_a_power_cut_left(tmp_path):
    async with opened(tmp_path / "a") as log:
        await fill(log, 5, b"x")
        left = await power_cut(log, tmp_path / "b")
    with History(left) as history:
        assert seqs(history.scan(0)) == [1, 2, 3, 4, 5]
        assert history.status()["running"] is False


async def test_the_status_of_a_gateway_that_does_not_run(tmp_path):
    async with opened(tmp_path, ["a", "b"]) as log:
        await fill(log, 10)
        log.advance("a", 4)
        await log.quarantine("a", {2: "too large", 3: "too large"})
    with History(tmp_path) as history:
        status = history.status()
    assert status["running"] is False
    assert (status["log"]["head"], status["log"]["oldest"]) == (10, 1)
    assert status["log"]["segments"] == len(firsts(tmp_path))
    a, b = sorted(status["upstreams"], key=lambda each: each["name"])
    assert a == {"name": "a", "state": "stopped", "cursor": 4, "pending": 6, "quarantined": 2}
    assert b == {"name": "b", "state": "stopped", "cursor": 0, "pending": 10, "quarantined": 0}


async def test_numbers_that_were_left_out_count_neither_as_pending_nor_as_stored(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 10)
    path = newest(tmp_path)
    path.unlink()
    async with opened(tmp_path) as log:
        put(log)
        await log.intake.settled()
        assert log.stored_events == 1
        await log.mend()
        with History(tmp_path) as history:
            (cloud, new) = history.status([CLOUD, "new"])["upstreams"]
    kept = int(path.stem) - 1
    assert (cloud["pending"], new["name"], new["pending"]) == (kept + 1, "new", kept + 1)


async def test_its_status_has_what_the_status_of_a_log_has(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 10)
        with History(tmp_path) as history:
            assert history.status()["running"] is True
            assert history.status()["log"] == log.status()._asdict()


async def test_the_status_of_a_log_without_events(tmp_path):
    async with opened(tmp_path):
        pass
    with History(tmp_path) as history:
        assert (history.head(), list(history.scan(0))) == (0, [])
        assert history.status()["log"]["head"] == 0


def test_where_no_gateway_ever_ran_there_is_nothing_to_read(tmp_path):
    with pytest.raises(ConfigError, match="there is no log in") as caught:
        History(tmp_path)
    assert "gateway run" in caught.value.hint


async def test_a_damaged_segment_is_named(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 3)
    newest(tmp_path).write_bytes(b"SQLite format 3\0" + b"\xff" * 8000)
    with History(tmp_path) as history, pytest.raises(LogError, match=newest(tmp_path).name):
        list(history.scan(0))


async def test_a_damaged_state_is_named(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 3)
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)
    with pytest.raises(LogError, match=r"state\.db"):
        History(tmp_path)


def lock_up(data_dir):
    """From now on, files and folders can be read by everybody and written by nobody."""
    for path in (data_dir, *data_dir.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


async def test_it_reads_a_closed_log_that_it_may_not_write(unprivileged, public_path):
    async with opened(public_path) as log:
        await fill(log, 12)
    lock_up(public_path)
    assert json.loads(unprivileged(LOOK)) == [list(range(1, 13)), 12, False, log.log_id]


async def test_it_reads_a_log_in_use_that_it_may_not_write(unprivileged, public_path):
    async with opened(public_path) as log:
        await fill(log, 12)
        for path in (public_path, *public_path.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        assert json.loads(unprivileged(LOOK)) == [list(range(1, 13)), 12, True, log.log_id]


async def test_it_changes_nothing(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 12)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.db")}
    with History(tmp_path) as history:
        list(history.scan(0))
        history.status()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.db")} == before
