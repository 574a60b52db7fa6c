"""Fixed headers, lengths, strings: what every packet has."""

from __future__ import annotations

from tests.conformance.broker.steps import (
    CASE,
    DISCONNECT,
    PINGREQ,
    Alive,
    Case,
    Closed,
    Fence,
    Trickle,
    case,
    connack,
    connect,
    delivery,
    expect,
    forbidden,
    forbidden_first,
    join,
    listening,
    publish,
    send,
    suback,
    subscribe_packet,
    unsubscribe_packet,
)
from tests.site.raw_client import (
    PINGRESP,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    acknowledge,
    connect_body,
    packet,
    string,
)

_TOPIC = string(f"{CASE}/t")
_BODIES = {
    "PUBACK": (0x40, b"\0\1"),
    "PUBREC": (0x50, b"\0\1"),
    "PUBREL": (0x62, b"\0\1"),
    "PUBCOMP": (0x70, b"\0\1"),
    "SUBSCRIBE": (0x82, b"\0\1" + _TOPIC + b"\0"),
    "UNSUBSCRIBE": (0xA2, b"\0\1" + _TOPIC),
    "PINGREQ": (0xC0, b""),
    "DISCONNECT": (0xE0, b""),
}
_SECTIONS = {"PUBREL": "3.6.1-1", "SUBSCRIBE": "3.8.1-1", "UNSUBSCRIBE": "3.10.1-1", "DISCONNECT": "3.14.1-1"}
_FROM_SERVER = {
    "CONNACK": (0x20, b"\0\0"),
    "SUBACK": (0x90, b"\0\1\0"),
    "UNSUBACK": (0xB0, b"\0\1"),
    "PINGRESP": (0xD0, b""),
}
_RESERVED = {"type 0": (0x00, b""), "type 15": (0xF0, b"")}

FLAGS: list[Case] = [
    forbidden(
        f"{name} with header flags {right & 15 ^ wrong:04b}",
        f"2.2.2-1 2.2.2-2 {_SECTIONS.get(name, '')}",
        packet(right ^ wrong, body),
    )
    for name, (right, body) in _BODIES.items()
    for wrong in (1, 2, 4, 8, 15)
] + [
    forbidden_first(
        f"CONNECT with header flags {wrong:04b}", "2.2.2-1 2.2.2-2 3.1.4-1", packet(0x10 | wrong, connect_body(CASE))
    )
    for wrong in (1, 2, 4, 8, 15)
]

TYPES: list[Case] = [
    forbidden(f"{name} from a client", "4.8.0-1", packet(first, body))
    for name, (first, body) in {**_FROM_SERVER, **_RESERVED}.items()
] + [
    forbidden_first(f"{name} before CONNECT", "3.1.0-1", packet(first, body))
    for name, (first, body) in {**_BODIES, **_FROM_SERVER, **_RESERVED, "PUBLISH": (0x30, _TOPIC + b"x")}.items()
]

LENGTHS: list[Case] = [
    forbidden("a remaining length of five bytes", "4.8.0-1", b"\x30\xff\xff\xff\xff\x01"),
    forbidden("a remaining length of five bytes that stands for a small one", "4.8.0-1", b"\xc0\x80\x80\x80\x80\x00"),
    forbidden("a fourth length byte that says more follow", "4.8.0-1", b"\x30\x80\x80\x80\x80"),
    forbidden_first("CONNECT with a remaining length of five bytes", "3.1.4-1", b"\x10\xff\xff\xff\xff\x01"),
    *(
        forbidden(f"{name} one byte short", "4.8.0-1", packet(first, body[:-1]))
        for name, (first, body) in _BODIES.items()
        if body
    ),
    *(
        forbidden(f"{name} with a byte after its fields", "4.8.0-1", packet(first, body + b"\0"))
        for name, (first, body) in _BODIES.items()
    ),
    *(
        forbidden(f"{name} with an empty body", "4.8.0-1", packet(first))
        for name, (first, body) in {**_BODIES, "PUBLISH": (0x30, b"?")}.items()
        if body
    ),
    forbidden("PUBLISH shorter than its topic", "3.3.2-1", packet(0x30, b"\0\x10t")),
    forbidden("PUBLISH that ends inside the length of its topic", "3.3.2-1", packet(0x30, b"\0")),
    forbidden("PUBLISH at QoS 1 without a packet id", "2.3.1-1", packet(0x32, _TOPIC)),
    forbidden("PUBLISH at QoS 2 with half a packet id", "2.3.1-1", packet(0x34, _TOPIC + b"\0")),
    forbidden("SUBSCRIBE whose filter ends the packet", "3.8.3-3", packet(0x82, b"\0\1" + _TOPIC)),
    forbidden("SUBSCRIBE whose second filter is cut", "4.8.0-1", packet(0x82, b"\0\1" + _TOPIC + b"\0\0\x10t")),
    forbidden("UNSUBSCRIBE whose second filter is cut", "3.10.3-1", packet(0xA2, b"\0\1" + _TOPIC + b"\0\x10t")),
]

PACKET_IDS: list[Case] = [
    forbidden("PUBLISH at QoS 1 with packet id 0", "2.3.1-1", publish("t", qos=1, packet_id=0)),
    forbidden("PUBLISH at QoS 2 with packet id 0", "2.3.1-1", publish("t", qos=2, packet_id=0)),
    forbidden("SUBSCRIBE with packet id 0", "2.3.1-1", subscribe_packet((f"{CASE}/t", 0), packet_id=0)),
    forbidden("UNSUBSCRIBE with packet id 0", "2.3.1-1", unsubscribe_packet(f"{CASE}/t", packet_id=0)),
    *(
        forbidden(f"{name} of packet id 0", "4.8.0-1", acknowledge(kind, 0))
        for name, kind in {"PUBACK": PUBACK, "PUBREC": PUBREC, "PUBREL": PUBREL, "PUBCOMP": PUBCOMP}.items()
    ),
]

_BAD_UTF8 = {
    "the surrogate U+D800": b"\xed\xa0\x80",
    "the surrogate U+DFFF": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\xbd\xed\xb8\x80",
    "a lone continuation byte": b"a\x80",
    "a sequence cut short": b"a\xe2\x82",
    "an overlong slash": b"\xc0\xaf",
    "an overlong U+0000": b"\xc0\x80",
    "a byte that is never UTF-8": b"\xff",
    "a code point above U+10FFFF": b"\xf4\x90\x80\x80",
}
_BAD = {**{what: (raw, "1.5.3-1") for what, raw in _BAD_UTF8.items()}, "U+0000": (b"a\0b", "1.5.3-2")}


def _raw_connect(flags: int, *fields: bytes) -> bytes:
    return packet(0x10, string("MQTT") + bytes([4, flags, 0, 0]) + b"".join(map(string, fields)))


STRINGS: list[Case] = [
    case_
    for what, (raw, number) in _BAD.items()
    for case_ in (
        forbidden(f"{what} in a topic", f"{number} 3.3.2-1 4.7.3-2", packet(0x30, string(raw) + b"x")),
        forbidden(f"{what} in a filter", f"{number} 3.8.3-1 4.7.3-2", packet(0x82, b"\0\1" + string(raw) + b"\0")),
        forbidden(f"{what} in a filter to unsubscribe", f"{number} 3.10.3-1", packet(0xA2, b"\0\1" + string(raw))),
        forbidden_first(f"{what} in a client id", f"{number} 3.1.3-4 3.1.4-1", _raw_connect(2, raw)),
        forbidden_first(f"{what} in a will topic", f"{number} 3.1.3-10 3.1.4-1", _raw_connect(6, b"~~~~a", raw, b"x")),
        forbidden_first(f"{what} in a user name", f"{number} 3.1.3-11 3.1.4-1", _raw_connect(0x82, b"~~~~a", raw)),
    )
] + [
    forbidden_first(
        "a protocol name that is not UTF-8",
        "1.5.3-1 3.1.4-1",
        packet(0x10, string(b"MQT\xff") + b"\4\2\0\0" + string("x")),
    ),
    case(
        "a byte order mark is part of a topic",
        "1.5.3-3 4.7.3-4",
        join("s"),
        [
            send("s", subscribe_packet((f"{CASE}/\ufefft", 0), (f"{CASE}/fence", 0))),
            expect("s", suback(0, 0)),
            *join("a"),
            send("a", publish("t", b"without"), publish("\ufefft", b"with")),
            expect("s", delivery("\ufefft", b"with")),
            Fence("s"),
        ],
    ),
    case(
        "a byte order mark is part of a client id",
        "1.5.3-3 3.1.3-2",
        join("\ufeffa", clean=False),
        join("a", clean=False),
        [Alive("\ufeffa"), Alive("a")],
    ),
    case(
        "text beyond ASCII is delivered as it came",
        "1.5.3-1 4.7.3-4",
        [*listening(), *join("a"), send("a", publish("Gewächshaus/温度/🌡", "21 °C".encode()))],
        expect("s", delivery("Gewächshaus/温度/🌡", "21 °C".encode())),
    ),
]

STREAM: list[Case] = [
    case(
        "packets that come byte by byte",
        "7.1.1-1 3.1.4-4 3.12.4-1",
        [*listening(), Trickle("a", connect("a") + publish("t", b"drop by drop") + PINGREQ)],
        [expect("a", connack(), packet(PINGRESP << 4)), expect("s", delivery("t", b"drop by drop"))],
    ),
    case(
        "packets that come all at once",
        "7.1.1-1 3.2.0-1",
        [send("a", connect("a") + subscribe_packet((f"{CASE}/t", 0)) + PINGREQ + DISCONNECT)],
        [expect("a", connack(), suback(0), packet(PINGRESP << 4)), Closed("a")],
    ),
    case(
        "many pings are each answered",
        "3.12.4-1",
        [*join("a"), send("a", PINGREQ * 20), expect("a", *[packet(PINGRESP << 4)] * 20)],
    ),
    case(
        "a length in more bytes than it needs is a length",
        "7.1.1-1",
        [*join("a"), send("a", b"\xc0\x80\x80\x00"), expect("a", packet(PINGRESP << 4))],
    ),
    *(
        case(
            f"a payload of {size} bytes",
            "7.1.1-1 3.3.4-1",
            [*listening(), *join("a"), send("a", publish("t", bytes(size))), expect("s", delivery("t", bytes(size)))],
        )
        for size in (0, 1, 115, 116, 117, 16_371, 16_372, 16_373, 65_536, 262_144)
    ),
    forbidden("packet larger than the broker takes", "4.8.0-1", b"\x30\xff\xff\xff\x7f"),
]

CASES = [*FLAGS, *TYPES, *LENGTHS, *PACKET_IDS, *STRINGS, *STREAM]
