"""SUBSCRIBE, UNSUBSCRIBE and what filters match (sections 3.8 to 3.11 and 4.7)."""

from __future__ import annotations

from tests.conformance.broker.steps import (
    CASE,
    Alive,
    Case,
    Drained,
    Settled,
    Step,
    case,
    delivery,
    expect,
    forbidden,
    join,
    publish,
    send,
    suback,
    subscribe,
    subscribe_packet,
    take,
    tell,
    unsuback,
    unsubscribe,
    unsubscribe_packet,
)
from tests.site import raw_client
from tests.site.raw_client import packet, string

_TOPIC = string(f"{CASE}/t")
_BAD_FILTERS = {
    "": "4.7.3-1",
    "a\0": "4.7.3-2 1.5.3-2",
    "a#": "4.7.1-2",
    "a/b#": "4.7.1-2",
    "#/": "4.7.1-2",
    "#/a": "4.7.1-2",
    "a/#/b": "4.7.1-2",
    "##": "4.7.1-2",
    "a/##": "4.7.1-2",
    "a+": "4.7.1-3",
    "+a": "4.7.1-3",
    "a/b+/c": "4.7.1-3",
    "a/+b/c": "4.7.1-3",
    "++": "4.7.1-3",
    "+#": "4.7.1-2 4.7.1-3",
    "#+": "4.7.1-2 4.7.1-3",
}

FORBIDDEN: list[Case] = [
    forbidden("SUBSCRIBE without a filter", "3.8.3-3", packet(0x82, b"\0\1")),
    forbidden("UNSUBSCRIBE without a filter", "3.10.3-2", packet(0xA2, b"\0\1")),
    *(
        forbidden(f"SUBSCRIBE with {qos:#04x} for a QoS", "3.8.3-4", packet(0x82, b"\0\1" + _TOPIC + bytes([qos])))
        for qos in (3, 4, 5, 6, 8, 0x10, 0x20, 0x40, 0x80, 0xFF)
    ),
    forbidden("SUBSCRIBE whose second QoS is 3", "3.8.3-4", subscribe_packet((f"{CASE}/t", 0), (f"{CASE}/u", 3))),
    *(
        forbidden(f"SUBSCRIBE to {topic_filter!r}", numbers, subscribe_packet((topic_filter, 0)))
        for topic_filter, numbers in _BAD_FILTERS.items()
    ),
    *(
        forbidden(f"UNSUBSCRIBE from {topic_filter!r}", f"{numbers} 3.10.3-1", unsubscribe_packet(topic_filter))
        for topic_filter, numbers in _BAD_FILTERS.items()
    ),
]

ANSWERS: list[Case] = [
    *(
        case(
            f"SUBSCRIBE and UNSUBSCRIBE with packet id {packet_id}",
            "2.3.1-7 3.8.4-1 3.8.4-2 3.10.4-4",
            [*join("a"), send("a", subscribe_packet((f"{CASE}/t", 1), packet_id=packet_id))],
            [
                expect("a", suback(1, packet_id=packet_id)),
                send("a", unsubscribe_packet(f"{CASE}/t", packet_id=packet_id)),
            ],
            [expect("a", unsuback(packet_id)), Alive("a")],
        )
        for packet_id in (1, 0xFF, 0x100, 0xFFFF)
    ),
    *(
        case(f"QoS {qos} is granted", "3.8.4-5 3.9.3-2", [*join("a"), *subscribe("a", ("t", qos)), Alive("a")])
        for qos in (0, 1, 2)
    ),
    case(
        "return codes come in the order of the filters",
        "3.9.3-1 3.8.4-4 3.8.4-5",
        [*join("a"), *subscribe("a", ("c", 2), ("a", 0), ("b", 1), ("a/+", 2), ("#", 0)), Alive("a")],
    ),
    case(
        "a filter of a shared subscription is refused, and the connection lasts",
        "3.8.4-1 3.8.4-5 3.9.3-2",
        [*join("a"), send("a", subscribe_packet((f"$share/g/{CASE}", 0))), expect("a", suback(0x80)), Alive("a")],
    ),
    case(
        "one filter of two is refused, the other granted, in their order",
        "3.8.4-5 3.9.3-1",
        [*join("a"), send("a", subscribe_packet((f"$share/g/{CASE}", 0), (f"{CASE}/t", 1)))],
        [expect("a", suback(0x80, 1)), Alive("a")],
    ),
    case(
        "many filters in one SUBSCRIBE",
        "3.8.4-4 3.9.3-1",
        [*join("a"), *subscribe("a", *((f"t/{n}", n % 3) for n in range(60))), *join("b"), *tell("b", "t/59", b"x", 2)],
        [expect("a", delivery("t/59", qos=2))],
    ),
    case(
        "a filter twice in one SUBSCRIBE: the last counts",
        "3.8.4-4 3.8.4-3",
        [
            *join("a"),
            *subscribe("a", ("t", 2), ("t", 0)),
            *join("b"),
            *tell("b", "t"),
            expect("a", delivery("t")),
            Alive("a"),
        ],
    ),
    *(
        case(
            f"a subscription of QoS {before} is replaced by one of QoS {after}",
            "3.8.4-3",
            [
                *join("a"),
                *subscribe("a", ("t", before)),
                *subscribe("a", ("t", after)),
                *join("b"),
                *tell("b", "t", b"x", 2),
            ],
            [expect("a", delivery("t", qos=after)), Alive("a")],
        )
        for before, after in ((0, 2), (2, 0), (1, 1))
    ),
    case(
        "several SUBSCRIBE in one write are answered in order",
        "3.8.4-1 3.8.4-2",
        [*join("a"), send("a", *(subscribe_packet((f"{CASE}/{n}", n % 3), packet_id=n) for n in range(1, 9)))],
        [expect("a", *(suback(n % 3, packet_id=n) for n in range(1, 9)))],
    ),
    case(
        "what is published right behind a SUBSCRIBE is delivered",
        "3.8.4-1 4.5.0-1",
        [
            *join("a"),
            send("a", subscribe_packet((f"{CASE}/t", 0)), publish("t")),
            expect("a", suback(0), delivery("t")),
        ],
    ),
]

OVERLAPPING: list[Case] = [
    case(
        "overlapping filters: once, at the highest QoS",
        "3.3.5-1",
        [*join("s"), *subscribe("s", ("t/#", 2), ("t/+", 1), ("t/x", 0)), *join("a"), *tell("a", "t/x", b"x", 2)],
        [expect("s", delivery("t/x", qos=2)), Alive("s")],
    ),
    case(
        "overlapping filters: the highest QoS stands last",
        "3.3.5-1",
        [*join("s"), *subscribe("s", ("t/x", 0), ("t/+", 1), ("t/#", 2)), *join("a"), *tell("a", "t/x", b"x", 2)],
        [expect("s", delivery("t/x", qos=2)), Alive("s")],
    ),
    case(
        "overlapping filters: no higher QoS than published",
        "3.3.5-1 3.8.4-6",
        [*join("s"), *subscribe("s", ("t/#", 2), ("t/x", 0)), *join("a"), *tell("a", "t/x", b"x", 1)],
        [expect("s", delivery("t/x", qos=1)), Alive("s")],
    ),
    case(
        "one of two overlapping filters is given up",
        "3.10.4-1 3.3.5-1",
        [
            *join("s"),
            *subscribe("s", ("t/#", 2), ("t/x", 0)),
            *unsubscribe("s", "t/#"),
            *join("a"),
            *tell("a", "t/x", b"x", 2),
        ],
        [expect("s", delivery("t/x")), *tell("a", "t/y"), Alive("s")],
    ),
]

_B: list[Step] = join("b")

UNSUBSCRIBING: list[Case] = [
    case(
        "nothing comes after UNSUBACK",
        "3.10.4-2 3.10.4-4",
        [*join("a"), *subscribe("a", ("t", 1)), *_B, *tell("b", "t", b"1"), expect("a", delivery("t", b"1", 1))],
        [*unsubscribe("a", "t"), *tell("b", "t", b"2"), Alive("a")],
    ),
    case(
        "UNSUBSCRIBE from what was never subscribed to",
        "3.10.4-5 3.10.4-4",
        [*join("a"), *unsubscribe("a", "t"), Alive("a")],
    ),
    case(
        "several filters in one UNSUBSCRIBE, one answer",
        "3.10.4-6 3.10.4-5",
        [
            *join("a"),
            *subscribe("a", ("t", 0), ("u", 0), ("v", 0)),
            *unsubscribe("a", "t", "never", "v"),
            Alive("a"),
            *_B,
        ],
        [*tell("b", "t"), *tell("b", "v"), *tell("b", "u", b"u"), expect("a", delivery("u", b"u")), Alive("a")],
    ),
    *(
        case(
            f"UNSUBSCRIBE from {other!r} leaves the subscription to {kept!r}",
            "3.10.4-1",
            [
                *join("a"),
                *subscribe("a", (kept, 0)),
                *unsubscribe("a", other),
                *_B,
                *tell("b", "t/x"),
                expect("a", delivery("t/x")),
            ],
        )
        for kept, other in (
            ("t/x", "t/+"),
            ("t/+", "t/x"),
            ("t/#", "t/+"),
            ("t/#", "#"),
            ("t/x", "T/x"),
            ("t/x", "t/x/"),
        )
    ),
    *(
        case(
            f"UNSUBSCRIBE from the wildcard filter {topic_filter!r}",
            "3.10.4-1",
            [
                *join("a"),
                *subscribe("a", (topic_filter, 0)),
                *unsubscribe("a", topic_filter),
                *_B,
                *tell("b", "t/x"),
                Alive("a"),
            ],
        )
        for topic_filter in ("t/+", "t/#", "+/x", "#")
    ),
    *(
        case(
            f"a delivery of QoS {qos} that has begun is completed after UNSUBSCRIBE",
            "3.10.4-3",
            [*join("a"), *subscribe("a", ("t", qos)), *_B, *tell("b", "t", b"x", qos)],
            [expect("a", delivery("t", qos=qos, name="1")), *unsubscribe("a", "t"), *take("a", "1", qos), Alive("a")],
        )
        for qos in (1, 2)
    ),
]

_MATCHES = {
    "t": ("t",),
    "t/": ("t/",),
    "/t": ("/t",),
    "+": ("t", ""),
    "+/+": ("t/u", "/t", "t/", "/"),
    "+/u": ("t/u", "/u"),
    "t/+": ("t/u", "t/"),
    "t/+/v": ("t/u/v", "t//v"),
    "+/+/+": ("t/u/v", "//"),
    "t/#": ("t", "t/", "t/u", "t/u/v", "t//"),
    "t/+/#": ("t/u", "t/", "t/u/v"),
    "/#": ("/t", "/", "/t/u"),
    "+/u/#": ("t/u", "t/u/v", "/u"),
    "a b": ("a b",),
    "$t": ("$t",),
    "$t/#": ("$t", "$t/u"),
    "+/$t": ("x/$t",),
    "é": ("é",),
}
_DIFFERS = {
    "t": ("T", "t/", "/t", "t/u", "tt"),
    "t/": ("t", "t//", "t/u"),
    "/t": ("t", "//t"),
    "+": ("t/u", "/t", "t/"),
    "+/+": ("t", "t/u/v", "//"),
    "t/+": ("t", "t/u/v", "tt/u"),
    "t/+/v": ("t/v", "t/u/w/v", "t/u/V"),
    "t/#": ("tt", "T/u", "/t", "x/t"),
    "/#": ("t", "t/u"),
    "+/u": ("u", "t/u/v", "t/U"),
    "e\u0301": ("\u00e9",),
    "\u00e9": ("e\u0301", "E\u0301"),
    "a b": ("ab", "a  b"),
    "t/u/../v": ("t/v",),
}

MATCHING: list[Case] = [
    case(
        f"filter {topic_filter!r} matches {', '.join(map(repr, topics))}",
        "3.3.2-3 4.7.1-2 4.7.1-3 4.7.3-4",
        [*join("s"), *subscribe("s", (topic_filter, 0)), *_B, send("b", *(publish(topic) for topic in topics))],
        [expect("s", *(delivery(topic) for topic in topics)), Alive("s")],
    )
    for topic_filter, topics in _MATCHES.items()
] + [
    case(
        f"filter {topic_filter!r} does not match {', '.join(map(repr, topics))}",
        "3.3.2-3 4.7.3-4",
        [*join("s"), *subscribe("s", (topic_filter, 0)), *_B],
        [step for topic in topics for step in tell("b", topic)],
        [Alive("s")],
    )
    for topic_filter, topics in _DIFFERS.items()
]

_LONG = f"{CASE}/" + "x" * (65_535 - 5)

TOPICS: list[Case] = [
    case(
        "a topic and a filter of 65,535 bytes",
        "4.7.3-3",
        [*join("s"), send("s", subscribe_packet((_LONG, 0))), expect("s", suback(0))],
        [*_B, send("b", raw_client.publish(_LONG, b"x")), expect("s", delivery("x" * 65_530)), Alive("s")],
    ),
    *(
        case(
            f"filter {topic_filter!r} matches no topic that begins with $",
            "4.7.2-1",
            [*join("s"), send("s", subscribe_packet((topic_filter, 0))), Settled("s"), Drained("s"), *join("a")],
            [send("a", raw_client.publish(f"$SYS/{CASE}", b"x", 1, 3)), Settled("a"), *_B, *tell("b", "u")],
            [expect("s", delivery("u"))] if topic_filter in {"#", "+/#"} else [Alive("s")],
        )
        for topic_filter in ("#", "+/#", f"+/{CASE}", "+/+/x")
    ),
    case(
        "a filter that begins with $ is granted or refused, and the connection lasts",
        "3.8.4-1 3.8.4-5 4.7.2-1",
        [*join("s"), send("s", subscribe_packet(("$SYS/#", 0))), Settled("s"), Drained("s"), Alive("s")],
    ),
]

CASES = [*FORBIDDEN, *ANSWERS, *OVERLAPPING, *UNSUBSCRIBING, *MATCHING, *TOPICS]
