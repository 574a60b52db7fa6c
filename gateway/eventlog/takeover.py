"""What a new process does with a write-ahead log that it finds, before it builds on it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.eventlog.damage import wal_of

if TYPE_CHECKING:
    from pathlib import Path

_COPY_BYTES = 1024 * 1024


def write_again(path: Path) -> None:
    """Make durable what is read of the write-ahead log that the last process left beside the database `path`.

    If an fsync of that process failed, some of it may be in the kernel's memory only, where it counts as written; what
    is built on it would be lost with it in a power cut. Only the owner of the data directory may call this, and not
    while it has the database open: a commit made meanwhile would be written over.

    Raises:
        LogError: the disk refused.
    """
    wal = wal_of(path)
    try:
        descriptor = os.open(wal, os.O_RDWR)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LogError(f"{wal} cannot be opened: {error.strerror}", "Look at the disk (df, dmesg).") from error
    try:
        at = 0
        while chunk := os.pread(descriptor, _COPY_BYTES, at):
            os.pwrite(descriptor, chunk, at)
            at += len(chunk)
        os.fsync(descriptor)
    except OSError as error:
        raise LogError(f"{wal} cannot be written: {error.strerror}", "Look at the disk (df, dmesg).") from error
    finally:
        os.close(descriptor)
