"""The end of the segment that is gone on with: is it where the tree of events says it is?

A start cannot read the whole segment (64 MB take seconds from a cold card), and need not: what would do harm is a wrong
highest number, because numbers would be given out twice. So the last events are read with their checksums, and the last
pages of the file are held against the tree, in which one flipped bit can hide hundreds of them. The rest of the segment
is looked over while the gateway serves (see `reading`).
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING

from gateway.errors import LogError
from gateway.eventlog import damage, pages
from gateway.eventlog.damage import Damaged
from gateway.eventlog.segment import connect_reading, first_seq_of
from gateway.eventlog.segment_reader import SegmentReader

if TYPE_CHECKING:
    from pathlib import Path

_EVENTS = 500
_BYTES_MAX = 1024 * 1024
_PAGES = 256


def check(path: Path, last_seq: int) -> None:
    """Make sure that `last_seq` is the highest number in a segment.

    Raises:
        Damaged: it is not, or the events before it are not what was written.
        LogError: the disk did not give it.
    """
    first_seq = first_seq_of(path)
    if last_seq >= first_seq:
        at = max(first_seq, last_seq - _EVENTS + 1)
        with closing(SegmentReader(path)) as reader:
            while events := reader.read(at, last_seq, _EVENTS, _BYTES_MAX):
                at = events[-1].seq + 1
    higher = _highest_on_last_pages(path, first_seq)
    if higher > last_seq:
        raise Damaged(path, f"{path} is damaged: it ends with event {last_seq}, and a page in it holds {higher}")


def look_over_file(path: Path) -> None:
    """Have SQLite check the structure of a whole segment, which may be being written; nothing if it is gone.

    Raises:
        Damaged: something is wrong.
        LogError: the disk did not give it.
    """
    inode = damage.inode_of(path)
    if not inode:
        return
    try:
        with closing(connect_reading(path)) as connection:
            damage.look_over(connection, path)
    except Damaged as damaged:
        raise Damaged(path, str(damaged), inode) from damaged


def _highest_on_last_pages(path: Path, first_seq: int) -> int:
    try:
        page_bytes = damage.page_bytes_of(path)
        with path.open("rb") as file:
            count = os.fstat(file.fileno()).st_size // page_bytes
            number = max(1, count - _PAGES)
            file.seek(number * page_bytes)
            data = file.read()
    except OSError as error:
        raise LogError(f"{path} cannot be read: {error.strerror}", "Look at the disk (ls -l, dmesg).") from error
    found = [
        leaf.high
        for at in range(0, len(data), page_bytes)
        if (leaf := pages.leaf_of(data[at : at + page_bytes], 0, first_seq, pages.SEQ_MAX))
    ]
    return max(found, default=0)
