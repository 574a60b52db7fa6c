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
    raw, at, records = path.read_bytes(), 0, []
    while at < len(raw):
        kind, thread, path_length, data_length, offset, inode, local, peer = _HEADER.unpack_from(raw, at)
        at += _HEADER.size
        name = raw[at : at + path_length].decode()
        at += path_length
        data = raw[at : at + data_length]
        at += data_length
        records.append(Record(Kind(kind), thread, offset, inode, local, peer, name, data))
    assert at == len(raw), "the trace ends in the middle of a record"
    return records
