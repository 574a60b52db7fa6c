"""What the recorder wrote (`shim.c`), as a list of records in order. A record's position is its index."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = struct.Struct("<IIIIQQII")


class Kind(IntEnum):
    """In the order of the enum in `shim.c`."""

    CREATE = 1
    WRITE = 2
    RESIZE = 3
    SYNC_BEGIN = 4
    SYNC_OK = 5
    SYNC_FAILED = 6
    RENAME = 7
    UNLINK = 8
    SENT = 9
    RECEIVED = 10
    EXTEND = 11


class Record(NamedTuple):
    """One thing that happened."""

    kind: Kind
    thread: int
    offset: int
    """Of a write; the new size of RESIZE; the least size of EXTEND; 1 for a directory in CREATE."""
    inode: int
    local_port: int
    peer_port: int
    path: str
    data: bytes
    """What was written, sent or received; the new name of RENAME."""


def read_trace(path: Path) -> list[Record]:
    """Every whole record; a process that is killed may leave the last one unfinished."""
    raw, at, records = path.read_bytes(), 0, []
    while at + _HEADER.size <= len(raw):
        kind, thread, path_length, data_length, offset, inode, local, peer = _HEADER.unpack_from(raw, at)
        data_at = at + _HEADER.size + path_length
        name = raw[at + _HEADER.size : data_at].decode()
        at = data_at + data_length
        if at > len(raw):
            break
        records.append(Record(Kind(kind), thread, offset, inode, local, peer, name, raw[data_at:at]))
    return records
