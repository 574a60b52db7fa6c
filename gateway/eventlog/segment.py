"""One segment of the log: an SQLite file that events are appended to until it is full.

Design in numbers: WAL and `synchronous=FULL`, so one fsync makes a transaction durable and none is acknowledged
before it. Rows go in by statements of up to 512 rows: sqlite3 gives the interpreter lock away once a statement, not
once a row, so the event loop and this thread do not wait for each other. Only integers, text and bytearrays are bound:
for anything else, None and bytes too, sqlite3 looks for an adapter, which costs more than the row. Topics and clients
are interned per segment; the caches of their ids hold 10,000 names and are emptied when full.

A segment whose write failed is never written again: the caller closes it and begins the next one at the first
sequence number that is not known to be durable. Readers take a segment's rows only up to where the next one begins.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from zlib import crc32

from gateway.errors import LogError
from gateway.eventlog import checksum, damage, notes, schema, wal
from gateway.eventlog.damage import Damaged, sync_folder
from gateway.eventlog.pages import PAGE_BYTES
from gateway.eventlog.takeover import write_again

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from gateway.event import Event
    from gateway.eventlog.batch import Batch, InboundMark
    from gateway.eventlog.notes import Notes

_ROWS_PER_STATEMENT = tuple(2**power for power in range(9, -1, -1))
_STATEMENT_BYTES_MAX = 256 * 1024
"""About what one statement may insert: SQLite keeps a copy of it until the statement is used again."""
_INTERNED_NAMES_MAX = 10_000
_BUSY_TIMEOUT_S = 5.0


def path_of(folder: Path, first_seq: int) -> Path:
    """Where the segment that begins at `first_seq` lives."""
    return folder / f"{first_seq:020d}.db"


def first_seq_of(path: Path) -> int:
    """The sequence number a segment's name says it begins at."""
    return int(path.stem)


def connect(path: Path, *, synchronous: str = "FULL", page_bytes: int = PAGE_BYTES) -> sqlite3.Connection:
    """Open a database for writing, with every option that durability rests on set explicitly.

    The names of the database and of its write-ahead log are durable when it returns. SQLite sees to the second, but
    ignores whether that worked.

    Raises:
        LogError: the file cannot be opened or is not a database, or the disk refused.
    """
    hint = "Look at the disk (df, dmesg)."
    try:
        connection = sqlite3.connect(
            path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=64
        )
        try:
            connection.execute(f"PRAGMA page_size = {page_bytes}")  # an existing database keeps its own
            _begin_log(connection, path, synchronous)
            sync_folder(path.parent)
        except BaseException:
            connection.close()
            raise
    except damage.SQLITE_ERRORS as error:
        raise damage.translated(error, path, f"{path} cannot be opened: {error}", hint) from error
    except OSError as error:
        raise LogError(f"{path} has no durable name: {error}", hint) from error
    return connection


def _begin_log(connection: sqlite3.Connection, path: Path, synchronous: str) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":  # SQLite says so and raises nothing
        raise LogError(
            f"{path} has no write-ahead log, its journal mode stays {mode!r}", "Look at the disk (df, dmesg)."
        )
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    connection.execute("PRAGMA journal_size_limit = 8388608")
    connection.execute("PRAGMA cache_size = -2000")
    connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()  # a new database gets its log only now


def _settle(connection: sqlite3.Connection, path: Path) -> None:
    """Have everything in the file itself, durably: closing does so too, but on a full disk it fails in silence."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise LogError(
            f"{path} cannot be created: another process reads it", "Leave the data directory to the gateway."
        )


def connect_reading(path: Path) -> sqlite3.Connection:
    """Open a database for reading, also where nothing may be written.

    Without its companions SQLite has to make them even to read, which takes a folder that may be written. A database
    that lacks them is not being written, so it can be read as a file that does not change.

    Raises:
        LogError: the file cannot be opened or is not a database.
    """
    uri = f"{path.absolute().as_uri()}?mode=ro"
    if fault := damage.no_database(path):
        raise Damaged(path, f"{path} is damaged: {fault}")
    try:
        try:
            return _connect_reading(uri)
        except sqlite3.OperationalError:
            if damage.wal_of(path).exists() and damage.wal_of(path).stat().st_size:
                raise  # an empty one is left by the attempt, if the disk is full
            return _connect_reading(f"{uri}&immutable=1")
    except damage.SQLITE_ERRORS as error:
        hint = "Is it somebody else's? (ls -l, dmesg)"
        raise damage.translated(error, path, f"{path} cannot be read: {error}", hint) from error


def _connect_reading(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA cache_size = -1000")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the first statement that opens the file
    except damage.SQLITE_ERRORS:
        connection.close()
        raise
    return connection


def readable_inbound(path: Path) -> dict[tuple[str, int], int]:
    """The open QoS 2 packet ids in a damaged segment; none if they cannot be read.

    Without them a QoS 2 message whose release was still to come may be stored twice, if the device sends it again.
    """
    with suppress(LogError, *damage.SQLITE_ERRORS), closing(connect_reading(path)) as connection:
        rows = connection.execute("SELECT client_id, packet_id, seq FROM inbound").fetchall()
        return {
            (row[0], row[1]): row[2]
            for row in rows
            if type(row[0]) is str and type(row[1]) is int and type(row[2]) is int
        }
    return {}


def size_of(path: Path) -> int:
    """Bytes a segment takes on disk, its write-ahead log included; 0 if it is gone."""
    total = 0
    for name in (path, path.with_name(path.name + "-wal")):
        with suppress(FileNotFoundError):
            total += name.stat().st_size
    return total


def remove(path: Path) -> None:
    """Unlink a segment with its companions; the main file first, so that what is left can never be read."""
    for name in (path, *_companions(path)):
        name.unlink(missing_ok=True)


def _companions(path: Path) -> tuple[Path, Path]:
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


class Segment:
    """The segment that is being written. Owned by the writer thread."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.first_seq = first_seq_of(path)
        self._db = connection
        self._topics: dict[str, tuple[int, int]] = {}
        self._clients: dict[str, tuple[int, int]] = {}
        self._boots: dict[str, tuple[int, int]] = {}
        self._page_bytes: int = self._look("PRAGMA page_size")[0][0]
        self.bytes_: int = self._look("PRAGMA page_count")[0][0] * self._page_bytes
        """What the file has grown to, or will have at the next checkpoint."""

    @classmethod
    def create(
        cls,
        folder: Path,
        first_seq: int,
        meta: Mapping[str, str],
        inbound: Iterable[tuple[str, int, int]],
        *,
        page_bytes: int = PAGE_BYTES,
    ) -> Segment:
        """Make an empty segment that carries the open QoS 2 packet ids on.

        It gets its name only when it is complete and durable, so a crash leaves either the whole of it or nothing.

        Raises:
            LogError: the disk did not take it.
        """
        path = path_of(folder, first_seq)
        draft = path.with_suffix(".new")
        try:
            remove(draft)
            connection = connect(draft, page_bytes=page_bytes)
            try:
                schema.migrate(connection, schema.segment)
                connection.execute("BEGIN")
                connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
                connection.executemany("INSERT INTO inbound VALUES (?, ?, ?)", inbound)
                connection.execute("COMMIT")
                _settle(connection, draft)
            finally:
                connection.close()
            for companion in _companions(path):
                companion.unlink(missing_ok=True)
            damage.wal_of(path).touch()  # a segment that a process is killed with has one, from its first moment on
            draft.replace(path)
        except (sqlite3.Error, OSError) as error:
            with suppress(OSError):
                remove(draft)  # on a full disk it would keep others from the little room there is
            raise LogError(
                f"{path} cannot be created: {error}", "Is the disk full or read-only? (df, dmesg)"
            ) from error
        return cls(path, connect(path))  # makes the new name durable too

    @classmethod
    def open(cls, path: Path) -> Segment:
        """Open an existing segment to go on writing; SQLite recovers it if the last process died.

        Raises:
            Damaged: it is not what was written, or not a segment, as far as opening it can tell.
            LogError: the disk did not give it.
        """
        if fault := damage.header_fault(path) or wal.fault(path):
            raise Damaged(path, f"{path} is damaged: {fault}")
        write_again(path)
        connection = connect(path)
        try:
            schema.migrate(connection, schema.segment)
            return cls(path, connection)
        except damage.SQLITE_ERRORS as error:
            connection.close()
            raise damage.translated(error, path, f"{path} is not a usable segment: {error}") from error
        except LogError:
            connection.close()
            raise

    def last_seq(self) -> int:
        """The highest sequence number stored, or the one before the first if the segment is empty."""
        seq = self._look("SELECT max(seq) FROM events")[0][0]
        return self.first_seq - 1 if seq is None else int(seq)

    def meta(self) -> dict[str, str]:
        """What the segment says of the log it belongs to."""
        return dict(self._look("SELECT key, value FROM meta"))

    def inbound(self) -> dict[tuple[str, int], int]:
        """The open QoS 2 packet ids: (client id, packet id) and the event each has published."""
        return {(row[0], row[1]): row[2] for row in self._look("SELECT * FROM inbound")}

    def append(self, batch: Batch) -> None:
        """Store a batch in one transaction; when this returns, it is on disk (`synchronous=FULL`).

        Raises:
            LogError: the disk refused; nothing of the batch counts as stored, and this segment must be left.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._insert_events(batch.events, batch.bytes_)
            self._apply_marks(batch.marks)
            if batch.violations or batch.releases:
                notes.store(self._db, batch)
            # Asked and not reckoned: new topics may weigh far more than the events that bring them.
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise LogError(f"{self.path}: {error}", "Is the disk full or failing? (df, dmesg)") from error
        self.bytes_ = pages * self._page_bytes

    def append_runs(self, runs: Iterable[Sequence[Event]], noted: Notes = notes.NOTHING) -> None:
        """Store salvaged events and what is `noted` of them in one transaction; a run has no gap and one boot.

        Raises:
            LogError: the disk refused.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for run in runs:
                self._insert_events(run, sum(len(event.payload) for event in run))
            notes.store(self._db, noted)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise LogError(f"{self.path}: {error}", "Is the disk full or failing? (df, dmesg)") from error

    def settle(self) -> None:
        """Have everything in the file itself, durably, so that it can be moved without companions.

        Raises:
            LogError: the disk refused.
        """
        try:
            _settle(self._db, self.path)
        except sqlite3.Error as error:
            raise LogError(f"{self.path}: {error}", "Is the disk full or failing? (df, dmesg)") from error

    def close(self) -> None:
        """Checkpoint and close; never raises, because the events are already safe in the write-ahead log."""
        try:
            self._db.close()
        except sqlite3.Error:  # SQLite reports a failed checkpoint here; recovery repeats it at the next open
            return

    def _look(self, sql: str) -> list[Any]:
        try:
            return self._db.execute(sql).fetchall()
        except damage.SQLITE_ERRORS as error:
            raise damage.translated(
                error, self.path, f"{self.path} is damaged: {error}", "Look at the disk (dmesg)."
            ) from error

    def _insert_events(self, events: Sequence[Event], bytes_: int) -> None:
        done, rows_max = 0, len(events) * _STATEMENT_BYTES_MAX // max(1, bytes_)
        for rows in _ROWS_PER_STATEMENT:
            while len(events) - done >= rows and (rows <= rows_max or rows == 1):
                self._insert_rows(events[done : done + rows])
                done += rows

    def _insert_rows(self, events: Sequence[Event]) -> None:
        topics, clients = self._topics, self._clients
        first, pack = events[0], checksum.pack
        boot_id, boot = self._boot(first)
        values: list[object] = [first.seq, boot_id]
        is_plain = True
        for (
            seq, received_ns, mono_ns, _, client_name, topic_name, qos, retain, payload, origin, properties, verdict
        ) in events:  # fmt: skip
            client_id, client = clients.get(client_name) or self._intern("clients", clients, client_name)
            topic_id, topic = topics.get(topic_name) or self._intern("topics", topics, topic_name)
            flags = (qos + 4 if retain else qos) + 8 * verdict
            crc = crc32(pack(seq, received_ns, mono_ns, boot, client, topic, flags) + payload)
            if origin or properties is not None:
                crc = checksum.with_rest(crc, origin, properties)
                is_plain = False
            values += (received_ns, mono_ns, client_id, topic_id, flags, bytearray(payload), crc)
        if not is_plain:
            values += [value for event in events for value in (event.origin or None, event.properties)]
        self._db.execute((_INSERT_PLAIN if is_plain else _INSERT)[len(events)], values)

    def _intern(self, table: str, known: dict[str, tuple[int, int]], name: str) -> tuple[int, int]:
        """Id and checksum of a name."""
        if len(known) >= _INTERNED_NAMES_MAX:
            known.clear()
        self._db.execute(f"INSERT OR IGNORE INTO {table} (name) VALUES (?)", (name,))  # noqa: S608 - our own names
        row = self._db.execute(f"SELECT id FROM {table} WHERE name = ?", (name,)).fetchone()  # noqa: S608
        found = known[name] = (row[0], checksum.of_name(name))
        return found

    def _boot(self, event: Event) -> tuple[int, int]:
        known = self._boots.get(event.boot_id)
        if known is None:
            self._db.execute(
                "INSERT OR IGNORE INTO boots (boot_id, wall_ns, mono_ns) VALUES (?, ?, ?)",
                (event.boot_id, event.received_ns, event.mono_ns),
            )
            row = self._db.execute("SELECT id FROM boots WHERE boot_id = ?", (event.boot_id,)).fetchone()
            known = self._boots[event.boot_id] = (row[0], checksum.of_name(event.boot_id))
        return known

    def _apply_marks(self, marks: Sequence[InboundMark]) -> None:
        for client_id, packet_id, seq in marks:
            if seq:
                self._db.execute("INSERT OR REPLACE INTO inbound VALUES (?, ?, ?)", (client_id, packet_id, seq))
            elif packet_id:
                self._db.execute("DELETE FROM inbound WHERE client_id = ? AND packet_id = ?", (client_id, packet_id))
            else:
                self._db.execute("DELETE FROM inbound WHERE client_id = ?", (client_id,))


def _insert_statement(rows: int, *, plain: bool) -> str:
    """One INSERT of many rows.

    Parameter 1 is the first seq, 2 the boot; then seven values a row, and unless they are `plain` two more of each row
    behind them: origin and properties.
    """
    values = []
    for row in range(rows):
        at, rest_at = 3 + 7 * row, 3 + 7 * rows + 2 * row
        rest = "NULL,NULL" if plain else f"?{rest_at},?{rest_at + 1}"
        ids = f"?1+{row},?{at},?{at + 1},?2,?{at + 2},?{at + 3},?{at + 4}"
        values.append(f"({ids},{rest},?{at + 5},?{at + 6})")
    return "INSERT INTO events VALUES " + ",".join(values)  # noqa: S608 - parameters only


_INSERT_PLAIN = {rows: _insert_statement(rows, plain=True) for rows in _ROWS_PER_STATEMENT}
"""For events without origin and properties."""
_INSERT = {rows: _insert_statement(rows, plain=False) for rows in _ROWS_PER_STATEMENT}
