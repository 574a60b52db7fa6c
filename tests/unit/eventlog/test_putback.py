"""Events of a file that was set aside come back into the log where they are missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.errors import ConfigError
from gateway.eventlog import losses
from gateway.eventlog.repair import put_back, repair
from gateway.eventlog.segment import path_of
from gateway.eventlog.state import path_of as state_path_of
from tests.unit.eventlog.logs import HandClock, fill, firsts, limits, opened, read_all, seqs

EVENTS = 40


@pytest.fixture
async def mended(tmp_path):
    """A log that lost its second segment, with a whole copy of that among the files set aside, and its numbers."""
    data_dir = tmp_path / "data"
    async with opened(data_dir) as log:
        await fill(log, EVENTS)
    first, following = firsts(data_dir)[1:3]
    path = path_of(data_dir / "log", first)
    whole = tmp_path / path.name
    shutil.copy(path, whole)
    path.write_bytes(b"lost" * 5000)
    (done,) = repair(data_dir, limits(), HandClock())
    shutil.copy(whole, data_dir / "damaged" / path.name)
    return data_dir, done.aside, first, following


async def kept(data_dir):
    async with opened(data_dir, recent_bytes_max=0) as log:
        return seqs(await read_all(log))


async def test_what_is_readable_comes_back_and_the_ledger_says_so(mended):
    data_dir, _, first, following = mended
    (done,) = put_back(data_dir, [data_dir / "damaged" / f"{first:020d}.db"], limits(), HandClock())
    assert (done.readable, done.put_back, done.passed_by) == (following - first, following - first, [])
    assert await kept(data_dir) == [*range(1, EVENTS + 1)]
    rows = losses.ledger(state_path_of(data_dir))
    assert [(row.cause, row.first_seq, row.last_seq) for row in rows] == [
        ("damaged", first, following - 1),
        ("found", first, following - 1),
    ]
    assert losses.missing_in(rows).damaged == []


async def test_doing_it_again_changes_nothing(mended):
    data_dir, aside, first, _ = mended
    name = f"{first:020d}.db"
    put_back(data_dir, [Path(name)], limits(), HandClock())
    before = path_of(data_dir / "log", first).read_bytes()
    again = put_back(data_dir, [aside, Path(name), Path(f"damaged/{name}")], limits(), HandClock())
    assert [each.put_back for each in again] == [0, 0, 0]
    assert path_of(data_dir / "log", first).read_bytes() == before
    assert len(losses.ledger(state_path_of(data_dir))) == 2


async def test_the_file_itself_is_not_touched(mended):
    data_dir, _, first, _ = mended
    path = data_dir / "damaged" / f"{first:020d}.db"
    before = path.read_bytes()
    put_back(data_dir, [path], limits(), HandClock())
    assert path.read_bytes() == before
    assert not (data_dir / "salvage").exists()


async def test_an_upstream_that_has_passed_them_is_named(mended):
    data_dir, _, first, following = mended
    async with opened(data_dir) as log:
        log.advance("cloud", following)
    (done,) = put_back(data_dir, [Path(f"{first:020d}.db")], limits(), HandClock())
    assert done.passed_by == ["cloud"]


async def test_what_retention_let_go_stays_gone(mended):
    data_dir, _, first, following = mended
    for each in firsts(data_dir):
        if each < following:
            path_of(data_dir / "log", each).unlink()
    (done,) = put_back(data_dir, [Path(f"{first:020d}.db")], limits(), HandClock())
    assert (done.readable, done.put_back) == (0, 0)


async def test_a_file_that_cannot_be_it_is_refused(mended, tmp_path):
    data_dir, _, first, _ = mended
    async with opened(tmp_path / "other") as log:
        await fill(log, 1)
    other = tmp_path / "other" / "log" / f"{1:020d}.db"
    for name, why in [
        (other, "is of another log"),
        (state_path_of(data_dir), "is no segment"),
        ("nowhere.db", "is not there"),
        (path_of(data_dir / "log", first), "is part of the log"),
    ]:
        with pytest.raises(ConfigError, match=why):
            put_back(data_dir, [Path(name)], limits(), HandClock())
