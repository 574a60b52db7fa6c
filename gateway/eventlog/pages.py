"""Pages of a segment as bytes (https://sqlite.org/fileformat.html): finding the events whatever became of their tree.

SQLite reaches a leaf from the root through interior pages, so one lost interior page would hide hundreds of leaves.
Here the leaves are found by looking at every page, and a new tree is put above them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

PAGE_BYTES = 2048
"""Of new databases: where commits are small less is written than with 4,096 (decision 0010)."""
PAGE_BYTES_BEFORE = 4096
"""Of databases made earlier, which keep it."""
_LEAF, _INTERIOR = 0x0D, 0x05
_LEAVES_ENOUGH = 200
"""After so many pages of events their size is beyond doubt."""
SEQ_MAX = 2**63 - 1
"""The highest number that a row can have."""
_EVENT_COLUMNS = (10, 11)
"""Without and with a checksum."""
_CHILD_BYTES_MAX = 2 + 4 + 9
"""What a child takes in an interior page: pointer, page number, key."""


class Leaf(NamedTuple):
    """A page of events, or the tree above some."""

    low: int
    high: int
    page: int


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of SQLite's variable length, and where the next byte is.

    Raises:
        IndexError: it does not end within `data`.
    """
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    return value << 8 | data[at], at + 1


def as_varint(value: int) -> bytes:
    """A number below 2**56 in SQLite's variable length."""
    parts = [value & 0x7F]
    while value := value >> 7:
        parts.append(value & 0x7F | 0x80)
    return bytes(reversed(parts))


def _event_of(page: bytes, pointer: int) -> int | None:
    """The sequence number of the event in a cell; None if it is no event."""
    try:
        _, at = varint(page, pointer)
        seq, at = varint(page, at)
        size, body = varint(page, at)
        end, columns = at + size, 0
        if page[body] != 0:  # the first column is the row's own number and is stored as NULL
            return None
        while body < end:
            _, body = varint(page, body)
            columns += 1
    except IndexError:
        return None
    return seq if columns in _EVENT_COLUMNS else None


def _pointers(page: bytes) -> list[int]:
    """Where the cells of a leaf are, in the order of their keys."""
    count = int.from_bytes(page[3:5], "big")
    return [int.from_bytes(page[at : at + 2], "big") for at in range(8, 8 + 2 * count, 2)]


def leaf_of(page: bytes, number: int, first_seq: int, last_seq: int) -> Leaf | None:
    """The numbers that a page of events holds; None if it holds none between the two."""
    if not page or page[0] != _LEAF:
        return None
    count = int.from_bytes(page[3:5], "big")
    if not 0 < count <= (len(page) - 8) // 4:
        return None
    pointers = _pointers(page)
    ends = [_event_of(page, pointers[0]), _event_of(page, pointers[-1])]
    if any(seq is None or not first_seq <= seq <= last_seq for seq in ends):
        ends = [_event_of(page, pointer) for pointer in pointers]
    seqs = [seq for seq in ends if seq is not None and first_seq <= seq <= last_seq]
    return Leaf(min(seqs), max(seqs), number) if seqs else None


def page_bytes_in(file: BinaryIO) -> int:
    """The size of the pages in a file whose header cannot be trusted, as the pages of events tell it.

    Events fill a page from its end, so a large page of events has some in its second half. Most pages may be of neither
    size to look at: what large payloads go on in looks like nothing.
    """
    small = large = 0
    file.seek(0)
    while small + large < _LEAVES_ENOUGH and (page := file.read(PAGE_BYTES_BEFORE)):
        if leaf_of(page, 0, 1, SEQ_MAX) is not None:
            is_large = max(_pointers(page)) >= PAGE_BYTES
            large += is_large
            small += not is_large
        small += leaf_of(page[PAGE_BYTES:], 0, 1, SEQ_MAX) is not None
    return PAGE_BYTES_BEFORE if large > small else PAGE_BYTES


def _interior(children: Sequence[Leaf], page_bytes: int) -> bytes:
    cells, content, at = b"", b"", page_bytes
    for child, following in pairwise(children):
        cell = child.page.to_bytes(4, "big") + as_varint(min(child.high, following.low - 1))
        at -= len(cell)
        content = cell + content
        cells += at.to_bytes(2, "big")
    header = bytes([_INTERIOR, 0, 0]) + (len(children) - 1).to_bytes(2, "big") + at.to_bytes(2, "big") + b"\0"
    start = header + children[-1].page.to_bytes(4, "big") + cells
    return start + bytes(page_bytes - len(start) - len(content)) + content


def tree_above(leaves: Sequence[Leaf], next_page: int, page_bytes: int) -> tuple[list[bytes], int]:
    """Interior pages, to be written from page number `next_page` on, and the number of the root."""
    children_max = (page_bytes - 12) // _CHILD_BYTES_MAX
    made: list[bytes] = []
    level = sorted(leaves)
    while len(level) > 1:
        above = []
        for start in range(0, len(level), children_max):
            children = level[start : start + children_max]
            above.append(Leaf(children[0].low, children[-1].high, next_page + len(made)))
            made.append(_interior(children, page_bytes))
        level = above
    return made, level[0].page


def graft(file: BinaryIO, page_bytes: int, first_seq: int, last_seq: int) -> tuple[int, list[Leaf]] | None:
    """Append a new tree of events to a segment's file and mend its header.

    Returns:
        The root and the leaves in order; None if no event is left.

    The file has to be whole pages without a write-ahead log, and nobody else may have it open.
    """
    leaves, number = [], 0
    file.seek(0)
    while page := file.read(page_bytes):
        number += 1
        if len(page) < page_bytes:
            file.write(bytes(page_bytes - len(page)))
        elif number > 1 and (leaf := leaf_of(page, number, first_seq, last_seq)) is not None:
            leaves.append(leaf)
    made: list[bytes] = []
    root = None
    if leaves:
        made, root = tree_above(leaves, number + 1, page_bytes)
        file.seek(number * page_bytes)
        file.write(b"".join(made))
    file.seek(0)
    header = bytearray(file.read(page_bytes))
    header[28:32] = (number + len(made)).to_bytes(4, "big")
    header[32:40] = bytes(8)  # no free pages
    header[92:96] = header[24:28]
    file.seek(0)
    file.write(header)
    return None if root is None else (root, sorted(leaves))
