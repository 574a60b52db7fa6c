"""Migrations of segments and of the state database."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from gateway.eventlog import schema
from gateway.eventlog.segment import connect


def tables(connection):
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


@pytest.mark.parametrize(
    ("migrations", "expected"),
    [
        (schema.segment, {"events", "topics", "clients", "boots", "inbound", "meta", "violations", "releases"}),
        (schema.state, {"meta", "cursors", "quarantine", "retained", "sessions", "anchors"}),
    ],
)
def test_an_empty_database_gets_every_table(tmp_path, migrations, expected):
    with closing(connect(tmp_path / "some.db")) as connection:
        schema.migrate(connection, migrations)
        assert expected <= tables(connection)


@pytest.mark.parametrize("migrations", [schema.segment, schema.state])
def test_migrating_again_changes_nothing(tmp_path, migrations):
    with closing(connect(tmp_path / "some.db")) as connection:
        schema.migrate(connection, migrations)
        connection.execute("INSERT INTO meta VALUES ('key', 'value')")
        before = "\n".join(connection.iterdump())
        schema.migrate(connection, migrations)
        assert "\n".join(connection.iterdump()) == before


def test_a_sequence_number_can_be_stored_only_once_in_a_segment(tmp_path):
    with closing(connect(tmp_path / "some.db")) as connection:
        schema.migrate(connection, schema.segment)
        connection.execute("INSERT INTO events VALUES (1, 0, 0, 1, 1, 1, 0, NULL, NULL, x'00', 0)")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("INSERT INTO events VALUES (1, 0, 0, 1, 1, 1, 0, NULL, NULL, x'01', 0)")


def test_the_schema_of_a_segment_fits_on_its_first_page(tmp_path):
    """Salvage gives a segment that has lost its first page that of a new one."""
    with closing(connect(tmp_path / "some.db")) as connection:
        schema.migrate(connection, schema.segment)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / "some.db").read_bytes()[100] == 0x0D  # a leaf: nothing of it is on another page
