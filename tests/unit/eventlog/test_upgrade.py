"""A data directory of another version: an earlier one's is opened, a newer one's refused and left as it is."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlite_utils import Database

from gateway import __version__
from gateway.errors import ConfigError
from gateway.event import QUARANTINED
from gateway.eventlog import schema
from gateway.eventlog.batch import Violated
from gateway.eventlog.history import History
from gateway.eventlog.segment import connect, path_of
from gateway.eventlog.state import StateReader
from gateway.eventlog.state import path_of as state_path_of
from tests.unit.eventlog.logs import execute, newest, opened, power_cut, put, read_all

LOG_ID = "a" * 32
EVENTS = 20


@pytest.fixture
def first_schema(tmp_path):
    """What the migrations of the first schema alone would have made: two segments, a cursor, a retained message."""
    (tmp_path / "log").mkdir()
    with closing(connect(state_path_of(tmp_path))) as state:
        schema.state.apply(Database(state), stop_before="0002_losses")
        state.execute("INSERT INTO meta VALUES ('log_id', ?), ('retained_seq', '20')", (LOG_ID,))
        state.execute("INSERT INTO cursors VALUES ('cloud', 5, 1)")
        state.execute("INSERT INTO retained VALUES ('dev/t', 3, 1, x'33')")
        state.execute("INSERT INTO quarantine VALUES ('cloud', 4, 'too large', 9), ('cloud', 2, 'invalid', 8)")
    for first in (1, EVENTS // 2 + 1):
        with closing(connect(path_of(tmp_path / "log", first))) as segment:
            schema.segment.apply(Database(segment), stop_before="0002_checksum")
            segment.execute("INSERT INTO meta VALUES ('log_id', ?)", (LOG_ID,))
            segment.execute("INSERT INTO boots VALUES (1, 'boot', 0, 0)")
            segment.execute("INSERT INTO clients VALUES (1, 'dev')")
            segment.execute("INSERT INTO topics VALUES (1, 'dev/t')")
            for seq in range(first, first + EVENTS // 2):
                segment.execute("INSERT INTO events VALUES (?, 7, 8, 1, 1, 1, 1, NULL, NULL, ?)", (seq, b"%d" % seq))
    return tmp_path


def payloads(events):
    return [event.payload for event in events]


async def test_the_first_schema_opens_and_goes_on(first_schema):
    sealed = path_of(first_schema / "log", 1)
    before = sealed.read_bytes()
    async with opened(first_schema, segment_bytes_max=10**7, recent_bytes_max=0) as log:
        assert (log.log_id, log.head, log.cursor("cloud")) == (LOG_ID, EVENTS, 5)
        assert log.retained["dev/t"].payload == b"3"
        assert put(log, b"new") == EVENTS + 1
        await log.intake.settled()
        assert payloads(await read_all(log)) == [b"%d" % seq for seq in range(1, EVENTS + 1)] + [b"new"]
    assert sealed.read_bytes() == before
    assert len(list((first_schema / "log").glob("*.db"))) == 2


async def test_quarantined_events_of_the_first_schema_are_carried_over_oldest_first(first_schema):
    async with opened(first_schema) as log:
        rows = log._state._look("SELECT upstream, seq, reason, quarantined_ns FROM quarantine ORDER BY id")
    assert rows == [("cloud", 2, "invalid", 8), ("cloud", 4, "too large", 9)]


async def test_a_segment_of_the_schema_before_takes_verdicts_and_why(first_schema):
    async with opened(first_schema, segment_bytes_max=10**7, recent_bytes_max=0) as log:
        log.intake.note_violation(Violated(put(log, verdict=QUARANTINED), QUARANTINED, "c", "1", "d", "f", "max", "9"))
        await log.intake.settled()
        assert [event.verdict for event in await read_all(log)] == [0] * EVENTS + [QUARANTINED]


def test_commands_read_the_first_schema_without_changing_it(first_schema):
    paths = [*(first_schema / "log").glob("*.db")]
    before = [path.read_bytes() for path in paths]
    with History(first_schema) as history:
        assert payloads(history.scan(0)) == [b"%d" % seq for seq in range(1, EVENTS + 1)]
    assert [path.read_bytes() for path in paths] == before


async def test_a_damaged_segment_of_the_first_schema_is_salvaged(first_schema):
    path = path_of(first_schema / "log", 1)
    content = bytearray(path.read_bytes())
    content[:4096] = bytes(4096)
    path.write_bytes(content)
    async with opened(first_schema, recent_bytes_max=0) as log:
        assert len(await read_all(log)) == EVENTS


def newer(path, migrations):
    execute(path, f"INSERT INTO _sqlite_migrations VALUES (99, '{migrations.name}', '0099_later', '2099-01-01')")


def contents(data_dir):
    return {
        path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file() and path.suffix not in {".db-shm", ""}
    }


@pytest.mark.parametrize("which", ["state", "segment"])
async def test_a_newer_version_is_refused_by_name_and_nothing_is_changed(tmp_path, which):
    async with opened(tmp_path / "running") as log:
        put(log)
        await log.intake.settled()
        data_dir = await power_cut(log, tmp_path / "cut")
    path, migrations = {
        "state": (state_path_of(data_dir), schema.state),
        "segment": (newest(data_dir), schema.segment),
    }[which]
    newer(path, migrations)
    execute(state_path_of(data_dir), "UPDATE meta SET value = '9.8.7' WHERE key = 'version'")
    before = contents(data_dir)
    with pytest.raises(ConfigError, match=r"newer version, 9\.8\.7 .*0099_later") as refusal:
        async with opened(data_dir):
            pass
    assert "Install edge-gateway 9.8.7" in refusal.value.hint
    assert contents(data_dir) == before


async def test_a_bit_flipped_in_the_name_of_a_migration_is_damage_and_no_newer_version(tmp_path):
    async with opened(tmp_path) as log:
        put(log)
        await log.intake.settled()
    execute(state_path_of(tmp_path), "UPDATE _sqlite_migrations SET name = '0009_state' WHERE name = '0001_state'")
    async with opened(tmp_path) as log:
        assert log.head >= 1
    assert list((tmp_path / "damaged").glob("state.db.*"))


async def test_the_state_tells_which_version_opened_it_last(tmp_path):
    async with opened(tmp_path) as log:
        assert log._state.meta("version") == __version__
    reader = StateReader(state_path_of(tmp_path))
    assert reader.log_id()
    reader.close()


@pytest.mark.parametrize("name", [b"CREATE TABLE", b"payload BLOB", b"boot_id TEXT", b"client_id TEXT", b"applied_at"])
async def test_a_schema_that_is_no_text_any_more_is_damage(tmp_path, name):
    """SQLite's message or the name of a column quotes it, and Python cannot decode that."""
    async with opened(tmp_path) as log:
        put(log)
        await log.intake.settled()
    for path in (newest(tmp_path), state_path_of(tmp_path)):
        path.write_bytes(path.read_bytes().replace(name, name[:1] + b"\xe1" + name[2:], 1))
    async with opened(tmp_path, recent_bytes_max=0) as log:
        seq = put(log)
        await log.intake.settled()
        await log.mend()
        assert [event.seq for event in await read_all(log)] == [1, seq]
