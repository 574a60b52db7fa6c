"""The checksum that is stored with an event. Pure.

SQLite notices a page that is no page, but not a bit flipped within a payload or a time. The checksum covers every value
of the event. Of boot, client and topic it covers the names and not their ids in the segment, so a name that a flipped
bit has changed, or an id that leads to another name, is found as well.
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

pack = Struct("<qqqIIIB").pack
"""Numbers of an event as bytes: seq, received_ns, mono_ns, checksums of the names of boot, client and topic, flags.

`crc32(pack(...) + payload)` is the checksum of an event without origin and properties. It stands open where rows are
written and read, because a call costs as much as the checksum.
"""

shared = Struct("<IIIB").pack
"""The part of `pack` that events have in common: checksums of the names of boot, client and topic, flags."""
pack_shared = Struct("<qqq13s").pack
"""The same bytes as `pack`, of seq, received_ns, mono_ns and what `shared` made."""


def of_name(name: str) -> int:
    """Checksum of the name of a boot, a client or a topic."""
    return crc32(name.encode())


def with_rest(crc: int, origin: object, properties: object) -> int:
    """The checksum of an event that has an origin or properties; -1, which is none, if they are of a wrong type."""
    if not isinstance(origin, str | None) or not isinstance(properties, bytes | None):
        return -1
    if origin:
        crc = crc32(origin.encode(), crc)
    if properties is not None:
        crc = crc32(properties, crc ^ 1)
    return crc
