"""`state.db`: what is known beside the events, cursors above all. Owned by the writer thread, read at start.

Everything here is either rebuilt from the log (retained messages) or safe to be a little behind it (cursors: an
upstream sees some events again); nothing here is ever ahead of the log.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from gateway.eventlog import ahead_rows, anchors, losses, paused, quarantine_rows, replays, schema, sequences
from gateway.eventlog.books import Account
from gateway.eventlog.boots import ANCHORS_MAX, ANCHORS_PER_BOOT_MAX
from gateway.eventlog.damage import SQLITE_ERRORS, Damaged, asked, look_over, translated
from gateway.eventlog.queue import NOTHING, Owed, Session, decoded
from gateway.eventlog.reserve import Reserve, refusal, with_reserve
from gateway.eventlog.retained import Retained
from gateway.eventlog.segment import connect, connect_reading
from gateway.eventlog.takeover import write_again

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import TypeVar

    from gateway.clock import Anchor
    from gateway.errors import LogError
    from gateway.eventlog.ahead import Ahead
    from gateway.eventlog.losses import Loss
    from gateway.eventlog.sequences import Counts

    T = TypeVar("T")

SEQ_MAX = 2**53
"""No log gets this far; a number beyond it is damage."""
_LOG_PAGES = 128
"""The write-ahead log is begun anew after so many pages, so that it leaves most of the reserve to the database."""
_ACCOUNTS = f"SELECT {schema.ACCOUNT} FROM cursors"  # noqa: S608 - a constant
_KEEP_ACCOUNT = f"INSERT OR REPLACE INTO cursors ({schema.ACCOUNT}, moved_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_BEGIN_SESSION = "INSERT OR REPLACE INTO sessions (client_id, subscriptions, owner) VALUES (?, '{}', ?)"
_KEEP_SESSION = "UPDATE sessions SET subscriptions = ?, since = ? WHERE client_id = ?"


def path_of(data_dir: Path) -> Path:
    """Where the state of a gateway lives."""
    return data_dir / "state.db"


class State:
    """The writing connection to `state.db`; every method that changes something is durable when it returns."""

    DEVICES = "SELECT name, secret_hash, role, enabled, created_ns, rotated_ns, crc FROM devices"
    """Rows as `devices` has them."""

    def __init__(self, path: Path, reserve: Reserve | None = None) -> None:
        """Open it, or make it.

        Args:
            path: of the database.
            reserve: room for it on a full disk; None: there is no such room.
        """
        self.path = path
        self.reserve = reserve or Reserve(path.with_name("reserve"), 0)
        write_again(path)
        self._db = connect(path)
        try:
            schema.migrate(self._db, schema.state)
        except SQLITE_ERRORS as error:
            self._db.close()
            raise translated(error, path, f"{path} is not a usable state database: {error}") from error
        self._db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
        self.begin_log_anew()  # so that the database has its size before the disk is full

    def check(self) -> None:
        """Look whether everything in the file is what was written.

        Raises:
            Damaged: it is not.
        """
        look_over(self._db, self.path)
        self.sessions()
        self.anchors()
        self.devices()
        self.replays()
        self.ask(quarantine_rows.sums)
        self.ask(paused.load)
        accounts = self.accounts()
        numbers = [
            self.number(quarantine_rows.SEQ),
            self.retained_seq(),
            self.high_water(),
            self.sessions_seq() or 0,
            self.sequences()[1],
        ]
        numbers += [number for each in accounts.values() for number in each]
        kept = self.meta("cursors_crc")
        if any(type(seq) is not int or not 0 <= seq < SEQ_MAX for seq in numbers) or (
            kept is not None and kept != _checksum(accounts)
        ):
            raise Damaged(self.path, f"{self.path} is damaged: its cursors are not what was written")
        self.ahead()
        if any(type(number) is not int for row in self.losses() for number in (row.at_ns, *row[2:5], row.until_ns)):
            raise Damaged(self.path, f"{self.path} is damaged: its ledger is not what was written")
        if any(type(each.topic) is not str or type(each.payload) is not bytes for each in self.retained()):
            raise Damaged(self.path, f"{self.path} is damaged: its retained messages are not what was written")

    def high_water(self) -> int:
        """A number up to which sequence numbers have been given out for sure; more may have been since."""
        return self.number("high_water")

    def log_id(self) -> str:
        """The random id of this log, made at its first start; with `seq` it names an event in the whole world."""
        self._write("INSERT OR IGNORE INTO meta VALUES ('log_id', ?)", [(uuid.uuid4().hex,)])
        return self.meta("log_id") or ""

    def meta(self, key: str) -> str | None:
        """A single value kept by name; None if it was never set."""
        rows = self._look("SELECT value FROM meta WHERE key = ?", key)
        return str(rows[0][0]) if rows else None

    def set_meta(self, key: str, value: str) -> None:
        """Keep a single value by name."""
        self._write("INSERT OR REPLACE INTO meta VALUES (?, ?)", [(key, value)])

    def accounts(self) -> dict[str, Account]:
        """Per upstream, how far it durably is, and what became of the events up to there."""
        return _accounts(self._look(_ACCOUNTS))

    def ahead(self) -> dict[str, Ahead]:
        """Per upstream, what is durably done ahead of its cursor."""
        return ahead_rows.load(self._db, self.path)

    def cursors(self) -> dict[str, int]:
        """Per upstream, the last sequence number it is durably done with."""
        return {name: account.seq for name, account in self.accounts().items()}

    def losses(self) -> list[Loss]:
        """Every row of the loss ledger, oldest first."""
        return [losses.Loss(*row) for row in self._look(losses.ROWS)]

    @with_reserve
    def flush(
        self,
        accounts: Mapping[str, Account],
        retained: Iterable[Retained],
        head: int,
        now_ns: int,
        high_water: int = 0,
        lost: Sequence[Loss] = (),
        owed: Owed = NOTHING,
        ahead: Mapping[str, Ahead] | None = None,
        counts: Counts | None = None,
        replayed: Iterable[tuple[Any, ...]] = (),
    ) -> None:
        """Store moved cursors with their counters, and the retained messages that events up to `head` have changed.

        The caller has moved each cursor only over what its upstream is done with, or over what `lost` names, which
        goes into the ledger with it. It has events up to `high_water`, or `head` if that is more, on disk. With them
        goes what sessions are `owed`, how far devices have counted, and the rows of what was `replayed`.
        """
        self._begin()
        try:
            rows = [(name, *account, now_ns) for name, account in accounts.items()]
            self._db.executemany(_KEEP_ACCOUNT, rows)
            losses.book(self._db, lost)
            for message in retained:
                if message.payload:
                    self._db.execute("INSERT OR REPLACE INTO retained VALUES (?, ?, ?, ?)", message)
                else:
                    self._db.execute("DELETE FROM retained WHERE topic = ?", (message.topic,))
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('retained_seq', ?)", (str(head),))
            queues = [(queue.encoded(), name) for name, queue in owed.queues.items()]
            self._db.executemany("UPDATE sessions SET queue = ? WHERE client_id = ?", queues)
            self._db.executemany(replays.MOVE, [(*row[4:], row[0]) for row in replayed])
            if owed.seq is not None:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('sessions_seq', ?)", (str(owed.seq),))
            if counts is not None:
                sequences.store(self._db, counts)
            marks = [("high_water", str(max(head, high_water))), ("cursors_crc", _checksum(self.accounts()))]
            ahead_rows.keep(self._db, ahead or {})
            self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", marks)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` finds in the database.

        Raises:
            LogError: it cannot be read.
        """
        return asked(self._db, self.path, work)

    def transact(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Have `work` change the database in one transaction, in what room there is but for the reserve.

        Raises:
            LogError: the disk refused, and nothing has changed.
        """
        self._begin()
        try:
            work(self._db)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    @with_reserve
    def insist(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """As `transact`, with the reserve."""
        self.transact(work)

    def retained(self) -> list[Retained]:
        """The retained messages as of `retained_seq`."""
        return [Retained(*row) for row in self._look("SELECT topic, seq, qos, payload FROM retained")]

    def retained_seq(self) -> int:
        """The event up to which `retained` is true; later ones are found in the log."""
        return self.number("retained_seq")

    def number(self, key: str) -> int:
        """A number kept by name; 0 if it was never set."""
        text = self.meta(key) or "0"
        if not text.isdecimal():
            raise Damaged(self.path, f"{self.path} is damaged: {key} is no number")
        return int(text)

    def sessions(self) -> dict[str, Session]:
        """Persistent sessions of local subscribers by client id."""
        rows = self._look("SELECT client_id, subscriptions, since, queue, owner FROM sessions")
        try:
            return {name: decoded(*texts) for name, *texts in rows}
        except ValueError as error:
            raise Damaged(self.path, f"{self.path} is damaged: a session is not what was written") from error

    def sessions_seq(self) -> int | None:
        """The last event that counts in the queues of all sessions; None if that was never stored."""
        return self.number("sessions_seq") if self.meta("sessions_seq") else None

    def begin_session(self, client_id: str, owner: str) -> None:
        """Store a persistent session of the user `owner`; nothing of an older one is left."""
        self._write(_BEGIN_SESSION, [(client_id, owner)])

    def keep_session(self, client_id: str, subscriptions: Mapping[str, int], since: Mapping[str, int]) -> None:
        """Store what a persistent session subscribes to; what it is owed stays as it is."""
        self._write(_KEEP_SESSION, [(json.dumps(dict(subscriptions)), json.dumps(dict(since)), client_id)])

    def drop_session(self, client_id: str) -> None:
        """Forget a persistent session."""
        self._write("DELETE FROM sessions WHERE client_id = ?", [(client_id,)])

    def sequences(self) -> tuple[dict[sequences.Key, sequences.Last], int]:
        """How far devices have counted, and the event as of which that is true."""
        return sequences.whole(self._look(sequences.ROWS)), self.number(sequences.SEQ)

    def anchors(self) -> list[tuple[str, Anchor]]:
        """When the clock of which boot was set, as `Boots` wants it."""
        return anchors.whole(self._look(anchors.ROWS))

    def keep_anchor(self, boot_id: str, anchor: Anchor) -> None:
        """Store since when the clock of a boot is right; what is beyond the limits of `boots` goes."""
        self._write(anchors.FORGET, [(ANCHORS_MAX - 1, boot_id, ANCHORS_PER_BOOT_MAX - 2, boot_id)])
        self._write("INSERT INTO anchors VALUES (NULL, ?, ?, ?, ?, ?)", [anchors.to_row(boot_id, anchor)])

    def devices(self) -> list[tuple[Any, ...]]:
        """Who may log in, row by row; `devices.load` knows which of them are what was written."""
        return self._look(self.DEVICES)

    def keep_device(self, row: tuple[object, ...]) -> None:
        """Store who may log in, or what has changed of it."""
        self._write("INSERT OR REPLACE INTO devices VALUES (?, ?, ?, ?, ?, ?, ?)", [row])

    def drop_device(self, name: str) -> None:
        """Forget who may log in."""
        self._write("DELETE FROM devices WHERE name = ?", [(name,)])

    def replays(self) -> list[tuple[Any, ...]]:
        """Replays, row by row; `replays.whole` knows which of them are what was written."""
        return self._look(replays.ROWS)

    def keep_replay(self, row: tuple[object, ...]) -> None:
        """Store a replay."""
        self._write(replays.KEEP, [row])

    def drop_replays(self, ids: Iterable[str]) -> None:
        """Forget replays."""
        self._write(replays.DROP, [(id_,) for id_ in ids])

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _look(self, sql: str, *values: str) -> list[Any]:
        return _rows(self._db, self.path, sql, *values)

    def begin_log_anew(self) -> None:
        """Have the next transaction written over the beginning of the write-ahead log, unless somebody reads it."""
        with suppress(sqlite3.Error):  # also what it could not finish made room
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    @with_reserve
    def _write(self, sql: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._begin()
        try:
            self._db.executemany(sql, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _begin(self) -> None:
        try:
            if self._db.in_transaction:  # an earlier failure could not even be rolled back
                self._db.execute("ROLLBACK")
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> LogError:
        with suppress(sqlite3.Error):  # `_begin` tries again
            self._db.rollback()
        return refusal(error, f"{self.path}: {error}")


def _rows(db: sqlite3.Connection, path: Path, sql: str, *values: str) -> list[Any]:
    return asked(db, path, lambda connection: connection.execute(sql, values).fetchall())


def _accounts(rows: Iterable[tuple[Any, ...]]) -> dict[str, Account]:
    return {row[0]: Account(*row[1:]) for row in rows}


def _checksum(accounts: Mapping[str, Account]) -> str:
    return schema.checksum_of_cursors((name, *account) for name, account in accounts.items())


class StateReader:
    """Read-only look at `state.db`, for commands that run beside a gateway or without one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = connect_reading(path)

    def cursors(self) -> dict[str, int]:
        """Per upstream, the last sequence number it is durably done with."""
        return dict(self._look("SELECT upstream, seq FROM cursors"))

    def accounts(self) -> dict[str, Account]:
        """Per upstream, how far it durably is, and what became of the events up to there."""
        return _accounts(self._look(_ACCOUNTS))

    def ahead(self) -> dict[str, Ahead]:
        """Per upstream, what is durably done ahead of its cursor."""
        return ahead_rows.load(self._db, self.path)

    def losses(self) -> list[Loss]:
        """Every row of the loss ledger, oldest first."""
        return [losses.Loss(*row) for row in self._look(losses.ROWS)]

    def ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """What `work` finds in the database."""
        return asked(self._db, self.path, work)

    def retained(self) -> int:
        """How many retained messages there are."""
        return int(self._look("SELECT count(*) FROM retained")[0][0])

    def quarantined(self) -> dict[str, int]:
        """Per upstream, how many events it can never take."""
        return dict(self._look("SELECT upstream, count(*) FROM quarantine GROUP BY upstream"))

    def anchors(self) -> list[tuple[str, Anchor]]:
        """When the clock of which boot was set; none if the gateway that wrote it did not know of that."""
        if not self._look("SELECT 1 FROM sqlite_master WHERE name = 'anchors'"):
            return []
        return anchors.whole(self._look(anchors.ROWS))

    def log_id(self) -> str:
        """The random id of this log."""
        rows = self._look("SELECT value FROM meta WHERE key = 'log_id'")
        return str(rows[0][0]) if rows else ""

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _look(self, sql: str) -> list[Any]:
        return _rows(self._db, self.path, sql)
