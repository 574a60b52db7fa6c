"""Plain answers, nearly all that a server says: in order and of one form they are read by one comparison. Pure.

Plain is a PUBACK that says nothing but yes, and one of MQTT 5 that says yes and that nobody subscribes to the topic
(reason code 0x10, section 3.4.2.1): a server that only stores events answers all of them so.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import TYPE_CHECKING

from gateway.upstreams.mqtt_session import INFLIGHT_MAX, PUBACK

if TYPE_CHECKING:
    from gateway.upstreams.mqtt_flight import Flight

_PLAIN = struct.Struct(">HH")
_WITH_REASON = struct.Struct(">HHB")
_NO_SUBSCRIBER = b"\x10"


def take_run(flight: Flight, data: bytes) -> int:
    """Take the plain answers that `data` begins with; returns how many bytes they are.

    Raises:
        ValueError: an answer is to nothing that is in flight.
    """
    read, head = 0, PUBACK << 8 | 2
    form = _PLAIN
    if data[1:2] == b"\x03":
        head, form = head + 1, _WITH_REASON
    size, tape = form.size, _tape(head, form)
    while len(data) - read >= size:
        before, count = flight.due()
        count = min(count, (len(data) - read) // size)
        if not count or not data.startswith(tape[size * before : size * (before + count)], read):
            break
        flight.taken_in_order(count)
        read += size * count
    return _take_each(flight, data, read)


def _take_each(flight: Flight, data: bytes, at: int) -> int:
    """Plain answers of both forms and in any order, one by one; returns where something else begins."""
    size, taken = len(data), flight.taken
    while at + _PLAIN.size <= size and data[at] == PUBACK:
        body = at + 2
        if data[at + 1] == 2:
            end = at + _PLAIN.size
        elif data[at + 1] == 3 and data[body + 2 : body + 3] == _NO_SUBSCRIBER:
            end = at + _WITH_REASON.size
        else:
            break
        taken(data[body] << 8 | data[body + 1])
        at = end
    return at


@cache
def _tape(head: int, form: struct.Struct) -> bytes:
    """What a server says that takes everything in order: 256 KB, and 320 KB where it tells that nobody subscribes."""
    reason = tuple(_NO_SUBSCRIBER) * (form is _WITH_REASON)
    return b"".join(form.pack(head, packet_id, *reason) for packet_id in range(1, INFLIGHT_MAX + 1))
