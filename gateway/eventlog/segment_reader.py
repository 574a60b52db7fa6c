"""Reading one segment by sequence number, while it is being written or when nobody writes it.

Memory is bounded by `bytes_max`, one event of any size excepted. Numbers have no gap unless the segment was salvaged,
and a row has the types it was written with: what is not so is damage, so that no forwarder steps over an event that a
flipped bit hides. So is an event whose checksum is wrong; one that was stored by a version without checksums is taken
as it is.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias
from zlib import crc32

from gateway.errors import LogError
from gateway.event import LOCAL, new_event
from gateway.eventlog import checksum, notes
from gateway.eventlog.damage import SQLITE_ERRORS, Damaged, inode_of, translated
from gateway.eventlog.finding import Finder
from gateway.eventlog.plain_rows import PlainRows
from gateway.eventlog.segment import connect_reading, first_seq_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.event import Event
    from gateway.eventlog.plain_rows import Names

Stamps: TypeAlias = tuple[str, int, int]
"""Of an event: boot id, time since boot, and wall clock as it was read."""


class Stamped(NamedTuple):
    """An event without what it says."""

    seq: int
    boot_id: str
    mono_ns: int
    received_ns: int


_NAMES_MAX = 10_000

FLAGS = frozenset(qos + retain + verdict for qos in (0, 1, 2) for retain in (0, 4) for verdict in (0, 8, 16))
"""QoS, 4 for RETAIN, 8 for flagged and 16 for quarantined."""
SALVAGED = "salvaged"
"""A segment whose meta has this key holds what could be read of a damaged one; numbers in it may have gaps."""

ROWS = """
    SELECT seq, received_ns, mono_ns, boot, client, topic, flags, payload, origin, properties, crc
    FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq"""
"""The events of a segment from one number to another."""
_BOOT = "SELECT boot_id FROM boots WHERE id = ?"
_NEWEST = """
    SELECT boots.boot_id, events.mono_ns, events.received_ns FROM events LEFT JOIN boots ON boots.id = events.boot
    WHERE seq <= ? ORDER BY seq DESC LIMIT 1"""
_STAMPED = """
    SELECT seq, boots.boot_id, events.mono_ns, events.received_ns FROM events LEFT JOIN boots ON boots.id = events.boot
    WHERE seq BETWEEN ? AND ? ORDER BY seq"""
_CLIENT = "SELECT name FROM clients WHERE id = ?"
_TOPIC = "SELECT name FROM topics WHERE id = ?"
_HAS_CRC = "SELECT 1 FROM pragma_table_info('events') WHERE name = 'crc'"


def rows_statement(connection: sqlite3.Connection) -> str:
    """`ROWS`, for a segment of any schema."""
    return ROWS if connection.execute(_HAS_CRC).fetchone() else ROWS.replace(" crc", " NULL")


class SegmentReader:
    """Read-only access to one segment."""

    def __init__(self, path: Path) -> None:
        self._inode = inode_of(path)
        self._db = connect_reading(path)
        self.path = path
        try:
            self.may_have_gaps = SALVAGED in self.meta()
            """Numbers are missing in it, and that is known."""
            self._read = rows_statement(self._db) + " LIMIT ?"
            self._finder = Finder(self._db, self._read, self._events, self.wrong)
            is_plain = self._db.execute(_HAS_CRC).fetchone() and not self.may_have_gaps
            self._plain = PlainRows(self._db, self._names_of, FLAGS) if is_plain else None
        except LogError:
            self._db.close()
            raise
        except SQLITE_ERRORS as error:
            self._db.close()
            raise self._failed(error) from error
        self._boots: dict[int, tuple[str, int]] = {}
        self._clients: dict[int, tuple[str, int]] = {}
        self._topics: dict[int, tuple[str, int]] = {}

    def read(self, first_seq: int, last_seq: int, events_max: int, bytes_max: int) -> list[Event]:
        """Events from `first_seq` to `last_seq`, both included, as many as the two limits allow.

        Raises:
            Damaged: the segment is not what was written.
            LogError: the disk did not give it.
        """
        first_seq = max(first_seq, first_seq_of(self.path))
        plain: list[Event] = []
        try:
            if self._plain:
                plain, has_more = self._plain.read(first_seq, last_seq, events_max, bytes_max)
                if not has_more:
                    return plain
                first_seq += len(plain)
                events_max -= len(plain)
                bytes_max -= sum(len(event.payload) for event in plain)
            rows = self._db.execute(self._read, (first_seq, last_seq, events_max))
            events = self._events(rows, first_seq, bytes_max, gaps=self.may_have_gaps)
            rows.close()  # a statement left open would keep the write-ahead log from being checkpointed
        except SQLITE_ERRORS as error:
            raise self._failed(error) from error
        return plain + events

    def find(
        self, first_seq: int, last_seq: int, is_wanted: Callable[[str], bool], events_max: int
    ) -> tuple[list[Event], int]:
        """Events from `first_seq` to `last_seq` whose topic is wanted, and up to where it looked (see `finding`).

        Raises:
            Damaged: the segment is not what was written.
            LogError: the disk did not give it.
        """
        try:
            return self._finder.find(first_seq, last_seq, is_wanted, events_max, may_have_gaps=self.may_have_gaps)
        except SQLITE_ERRORS as error:
            raise self._failed(error) from error

    def _events(self, rows: Iterable[tuple[Any, ...]], expected: int, room: int, *, gaps: bool = True) -> list[Event]:
        """The events in `rows`, the first of which is `expected`, with `room` bytes of payload at the most.

        Only if there may be `gaps`, the first and any other may be a later one.
        """
        events: list[Event] = []
        boots, clients, topics, look_up = self._boots, self._clients, self._topics, self._look_up
        pack = checksum.pack
        for seq, received_ns, mono_ns, boot, client, topic, flags, payload, origin, properties, crc in rows:
            if seq != expected and not (gaps and seq > expected):
                raise self.wrong(f"event {expected} is missing")
            expected = seq + 1
            if (
                type(payload) is not bytes
                or type(received_ns) is not int
                or type(mono_ns) is not int
                or flags not in FLAGS
            ):
                raise self.wrong(f"event {seq} is not an event")
            room -= len(payload)
            if room < 0 and events:
                break
            boot_id, boot_crc = boots.get(boot) or look_up(boots, _BOOT, boot)
            client_id, client_crc = clients.get(client) or look_up(clients, _CLIENT, client)
            name, topic_crc = topics.get(topic) or look_up(topics, _TOPIC, topic)
            if crc is not None:
                found = crc32(pack(seq, received_ns, mono_ns, boot_crc, client_crc, topic_crc, flags) + payload)
                if origin is not None or properties is not None:
                    found = checksum.with_rest(found, origin, properties)
                if found != crc:
                    raise self.wrong(f"the checksum of event {seq} is wrong")
            stamps = seq, received_ns, mono_ns, boot_id
            message = client_id, name, flags & 3, flags & 4 > 0, payload, origin or LOCAL, properties
            events.append(new_event((*stamps, *message, flags >> 3)))
        return events

    def notes(self, first_seq: int, last_seq: int, rows_max: int) -> notes.Notes:
        """What is noted of events from `first_seq` to `last_seq`, of each kind `rows_max` at the most, in order."""
        try:
            return notes.read(self._db, first_seq, last_seq, rows_max)
        except SQLITE_ERRORS as error:
            raise self._failed(error) from error

    def meta(self) -> dict[str, str]:
        """What the segment says of itself and of the log it belongs to."""
        try:
            return dict(self._db.execute("SELECT key, value FROM meta").fetchall())
        except SQLITE_ERRORS as error:
            raise self._failed(error) from error

    def bounds(self) -> tuple[int, int] | None:
        """Lowest and highest sequence number in the file; None if it is empty."""
        try:
            low, high = self._db.execute("SELECT min(seq), max(seq) FROM events").fetchone()
        except SQLITE_ERRORS as error:
            raise self._failed(error) from error
        return None if low is None else (low, high)

    def newest(self, last_seq: int) -> Stamps | None:
        """The stamps of the last event up to `last_seq`; None if there is none."""
        try:
            row: Stamps | None = self._db.execute(_NEWEST, (last_seq,)).fetchone()
        except SQLITE_ERRORS as error:
            raise self._failed(error) from error
        if row is not None and not (type(row[0]) is str and type(row[1]) is type(row[2]) is int):
            raise self.wrong("its last event is not an event")
        return row

    def stamped(self, first_seq: int, last_seq: int, *, order: Literal["first", "last"]) -> Stamped | None:
        """The first or the last event from `first_seq` to `last_seq`, both included; None if there is none."""
        statement = _STAMPED + (" LIMIT 1" if order == "first" else " DESC LIMIT 1")
        try:
            row = self._db.execute(statement, (first_seq, last_seq)).fetchone()
        except SQLITE_ERRORS as error:
            raise self._failed(error) from error
        if row is not None and not (type(row[1]) is str and type(row[2]) is type(row[3]) is int):
            raise self.wrong(f"event {row[0]} is not an event")
        return None if row is None else Stamped(*row)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    def _look_up(self, known: dict[int, tuple[str, int]], query: str, key: int) -> tuple[str, int]:
        """A name and its checksum."""
        if len(known) >= _NAMES_MAX:
            known.clear()
        row = self._db.execute(query, (key,)).fetchone()
        if row is None or type(row[0]) is not str:
            raise self.wrong(f"name {key} is missing")
        found = known[key] = (row[0], checksum.of_name(row[0]))
        return found

    def _names_of(self, boot: int, client: int, topic: int) -> Names | None:
        """The names of these ids with their checksums; None if one is missing."""
        with suppress(Damaged):
            return (
                self._boots.get(boot) or self._look_up(self._boots, _BOOT, boot),
                self._clients.get(client) or self._look_up(self._clients, _CLIENT, client),
                self._topics.get(topic) or self._look_up(self._topics, _TOPIC, topic),
            )
        return None

    def wrong(self, what: str) -> Damaged:
        """The error that says what is wrong with this segment."""
        return Damaged(self.path, f"{self.path} is damaged: {what}", self._inode)

    def _failed(self, error: sqlite3.Error | UnicodeDecodeError) -> LogError:
        return translated(error, self.path, f"{self.path} cannot be read: {error}", inode=self._inode)
