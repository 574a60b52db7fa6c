"""Sessions that begin valid and are then spoilt, by a random generator that the caller owns. Pure.

A session is what one client writes, piece by piece, and how it leaves.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.site.raw_client import (
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    acknowledge,
    connect,
    packet,
    publish,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

ENDS = ("eof", "eof", "eof", "reset", "close")
"""Say that nothing more comes and wait for the server to close; reset the connection; close it and wait for nothing."""
CLIENTS, TOPICS = 40, 30
_SPOILT_TIMES = (0, 1, 1, 1, 2, 2, 3, 5, 8)
_INTERESTING = (0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF)
_PINGREQ, _DISCONNECT = packet(0xC0), packet(0xE0)


class Session(NamedTuple):
    writes: tuple[bytes, ...]
    end: str

    def as_values(self) -> dict[str, object]:
        """What JSON can hold."""
        return {"writes": [each.hex() for each in self.writes], "end": self.end}


def from_values(values: dict[str, Any]) -> Session:
    return Session(tuple(bytes.fromhex(each) for each in values["writes"]), values["end"])


def spoilt(random: Random) -> Session:
    """A valid session after some mutations."""
    packets = valid(random)
    times = random.choice(_SPOILT_TIMES)
    for _ in range(times):
        random.choice(_ON_PACKETS)(random, packets)
    stream = bytearray().join(packets)
    for _ in range(times if random.random() < 0.5 else 0):
        random.choice(_ON_BYTES)(random, stream)
    return Session(_cut(random, bytes(stream)), random.choice(ENDS))


def valid(random: Random) -> list[bytes]:
    """The packets of a client that keeps to the protocol."""
    packets = [_connect(random)]
    for _ in range(random.randrange(6)):
        packets += random.choice(_TALK)(random)
    if random.random() < 0.5:
        packets.append(_DISCONNECT)
    return packets


def _connect(random: Random) -> bytes:
    options: dict[str, object] = {"keep_alive_s": random.choice((0, 60))}
    if random.random() < 0.2:
        options |= {"username": "name", "password": "secret"}
    if random.random() < 0.3:
        options["will"] = (_topic(random), b"gone", random.randrange(3), random.random() < 0.2)
    return connect(f"fuzz{random.randrange(CLIENTS)}", clean=random.random() < 0.7, **options)


def _topic(random: Random) -> str:
    return f"fuzz/{random.randrange(TOPICS)}"


def _filter(random: Random) -> str:
    return random.choice((_topic(random), "fuzz/+", "fuzz/#", "+/1", "+/+/#", "fuzz/é"))


def _publish(random: Random) -> list[bytes]:
    qos, packet_id = random.randrange(3), random.randrange(1, 20)
    flags = {"retain": random.random() < 0.1, "duplicate": qos > 0 and random.random() < 0.2}
    first = publish(_topic(random), random.randbytes(random.randrange(40)), qos, packet_id, **flags)
    return [first, acknowledge(PUBREL, packet_id)] if qos == 2 else [first]


def _subscribe(random: Random) -> list[bytes]:
    filters = b"".join(string(_filter(random)) + bytes([random.randrange(3)]) for _ in range(random.randrange(1, 4)))
    return [packet(0x82, random.randrange(1, 20).to_bytes(2) + filters)]


def _unsubscribe(random: Random) -> list[bytes]:
    filters = b"".join(string(_filter(random)) for _ in range(random.randrange(1, 3)))
    return [packet(0xA2, random.randrange(1, 20).to_bytes(2) + filters)]


def _acknowledge(random: Random) -> list[bytes]:
    return [acknowledge(random.choice((PUBACK, PUBREC, PUBREL, PUBCOMP)), random.randrange(1, 6)) for _ in range(2)]


def _ping(_: Random) -> list[bytes]:
    return [_PINGREQ]


_TALK: list[Callable[[Random], list[bytes]]] = [_publish, _publish, _subscribe, _unsubscribe, _acknowledge, _ping]


def _duplicate(random: Random, packets: list[bytes]) -> None:
    if packets:
        packets.insert(random.randrange(len(packets) + 1), random.choice(packets))


def _drop(random: Random, packets: list[bytes]) -> None:
    if packets:
        packets.pop(random.randrange(len(packets)))


def _swap(random: Random, packets: list[bytes]) -> None:
    if packets:
        packets.append(packets.pop(random.randrange(len(packets))))


def _borrow(random: Random, packets: list[bytes]) -> None:
    packets.insert(random.randrange(len(packets) + 1), random.choice(valid(random)))


def _truncate(random: Random, packets: list[bytes]) -> None:
    if packets:
        at = random.randrange(len(packets))
        packets[at] = packets[at][: random.randrange(len(packets[at]) + 1)]


def _lie_about_length(random: Random, packets: list[bytes]) -> None:
    """In the remaining length, or in two bytes that may be the length of a string."""
    if not packets:
        return
    at = random.randrange(len(packets))
    raw = bytearray(packets[at])
    place = 1 if random.random() < 0.5 else random.randrange(1, max(len(raw), 2))
    if place < len(raw):
        raw[place] = random.choice((*_INTERESTING, raw[place] ^ 1, (raw[place] + 1) & 0xFF))
    packets[at] = bytes(raw)


def _other_type(random: Random, packets: list[bytes]) -> None:
    if packets:
        at = random.randrange(len(packets))
        packets[at] = bytes([random.randrange(256)]) + packets[at][1:]


def _trim_and_tell(random: Random, packets: list[bytes]) -> None:
    """Cut or lengthen a body and let the remaining length say so, so that the fields are what is wrong."""
    if packets:
        at = random.randrange(len(packets))
        body = packets[at][2:]
        body = body[: random.randrange(len(body) + 1)] if random.random() < 0.5 else body + random.randbytes(3)
        packets[at] = packet(packets[at][0] if packets[at] else 0, body)


def _flip_bit(random: Random, stream: bytearray) -> None:
    if stream:
        stream[random.randrange(len(stream))] ^= 1 << random.randrange(8)


def _overwrite(random: Random, stream: bytearray) -> None:
    if stream:
        stream[random.randrange(len(stream))] = random.choice(_INTERESTING)


def _remove(random: Random, stream: bytearray) -> None:
    at = random.randrange(len(stream) + 1)
    del stream[at : at + random.randrange(1, 5)]


def _insert(random: Random, stream: bytearray) -> None:
    at = random.randrange(len(stream) + 1)
    stream[at:at] = random.randbytes(random.randrange(1, 5))


_ON_PACKETS = (_duplicate, _drop, _swap, _borrow, _truncate, _lie_about_length, _other_type, _trim_and_tell)
_ON_BYTES = (_flip_bit, _flip_bit, _overwrite, _remove, _insert)


def _cut(random: Random, stream: bytes) -> tuple[bytes, ...]:
    """In one write, or a few, wherever they fall."""
    if random.random() < 0.6 or len(stream) < 2:
        return (stream,)
    cuts = sorted({0, len(stream), *(random.randrange(len(stream)) for _ in range(random.randrange(1, 4)))})
    return tuple(stream[start:end] for start, end in pairwise(cuts))
