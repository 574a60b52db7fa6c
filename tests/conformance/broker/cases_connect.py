"""CONNECT and CONNACK (sections 3.1 and 3.2), without sessions and wills."""

from __future__ import annotations

from tests.conformance.broker.steps import (
    CASE,
    DISCONNECT,
    PINGREQ,
    Alive,
    Case,
    Closed,
    Expect,
    Fence,
    Refused,
    case,
    connack,
    connect,
    delivery,
    expect,
    forbidden,
    forbidden_first,
    join,
    leave,
    listening,
    publish,
    send,
    subscribe_packet,
    tell,
)
from tests.site import raw_client
from tests.site.raw_client import PINGRESP, packet, string

_ID = string(f"{CASE}a")
_NAMED = string("name")


def _connect(flags: int, *fields: bytes, protocol: bytes = b"MQTT", level: int = 4) -> bytes:
    return packet(0x10, string(protocol) + bytes([level, flags, 0, 0]) + b"".join(fields))


_WILL = string(f"{CASE}/will") + string("gone")

MALFORMED: list[Case] = [
    forbidden_first("CONNECT with its reserved flag", "3.1.2-3 3.1.4-1", _connect(3, _ID)),
    forbidden_first("CONNECT without a client id", "3.1.3-3 3.1.4-1 3.2.2-6", _connect(2)),
    forbidden_first("CONNECT whose client id is cut", "3.1.3-3 3.1.4-1", _connect(2, b"\0\x20x")),
    forbidden_first("CONNECT that ends after the protocol name", "3.1.4-1 3.2.2-6", packet(0x10, string("MQTT"))),
    forbidden_first("CONNECT that ends after the level", "3.1.4-1", packet(0x10, string("MQTT") + b"\4")),
    forbidden_first("CONNECT that ends after the flags", "3.1.4-1", packet(0x10, string("MQTT") + b"\4\2")),
    forbidden_first("CONNECT that ends inside the keep-alive", "3.1.4-1", packet(0x10, string("MQTT") + b"\4\2\0")),
    forbidden_first("CONNECT with an empty body", "3.1.4-1", packet(0x10)),
    forbidden_first("CONNECT with bytes after its fields", "3.1.4-1", _connect(2, _ID, b"more")),
    forbidden_first("will flag without will fields", "3.1.2-9 3.1.4-1", _connect(6, _ID)),
    forbidden_first("will flag without a will message", "3.1.2-9 3.1.4-1", _connect(6, _ID, string("t"))),
    forbidden_first("will fields without the will flag", "3.1.2-11 3.1.4-1", _connect(2, _ID, _WILL)),
    forbidden_first("will QoS 1 without the will flag", "3.1.2-11 3.1.2-13", _connect(2 | 8, _ID)),
    forbidden_first("will QoS 2 without the will flag", "3.1.2-11 3.1.2-13", _connect(2 | 16, _ID)),
    forbidden_first("will QoS 3 without the will flag", "3.1.2-11 3.1.2-13", _connect(2 | 24, _ID)),
    forbidden_first("will retain without the will flag", "3.1.2-11 3.1.2-15", _connect(2 | 32, _ID)),
    forbidden_first("will of QoS 3", "3.1.2-14 3.1.4-1", _connect(6 | 24, _ID, _WILL)),
    forbidden_first("will of QoS 3, to be retained", "3.1.2-14", _connect(6 | 56, _ID, _WILL)),
    forbidden_first("will topic that is empty", "4.7.3-1 3.1.4-1", _connect(6, _ID, string(""), string("x"))),
    forbidden_first(
        "will topic with a wildcard for all levels", "4.7.1-1", _connect(6, _ID, string("a/#"), string("x"))
    ),
    forbidden_first(
        "will topic with a wildcard for one level", "4.7.1-1", _connect(6, _ID, string("a/+"), string("x"))
    ),
    forbidden_first("user name without its flag", "3.1.2-18 3.1.4-1", _connect(2, _ID, _NAMED)),
    forbidden_first("user name flag without a user name", "3.1.2-19 3.1.4-1", _connect(0x82, _ID)),
    forbidden_first("password without its flag", "3.1.2-20 3.1.4-1", _connect(0x82, _ID, _NAMED, string("secret"))),
    forbidden_first("password flag without a password", "3.1.2-21 3.1.4-1", _connect(0xC2, _ID, _NAMED)),
    forbidden_first("password whose length lies", "3.1.2-21", _connect(0xC2, _ID, _NAMED, b"\0\x10secret")),
    forbidden_first("password flag without the user name flag", "3.1.2-22 3.1.4-1", _connect(0x42, _ID, string("p"))),
    forbidden_first("HTTP on the plain port", "3.1.0-1", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    forbidden_first(
        "a HTTP POST on the plain port", "3.1.0-1", b"POST /mqtt HTTP/1.1\r\nContent-Length: 99\r\n\r\n" + bytes(99)
    ),
    forbidden_first("TLS on the plain port", "3.1.0-1", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512)),
    forbidden_first("SSH on the plain port", "3.1.0-1", b"SSH-2.0-OpenSSH_9.2\r\n"),
]

_V5_CONNECT = packet(0x10, string("MQTT") + b"\5\2\0\x3c" + b"\x05\x11\0\0\0\x0a" + _ID)
_V5_WILL = packet(0x10, string("MQTT") + b"\5\6\0\0" + b"\0" + _ID + b"\0" + _WILL)

LEVELS: list[Case] = [
    *(
        case(
            f"protocol level {level}",
            "3.1.2-2 3.2.2-4 3.2.2-5 3.1.4-5",
            [*listening(), send("a", _connect(2, _ID, level=level), publish("after"), PINGREQ)],
            [expect("a", connack(1)), Closed("a"), Fence("s")],
        )
        for level in (0, 1, 2, 3, 5, 6, 0x84, 255)
    ),
    case(
        "an MQTT 5 client is told that its protocol is not spoken",
        "3.1.2-2 3.2.2-4 3.2.2-5",
        [send("a", _V5_CONNECT), expect("a", connack(1)), Closed("a")],
    ),
    case(
        "an MQTT 5 client with a will leaves none",
        "3.1.2-2 3.1.2-8",
        [*listening(), send("a", _V5_WILL), expect("a", connack(1)), Closed("a"), Fence("s")],
    ),
    *(
        case(
            f"protocol name {name!r} of level {level} is not taken for MQTT 3.1.1",
            "3.1.2-1 3.1.4-5",
            [*listening(), send("a", _connect(2, _ID, protocol=name.encode(), level=level), publish("after"))],
            [Refused("a"), Fence("s")],
        )
        for name, level in (("MQIsdp", 3), ("MQIsdp", 4), ("mqtt", 4), ("MQT", 4), ("MQTTT", 4), ("", 4), ("hj", 4))
    ),
]

_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

CLIENT_IDS: list[Case] = [
    *(
        case(
            f"client id {client_id!r}",
            "3.1.3-5 3.1.4-4 3.2.2-1",
            [send("a", raw_client.connect(client_id)), expect("a", connack()), Alive("a")],
        )
        for client_id in ("a", "Z", _LETTERS[:23], _LETTERS[23:46], _LETTERS[-23:])
    ),
    case(
        "client id longer than 23 bytes",
        "3.1.3-2",
        [send("a", raw_client.connect(CASE + "x" * 60)), expect("a", connack()), Alive("a")],
    ),
    case(
        "no client id and a clean session",
        "3.1.3-6 3.1.4-4",
        [send(who, raw_client.connect("")) for who in "abc"],
        [expect(who, connack()) for who in "abc"],
        [Alive(who) for who in "abc"],
    ),
    case(
        "clients without a client id share no session",
        "3.1.3-6 3.2.2-1",
        [send("a", raw_client.connect(""), subscribe_packet((f"{CASE}/t", 0)))],
        [expect("a", connack(), b"\x90\x03\x00\x05\x00")],
        [send("b", raw_client.connect("")), expect("b", connack())],
        [*join("c"), *tell("c", "t"), expect("a", delivery("t")), Alive("b")],
    ),
    case(
        "no client id and no clean session",
        "3.1.3-7 3.1.3-8 3.1.3-9 3.2.2-4 3.2.2-5",
        [send("a", raw_client.connect("", clean=False)), expect("a", connack(2)), Closed("a")],
    ),
    case(
        "what follows a CONNECT that is refused is not processed",
        "3.1.4-5 3.1.3-8",
        [*listening(), send("a", raw_client.connect("", clean=False), publish("after"))],
        [expect("a", connack(2)), Closed("a"), Fence("s")],
    ),
    case(
        "the will of a client that is refused is not published",
        "3.1.2-8 3.1.4-5",
        [*listening(), send("a", raw_client.connect("", clean=False, will=(f"{CASE}/will", b"gone", 1, False)))],
        [expect("a", connack(2)), Closed("a"), Fence("s")],
    ),
]

_FULL = {"username": "name", "password": "secret", "will": (f"{CASE}/will", b"gone", 1, False)}

ADMITTED: list[Case] = [
    case("a CONNECT is answered", "3.1.4-4 3.2.0-1 3.2.2-1 3.2.2-3", [*join("a"), Alive("a")]),
    case(
        "a CONNECT with every field",
        "3.1.3-1 3.1.2-9 3.1.2-19 3.1.2-21",
        [*listening(), *join("a", **_FULL), send("a", b"\xf0\0"), Closed("a"), expect("s", delivery("will", b"gone"))],
    ),
    case("a user name without a password", "3.1.2-22 3.1.2-20", [*join("a", username="name"), Alive("a")]),
    case("an empty user name and password", "3.1.2-19 3.1.2-21", [*join("a", username="", password=""), Alive("a")]),
    case("a password of any bytes", "3.1.2-21", [*join("a", username="name", password=b"\xff\0\xc0"), Alive("a")]),
    case("an empty will message", "3.1.2-9", [*join("a", will=(f"{CASE}/w", b"", 0, False)), *leave("a")]),
    case("the longest keep-alive", "3.1.2-24", [*join("a", keep_alive_s=65_535), Alive("a")]),
    case(
        "CONNACK comes before anything else",
        "3.2.0-1",
        [send("a", connect("a") + PINGREQ * 3), expect("a", connack(), *[packet(PINGRESP << 4)] * 3)],
    ),
    case(
        "a second CONNECT",
        "3.1.0-2 4.8.0-1",
        [*listening(), *join("a"), send("a", connect("a"), publish("after")), Closed("a"), Fence("s")],
    ),
    forbidden("a second CONNECT under another client id", "3.1.0-2", connect("other")),
    forbidden("a second CONNECT of another protocol level", "3.1.0-2", _V5_CONNECT),
    forbidden("a second CONNECT that is malformed", "3.1.0-2", packet(0x10, b"\0")),
    case(
        "a second CONNECT right behind the first",
        "3.1.0-2 4.8.0-1",
        [*listening(), send("a", connect("a"), connect("a"), publish("after"))],
        [expect("a", connack()), Closed("a"), Fence("s")],
    ),
    forbidden_first("the header of another packet than CONNECT is enough", "3.1.0-1", b"\x50\x7f"),
    case("the first byte of another packet than CONNECT is enough", "3.1.0-1", [send("a", b"\xc0"), Closed("a")]),
    case("the first byte of HTTP is enough", "3.1.0-1", [send("a", b"P"), Closed("a")]),
    case(
        "nothing after DISCONNECT is processed",
        "3.14.4-2",
        [*listening(), *join("a"), send("a", DISCONNECT, publish("after"), PINGREQ), Closed("a"), Fence("s")],
    ),
    case("DISCONNECT closes the connection", "3.14.4-1", [*join("a"), *leave("a")]),
    case(
        "a client that breaks the protocol disturbs no other",
        "4.8.0-1",
        [*listening(), *join("b"), *join("a"), send("a", b"\xf0\0"), Closed("a"), Alive("b"), Alive("s")],
        [*tell("b", "t"), Expect("s", (delivery("t"),))],
    ),
    case(
        "what came before a forbidden packet counts",
        "4.8.0-1",
        [*listening(), *join("a"), send("a", publish("before"), b"\xf0\0", publish("after")), Closed("a")],
        [expect("s", delivery("before")), Fence("s")],
    ),
]

CASES = [*MALFORMED, *LEVELS, *CLIENT_IDS, *ADMITTED]
