"""The ledger: what was sent and what the broker acknowledged, in one SQLite file.

An event is in `acknowledged` only if the broker said so; the opposite does not hold, because commits come up to
0.2 s after the acknowledgement and a simulator that is killed takes the last ones with it. A verdict drawn from the
ledger can therefore miss a loss, but never invent one. Committed entries survive a kill of the simulator; the file
is not protected against a power cut (`synchronous=NORMAL`), since it is evidence, not the data itself.

One process writes; any number of others read at the same time (WAL). Readers stream: memory stays bounded.
"""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import quote

from device_sims.errors import LedgerError, LedgerMissing, UsageError

BUSY_TIMEOUT_S = 5.0
FETCH_ROWS = 1000

SCHEMA = """
BEGIN;
CREATE TABLE run (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    fleet TEXT NOT NULL,
    seed INTEGER NOT NULL,
    started_ns INTEGER NOT NULL,
    finished_ns INTEGER
) STRICT;
CREATE TABLE devices (
    device TEXT PRIMARY KEY,
    sent INTEGER NOT NULL,
    acknowledged INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE acknowledged (
    device TEXT NOT NULL,
    n INTEGER NOT NULL,
    topic TEXT NOT NULL,
    acked_ns INTEGER NOT NULL,
    PRIMARY KEY (device, n)
) STRICT, WITHOUT ROWID;
INSERT INTO run (id, fleet, seed, started_ns) VALUES (1, {fleet}, {seed}, {started_ns});
COMMIT;
"""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all devices; `devices` counts those that have sent something."""

    sent: int
    acknowledged: int
    devices: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Entries that belong into one transaction: how many events each device sent, and what was acknowledged."""

    sent: Counter[str]
    acknowledged: list[tuple[str, int, str, int]]


class LedgerWriter:
    """The writing side. Entries gather in memory until they are gathered into a batch, and the batch is written.

    `sent`, `acknowledged` and `gather` belong to one thread; `write` may run in another, one call at a time.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sent: Counter[str] = Counter()
        self._acknowledged: list[tuple[str, int, str, int]] = []

    @classmethod
    def create(cls, path: Path, *, fleet: str, seed: int, started_ns: int) -> Self:
        """A new ledger at `path`, committed and readable at once.

        Raises:
            UsageError: there is a file already; a second run would count from 1 again.
            LedgerError: the file cannot be written.
        """
        if path.exists():
            raise UsageError(
                f"the ledger {path} exists already", hint="a ledger holds one run: give another name or delete it"
            )
        try:
            connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, check_same_thread=False, isolation_level=None)
            try:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = NORMAL")
                quoted = connection.execute("SELECT quote(?)", (fleet,)).fetchone()[0]
                connection.executescript(SCHEMA.format(fleet=quoted, seed=int(seed), started_ns=int(started_ns)))
            except sqlite3.Error:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise LedgerError(
                f"cannot create the ledger {path}: {error}", hint="check that its folder exists and can be written"
            ) from error
        return cls(connection)

    def sent(self, device: str) -> None:
        """`device` handed one more event to a connection for the first time."""
        self._sent[device] += 1

    def acknowledged(self, device: str, n: int, topic: str, acked_ns: int) -> None:
        """The broker acknowledged event `n` of `device`."""
        self._acknowledged.append((device, n, topic, acked_ns))

    def gather(self) -> Batch:
        """All entries since the last call, to be handed to `write`."""
        batch = Batch(self._sent, self._acknowledged)
        self._sent, self._acknowledged = Counter(), []
        return batch

    def write(self, batch: Batch) -> None:
        """Commit `batch`. When it returns, readers see it and a kill does not lose it.

        Raises:
            LedgerError: it could not be written; the batch is lost, so the run cannot be judged.
        """
        if not batch.sent and not batch.acknowledged:
            return
        acknowledged = Counter(device for device, *_ in batch.acknowledged)
        devices = batch.sent.keys() | acknowledged.keys()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT INTO devices VALUES (?, ?, ?) ON CONFLICT (device) DO UPDATE"
                " SET sent = sent + excluded.sent, acknowledged = acknowledged + excluded.acknowledged",
                [(device, batch.sent[device], acknowledged[device]) for device in devices],
            )
            self._connection.executemany("INSERT INTO acknowledged VALUES (?, ?, ?, ?)", batch.acknowledged)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerError(f"cannot write the ledger: {error}", hint="check the disk and start a new run") from error

    def finish(self, finished_ns: int) -> None:
        """Commit what has gathered and mark the run as finished: nothing more will be acknowledged.

        Raises:
            LedgerError: it could not be written.
        """
        self.write(self.gather())
        try:
            self._connection.execute("UPDATE run SET finished_ns = ?", (finished_ns,))
        except sqlite3.Error as error:
            raise LedgerError(f"cannot write the ledger: {error}", hint="check the disk and start a new run") from error

    def close(self) -> None:
        """Close the file; entries that were not flushed are dropped."""
        self._connection.close()


class Ledger:
    """The reading side, safe to use while another process writes. Use as a context manager, or call `close`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open_readonly(cls, path: Path | str) -> Self:
        """The ledger at `path`.

        Raises:
            LedgerMissing: there is none, or not yet.
            LedgerError: the file is something else.
        """
        hint = "`device-sims run --ledger FILE` writes one"
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
            )
        except sqlite3.Error as error:
            raise LedgerMissing(f"there is no ledger at {path}: {error}", hint=hint) from error
        try:
            connection.execute("SELECT fleet FROM run")
        except sqlite3.Error as error:
            connection.close()
            kind = LedgerMissing if isinstance(error, sqlite3.OperationalError) else LedgerError
            raise kind(f"there is no ledger at {path}: {error}", hint=hint) from error
        return cls(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def totals(self) -> Totals:
        """The sums up to the last commit."""
        return Totals(
            *self._row("SELECT coalesce(sum(sent), 0), coalesce(sum(acknowledged), 0), count(*) FROM devices")
        )

    def acknowledged(self) -> Iterator[tuple[str, int]]:
        """Every acknowledged (device, n), in that order, as of the moment of the first step."""
        try:
            cursor = self._connection.execute("SELECT device, n FROM acknowledged ORDER BY device, n")
            while rows := cursor.fetchmany(FETCH_ROWS):
                yield from rows
        except sqlite3.Error as error:
            raise LedgerError(f"cannot read the ledger: {error}", hint="check the file") from error

    def finished(self) -> bool:
        """Whether the run is over: nothing more will be acknowledged."""
        return self._row("SELECT finished_ns FROM run")[0] is not None

    def _row(self, query: str) -> tuple[int, ...]:
        try:
            row: tuple[int, ...] = self._connection.execute(query).fetchone()
        except sqlite3.Error as error:
            raise LedgerError(f"cannot read the ledger: {error}", hint="check the file") from error
        return row
