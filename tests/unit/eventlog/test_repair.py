"""Looking over a log that nobody runs."""

from __future__ import annotations

import pytest

from gateway.errors import ConfigError
from gateway.eventlog.repair import repair
from gateway.eventlog.segment import path_of
from tests.unit.eventlog.logs import HandClock, fill, firsts, limits, opened


async def test_every_damaged_segment_is_mended_and_a_second_look_finds_nothing(tmp_path):
    async with opened(tmp_path) as log:
        await fill(log, 40)
    found = firsts(tmp_path)
    assert len(found) > 3
    path = path_of(tmp_path / "log", found[1])
    path.write_bytes(b"lost" * 5000)
    before = path.read_bytes()
    done = repair(tmp_path, limits(), HandClock())
    assert [(each.first_seq, each.missing) for each in done] == [(found[1], [(found[1], found[2] - 1)])]
    assert done[0].aside.read_bytes() == before
    assert repair(tmp_path, limits(), HandClock()) == []
    assert firsts(tmp_path) == found


async def test_a_log_in_use_is_not_repaired(tmp_path):
    async with opened(tmp_path):
        with pytest.raises(ConfigError, match="in use by another gateway"):
            repair(tmp_path, limits(), HandClock())
