"""Who may log in, in `state.db`: over a restart, beside damage, and without a gateway."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from gateway.errors import ConfigError, LogError
from gateway.eventlog.devices import Device, at_rest
from gateway.eventlog.state import path_of
from tests.unit.eventlog.logs import event, opened

if TYPE_CHECKING:
    from pathlib import Path

ONE = Device("one", "$argon2id$1", None, enabled=True, created_ns=1, rotated_ns=2)
TWO = Device("zwei", "$argon2id$2", "local", enabled=False, created_ns=3, rotated_ns=4)


def change(data_dir: Path, sql: str) -> None:
    with closing(sqlite3.connect(path_of(data_dir), isolation_level=None)) as connection:
        connection.execute(sql)


async def test_devices_outlive_the_process_and_changes_replace_them(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        for device in (ONE, TWO, TWO._replace(enabled=True), ONE):
            await log.devices.keep(device)
        await log.devices.drop("nobody")
        assert log.devices.known == {"one": ONE, "zwei": TWO._replace(enabled=True)}
    async with opened(tmp_path) as log:
        assert log.devices.known == {"one": ONE, "zwei": TWO._replace(enabled=True)}
        await log.devices.drop("zwei")
    async with opened(tmp_path) as log:
        assert list(log.devices.known) == ["one"]


@pytest.mark.parametrize("what", ["role = 'local'", "enabled = 0", "secret_hash = 'x'", "name = 'root'"])
async def test_a_device_that_is_not_what_was_written_may_not_log_in(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as log:
        await log.devices.keep(ONE)
        await log.devices.keep(TWO)
    change(tmp_path, f"UPDATE devices SET {what} WHERE name = 'one'")
    async with opened(tmp_path) as log:
        assert log.devices.known == {"zwei": TWO}
    assert "a device is not what was written" in caplog.text


async def test_devices_are_carried_over_when_the_state_is_set_aside(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        log.intake.append(*event(1)[1:3], "dev", "t", 1, False, b"x")
        await log.wait_beyond(0)
        await log.devices.keep(ONE)
        await log.devices.keep(TWO)
    change(tmp_path, "UPDATE meta SET value = 'many' WHERE key = 'high_water'")
    async with opened(tmp_path) as log:
        assert log.devices.known == {"one": ONE, "zwei": TWO}
        assert (tmp_path / "damaged").is_dir()


async def test_a_change_that_the_disk_refuses_is_none(tmp_path: Path) -> None:
    async with opened(tmp_path) as log:
        await log.devices.keep(ONE)
        with closing(sqlite3.connect(path_of(tmp_path), isolation_level=None)) as other:
            other.execute("CREATE TRIGGER no BEFORE INSERT ON devices BEGIN SELECT raise(ABORT, 'refused'); END")
            with pytest.raises(LogError):
                await log.devices.keep(ONE._replace(enabled=False))
            other.execute("DROP TRIGGER no")
        assert log.devices.known == {"one": ONE}


def test_devices_can_be_kept_before_the_first_start_and_between_two(tmp_path: Path) -> None:
    async def life() -> None:
        async with opened(tmp_path) as log:
            assert log.head == 0
            assert log.devices.known == {"one": ONE}
            with pytest.raises(ConfigError, match="in use by another gateway"), at_rest(tmp_path):
                pass

    with at_rest(tmp_path) as devices:
        asyncio.run(devices.keep(ONE))
    asyncio.run(life())
    with at_rest(tmp_path) as devices:
        assert devices.known == {"one": ONE}
        asyncio.run(devices.drop("one"))
    with at_rest(tmp_path) as devices:
        assert devices.known == {}


def test_a_state_that_cannot_be_opened_is_left_to_the_gateway(tmp_path: Path) -> None:
    tmp_path.joinpath("log").mkdir()
    path_of(tmp_path).write_bytes(b"no database at all, and long enough to be looked at as one" * 100)
    with pytest.raises(LogError) as caught, at_rest(tmp_path):
        pass
    assert "Start the gateway once" in caught.value.hint
