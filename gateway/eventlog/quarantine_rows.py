"""Rows of the quarantine in `state.db`: messages that went nowhere, each with why, and a copy that outlives the log.

One row for each event and upstream that refused it, and one, with no upstream, for an event that violates its contract.
A row has a checksum, because what it holds may be released: one that is not what was written is shown as such and never
released. There are limits for all rows together; rows that were released go first, and what goes that was not is booked
in the same transaction.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from gateway.event import LOCAL, QUARANTINED, Event
from gateway.eventlog import losses
from gateway.eventlog.losses import PURGED, QUARANTINE_DROPPED, QUARANTINE_FULL, Loss
from gateway.topics import matches

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from gateway.eventlog.batch import Release, Violated
    from gateway.eventlog.config import QuarantineConfig
    from gateway.eventlog.wanted import Wanted

SEQ = "quarantine_seq"
"""In the meta of the state: the event up to which violations were taken over from the log."""
ROW_OVERHEAD_BYTES = 400
"""What a row takes beside topic, payload and properties, about."""
_COLUMNS = (
    "upstream, seq, quarantined_ns, reason, contract, version, device, field, rule, value, received_ns, mono_ns,"
    " boot_id, client_id, topic, qos, retain, payload, origin, properties, released_seq"
)
_SELECT = f"SELECT id, {_COLUMNS}, crc FROM quarantine"  # noqa: S608 - constants, as below
_INSERT = f"INSERT INTO quarantine ({_COLUMNS}, bytes, crc) VALUES ({', '.join('?' * 23)})"  # noqa: S608
_SUMS = "SELECT upstream, contract, released_seq > 0, count(*), total(bytes) FROM quarantine GROUP BY 1, 2, 3"
_OLDEST = "SELECT id, upstream, seq, contract, released_seq, bytes FROM quarantine ORDER BY released_seq = 0, id"
_PAGE_ROWS = 200
_COPIED = (
    *("received_ns", "mono_ns", "boot_id", "client_id", "topic", "qos", "retain", "payload"),
    *("origin", "properties"),
)


class Kept(NamedTuple):
    """A row: why an event went nowhere, and what it was."""

    id: int
    """Rises with every row; 0 before it is stored."""
    upstream: str
    """That refused it; empty: it violates its contract."""
    seq: int
    quarantined_ns: int
    reason: str
    """In the words of the upstream; empty if the contract is the reason."""
    contract: str
    version: str
    device: str
    field: str
    rule: str
    value: str
    received_ns: int | None
    mono_ns: int | None
    boot_id: str | None
    client_id: str | None
    topic: str | None
    """None: the message is not copied; the log may have it."""
    qos: int | None
    retain: int | None
    payload: bytes | None
    origin: str | None
    properties: bytes | None
    released_seq: int = 0
    """The event it was released as; 0: it was not."""
    is_whole: bool = True
    """Whether it is what was written."""

    def event(self) -> Event | None:
        """What went nowhere; None if it is not copied."""
        if self.payload is None or self.topic is None:
            return None
        return Event(
            self.seq,
            self.received_ns or 0,
            self.mono_ns or 0,
            self.boot_id or "",
            self.client_id or "",
            self.topic,
            self.qos or 0,
            bool(self.retain),
            self.payload,
            self.origin or LOCAL,
            self.properties,
            QUARANTINED if not self.upstream else 0,
        )


class Sum(NamedTuple):
    """Rows of one upstream, or of violations of one contract."""

    upstream: str
    contract: str
    released: int
    """1: those that were released; 0: the others."""
    events: int
    bytes_: int


class Chosen(NamedTuple):
    """Which rows are meant."""

    wanted: Wanted
    """By number, time, topic and device of the message; the device by client id or as the contract names it."""
    upstream: str | None = None
    """Empty: violations only."""
    contract: str | None = None
    released: bool = False
    """Whether also those that were released."""


def of_violation(violated: Violated, event: Event, now_ns: int) -> Kept:
    """A row for an event that violates its contract."""
    return Kept(0, "", event.seq, now_ns, "", *violated[2:], *_copy(event))


def of_refusal(upstream: str, seq: int, event: Event | None, reason: str, now_ns: int) -> Kept:
    """A row for an event that an upstream can never take; without a copy if the log does not have the event."""
    return Kept(0, upstream, seq, now_ns, reason, "", "", "", "", "", "", *_copy(event))


def add(db: sqlite3.Connection, rows: Iterable[Kept], limits: QuarantineConfig, now_ns: int) -> None:
    """Store rows within the limits, in the caller's transaction. A violation that is there already stays as it is."""
    events, bytes_ = _totals(db)
    lost: list[Loss] = []
    for row in rows:
        known = db.execute("SELECT id, bytes FROM quarantine WHERE upstream = ? AND seq = ?", row[1:3]).fetchone()
        if known and not row.upstream:
            continue
        size = _size(row)
        if known:  # refused again
            db.execute("DELETE FROM quarantine WHERE id = ?", (known[0],))
            events, bytes_ = events - 1, bytes_ - known[1]
        is_full = events >= limits.events_max or bytes_ + size > limits.bytes_max
        if size > limits.bytes_max or (is_full and limits.policy == "refuse"):
            lost.append(_loss(QUARANTINE_FULL, row.upstream, row.seq, row.contract, now_ns))
            continue
        db.execute(_INSERT, _values(row))
        events, bytes_ = events + 1, bytes_ + size
    lost += _drop_oldest(db, events - limits.events_max, bytes_ - limits.bytes_max, now_ns)
    losses.book(db, lost)


def with_copy(row: Kept, event: Event) -> Kept:
    """The row with the message."""
    return row._replace(**dict(zip(_COPIED, _copy(event), strict=True)))


def without_copy(row: Kept) -> Kept:
    """The row without the message."""
    nothing = dict.fromkeys(_COPIED)
    return row._replace(**nothing)  # type: ignore[arg-type]  # each of them may be None


def take_over(
    db: sqlite3.Connection,
    rows: Iterable[Kept],
    releases: Iterable[Release],
    seq: int,
    limits: QuarantineConfig,
    now_ns: int,
) -> None:
    """Store violations and releases that the log tells of up to the event `seq`, in the caller's transaction."""
    add(db, rows, limits, now_ns)
    for release in releases:
        for row in _rows(db, " WHERE upstream = '' AND seq = ?", (release.original,)):
            if row.is_whole:
                _mark(db, row, release.seq)
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SEQ, str(seq)))


def mark_released(db: sqlite3.Connection, rows: Iterable[Kept]) -> None:
    """Note that an upstream is sent these events again, in the caller's transaction."""
    for row in rows:
        for stored in _rows(db, " WHERE id = ? AND seq = ?", (row.id, row.seq)):
            _mark(db, stored, stored.seq)


def purge(db: sqlite3.Connection, rows: Sequence[Kept], now_ns: int) -> None:
    """Remove rows for good and book those that were not released, in the caller's transaction."""
    db.executemany("DELETE FROM quarantine WHERE id = ?", [(row.id,) for row in rows])
    losses.book(
        db, [_loss(PURGED, row.upstream, row.seq, row.contract, now_ns) for row in rows if not row.released_seq]
    )


def page(chosen: Chosen, after_id: int, db: sqlite3.Connection, rows_max: int = _PAGE_ROWS) -> list[Kept]:
    """The next rows that are meant."""
    return list(islice(choose(db, chosen, after_id), rows_max))


def choose(db: sqlite3.Connection, chosen: Chosen, after_id: int = 0) -> Iterator[Kept]:
    """Rows that are meant, in the order they came, in bounded memory."""
    where, values = [" WHERE id > ?"], [after_id]
    for column in ("upstream", "contract"):
        value = getattr(chosen, column)
        if value is not None:
            where.append(f"{column} = ?")
            values.append(value)
    where.append("seq BETWEEN ? AND ?")
    values += [chosen.wanted.first_seq, chosen.wanted.last_seq]
    if not chosen.released:
        where.append("released_seq = 0")
    is_meant = _chooser(chosen)
    while page := list(_rows(db, " AND ".join(where) + f" ORDER BY id LIMIT {_PAGE_ROWS}", tuple(values))):
        yield from filter(is_meant, page)
        values[0] = page[-1].id


def sums(db: sqlite3.Connection) -> list[Sum]:
    """How many rows there are, and of what."""
    return [
        Sum(upstream, contract, released, events, int(bytes_))
        for upstream, contract, released, events, bytes_ in db.execute(_SUMS)
    ]


def describe(known: Sequence[Sum]) -> dict[str, object]:
    """Counts, for `gateway status`; plain JSON values."""
    held = [each for each in known if not each.released]
    return {
        "events": sum(each.events for each in held),
        "bytes": sum(each.bytes_ for each in known),
        "released": sum(each.events for each in known if each.released),
        "contracts": {each.contract: each.events for each in held if not each.upstream},
        "upstreams": {each.upstream: each.events for each in held if each.upstream},
    }


def carry_over(db: sqlite3.Connection, rows: Iterable[tuple[Any, ...]], seq: int) -> None:
    """Store rows of a state that is lost, as they were, in the caller's transaction; `seq` is what its meta said."""
    kept = [row for row in map(_kept, rows) if row.is_whole and row.payload is not None]
    db.executemany(_INSERT.replace("INSERT", "INSERT OR IGNORE", 1), [_values(row) for row in kept])
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SEQ, str(seq)))


EVERY = f"{_SELECT} ORDER BY id"
"""Rows as `carry_over` takes them."""


def _rows(db: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> Iterator[Kept]:
    for row in db.execute(_SELECT + where, values):
        yield _kept(row)


def _kept(row: tuple[Any, ...]) -> Kept:
    kept = Kept(*row[:-1])
    # One that an earlier version has stored has no checksum, and no copy that could have been changed.
    return kept._replace(is_whole=row[-1] in {None, _crc(kept)} and (row[-1] is not None or kept.payload is None))


def _mark(db: sqlite3.Connection, row: Kept, seq: int) -> None:
    values = seq, _crc(row._replace(released_seq=seq)), row.id
    db.execute("UPDATE quarantine SET released_seq = ?, crc = ? WHERE id = ?", values)


def _values(row: Kept) -> tuple[object, ...]:
    return (*row[1:22], _size(row), _crc(row))


def _drop_oldest(db: sqlite3.Connection, events: int, bytes_: int, now_ns: int) -> list[Loss]:
    """Remove so many events, and so many bytes, or as many as it takes for both."""
    if events <= 0 and bytes_ <= 0:
        return []
    lost, gone = [], []
    for number, upstream, seq, contract, released_seq, size in db.execute(_OLDEST):
        if events <= 0 and bytes_ <= 0:
            break
        events, bytes_ = events - 1, bytes_ - size
        gone.append((number,))
        if not released_seq:
            lost.append(_loss(QUARANTINE_DROPPED, upstream, seq, contract, now_ns))
    db.executemany("DELETE FROM quarantine WHERE id = ?", gone)
    return lost


def _chooser(chosen: Chosen) -> Callable[[Kept], bool]:
    wanted = chosen.wanted
    seqs, begin_ns, end_ns = frozenset(wanted.seqs), wanted.begin_ns, wanted.end_ns

    def is_meant(row: Kept) -> bool:
        time_ns = row.quarantined_ns if row.received_ns is None else row.received_ns
        return (
            (not seqs or row.seq in seqs)
            and (begin_ns is None or time_ns >= begin_ns)
            and (end_ns is None or time_ns <= end_ns)
            and (wanted.device is None or wanted.device in {row.client_id, row.device})
            and (wanted.topic == "#" or (row.topic is not None and matches(wanted.topic, row.topic)))
        )

    return is_meant


def _totals(db: sqlite3.Connection) -> tuple[int, int]:
    events, bytes_ = db.execute("SELECT count(*), total(bytes) FROM quarantine").fetchone()
    return events, int(bytes_)


def _copy(event: Event | None) -> tuple[Any, ...]:
    if event is None:
        return (None,) * len(_COPIED)
    return (*event[1:7], int(event.retain), event.payload, event.origin, event.properties)


def _size(row: Kept) -> int:
    return ROW_OVERHEAD_BYTES + sum(len(each or "") for each in (row.topic, row.payload, row.properties, row.reason))


def _crc(row: Kept) -> int:
    return crc32(repr(tuple(row[1:22])).encode())


def _loss(cause: str, upstream: str, seq: int, contract: str, now_ns: int) -> Loss:
    detail = f"violates {contract or 'no contract'}" if not upstream else f"refused by {upstream}"
    return Loss(now_ns, upstream or None, seq, seq, 1, cause, detail, now_ns)
