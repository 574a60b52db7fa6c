"""Who wrote a data directory: an older version's is brought to the schema of today, a newer one's is left as it is.

Sealed segments are never migrated: readers know every schema there has been.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from sqlite_utils import Database

from gateway import __version__
from gateway.errors import ConfigError
from gateway.eventlog import schema, state
from gateway.eventlog.damage import SQLITE_ERRORS, no_database, wal_of
from gateway.eventlog.reader import segments_in
from gateway.eventlog.segment import path_of

if TYPE_CHECKING:
    from pathlib import Path

    from sqlite_utils import Migrations

VERSION = "version"
"""In the meta of the state: the version that opened the log last."""


def refuse_newer(data_dir: Path) -> None:
    """Refuse a data directory of a newer version, before anything in it is changed.

    Looks at the state and the newest segment, which that version has opened.

    Raises:
        ConfigError: a newer version has written it.
    """
    looked_at = [(state.path_of(data_dir), schema.state)]
    looked_at += [(path_of(data_dir / "log", first), schema.segment) for first in segments_in(data_dir / "log")[-1:]]
    for path, migrations in looked_at:
        if names := _unknown(path, migrations):
            told = _version(data_dir)
            version = told if told != __version__ else ""
            raise ConfigError(
                f"gateway.data_dir: {data_dir} was written by a newer version, {version or 'which is not told'}"
                f" ({path.name} has {', '.join(names)})",
                f"Install edge-gateway {version or 'of that version'} or newer, or restore a backup that this version"
                " made (docs/backup.md). Nothing was changed.",
            )


def _unknown(path: Path, migrations: Migrations) -> list[str]:
    """Migrations that only a newer version knows.

    It knows ours as well: if one of ours is missing, a bit has flipped in a name, and that is damage.
    """
    ours = {each.name for each in migrations.pending(Database(memory=True))}
    sql = "SELECT name FROM _sqlite_migrations WHERE migration_set = ?"
    applied = {str(row[0]) for row in _look(path, sql, migrations.name)}
    return sorted(applied - ours) if ours <= applied else []


def _version(data_dir: Path) -> str:
    rows = _look(state.path_of(data_dir), "SELECT value FROM meta WHERE key = ?", VERSION)
    return str(rows[0][0]) if rows else ""


def _look(path: Path, sql: str, value: str) -> list[tuple[object, ...]]:
    """Rows of a database that nobody has open, without a change to its folder if it has no write-ahead log."""
    if no_database(path):
        return []
    wal = wal_of(path)
    how = "mode=ro" if wal.exists() and wal.stat().st_size else "immutable=1"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as connection:
            return connection.execute(sql, (value,)).fetchall()
    except SQLITE_ERRORS:  # absent, new or damaged: whoever opens it finds out
        return []
