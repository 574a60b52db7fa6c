"""Room on the disk that is kept for `state.db`, so that cursors still advance when the disk is full.

`<data_dir>/reserve` is a file of `log.reserve_bytes` that nobody reads: the room it takes is its purpose. When a write
to the state is refused because the disk is full,

1. the write-ahead log of the state is moved into the database and begun anew. It is then written over in place, and so
   are the rows of cursors, so mostly this is all that is needed, however long the disk stays full;
2. if that was not enough, the reserve is given up.

Events never get that room. As long as the reserve is given up none is stored, and the first thing that new room is used
for is the reserve. A file system that does not write in place (f2fs, btrfs) keeps the second half of this promise only.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar

from gateway.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

logger = logging.getLogger(__name__)

P = ParamSpec("P")

_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE})
"""What SQLite makes of ENOSPC; of EFBIG and EDQUOT; and of ENOSPC in the index of its write-ahead log."""


class DiskFull(LogError):  # noqa: N818 - a state of the disk, as its siblings in `errors`
    """There is no room for what was to be written."""


def refusal(error: sqlite3.Error, reason: str) -> LogError:
    """The error of the log for a write that SQLite could not do."""
    if getattr(error, "sqlite_errorcode", None) in _FULL:
        return DiskFull(reason, "Make room on the disk, or let retention do it (df, log.retention_bytes_max).")
    return LogError(reason, "Is the disk full or failing? (df, dmesg)")


class Reserve:
    """The file. Used by one thread at a time: whoever opens the log, then the writer thread."""

    def __init__(self, path: Path, bytes_: int) -> None:
        self._path = path
        self._bytes = bytes_
        self._held = False

    def hold(self) -> None:
        """Have the reserve on the disk.

        Raises:
            LogError: there is no room for it, so there is none for events either.
        """
        if self._held:
            return
        try:
            self._make()
        except OSError as error:
            with suppress(OSError):
                self._path.unlink()
            raise LogError(
                f"{self._path}: no room for the reserve of {self._bytes} bytes ({error.strerror}), so none for events",
                "Make room on the disk, or let retention do it (df, log.retention_bytes_max).",
            ) from error
        self._held = True

    def give_up(self) -> bool:
        """Let the state have the room; whether there was any."""
        self._held = False
        try:
            self._path.unlink()
        except OSError:
            return False
        logger.warning("the disk is full: cursors get the reserve, events wait", extra={"bytes": self._bytes})
        return True

    def _make(self) -> None:
        if not self._bytes:
            self._path.unlink(missing_ok=True)
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size > self._bytes:
                os.ftruncate(descriptor, self._bytes)
            os.posix_fallocate(descriptor, 0, self._bytes)
        finally:
            os.close(descriptor)


class Reserved(Protocol):
    """Whoever writes with the reserve behind him."""

    reserve: Reserve

    def begin_log_anew(self) -> None:
        """Have the next transaction written over the beginning of the write-ahead log, if that can be done."""
        ...


S = TypeVar("S", bound=Reserved)


def with_reserve(write: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """A method that is called again in what room can be made, if it raises `DiskFull`; it changes nothing then."""

    @wraps(write)
    def write_somehow(state: S, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            return write(state, *args, **kwargs)
        except DiskFull:
            state.begin_log_anew()
        try:
            return write(state, *args, **kwargs)
        except DiskFull:
            if not state.reserve.give_up():
                raise
        state.begin_log_anew()  # or the log would take all of the room, and the database could never grow
        return write(state, *args, **kwargs)

    return write_somehow
