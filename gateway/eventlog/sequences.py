"""What devices number their messages with: which numbers are missing, came twice, or began anew.

A contract may name the field with the device's own number of a message. It is followed as events become durable, so
what is known is always that of the head of the log. It is stored with the cursors; what came after that is read again
from the end of the log at start. Of more devices than `ingest.devices_max` those are forgotten that were silent for
longest: their next message is taken as the first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from zlib import crc32

from gateway.eventlog.losses import DEVICE_GAP, DEVICE_REPEAT, DEVICE_RESTART

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from gateway.eventlog.batch import Numbered
    from gateway.eventlog.ledger import Ledger

Key: TypeAlias = tuple[str, str]
"""Contract and device."""
NUMBER_MAX = 2**63 - 1
DEVICES_MAX = 10_000
TAIL_EVENTS_MAX = 20_000
"""So many events are looked through at start at the most, and so far what is stored may be behind."""
_SMALL = 10
"""A count begins anew at 0 or 1, and the first messages after that may be lost."""
_UNDER_WAY_MAX = 100
"""So many messages of a device may wait for their acknowledgements, and come again."""


ROWS = "SELECT contract, device, number, unread, crc FROM sequences"
SEQ = "sequences_seq"
"""In the meta of the state: as of which event they are true."""


class Last(NamedTuple):
    """How far a device has counted."""

    number: int
    unread: int
    """Messages since then whose number could not be read: they explain as many missing numbers."""


class Told(NamedTuple):
    """What a number says."""

    cause: str
    """Of a row in the ledger; empty: all is well."""
    events: int
    """Messages that are missing, or that came again."""


WELL = Told("", 0)


def look(last: Last, number: int) -> Told:
    """What it says that `number` comes after `last`. Pure.

    A number below the last one is a count that began anew if it is 0 or 1, or so small that only a few numbers can have
    been lost; else it is a message that came again, or late.
    """
    if number > last.number:
        missing = number - last.number - 1 - last.unread
        return Told(DEVICE_GAP, missing) if missing > 0 else WELL
    fell = last.number - number
    if fell and (number <= 1 or (number <= _SMALL < fell)):
        return Told(DEVICE_RESTART, 0)
    return Told(DEVICE_REPEAT, 1)


class Counts(NamedTuple):
    """What has to be stored in one transaction."""

    rows: dict[Key, Last | None]
    """None: forgotten."""
    seq: int
    """As of this event."""
    before: int
    """As of which what is stored before is."""


class Sequences:
    """How far each device has counted, as of the head of the log. Called in the event loop."""

    def __init__(self, known: Mapping[Key, Last], seq: int, ledger: Ledger) -> None:
        """Begin with what is stored as of the event `seq`."""
        self._last = OrderedDict(known)
        """Whose last message is oldest comes first."""
        self._ledger = ledger
        self._changed: dict[Key, Last | None] = {}
        self.seq = seq
        """What is stored is true as of this event."""
        self.devices_max = DEVICES_MAX

    def note(self, numbered: Sequence[Numbered]) -> None:
        """Messages have become durable, in this order."""
        lasts, changed = self._last, self._changed
        for seq, contract, device, number in numbered:
            key = contract, device
            last = lasts.get(key)
            if last is None or number is None or last.unread or number != last.number + 1 or number > NUMBER_MAX:
                self._look(seq, key, last, number)
                continue
            lasts[key] = changed[key] = Last(number, 0)
            lasts.move_to_end(key)

    def keep_only(self, contracts: Collection[str]) -> None:
        """Forget what is known by contracts that are not in force: nobody follows the numbers meanwhile."""
        for key in [key for key in self._last if key[0] not in contracts]:
            del self._last[key]
            self._changed[key] = None

    def is_anew(self, contract: str, device: str, number: int) -> bool:
        """Whether a message with a number that was there before is of a count that began anew, not that one again.

        It is if the count is not as far yet, or so far that the device has had all acknowledgements of its first ones.
        """
        last = self._last.get((contract, device))
        if last is None:
            return False
        return number > last.number or (number <= _SMALL and last.number - number > _UNDER_WAY_MAX)

    def take(self, head: int) -> Counts:
        """What has changed; it counts as stored as of `head` from now on."""
        counts = Counts(self._changed, head, self.seq)
        self._changed, self.seq = {}, head
        return counts

    def put_back(self, counts: Counts) -> None:
        """What `take` gave could not be stored."""
        self._changed, self.seq = counts.rows | self._changed, counts.before

    def _look(self, seq: int, key: Key, last: Last | None, number: int | None) -> None:
        """What is not simply the next number."""
        if number is None or not 0 <= number <= NUMBER_MAX:
            if last is None:
                return
            now = Last(last.number, last.unread + 1)
        elif last is None:
            now = Last(number, 0)
        else:
            told = look(last, number)
            now = last if told.cause == DEVICE_REPEAT else Last(number, 0)
            if told.cause:
                self._ledger.note(told.cause, f"{key[0]}: {key[1][:200]}", seq, told.events)
        self._last[key] = self._changed[key] = now
        self._last.move_to_end(key)
        if len(self._last) > self.devices_max:
            longest, _ = self._last.popitem(last=False)
            self._changed[longest] = None


def store(db: sqlite3.Connection, counts: Counts) -> None:
    """Write what has changed in the caller's transaction."""
    gone = [key for key, last in counts.rows.items() if last is None]
    db.executemany("DELETE FROM sequences WHERE contract = ? AND device = ?", gone)
    kept = [to_row(key, last) for key, last in counts.rows.items() if last is not None]
    db.executemany("INSERT OR REPLACE INTO sequences VALUES (?, ?, ?, ?, ?)", kept)
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SEQ, str(counts.seq)))


def to_row(key: Key, last: Last) -> tuple[object, ...]:
    """As it is stored, with a checksum."""
    return (*key, *last, crc32(repr((*key, *last)).encode()))


def whole(rows: Iterable[tuple[str, str, int, int, int]]) -> dict[Key, Last]:
    """Those rows that are what was written; of the other devices the next message is taken as the first."""
    found = (
        ((contract, device), Last(number, unread), row) for row in rows for contract, device, number, unread, _ in [row]
    )
    return {key: last for key, last, row in found if to_row(key, last) == tuple(row)}
