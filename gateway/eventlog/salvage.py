"""Reads what can be read of a damaged segment. Works on a copy; the segment itself is not touched.

One lost page costs the events on it and no others: pages of events are found one by one (`pages.graft`), names by
their table and by their index, and rows around an unreadable one by halving the range again and again. It refuses to
guess: a row with a value of a wrong type, whose topic is gone, or whose checksum is wrong is not an event.
"""

from __future__ import annotations

import os
import shutil
from contextlib import closing, suppress
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from gateway.errors import LogError
from gateway.event import LOCAL, Event
from gateway.eventlog import checksum, notes, pages, wal
from gateway.eventlog.damage import SQLITE_ERRORS, page_bytes_of, wal_of
from gateway.eventlog.segment import Segment, connect
from gateway.eventlog.segment_reader import FLAGS, rows_statement

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gateway.eventlog.notes import Notes

_ID_MAX = 2**31
_NAME_FAILURES_MAX = 5_000
"""Unreadable ids after which a table of names counts as lost as a whole; its index has to do."""


Names = dict[int, list[tuple[str, int]]]
"""By id what each name may be, with its checksum: a table and its index may tell different things."""


class Readable(NamedTuple):
    """A copy of a damaged segment, opened."""

    db: sqlite3.Connection
    leaves: list[pages.Leaf]
    """Pages of events, in order."""
    rows_sql: str
    boots: Names
    clients: Names
    topics: Names

    @property
    def numbers(self) -> int:
        """How many numbers the pages may hold."""
        count = last = 0
        for leaf in self.leaves:
            count += max(0, leaf.high - max(leaf.low - 1, last))
            last = max(last, leaf.high)
        return count

    def events(self, first_seq: int, last_seq: int) -> Iterator[Event]:
        """Every event that can be read, in order."""
        last = first_seq - 1
        for leaf in self.leaves:  # page by page: a number that a flipped bit made larger ends a search as the end does
            for row in _rows(self.db, self.rows_sql, max(leaf.low, last + 1), min(leaf.high, last_seq)):
                event = self._event(row)
                if event is not None and last < event.seq <= last_seq:
                    last = event.seq
                    yield event

    def meta(self) -> dict[str, str]:
        """What the segment said of itself, as far as it can be read."""
        with suppress(*SQLITE_ERRORS):
            rows = self.db.execute("SELECT key, value FROM meta").fetchall()
            return {_text(key) or "": _text(value) or "" for key, value in rows}
        return {}

    def inbound(self) -> dict[tuple[str, int], int]:
        """The open QoS 2 packet ids, as far as they can be read."""
        with suppress(*SQLITE_ERRORS):
            rows = self.db.execute("SELECT client_id, packet_id, seq FROM inbound").fetchall()
            return {
                (name, packet_id): seq
                for client_id, packet_id, seq in rows
                if (name := _text(client_id)) and isinstance(packet_id, int) and isinstance(seq, int)
            }
        return {}

    def notes(self, events: Sequence[Event]) -> Notes:
        """What was noted of `events`; of a quarantined one whose note is lost, that it is."""
        first, last = events[0].seq, events[-1].seq
        found = notes.NOTHING
        with suppress(*SQLITE_ERRORS):
            found = notes.read(self.db, first, last, last - first + 1)
        return notes.complete(found, events)

    def _event(self, row: tuple[Any, ...]) -> Event | None:
        seq, received_ns, mono_ns, boot, client, topic, flags, payload, origin, properties, crc = row
        if type(received_ns) is not int or type(mono_ns) is not int or type(payload) is not bytes or flags not in FLAGS:
            return None
        from_where = LOCAL if origin is None else _text(origin)
        if from_where is None or not isinstance(properties, bytes | None):
            return None
        names = product(self.boots.get(boot, ()), self.clients.get(client, ()), self.topics.get(topic, ()))
        for (boot_id, boot_crc), (client_id, client_crc), (name, topic_crc) in names:
            found = crc32(checksum.pack(seq, received_ns, mono_ns, boot_crc, client_crc, topic_crc, flags) + payload)
            if crc is None or crc == checksum.with_rest(found, from_where, properties):
                qos, retain, verdict = flags & 3, flags & 4 > 0, flags >> 3
                return Event(
                    seq,
                    received_ns,
                    mono_ns,
                    boot_id,
                    client_id,
                    name,
                    qos,
                    retain,
                    payload,
                    from_where,
                    properties,
                    verdict,
                )
        return None


def _text(value: object) -> str | None:
    """Text as it was stored; None if it is none.

    Text is read as bytes, because Python gives a row up for one byte that is not UTF-8.
    """
    if not isinstance(value, bytes):
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _rows(
    db: sqlite3.Connection, sql: str, low: int, high: int, failures_max: int = 1_000_000
) -> Iterator[tuple[Any, ...]]:
    """Rows from `low` to `high` that can be read, in order; each row's first value is its number."""
    ranges = [(low, high)]
    while ranges:
        low, high = ranges.pop()
        at = low
        try:
            for row in db.execute(sql, (low, high)):
                at = row[0] + 1
                yield row
        except SQLITE_ERRORS:
            failures_max -= 1
            if failures_max < 0:
                return
            if at < high:
                middle = (at + high) // 2
                ranges += [(middle + 1, high), (at, middle)]


def _names(db: sqlite3.Connection, table: str, column: str) -> Names:
    """Names by id: from the table and from its index, which holds both; each makes up for what the other lost."""
    found: Names = {}

    def add(key: object, value: object) -> None:
        if (name := _text(value)) is not None and isinstance(key, int):
            known = found.setdefault(key, [])
            if name not in [each[0] for each in known]:
                known.append((name, checksum.of_name(name)))

    table_rows = f"SELECT id, {column} FROM {table} NOT INDEXED WHERE id BETWEEN ? AND ? ORDER BY id"  # noqa: S608
    for key, value in _rows(db, table_rows, 1, _ID_MAX, _NAME_FAILURES_MAX):
        add(key, value)
    index = f"SELECT id, {column} FROM {table} INDEXED BY sqlite_autoindex_{table}_1 ORDER BY {column}"  # noqa: S608
    for sql in (index, f"{index} DESC"):
        with suppress(*SQLITE_ERRORS):
            for key, value in db.execute(sql):
                add(key, value)
    return found


def copy(path: Path, work: Path) -> Path:
    """A copy of a database and its write-ahead log, in the folder `work`.

    Raises:
        LogError: the disk refused.
    """
    to = work / "copy.db"
    try:
        for ending in ("", "-wal", "-shm"):
            to.with_name(to.name + ending).unlink(missing_ok=True)
        shutil.copyfile(path, to)
        if wal_of(path).is_file():
            shutil.copyfile(wal_of(path), wal_of(to))
    except OSError as error:
        raise LogError(f"{path} cannot be copied: {error}", "Look at the disk (df, dmesg).") from error
    return to


def template(work: Path, page_bytes: int) -> bytes:
    """The first page of a segment, which every segment of this schema with pages of this size begins with."""
    Segment.create(work, 1, {}, [], page_bytes=page_bytes).close()
    path = work / f"{1:020d}.db"
    with path.open("rb") as file:
        page = file.read(page_bytes)
    path.unlink()
    return page


def opened(copied: Path, first_seq: int, last_seq: int, first_page: bytes | None) -> Readable | None:
    """Open a copy after mending it: write-ahead log folded in, a new tree above the events.

    Args:
        copied: changed by this.
        first_seq: first number that is looked for.
        last_seq: last number that is looked for.
        first_page: takes the place of the copy's own; None leaves that.

    Returns:
        None if it cannot be opened like this.
    """
    wal.fold(copied)
    if first_page is not None:
        with copied.open("r+b") as file:
            file.write(first_page)
            pages_told = int.from_bytes(first_page[28:32], "big")  # a short file of an earlier schema has fewer
            file.truncate(max(file.seek(0, os.SEEK_END), pages_told * len(first_page)))
    with copied.open("r+b") as file:
        grafted = pages.graft(file, page_bytes_of(copied), first_seq, last_seq)
    if grafted is None:
        return None
    root, leaves = grafted
    try:
        _set_root(copied, root)
        db = connect(copied)
    except (LogError, *SQLITE_ERRORS):
        return None
    try:
        rows_sql = rows_statement(db)
    except SQLITE_ERRORS:
        db.close()
        return None
    db.text_factory = bytes
    names = [_names(db, *each) for each in (("boots", "boot_id"), ("clients", "name"), ("topics", "name"))]
    return Readable(db, leaves, rows_sql, *names)


def _set_root(copied: Path, root: int) -> None:
    with closing(connect(copied)) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute("UPDATE sqlite_schema SET rootpage = ? WHERE name = 'events'", (root,))
        for table in ("events", "topics", "clients", "boots"):
            db.execute(f"SELECT * FROM {table} LIMIT 0")  # noqa: S608 - our own names; fails if the schema is lost
