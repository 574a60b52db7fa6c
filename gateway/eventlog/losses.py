"""The loss ledger: which events are gone that somebody still needed, and why. Rows in `state.db`.

Ranges are inclusive. `events` is how many events are known to be lost: a range of the cause `gap` has 0, because its
numbers were left out for safety and nobody knows of an event that had one; in a range that was dropped for an upstream
some numbers may not have stood for an event.

The ledger is bounded. What retention drops, what an operator skips and what is refused continues the last row of its
upstream and cause for a day, and of a thousand such rows the two oldest become one: years of dropping are some 100 KB
an upstream. Rows do not grow together over a `rewound` one, of which there are as many as an operator makes. A row of
damage names numbers that had their place on the disk, so there cannot be more of them than that.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

from gateway.eventlog import schema
from gateway.eventlog.damage import translated
from gateway.eventlog.retention import DROPPED, EXPIRED
from gateway.eventlog.segment import connect, connect_reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

DAMAGED = "damaged"
GAP = "gap"
FOUND = "found"
"""Put back into the log from a file that was set aside: such numbers are not missing any more."""
SKIPPED = "skipped"
"""An operator moved an upstream on over these (`gateway upstreams seek`)."""
REWOUND = "rewound"
"""An operator moved an upstream back to the first of these: nothing is lost, and its books begin anew there."""
REFUSED = "refused"
"""Never stored, because the log was full; such a row names the last number given out at the time."""

REJECTED = "rejected"
"""Acknowledged and not stored, as its contract says; such a row names the last number given out at the time."""
DEVICE_GAP, DEVICE_REPEAT, DEVICE_RESTART = "device_gap", "device_repeat", "device_restart"
"""What a device's own numbers tell: messages that never came, that came again, and a count that began anew. The number
is that of the event that told it."""
QUARANTINE_DROPPED, QUARANTINE_FULL, PURGED = "quarantine_dropped", "quarantine_full", "purged"
"""Gone from the quarantine, beyond its limits; never got in, for want of room; removed by an operator. The books count
such an event as quarantined all the same."""
EVENTS_MAX = 2**31
"""No single row counts more at once: numbers that devices make up must not add up to what no column holds."""
_OF_DEVICES = (DEVICE_GAP, DEVICE_REPEAT, DEVICE_RESTART)
_ROWS_OF_DEVICES_MAX = 5000
"""Of each of these causes; those beyond become one more row, oldest first, as there may be any number of devices."""
_OTHERS = "several devices"

_PERIOD_NS = 24 * 3600 * 10**9
_ROWS_MAX = 1000
"""Of one upstream, cause and detail, among those that may be continued."""

_COLUMNS = "at_ns, upstream, first_seq, last_seq, events, cause, detail, until_ns"
_INSERT = f"INSERT INTO losses ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
ROWS = f"SELECT {_COLUMNS} FROM losses ORDER BY id"  # noqa: S608
"""Every row, oldest first."""
_SAME = """
    SELECT id, at_ns, first_seq, last_seq, events FROM losses WHERE upstream IS :upstream AND cause = :cause
    AND detail = :detail AND (cause = 'rewound' OR id > (
        SELECT coalesce(max(id), 0) FROM losses WHERE upstream IS :upstream AND cause = 'rewound'))"""
"""Rows that belong to the books as they are now: none from before they began anew."""
_OLDEST_OF_DEVICES = """
    SELECT id, at_ns, first_seq, last_seq, events, until_ns FROM losses
    WHERE cause = ? AND detail != ? ORDER BY id LIMIT ?"""
_CONTINUE = "UPDATE losses SET first_seq = ?, last_seq = ?, events = ?, until_ns = ? WHERE id = ?"


class Span(NamedTuple):
    """A run of sequence numbers, both ends included."""

    first: int
    last: int


class Loss(NamedTuple):
    """A row of the ledger."""

    at_ns: int
    upstream: str | None
    """None: lost for every upstream."""
    first_seq: int
    last_seq: int
    events: int
    cause: str
    detail: str
    until_ns: int
    """When the row was last continued."""


class Missing(NamedTuple):
    """Numbers without an event, for every upstream; the runs are in order and do not overlap."""

    gaps: list[Span]
    """Nobody knows of an event that had one of these."""
    damaged: list[Span]
    """These had events, which are lost."""


def missing_in(rows: Iterable[Loss]) -> Missing:
    """What rows of the ledger say of numbers without an event. Pure."""
    gaps: list[Span] = []
    damaged: list[Span] = []
    for row in rows:  # in the order they were written: what was put back may be damaged again
        span = Span(row.first_seq, row.last_seq)
        if row.upstream is not None:
            continue
        if row.cause == GAP:
            gaps.append(span)
        elif row.cause == DAMAGED:
            damaged.append(span)
        elif row.cause == FOUND:
            damaged = without(damaged, [span])
    return Missing(sorted(gaps), sorted(damaged))


def dropped_in(rows: Iterable[Loss]) -> dict[str, int]:
    """Per upstream, how many events its books dropped before it had them, as rows of the ledger say. Pure.

    Args:
        rows: in the order they were written; what stands before a row of the cause `rewound` belongs to older books.
    """
    found: dict[str, int] = {}
    for row in rows:
        if row.upstream is not None and row.cause in {DROPPED, EXPIRED, SKIPPED}:
            found[row.upstream] = found.get(row.upstream, 0) + row.events
        elif row.upstream is not None and row.cause == REWOUND:
            found[row.upstream] = 0
    return found


def count_in(spans: Iterable[Span], first: int, last: int) -> int:
    """How many numbers from `first` to `last`, both included, are in runs that do not overlap. Pure."""
    return sum(max(0, min(last, span.last) - max(first, span.first) + 1) for span in spans)


def without(spans: Iterable[Span], known: Iterable[Span]) -> list[Span]:
    """The parts of `spans` that no span of `known` covers, in order. Pure."""
    left: list[Span] = []
    taken = sorted(known)
    at = 0
    done = -1
    for first, last in sorted(spans):
        begin = max(first, done + 1)
        while at < len(taken) and taken[at].first <= last:
            if begin < taken[at].first:
                left.append(Span(begin, taken[at].first - 1))
            begin = max(begin, taken[at].last + 1)
            if begin > last:
                break  # this one may cover something of the next span too
            at += 1
        if begin <= last:
            left.append(Span(begin, last))
        done = max(done, last)
    return left


def record(state_path: Path, spans: Sequence[Span], cause: str, detail: str, now_ns: int) -> list[Span]:
    """Note numbers that are lost for every upstream; durable when it returns, and harmless if said twice.

    It has a connection of its own, so any thread may call it.

    Returns:
        What was not in the ledger before.

    Raises:
        LogError: the disk refused.
    """
    with closing(connect(state_path)) as db:
        try:
            schema.migrate(db, schema.state)
            db.execute("BEGIN IMMEDIATE")
            known = missing_in(_rows(db))
            new = without(spans, [*known.gaps, *known.damaged])
            db.executemany(
                _INSERT,
                [
                    (now_ns, None, *span, 0 if cause == GAP else span.last - span.first + 1, cause, detail, now_ns)
                    for span in new
                ],
            )
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise translated(error, state_path, f"{state_path}: {error}", "Is the disk full? (df, dmesg)") from error
    return new


def record_found(state_path: Path, spans: Sequence[Span], detail: str, now_ns: int) -> None:
    """Note that the log holds these numbers again; durable when it returns.

    Raises:
        LogError: the disk refused.
    """
    rows = [Loss(now_ns, None, *span, span.last - span.first + 1, FOUND, detail, now_ns) for span in spans]
    with closing(connect(state_path)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_INSERT, rows)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise translated(error, state_path, f"{state_path}: {error}", "Is the disk full? (df, dmesg)") from error


def merged(old: Loss, new: Loss) -> Loss:
    """Two rows of one upstream, cause and detail as one. Pure."""
    return old._replace(
        first_seq=min(old.first_seq, new.first_seq),
        last_seq=max(old.last_seq, new.last_seq),
        events=old.events + new.events,
        until_ns=new.until_ns,
    )


def book(db: sqlite3.Connection, rows: Iterable[Loss]) -> None:
    """Note what was dropped, refused or moved over, within the caller's transaction."""
    of_devices = set()
    for row in rows:
        same = db.execute(_SAME + " ORDER BY id DESC LIMIT 1", _key(row)).fetchone()
        if same is not None and 0 <= row.at_ns - same[1] < _PERIOD_NS and row.cause != REWOUND:
            _continue(db, same, row)
        else:
            db.execute(_INSERT, row)
            _bound(db, row)
            of_devices.add(row.cause)
    for cause in of_devices.intersection(_OF_DEVICES):  # once, as a whole fleet may have come back at the same time
        _bound_devices(db, cause)


def _continue(db: sqlite3.Connection, old: tuple[int, int, int, int, int], row: Loss) -> None:
    number, _, first, last, events = old
    values = (min(first, row.first_seq), max(last, row.last_seq), events + row.events, row.until_ns, number)
    db.execute(_CONTINUE, values)


def _bound_devices(db: sqlite3.Connection, cause: str) -> None:
    (count,) = db.execute("SELECT count(*) FROM losses WHERE cause = ? AND detail != ?", (cause, _OTHERS)).fetchone()
    oldest = db.execute(_OLDEST_OF_DEVICES, (cause, _OTHERS, max(0, count - _ROWS_OF_DEVICES_MAX))).fetchall()
    if not oldest:
        return
    rows = [
        Loss(at_ns, None, first, last, events, cause, _OTHERS, until_ns)
        for _, at_ns, first, last, events, until_ns in oldest
    ]
    gone = [(number,) for number, *_ in oldest]
    others = db.execute(_SAME, {"upstream": None, "cause": cause, "detail": _OTHERS}).fetchone()
    if others is None:
        db.execute("UPDATE losses SET detail = ? WHERE id = ?", (_OTHERS, *gone.pop(0)))
        others, _ = oldest[0][:5], rows.pop(0)
    if rows:
        _continue(db, others, reduce(merged, rows))
    db.executemany("DELETE FROM losses WHERE id = ?", gone)


def _bound(db: sqlite3.Connection, row: Loss) -> None:
    oldest = db.execute(_SAME + f" ORDER BY id LIMIT {_ROWS_MAX + 1}", _key(row)).fetchall()
    if len(oldest) > _ROWS_MAX:
        number, at_ns, first, last, events = oldest[1]
        _continue(db, oldest[0], Loss(at_ns, row.upstream, first, last, events, row.cause, row.detail, at_ns))
        db.execute("DELETE FROM losses WHERE id = ?", (number,))


def _key(row: Loss) -> dict[str, str | None]:
    return {"upstream": row.upstream, "cause": row.cause, "detail": row.detail}


def ledger(state_path: Path) -> list[Loss]:
    """Every row, oldest first; nothing is written.

    Raises:
        LogError: it cannot be read.
    """
    with closing(connect_reading(state_path)) as db:
        try:
            return _rows(db)
        except sqlite3.Error as error:
            raise translated(error, state_path, f"{state_path} cannot be read: {error}") from error


def _rows(db: sqlite3.Connection) -> list[Loss]:
    return [Loss(*row) for row in db.execute(ROWS)]
