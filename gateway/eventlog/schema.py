"""The schema of segments and of the state database, as migrations in the order they were made.

A migration that has been released is never edited; a change of the schema is a new one at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from sqlite_utils import Database, Migrations

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

segment = Migrations("segment")
state = Migrations("state")

ACCOUNT = "upstream, seq, started, forwarded, filtered, quarantined, dropped, lost"
"""What is stored of an upstream and covered by the checksum."""


def migrate(connection: sqlite3.Connection, migrations: Migrations) -> None:
    """Bring a database to the newest schema; each migration is one transaction.

    What has been applied is asked here first: the library stumbles over a damaged table, each time in another way.
    """
    ours = {each.name for each in migrations.pending(Database(memory=True))}
    if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_sqlite_migrations'").fetchone():
        sql = "SELECT name, migration_set, applied_at FROM _sqlite_migrations WHERE migration_set = ?"
        if ours <= {row[0] for row in connection.execute(sql, (migrations.name,))}:
            return
    migrations.apply(Database(connection, use_old_upsert=False))


def checksum_of_cursors(rows: Iterable[tuple[object, ...]]) -> str:
    """Of the rows of `cursors`: one flipped bit in one of them would pass as a cursor, and skip events. Pure."""
    return f"{crc32(repr(sorted(rows, key=repr)).encode()):08x}"


@segment(name="0001_events")
def _segment_0001(db: Database) -> None:
    db.execute(
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY,
            received_ns INTEGER NOT NULL,
            mono_ns INTEGER NOT NULL,
            boot INTEGER NOT NULL REFERENCES boots(id),
            client INTEGER NOT NULL REFERENCES clients(id),
            topic INTEGER NOT NULL REFERENCES topics(id),
            flags INTEGER NOT NULL,
            origin TEXT,
            properties BLOB,
            payload BLOB NOT NULL
        )"""
    )
    db.execute("CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)")
    db.execute("CREATE TABLE clients (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)")
    db.execute(
        """CREATE TABLE boots (
            id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL UNIQUE, wall_ns INTEGER NOT NULL, mono_ns INTEGER NOT NULL
        )"""
    )
    db.execute(
        """CREATE TABLE inbound (
            client_id TEXT NOT NULL, packet_id INTEGER NOT NULL, seq INTEGER NOT NULL,
            PRIMARY KEY (client_id, packet_id)
        ) WITHOUT ROWID"""
    )
    db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")


@segment(name="0002_checksum")
def _segment_0002(db: Database) -> None:
    db.execute("ALTER TABLE events ADD COLUMN crc INTEGER")  # NULL in the rows before it: they are not checked


@segment(name="0003_violations")
def _segment_0003(db: Database) -> None:
    # Short, because the whole schema of a segment has to fit on its first page (see `salvage.template`).
    db.execute("CREATE TABLE violations (seq INTEGER PRIMARY KEY, found, crc) WITHOUT ROWID")
    db.execute("CREATE TABLE releases (seq INTEGER PRIMARY KEY, original, crc) WITHOUT ROWID")


@state(name="0001_state")
def _state_0001(db: Database) -> None:
    db.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")
    db.execute("CREATE TABLE cursors (upstream TEXT PRIMARY KEY, seq INTEGER NOT NULL, moved_ns INTEGER NOT NULL)")
    db.execute(
        """CREATE TABLE quarantine (
            upstream TEXT NOT NULL, seq INTEGER NOT NULL, reason TEXT NOT NULL, quarantined_ns INTEGER NOT NULL,
            PRIMARY KEY (upstream, seq)
        ) WITHOUT ROWID"""
    )
    db.execute(
        """CREATE TABLE retained (
            topic TEXT PRIMARY KEY, seq INTEGER NOT NULL, qos INTEGER NOT NULL, payload BLOB NOT NULL
        )"""
    )
    db.execute("CREATE TABLE sessions (client_id TEXT PRIMARY KEY, subscriptions TEXT NOT NULL)")


@state(name="0002_losses")
def _state_0002(db: Database) -> None:
    db.execute(
        """CREATE TABLE losses (
            id INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, upstream TEXT, first_seq INTEGER NOT NULL,
            last_seq INTEGER NOT NULL, events INTEGER NOT NULL, cause TEXT NOT NULL, detail TEXT NOT NULL
        )"""
    )


@state(name="0003_books")
def _state_0003(db: Database) -> None:
    (kept,) = db.execute("SELECT max(value) FROM meta WHERE key = 'cursors_crc'").fetchone()
    whole = kept in {None, checksum_of_cursors(db.execute("SELECT upstream, seq FROM cursors"))}
    for counter in ("started", "forwarded", "filtered", "quarantined", "dropped", "lost"):
        db.execute(f"ALTER TABLE cursors ADD COLUMN {counter} INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE cursors SET started = seq")  # what became of the events before is not known
    if whole:
        rows = db.execute(f"SELECT {ACCOUNT} FROM cursors")  # noqa: S608 - a constant
        db.execute("INSERT OR REPLACE INTO meta VALUES ('cursors_crc', ?)", (checksum_of_cursors(rows),))
    db.execute("ALTER TABLE losses ADD COLUMN until_ns INTEGER NOT NULL DEFAULT 0")
    db.execute("UPDATE losses SET at_ns = CAST(strftime('%s', 'now') AS INTEGER) * 1000000000 WHERE at_ns = 0")
    db.execute("UPDATE losses SET until_ns = at_ns")


@state(name="0004_boots")
def _state_0004(db: Database) -> None:
    db.execute(
        """CREATE TABLE anchors (
            id INTEGER PRIMARY KEY, boot_id TEXT NOT NULL, mono_ns INTEGER NOT NULL, offset_ns INTEGER NOT NULL,
            source TEXT NOT NULL, crc INTEGER NOT NULL
        )"""
    )


@state(name="0005_devices")
def _state_0005(db: Database) -> None:
    db.execute(
        """CREATE TABLE devices (
            name TEXT PRIMARY KEY, secret_hash TEXT NOT NULL, role TEXT, enabled INTEGER NOT NULL,
            created_ns INTEGER NOT NULL, rotated_ns INTEGER NOT NULL, crc INTEGER NOT NULL
        ) WITHOUT ROWID"""
    )


@state(name="0006_sessions")
def _state_0006(db: Database) -> None:
    db.execute("ALTER TABLE sessions ADD COLUMN since TEXT NOT NULL DEFAULT '{}'")
    db.execute("ALTER TABLE sessions ADD COLUMN queue TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE sessions ADD COLUMN owner TEXT")
    # sessions that are there already were delivered all there is, nobody knows up to which event
    db.execute("INSERT INTO meta SELECT 'sessions_seq', '0' WHERE NOT EXISTS (SELECT 1 FROM sessions)")


@state(name="0007_quarantine")
def _state_0007(db: Database) -> None:
    db.execute("ALTER TABLE quarantine RENAME TO quarantine_before")
    db.execute(
        """CREATE TABLE quarantine (
            id INTEGER PRIMARY KEY, upstream TEXT NOT NULL, seq INTEGER NOT NULL, quarantined_ns INTEGER NOT NULL,
            reason TEXT NOT NULL, contract TEXT NOT NULL DEFAULT '', version TEXT NOT NULL DEFAULT '',
            device TEXT NOT NULL DEFAULT '', field TEXT NOT NULL DEFAULT '', rule TEXT NOT NULL DEFAULT '',
            value TEXT NOT NULL DEFAULT '', received_ns INTEGER, mono_ns INTEGER, boot_id TEXT, client_id TEXT,
            topic TEXT, qos INTEGER, retain INTEGER, payload BLOB, origin TEXT, properties BLOB,
            released_seq INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, crc INTEGER,
            UNIQUE (upstream, seq)
        )"""
    )
    db.execute(
        """INSERT INTO quarantine (upstream, seq, quarantined_ns, reason)
        SELECT upstream, seq, quarantined_ns, reason FROM quarantine_before ORDER BY quarantined_ns, seq"""
    )  # without a copy of the message: as long as the log has the event, it is shown from there
    db.execute("DROP TABLE quarantine_before")
    db.execute("CREATE INDEX quarantine_sums ON quarantine (upstream, contract, released_seq, bytes)")
    db.execute(
        """CREATE TABLE sequences (
            contract TEXT NOT NULL, device TEXT NOT NULL, number INTEGER NOT NULL, unread INTEGER NOT NULL,
            crc INTEGER NOT NULL, PRIMARY KEY (contract, device)
        ) WITHOUT ROWID"""
    )
    db.execute("CREATE INDEX losses_by_cause ON losses (cause, upstream, detail)")


@state(name="0008_views")
def _state_0008(db: Database) -> None:
    db.execute("CREATE TABLE views (upstream TEXT PRIMARY KEY, ahead TEXT NOT NULL) WITHOUT ROWID")


@state(name="0009_replays")
def _state_0009(db: Database) -> None:
    db.execute(
        """CREATE TABLE replays (
            id TEXT PRIMARY KEY, created_ns INTEGER NOT NULL, upstream TEXT NOT NULL, asked TEXT NOT NULL,
            progress TEXT NOT NULL, crc INTEGER NOT NULL
        ) WITHOUT ROWID"""
    )


@state(name="0010_paused")
def _state_0010(db: Database) -> None:
    db.execute("CREATE TABLE paused (upstream TEXT PRIMARY KEY, since_ns INTEGER NOT NULL) WITHOUT ROWID")
