"""Runs of plain answers, nearly all that a server says, read by one comparison instead of one by one. Pure.

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
_NO_SUBSCRIBER = 0x10


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
    return read + _take_each(flight, data, read, head, form)


def _take_each(flight: Flight, data: bytes, begin: int, head: int, form: struct.Struct) -> int:
    """Those of the same form that come in another order."""
    read = 0
    end = begin + (len(data) - begin) // form.size * form.size
    for found, packet_id, *reason in form.iter_unpack(data[begin:end]):
        if found != head or reason not in ([], [_NO_SUBSCRIBER]):
            break
        flight.taken(packet_id)
        read += form.size
    return read


@cache
def _tape(head: int, form: struct.Struct) -> bytes:
    """What a server says that takes everything in order: 256 KB, and 320 KB where it tells that nobody subscribes."""
    reason = (_NO_SUBSCRIBER,) * (form is _WITH_REASON)
    return b"".join(form.pack(head, packet_id, *reason) for packet_id in range(1, INFLIGHT_MAX + 1))
