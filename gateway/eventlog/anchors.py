"""Rows of `state.db` that tell when the clock of which boot was set (see `boots`)."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from gateway.clock import Anchor

if TYPE_CHECKING:
    from collections.abc import Iterable

ROWS = "SELECT boot_id, mono_ns, offset_ns, source, crc FROM anchors ORDER BY id"
FORGET = """
    DELETE FROM anchors WHERE id <= (SELECT max(id) FROM anchors) - ? OR id IN (
        SELECT id FROM anchors WHERE boot_id = ? ORDER BY id DESC LIMIT -1 OFFSET ?
    ) AND id > (SELECT min(id) FROM anchors WHERE boot_id = ?)"""
"""To make room for one: the oldest of all, and of its boot the oldest but the first, which tells the time of all events
before it."""


def to_row(boot_id: str, anchor: Anchor) -> tuple[object, ...]:
    """With a checksum: one flipped bit would change the time of every event of a boot."""
    return (boot_id, *anchor, zlib.crc32(repr((boot_id, *anchor)).encode()))


def whole(rows: Iterable[Any]) -> list[tuple[str, Anchor]]:
    """Those that are what was written."""
    found = [(row, row[0], Anchor(*row[1:4])) for row in rows]
    return [(boot_id, anchor) for row, boot_id, anchor in found if tuple(row) == to_row(boot_id, anchor)]
