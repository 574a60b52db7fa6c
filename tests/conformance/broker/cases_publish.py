"""PUBLISH both ways and its acknowledgements (sections 3.3 to 3.7 and 4.3 to 4.6)."""

from __future__ import annotations

from tests.conformance.broker.steps import (
    CASE,
    Alive,
    Answer,
    Case,
    Distinct,
    Fence,
    Settled,
    case,
    delivery,
    expect,
    expect_unordered,
    forbidden,
    join,
    listening,
    publish,
    send,
    suback,
    subscribe,
    subscribe_packet,
    take,
    tell,
)
from tests.site import raw_client
from tests.site.raw_client import PUBACK, PUBCOMP, PUBREC, PUBREL, acknowledge, packet, string

FORBIDDEN: list[Case] = [
    *(
        forbidden(
            f"PUBLISH with QoS 3, header flags {flags:04b}", "3.3.1-4", packet(0x30 | flags, string("t") + b"\0\1x")
        )
        for flags in (6, 7, 14, 15)
    ),
    forbidden("PUBLISH of QoS 0 with DUP", "3.3.1-2", packet(0x38, string("t") + b"x")),
    forbidden("PUBLISH of QoS 0 with DUP and RETAIN", "3.3.1-2", packet(0x39, string("t") + b"x")),
    *(
        forbidden(f"PUBLISH at QoS {qos} to {topic!r}", f"{numbers}", raw_client.publish(topic, b"x", qos, 1))
        for qos in (0, 1, 2)
        for topic, numbers in {
            "": "4.7.3-1 3.3.2-1",
            "#": "3.3.2-2 4.7.1-1",
            "+": "3.3.2-2 4.7.1-1",
            "a/+/b": "3.3.2-2 4.7.1-1",
            "a/b#": "3.3.2-2 4.7.1-1",
            "a\0b": "1.5.3-2 4.7.3-2",
        }.items()
    ),
]

FROM_CLIENT: list[Case] = [
    *(
        case(
            f"QoS 1 with packet id {packet_id}",
            "2.3.1-6 3.3.4-1 4.3.2-2",
            [*listening(), *join("a"), *tell("a", "t", b"x", 1, packet_id), expect("s", delivery("t")), Fence("s")],
        )
        for packet_id in (1, 0xFF, 0x100, 0x7FFF, 0xFFFF)
    ),
    *(
        case(
            f"QoS 2 with packet id {packet_id}",
            "2.3.1-6 3.3.4-1 4.3.3-2",
            [*listening(), *join("a"), *tell("a", "t", b"x", 2, packet_id), expect("s", delivery("t")), Fence("s")],
        )
        for packet_id in (1, 0xFF, 0x100, 0x7FFF, 0xFFFF)
    ),
    case(
        "QoS 0 is not acknowledged",
        "3.3.4-1 2.3.1-5",
        [*listening(), *join("a"), send("a", publish("t")), expect("s", delivery("t")), Alive("a")],
    ),
    case(
        "what looks like a packet id is payload at QoS 0",
        "2.3.1-5",
        [*listening(), *join("a"), send("a", publish("t", b"\0\1x")), expect("s", delivery("t", b"\0\1x"))],
    ),
    case(
        "QoS 1 of the same packet id is a new message once it is acknowledged, whatever DUP says",
        "4.3.2-2",
        [*listening(), *join("a"), *tell("a", "t", b"1", 1, 7), *tell("a", "t", b"2", 1, 7, duplicate=True)],
        [expect("s", delivery("t", b"1"), delivery("t", b"2")), Fence("s")],
    ),
    case(
        "QoS 2 that comes twice is taken once and acknowledged twice",
        "4.3.3-2",
        [*listening(), *join("a"), send("a", publish("t", b"x", 2, 7)), expect("a", acknowledge(PUBREC, 7))],
        [send("a", publish("t", b"x", 2, 7, duplicate=True)), expect("a", acknowledge(PUBREC, 7))],
        [
            send("a", acknowledge(PUBREL, 7)),
            expect("a", acknowledge(PUBCOMP, 7)),
            expect("s", delivery("t")),
            Fence("s"),
        ],
    ),
    case(
        "QoS 2 that comes twice in one write is taken once",
        "4.3.3-2",
        [*listening(), *join("a"), send("a", publish("t", b"x", 2, 7), publish("t", b"x", 2, 7, duplicate=True))],
        [expect("a", acknowledge(PUBREC, 7), acknowledge(PUBREC, 7)), expect("s", delivery("t")), Fence("s")],
    ),
    case(
        "QoS 2 that comes twice without DUP is taken once",
        "4.3.3-2",
        [*listening(), *join("a"), send("a", publish("t", b"x", 2, 7), publish("t", b"x", 2, 7))],
        [expect("a", acknowledge(PUBREC, 7), acknowledge(PUBREC, 7)), expect("s", delivery("t")), Fence("s")],
    ),
    case(
        "QoS 2 with DUP that never came before is taken",
        "4.3.3-2",
        [*listening(), *join("a"), *tell("a", "t", b"x", 2, 7, duplicate=True), expect("s", delivery("t")), Fence("s")],
    ),
    case(
        "PUBREL again is answered with PUBCOMP again",
        "4.3.3-2",
        [
            *join("a"),
            *tell("a", "t", b"x", 2, 7),
            send("a", acknowledge(PUBREL, 7)),
            expect("a", acknowledge(PUBCOMP, 7)),
        ],
    ),
    case(
        "PUBREL of a packet id that is not known is answered with PUBCOMP",
        "4.3.3-2",
        [*join("a"), send("a", acknowledge(PUBREL, 999)), expect("a", acknowledge(PUBCOMP, 999)), Alive("a")],
    ),
    case(
        "a packet id of QoS 2 is free after PUBCOMP",
        "4.3.3-2",
        [*listening(), *join("a"), *tell("a", "t", b"1", 2, 7), *tell("a", "t", b"2", 2, 7)],
        [expect("s", delivery("t", b"1"), delivery("t", b"2")), Fence("s")],
    ),
    case(
        "the same packet id in use by two clients",
        "4.3.3-2 3.1.3-2",
        [
            *listening(),
            *join("a"),
            *join("b"),
            send("a", publish("t", b"a", 2, 7)),
            expect("a", acknowledge(PUBREC, 7)),
        ],
        [send("b", publish("t", b"b", 2, 7)), expect("b", acknowledge(PUBREC, 7))],
        [expect("s", delivery("t", b"a"), delivery("t", b"b")), Fence("s")],
    ),
    case(
        "several QoS 2 exchanges at a time",
        "4.3.3-2 2.3.1-6",
        [*listening(), *join("a"), send("a", *(publish("t", b"%d" % n, 2, n) for n in (1, 2, 3)))],
        [
            expect("a", *(acknowledge(PUBREC, n) for n in (1, 2, 3))),
            send("a", *(acknowledge(PUBREL, n) for n in (3, 1, 2))),
        ],
        [
            expect("a", *(acknowledge(PUBCOMP, n) for n in (3, 1, 2))),
            expect("s", *(delivery("t", b"%d" % n) for n in (1, 2, 3))),
        ],
    ),
    case(
        "acknowledgements come in the order of the messages",
        "4.6.0-6 4.3.2-2",
        [*join("a"), send("a", *(publish("t", b"x", 1 + n % 2, n) for n in range(1, 21)))],
        [expect("a", *(acknowledge(PUBREC if n % 2 else PUBACK, n) for n in range(1, 21)))],
    ),
    case(
        "a message to a topic of the server's own is acknowledged or ends the connection, and goes nowhere",
        "3.3.5-2 4.7.2-1",
        [*join("s"), send("s", subscribe_packet(("$x/#", 0), (f"+/{CASE}", 0), (f"{CASE}/fence", 0)))],
        [
            expect("s", suback(0, 0, 0)),
            *join("a"),
            send("a", raw_client.publish(f"$x/{CASE}", b"x", 1, 3)),
            Settled("a"),
        ],
        [Fence("s")],
    ),
]

TO_CLIENT: list[Case] = [
    *(
        case(
            f"published at QoS {published}, granted {granted}",
            "3.8.4-6 3.3.5-1 4.3.1-1 4.3.2-1 4.3.3-1",
            [*join("s"), *subscribe("s", ("t", granted)), *join("a")],
            [*tell("a", "t", b"x", published)] if published else [send("a", publish("t"))],
            [expect("s", delivery("t", b"x", min(published, granted), name="1"))],
            take("s", "1", min(published, granted)) if min(published, granted) else [],
            [Alive("s")],
        )
        for published in (0, 1, 2)
        for granted in (0, 1, 2)
    ),
    *(
        case(
            f"DUP of a client is not handed on at QoS {qos}",
            "3.3.1-3 4.3.2-1 4.3.3-1",
            [*join("s"), *subscribe("s", ("t", 2)), *join("a"), *tell("a", "t", b"x", qos, 7, duplicate=True)],
            [expect("s", delivery("t", b"x", qos))],
        )
        for qos in (1, 2)
    ),
    case(
        "a packet id that is not acknowledged is not used again",
        "2.3.1-2 2.3.1-4 4.3.2-1",
        [*join("s"), *subscribe("s", ("t", 2)), *join("a")],
        [step for n in range(5) for step in tell("a", "t", b"%d" % n, 1 + n % 2, 1)],
        [expect("s", *(delivery("t", b"%d" % n, 1 + n % 2, name=f"{n}") for n in range(5)))],
        [Distinct(tuple("01234"))],
    ),
    case(
        "two subscribers each get the message at their own QoS",
        "3.3.5-1 3.8.4-6",
        [
            *join("s"),
            *subscribe("s", ("t", 0)),
            *join("r"),
            *subscribe("r", ("+", 2)),
            *join("a"),
            *tell("a", "t", b"x", 2),
        ],
        [expect("s", delivery("t")), expect("r", delivery("t", qos=2))],
    ),
    case(
        "a client gets what it publishes itself",
        "3.3.2-3 4.5.0-1",
        [*join("a"), *subscribe("a", ("t", 1)), send("a", publish("t", b"x", 1, 9))],
        [expect_unordered("a", acknowledge(PUBACK, 9), delivery("t", qos=1)), Alive("a")],
    ),
    case(
        "a message that nobody wants is acknowledged",
        "3.3.4-1",
        [*join("a"), *tell("a", "t"), *tell("a", "t", b"x", 2), Alive("a")],
    ),
    case(
        "messages of one client on one topic come in their order",
        "4.6.0-5 4.6.0-6",
        [*listening(), *join("a"), send("a", *(publish("t", b"%d" % n) for n in range(100)))],
        [expect("s", *(delivery("t", b"%d" % n) for n in range(100)))],
    ),
    case(
        "messages of QoS 1 and 2 come in their order",
        "4.6.0-5 4.6.0-6",
        [*listening(qos=2), *join("a"), send("a", *(publish("t", b"%d" % n, 1 + n % 2, n) for n in range(1, 51)))],
        [expect("s", *(delivery("t", b"%d" % n, 1 + n % 2) for n in range(1, 51)))],
    ),
    case(
        "acknowledgements of what was never sent change nothing",
        "4.3.2-1 4.3.3-1",
        [
            *join("s"),
            *subscribe("s", ("t", 2)),
            send("s", acknowledge(PUBACK, 77), acknowledge(PUBCOMP, 78)),
            Alive("s"),
        ],
        [
            *join("a"),
            *tell("a", "t", b"x", 1),
            expect("s", delivery("t", qos=1, name="1")),
            *take("s", "1", 1),
            Alive("s"),
        ],
    ),
    case(
        "PUBREL bears the packet id of its message",
        "2.3.1-6 4.3.3-1",
        [*join("s"), *subscribe("s", ("t", 2)), *join("a"), *tell("a", "t", b"1", 2), *tell("a", "t", b"2", 2)],
        [expect("s", delivery("t", b"1", 2, name="1"), delivery("t", b"2", 2, name="2"))],
        [send("s", Answer(PUBREC, "2"), Answer(PUBREC, "1")), expect("s", Answer(PUBREL, "2"), Answer(PUBREL, "1"))],
        [send("s", Answer(PUBCOMP, "1"), Answer(PUBCOMP, "2")), Alive("s")],
    ),
]


CASES = [*FORBIDDEN, *FROM_CLIENT, *TO_CLIENT]
