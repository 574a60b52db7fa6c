"""The write-ahead log of a database as bytes (https://sqlite.org/walformat.html): what SQLite passes over in silence.

SQLite takes the frames of a write-ahead log up to the first whose checksum is wrong, and drops the rest without a word:
that is how a power cut ends. A power cut can tear only the last transaction, because each is synced before the next one
begins. So two commits behind a broken frame mean that something was broken that had been synced: that is damage.
A frame's checksum goes on from the one stored in the frame before, so frames behind a broken one can be checked too.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from array import array
from collections import Counter
from contextlib import closing, suppress
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import LogError
from gateway.eventlog.damage import SQLITE_ERRORS, is_damage, page_bytes_of, shm_of, wal_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
_LITTLE, _BIG = 0x377F0682, 0x377F0683
_MASK = 0xFFFFFFFF
_MX_FRAME_AT = 16
"""Where the wal-index keeps the last valid frame."""


class Frame(NamedTuple):
    """A page as a transaction left it."""

    number: int
    """From 1."""
    page: int
    commits: bool
    valid: bool
    """Its checksum goes on from the one stored in the frame before."""


class _Log(NamedTuple):
    """An open write-ahead log."""

    file: BinaryIO
    page_bytes: int
    order: str
    """Of the bytes in the words that checksums are made of."""
    start: bytes
    """The checksum of the header, which the first frame goes on from; empty if the header is lost."""
    salts: bytes
    """Frames with others are left over from before the last checkpoint."""
    frames: int

    def header(self, number: int) -> bytes:
        """Of a frame."""
        self.file.seek(_HEADER_BYTES + (number - 1) * (self.page_bytes + _FRAME_HEADER_BYTES))
        return self.file.read(_FRAME_HEADER_BYTES)

    def content(self, number: int) -> bytes:
        """The page in a frame."""
        self.file.seek(_HEADER_BYTES + (number - 1) * (self.page_bytes + _FRAME_HEADER_BYTES) + _FRAME_HEADER_BYTES)
        return self.file.read(self.page_bytes)

    def frame(self, number: int) -> Frame | None:
        """A frame, checked; None if it is left over, or nothing of it can be trusted."""
        header = self.header(number)
        if header[8:16] != self.salts:
            return None
        page, pages = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
        before = self.header(number - 1)[16:24] if number > 1 else self.start
        valid = bool(before) and header[16:24] == _checksum(header[:8] + self.content(number), before, self.order)
        return Frame(number, page, pages > 0, valid)


def _checksum(data: bytes, before: bytes, order: str) -> bytes:
    first, second = int.from_bytes(before[:4], "big"), int.from_bytes(before[4:], "big")
    words = array("I", data)
    if order != sys.byteorder:
        words.byteswap()
    pairs = iter(words)
    for word, following in zip(pairs, pairs, strict=True):
        first = first + word + second & _MASK
        second = second + following + first & _MASK
    return first.to_bytes(4, "big") + second.to_bytes(4, "big")


def _opened(file: BinaryIO, database: Path) -> _Log:
    header = file.read(_HEADER_BYTES)
    size = os.fstat(file.fileno()).st_size
    magic = int.from_bytes(header[:4], "big")
    order = {_LITTLE: "little", _BIG: "big"}.get(magic, sys.byteorder)
    whole = magic in {_LITTLE, _BIG} and header[24:] == _checksum(header[:24], bytes(8), order)
    page_bytes = int.from_bytes(header[8:12], "big") if whole else page_bytes_of(database)
    frames = max(0, size - _HEADER_BYTES) // (page_bytes + _FRAME_HEADER_BYTES)
    log = _Log(file, page_bytes, order, header[24:] if whole else b"", header[16:24], frames)
    return log if whole else log._replace(salts=_most_common_salts(log))


def _most_common_salts(log: _Log) -> bytes:
    counted = Counter(log.header(number)[8:16] for number in range(1, log.frames + 1))
    del counted[bytes(8)]
    return counted.most_common(1)[0][0] if counted else b""


def fault(database: Path) -> str:
    """What is wrong with the write-ahead log of a database that nobody has open; empty if nothing.

    Costs no more than SQLite's own recovery, unless something is wrong. Neither file is changed.

    Raises:
        LogError: the disk did not give it.
    """
    wal = wal_of(database)
    try:
        with wal.open("rb") as file:
            log = _opened(file, database)
            if not log.frames:
                return ""
            last = _last_valid(database)
            claims = [n for n in range(last + 1, log.frames + 1) if _claims_commit(log.header(n), log.salts)]
            if len(claims) < 2:
                return ""
            broken = _first_broken(log, last)
            lost = [n for n in claims if n == broken or (n > broken and (frame := log.frame(n)) and frame.valid)]
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise LogError(f"{wal} cannot be read: {error.strerror}", "Look at the disk (ls -l, dmesg).") from error
    return f"its write-ahead log is damaged at frame {broken} of {log.frames}" if len(lost) >= 2 else ""


def _claims_commit(header: bytes, salts: bytes) -> bool:
    return header[8:16] == salts and header[4:8] != bytes(4)


def _first_broken(log: _Log, last: int) -> int:
    number = last + 1
    while (frame := log.frame(number)) and frame.valid:
        number += 1
    return number


def _last_valid(database: Path) -> int:
    """The last frame that SQLite takes. It recovers the log for that and writes the number into the wal-index."""
    try:
        uri = f"{database.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            with shm_of(database).open("rb") as index:
                return int.from_bytes(index.read(_MX_FRAME_AT + 4)[_MX_FRAME_AT:], sys.byteorder)
    except FileNotFoundError:
        return 0
    except SQLITE_ERRORS as error:
        if is_damage(error):  # the database is no database; whoever opens it will find out
            return 0
        raise LogError(f"{database} cannot be read: {error}", "Look at the disk (df, dmesg).") from error


def drop_rest(database: Path) -> None:
    """Have SQLite write what it takes of a write-ahead log into the database and empty the log, if the disk allows it.

    What stays behind the break would be taken for damage again at the next start.
    """
    with suppress(*SQLITE_ERRORS), closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()


def fold(database: Path) -> None:
    """Write every page that can be trusted from the write-ahead log into the database, and remove the log.

    For copies only: of a transaction with a broken frame the other pages are taken.
    """
    try:
        with wal_of(database).open("rb") as file, database.open("r+b") as target:
            log = _opened(file, database)
            frames = [frame for n in range(1, log.frames + 1) if (frame := log.frame(n)) and frame.valid]
            while frames and not frames[-1].commits:  # of a transaction that was never completed
                frames.pop()
            for frame in frames:
                target.seek((frame.page - 1) * log.page_bytes)
                target.write(log.content(frame.number))
    except FileNotFoundError:
        return
    wal_of(database).unlink()
    shm_of(database).unlink(missing_ok=True)
