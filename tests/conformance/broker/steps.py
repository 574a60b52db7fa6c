"""What a case is made of: packets, and steps in which clients send and expect them. Data; `stage.py` plays it.

In topics and client ids stands `CASE`, for which the stage puts as many letters that no other case has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from tests.site import raw_client
from tests.site.raw_client import (
    CONNACK,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    SUBACK,
    UNSUBACK,
    acknowledge,
    packet,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

CASE = "~~~~"
PINGREQ, DISCONNECT = packet(0xC0), packet(0xE0)


class Delivery(NamedTuple):
    """A PUBLISH that is expected; its packet id is whatever the server chose."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    duplicate: bool = False
    name: str = ""
    """Of its packet id: wherever the name stands again, it must be the same."""


class Answer(NamedTuple):
    """An acknowledgement with the packet id that a delivery had."""

    kind: int
    name: str


Packet: TypeAlias = bytes | Delivery | Answer


class Send(NamedTuple):
    """In one write; a client that has no connection gets one first."""

    who: str
    what: tuple[bytes | Answer, ...]


class Trickle(NamedTuple):
    """Each byte in a write of its own."""

    who: str
    data: bytes


class Expect(NamedTuple):
    """These packets come next, in this order or in any."""

    who: str
    what: tuple[Packet, ...]
    ordered: bool = True


class Closed(NamedTuple):
    """The server closes the connection and sends nothing before."""

    who: str


class Refused(NamedTuple):
    """The server closes the connection; a CONNACK that refuses may come before."""

    who: str


class Settled(NamedTuple):
    """One packet, or the end of the connection: whichever the server prefers."""

    who: str


class Alive(NamedTuple):
    """A PINGREQ is answered, and nothing comes before the answer."""

    who: str


class Drained(NamedTuple):
    """A PINGREQ is answered; what comes before is read and forgotten."""

    who: str


class Vanish(NamedTuple):
    """The client is gone without DISCONNECT."""

    who: str
    reset: bool = True


class Fence(NamedTuple):
    """A bystander publishes to `fence` below the case's topics: it is the next thing this subscriber gets."""

    who: str


class Distinct(NamedTuple):
    """The packet ids of these deliveries differ."""

    names: tuple[str, ...]


Step: TypeAlias = Send | Trickle | Expect | Closed | Refused | Settled | Alive | Drained | Vanish | Fence | Distinct


class Case(NamedTuple):
    """A sequence of steps and the statements that it covers."""

    name: str
    covers: tuple[str, ...]
    steps: tuple[Step, ...]


def case(name: str, covers: str, *parts: Step | list[Step]) -> Case:
    """`covers` names statements without their prefix: "3.1.0-1 3.1.4-1"."""
    steps: list[Step] = []
    for part in parts:
        steps.extend(part if isinstance(part, list) else [part])
    return Case(name, tuple(f"MQTT-{number}" for number in covers.split()), tuple(steps))


def send(who: str, *what: bytes | Answer) -> Send:
    return Send(who, what)


def expect(who: str, *what: Packet) -> Expect:
    return Expect(who, what)


def expect_unordered(who: str, *what: Packet) -> Expect:
    return Expect(who, what, ordered=False)


def connack(code: int = 0, *, present: bool = False) -> bytes:
    return packet(CONNACK << 4, bytes([present, code]))


def connect(who: str, **options: object) -> bytes:
    return raw_client.connect(CASE + who, **options)  # type: ignore[arg-type]


def join(who: str, *, present: bool = False, **options: object) -> list[Step]:
    """Log in under the client id `CASE + who`."""
    return [send(who, connect(who, **options)), expect(who, connack(present=present))]


def leave(who: str) -> list[Step]:
    return [send(who, DISCONNECT), Closed(who)]


def publish(topic: str, payload: bytes = b"x", qos: int = 0, packet_id: int = 1, **flags: bool) -> bytes:
    """To a topic below the case's own."""
    return raw_client.publish(f"{CASE}/{topic}", payload, qos, packet_id, **flags)


def delivery(topic: str, payload: bytes = b"x", qos: int = 0, **options: object) -> Delivery:
    return Delivery(f"{CASE}/{topic}", payload, qos, **options)  # type: ignore[arg-type]


def tell(who: str, topic: str, payload: bytes = b"x", qos: int = 1, packet_id: int = 1, **flags: bool) -> list[Step]:
    """Publish at QoS 1 or 2 and see it acknowledged to the end."""
    steps: list[Step] = [send(who, publish(topic, payload, qos, packet_id, **flags))]
    if qos == 1:
        return [*steps, expect(who, acknowledge(PUBACK, packet_id))]
    return [
        *steps,
        expect(who, acknowledge(PUBREC, packet_id)),
        send(who, acknowledge(PUBREL, packet_id)),
        expect(who, acknowledge(PUBCOMP, packet_id)),
    ]


def take(who: str, name: str, qos: int) -> list[Step]:
    """Acknowledge a delivery to the end."""
    if qos == 1:
        return [send(who, Answer(PUBACK, name))]
    return [send(who, Answer(PUBREC, name)), expect(who, Answer(PUBREL, name)), send(who, Answer(PUBCOMP, name))]


def subscribe_packet(*filters: tuple[str, int], packet_id: int = 5) -> bytes:
    body = b"".join(string(topic_filter) + bytes([qos]) for topic_filter, qos in filters)
    return packet(0x82, packet_id.to_bytes(2) + body)


def suback(*codes: int, packet_id: int = 5) -> bytes:
    return packet(SUBACK << 4, packet_id.to_bytes(2) + bytes(codes))


def unsubscribe_packet(*filters: str, packet_id: int = 6) -> bytes:
    return packet(0xA2, packet_id.to_bytes(2) + b"".join(map(string, filters)))


def unsuback(packet_id: int = 6) -> bytes:
    return packet(UNSUBACK << 4, packet_id.to_bytes(2))


def subscribe(who: str, *filters: tuple[str, int]) -> list[Step]:
    """To filters below the case's topics; all are granted as asked for."""
    wanted = [(f"{CASE}/{topic_filter}", qos) for topic_filter, qos in filters]
    return [send(who, subscribe_packet(*wanted)), expect(who, suback(*(qos for _, qos in filters)))]


def unsubscribe(who: str, *filters: str) -> list[Step]:
    return [send(who, unsubscribe_packet(*(f"{CASE}/{each}" for each in filters))), expect(who, unsuback())]


def listening(who: str = "s", qos: int = 0) -> list[Step]:
    """Somebody who sees all that is published below the case's topics."""
    return [*join(who), *subscribe(who, ("#", qos))]


def forbidden(name: str, covers: str, data: bytes, before: Iterable[Step] = ()) -> Case:
    """An admitted client sends `data`: its connection is closed, and what it sent after it is not read."""
    steps = [*listening(), *join("a"), *before, send("a", data, publish("after")), Closed("a"), Fence("s")]
    return case(name, f"{covers} 4.8.0-1", steps)


def forbidden_first(name: str, covers: str, data: bytes) -> Case:
    """A connection begins with `data`: it is closed without a CONNACK, and what came after it is not read."""
    later = raw_client.connect(CASE + "later") + publish("after")
    return case(name, f"{covers} 4.8.0-1", [*listening(), send("a", data, later), Closed("a"), Fence("s")])
