"""What counts as damage, how a file is looked over, and how a damaged one is set aside. Nothing is ever deleted here.

Damage is a file whose bytes are not what was written. A disk that is full, a folder that may not be written, an I/O
error: these are troubles that may pass, and stay a plain `LogError`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.eventlog.pages import PAGE_BYTES, PAGE_BYTES_BEFORE, page_bytes_in

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeVar

    T = TypeVar("T")

_DAMAGE_CODES = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,  # our own statements are right, so "no such table" is a schema that was lost
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_FORMAT,
        sqlite3.SQLITE_TOOBIG,
    }
)
SQLITE_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What a statement may raise: what SQLite says may quote damaged text, which Python cannot decode."""
_SHORT_READ = 522
"""SQLITE_IOERR_SHORT_READ: the file ends too early. Every other I/O error is the disk's."""
_HEADER_BYTES = 100


class Damaged(LogError):  # noqa: N818 - a state of the file, as its siblings in `errors`
    """A file of the log is not what was written.

    Args:
        path: the file.
        reason: what was found.
        inode: of the file that was read; 0: the one that has the name now. Another may have taken it since.
    """

    def __init__(self, path: Path, reason: str, inode: int = 0) -> None:
        super().__init__(reason, "What can be read of it is saved at the next start (gateway run, gateway repair).")
        self.path = path
        self.inode = inode or inode_of(path)


def is_damage(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    """Whether an error of SQLite tells of bytes that are wrong, and not of a disk that refuses."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # raised by Python's own part: text that is not UTF-8
        return isinstance(error, UnicodeDecodeError | sqlite3.OperationalError) and "decode" in str(error)
    return code == _SHORT_READ or code & 0xFF in _DAMAGE_CODES


def translated(
    error: sqlite3.Error | UnicodeDecodeError, path: Path, reason: str, hint: str = "", inode: int = 0
) -> LogError:
    """The error of the log that an error of SQLite is: `Damaged`, or a `LogError` with a hint."""
    return Damaged(path, reason, inode) if is_damage(error) else LogError(reason, hint)


def inode_of(path: Path) -> int:
    """Tells a file from a later one of the same name; 0 if there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def wal_of(path: Path) -> Path:
    """Where SQLite keeps the write-ahead log of a database."""
    return path.with_name(path.name + "-wal")


def shm_of(path: Path) -> Path:
    """Where SQLite keeps the index of that log."""
    return path.with_name(path.name + "-shm")


def no_database(path: Path) -> str:
    """Why SQLite must not even be asked to open what has a database's name; empty if it may.

    It takes an empty file for a new database, and removes the write-ahead log beside it. A pipe would keep it waiting.
    """
    for name, what in ((path, "it"), (wal_of(path), "its write-ahead log"), (shm_of(path), "the index of its log")):
        if os.path.lexists(name) and not name.is_file():
            return f"{what} is no file"
    return "it is empty" if path.exists() and not path.stat().st_size else ""


def header_fault(path: Path) -> str:
    """What is wrong with the first bytes of a database file (https://sqlite.org/fileformat.html); empty if nothing.

    SQLite would take one whose version bytes are wrong for a read-only one.

    Raises:
        LogError: the file cannot be read at all.
    """
    if fault := no_database(path):
        return fault
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise LogError(f"{path} cannot be opened: {error.strerror}", "Look at the disk (ls -l, dmesg).") from error
    if len(header) < _HEADER_BYTES or not header.startswith(b"SQLite format 3\0"):
        return "its header is lost"
    if header[18] not in {1, 2} or header[19] not in {1, 2} or header[47] > 4 or header[59] > 1:
        return "its header is damaged"  # 0 in the last two: everything is in the write-ahead log yet
    pages = int.from_bytes(header[28:32], "big")
    page_bytes = int.from_bytes(header[16:18], "big")
    if not wal_of(path).exists() and header[24:28] == header[92:96] and size < pages * page_bytes:
        return "its end is lost"
    return ""


def page_bytes_of(path: Path) -> int:
    """The page size of a database as its header tells it, or as its pages do if the header tells none that can be."""
    with path.open("rb") as file:
        found = int.from_bytes(file.read(18)[16:], "big")
        return found if found in {PAGE_BYTES, PAGE_BYTES_BEFORE} else page_bytes_in(file)


def look_over(connection: sqlite3.Connection, path: Path) -> None:
    """Have SQLite check the structure of a whole database: 0.1 s for 64 MB in memory, seconds from a cold card.

    It finds pages that are no pages and numbers out of order, but not a changed byte within a payload.

    Raises:
        Damaged: something is wrong.
        LogError: the disk did not give it.
    """
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except SQLITE_ERRORS as error:
        raise translated(error, path, f"{path} is damaged: {error}", "Look at the disk (dmesg).") from error
    if found != "ok":
        raise Damaged(path, f"{path} is damaged: {' '.join(str(found).split())}")


def set_aside(path: Path, folder: Path) -> Path:
    """Move a database with its companions into `folder`, under its name and the time; returns where it is now.

    The write-ahead log goes first: beside another database of the same name it would be taken for that one's.

    Raises:
        LogError: the disk refused.
    """
    try:
        folder.mkdir(exist_ok=True)
        to = _aside(path, folder)
        for ending in ("-wal", "-shm", ""):
            companion = path.with_name(path.name + ending)
            if os.path.lexists(companion):
                companion.rename(to.with_name(to.name + ending))
        sync_folder(folder)
        sync_folder(path.parent)
    except OSError as error:
        raise LogError(
            f"{path} is damaged and cannot be set aside: {error}", "Look at the disk (df, dmesg)."
        ) from error
    return to


def copy_aside(path: Path, folder: Path) -> Path:
    """Copy a database with its write-ahead log into `folder`, named as by `set_aside`; returns where the copy is.

    Raises:
        LogError: the disk refused.
    """
    try:
        folder.mkdir(exist_ok=True)
        to = _aside(path, folder)
        for ending in ("-wal", ""):
            companion = path.with_name(path.name + ending)
            if companion.exists():
                shutil.copyfile(companion, to.with_name(to.name + ending))
        sync_folder(folder)
    except OSError as error:
        raise LogError(f"{path} is damaged and cannot be copied: {error}", "Look at the disk (df, dmesg).") from error
    return to


def _aside(path: Path, folder: Path) -> Path:
    return folder / f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"


def sync_file(path: Path) -> None:
    """Make what is in a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable: a new file is only safe when its folder's entry is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def asked(db: sqlite3.Connection, path: Path, work: Callable[[sqlite3.Connection], T]) -> T:
    """What `work` finds in the database at `path`.

    Raises:
        LogError: it cannot be read; `Damaged` if it is not what was written.
    """
    try:
        return work(db)
    except SQLITE_ERRORS as error:
        raise translated(error, path, f"{path} cannot be read: {error}", "Look at the disk (dmesg).") from error
