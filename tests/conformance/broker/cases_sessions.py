"""Sessions (sections 3.1.2.4, 3.1.4, 4.1, 4.4)."""

from __future__ import annotations

from tests.conformance.broker.steps import (
    CASE,
    Alive,
    Answer,
    Case,
    Closed,
    Distinct,
    Drained,
    Fence,
    Step,
    Vanish,
    case,
    connack,
    connect,
    delivery,
    expect,
    join,
    leave,
    listening,
    publish,
    send,
    suback,
    subscribe,
    subscribe_packet,
    take,
    tell,
    unsubscribe,
)
from tests.site.raw_client import PUBACK, PUBCOMP, PUBREC, PUBREL, acknowledge


def _come_back(who: str = "a", **options: object) -> list[Step]:
    return join(who, clean=False, present=True, **options)


SESSIONS: list[Case] = [
    case(
        "a first persistent session is not present",
        "3.1.2-4 3.2.2-3",
        [*join("a", clean=False), Alive("a")],
    ),
    case(
        "a persistent session is present after DISCONNECT",
        "3.1.2-4 3.2.2-2 4.1.0-1",
        [*join("a", clean=False), *leave("a"), *_come_back(), Alive("a")],
    ),
    case(
        "a persistent session is present after a lost connection",
        "3.1.2-4 3.2.2-2",
        [*join("a", clean=False), Vanish("a"), *_come_back(), Alive("a")],
    ),
    case(
        "a persistent session is present again and again",
        "3.1.2-4 3.2.2-2",
        [*join("a", clean=False), *leave("a"), *_come_back(), *leave("a"), *_come_back(), *leave("a"), *_come_back()],
    ),
    case(
        "a clean session leaves nothing",
        "3.1.2-6 3.2.2-3",
        [*join("a"), *subscribe("a", ("t", 1)), *leave("a"), *join("a", clean=False)],
        [*join("b"), *tell("b", "t"), Alive("a")],
    ),
    case(
        "a clean session whose connection was lost leaves nothing",
        "3.1.2-6 3.2.2-3",
        [*join("a"), *subscribe("a", ("t", 1)), Alive("a"), Vanish("a"), *join("b"), *tell("b", "t")],
        [*join("a", clean=False), *tell("b", "t"), Alive("a")],
    ),
    case(
        "a clean session discards a persistent one",
        "3.1.2-6 3.2.2-1 3.1.4-3",
        [*join("a", clean=False), *subscribe("a", ("t", 1)), *leave("a"), *join("a"), *leave("a")],
        [*join("a", clean=False), *join("b"), *tell("b", "t"), Alive("a")],
    ),
    case(
        "a clean session does not get what waited for the persistent one",
        "3.1.2-6 3.2.2-1",
        [*join("a", clean=False), *subscribe("a", ("t", 1)), *leave("a"), *join("b"), *tell("b", "t")],
        [*join("a"), Alive("a")],
    ),
    case(
        "subscriptions come back with their session",
        "3.1.2-4 4.1.0-1",
        [*join("a", clean=False), *subscribe("a", ("t", 1), ("u/+", 0)), *leave("a"), *_come_back()],
        [*join("b"), *tell("b", "t", b"1"), expect("a", delivery("t", b"1", 1))],
        [*tell("b", "u/x", b"2"), expect("a", delivery("u/x", b"2"))],
    ),
    case(
        "a subscription that was given up does not come back",
        "3.1.2-4 3.10.4-2",
        [*join("a", clean=False), *subscribe("a", ("t", 1)), *unsubscribe("a", "t"), *leave("a"), *_come_back()],
        [*join("b"), *tell("b", "t"), Alive("a")],
    ),
    *(
        case(
            f"QoS {qos} waits for an absent client, in order",
            "3.1.2-5 4.5.0-1 4.6.0-6",
            [*join("a", clean=False), *subscribe("a", ("t", qos)), *leave("a"), *join("b")],
            [step for n in (1, 2, 3) for step in tell("b", "t", b"%d" % n, qos, n)],
            _come_back(),
            [expect("a", *(delivery("t", b"%d" % n, qos, name=f"{n}") for n in (1, 2, 3))), Distinct(("1", "2", "3"))],
            [step for n in (1, 2, 3) for step in take("a", f"{n}", qos)],
            [Alive("a"), *leave("a"), *_come_back(), Alive("a")],
        )
        for qos in (1, 2)
    ),
    case(
        "QoS 1 waits at the QoS that was granted",
        "3.1.2-5 3.8.4-6",
        [*join("a", clean=False), *subscribe("a", ("t", 1)), *leave("a"), *join("b"), *tell("b", "t", b"x", 2)],
        [*_come_back(), expect("a", delivery("t", b"x", 1))],
    ),
    case(
        "what is published to an absent client's given up filter does not wait",
        "3.10.4-2",
        [*join("a", clean=False), *subscribe("a", ("t", 1), ("u", 1)), *unsubscribe("a", "t"), *leave("a")],
        [*join("b"), *tell("b", "t"), *tell("b", "u", b"y"), *_come_back(), expect("a", delivery("u", b"y", 1))],
    ),
    case(
        "sessions are told apart by client id alone",
        "3.1.3-2",
        [*join("a", clean=False, username="one"), *subscribe("a", ("t", 0)), *leave("a")],
        [*_come_back(username="two"), *join("A", clean=False), *join("b"), *tell("b", "t")],
        [expect("a", delivery("t")), Alive("A")],
    ),
    case(
        "a clean session lasts as long as its connection",
        "4.1.0-2 3.1.2-6",
        [*join("a"), *subscribe("a", ("t", 0)), *join("b")],
        [
            step
            for n in range(5)
            for step in (*tell("b", "t", b"%d" % n), expect("a", delivery("t", b"%d" % n)), Alive("a"))
        ],
    ),
]


TAKEOVER: list[Case] = [
    case(
        "a second connection of a client id closes the first",
        "3.1.4-2",
        [*join("a"), send("b", connect("a")), expect("b", connack()), Closed("a"), Alive("b")],
    ),
    case(
        "a takeover keeps a persistent session",
        "3.1.4-2 3.1.4-3 3.2.2-2",
        [*join("a", clean=False), *subscribe("a", ("t", 1)), send("b", connect("a", clean=False))],
        [
            expect("b", connack(present=True)),
            Closed("a"),
            *join("c"),
            *tell("c", "t"),
            expect("b", delivery("t", qos=1)),
        ],
    ),
    case(
        "a takeover by a clean session discards a persistent one",
        "3.1.4-2 3.1.4-3 3.1.2-6",
        [*join("a", clean=False), *subscribe("a", ("t", 1)), send("b", connect("a")), expect("b", connack())],
        [Closed("a"), *join("c"), *tell("c", "t"), Alive("b")],
    ),
    case(
        "a takeover of a clean session begins anew",
        "3.1.4-2 3.2.2-3",
        [*join("a"), *subscribe("a", ("t", 1)), send("b", connect("a", clean=False)), expect("b", connack())],
        [Closed("a"), *join("c"), *tell("c", "t"), Alive("b")],
    ),
    case(
        "a takeover gets what the first did not acknowledge",
        "3.1.4-2 4.4.0-1 3.3.1-1",
        [*join("a", clean=False), *subscribe("a", ("t", 1)), *join("c"), *tell("c", "t")],
        [expect("a", delivery("t", qos=1, name="1")), send("b", connect("a", clean=False))],
        [expect("b", connack(present=True), delivery("t", qos=1, duplicate=True, name="1")), Closed("a")],
    ),
    case(
        "a CONNECT that is malformed takes nothing over",
        "3.1.4-1",
        [*join("a"), send("b", connect("a")[:-1] + b"\xff"), Closed("b"), Alive("a")],
    ),
    case(
        "a takeover publishes the will of the connection that is closed",
        "3.1.2-8 3.1.4-2",
        [
            *listening(),
            *join("a", will=(f"{CASE}/w", b"gone", 0, False)),
            send("b", connect("a")),
            expect("b", connack()),
        ],
        [Closed("a"), expect("s", delivery("w", b"gone")), Alive("b")],
    ),
]

REDELIVERY: list[Case] = [
    *(
        case(
            f"QoS {qos} that was not acknowledged comes again with DUP and the same id",
            "4.4.0-1 3.3.1-1 2.3.1-4 4.3.3-1 4.3.2-1",
            [*join("a", clean=False), *subscribe("a", ("t", qos)), *join("b"), *tell("b", "t", b"x", qos)],
            [expect("a", delivery("t", qos=qos, name="1")), Vanish("a"), *_come_back()],
            [expect("a", delivery("t", qos=qos, name="1", duplicate=True)), *take("a", "1", qos)],
            [Alive("a"), *leave("a"), *_come_back(), Alive("a")],
        )
        for qos in (1, 2)
    ),
    case(
        "what was not acknowledged comes again in order, before what is new",
        "4.4.0-1 4.6.0-1 4.6.0-6",
        [*join("a", clean=False), *subscribe("a", ("t", 2)), *join("b")],
        [*tell("b", "t", b"1", 1), *tell("b", "t", b"2", 2), *tell("b", "t", b"3", 1)],
        [expect("a", *(delivery("t", b"%d" % n, q, name=f"{n}") for n, q in ((1, 1), (2, 2), (3, 1))))],
        [Vanish("a"), *tell("b", "t", b"4", 1), *_come_back()],
        [expect("a", *(delivery("t", b"%d" % n, q, name=f"{n}", duplicate=True) for n, q in ((1, 1), (2, 2), (3, 1))))],
        [expect("a", delivery("t", b"4", 1, name="4")), Distinct(("1", "2", "3", "4"))],
    ),
    case(
        "what was acknowledged out of order does not come again",
        "4.4.0-1",
        [*join("a", clean=False), *subscribe("a", ("t", 1)), *join("b"), *tell("b", "t", b"1"), *tell("b", "t", b"2")],
        [expect("a", delivery("t", b"1", 1, name="1"), delivery("t", b"2", 1, name="2")), *take("a", "2", 1)],
        [
            Alive("a"),
            *leave("a"),
            *_come_back(),
            expect("a", delivery("t", b"1", 1, duplicate=True, name="1")),
            Alive("a"),
        ],
    ),
    case(
        "nothing comes again while the connection lasts",
        "4.4.0-1",
        [*join("a", clean=False), *subscribe("a", ("t", 1)), *join("b"), *tell("b", "t", b"1")],
        [expect("a", delivery("t", b"1", 1, name="1")), Alive("a"), *tell("b", "t", b"2")],
        [expect("a", delivery("t", b"2", 1, name="2")), Alive("a"), Distinct(("1", "2"))],
    ),
    case(
        "PUBREL comes again, the message does not",
        "4.4.0-1 4.3.3-1",
        [*join("a", clean=False), *subscribe("a", ("t", 2)), *join("b"), *tell("b", "t", b"x", 2)],
        [expect("a", delivery("t", qos=2, name="1")), send("a", Answer(PUBREC, "1")), expect("a", Answer(PUBREL, "1"))],
        [Vanish("a"), *_come_back(), expect("a", Answer(PUBREL, "1")), send("a", Answer(PUBCOMP, "1")), Alive("a")],
        [*leave("a"), *_come_back(), Alive("a")],
    ),
    case(
        "PUBREC again is answered with PUBREL again",
        "4.3.3-1",
        [*join("a", clean=False), *subscribe("a", ("t", 2)), *join("b"), *tell("b", "t", b"x", 2)],
        [expect("a", delivery("t", qos=2, name="1")), send("a", Answer(PUBREC, "1"), Answer(PUBREC, "1"))],
        [expect("a", Answer(PUBREL, "1"), Answer(PUBREL, "1")), send("a", Answer(PUBCOMP, "1")), Alive("a")],
    ),
    case(
        "PUBREC of what was never sent is answered with PUBREL",
        "4.3.3-1",
        [*join("s"), *subscribe("s", ("t", 2)), send("s", acknowledge(PUBREC, 77))],
        [expect("s", acknowledge(PUBREL, 77)), Alive("s")],
    ),
    *(
        case(
            f"{name} does not complete QoS {qos}",
            f"{covers} 4.4.0-1",
            [*join("a", clean=False), *subscribe("a", ("t", qos)), *join("b"), *tell("b", "t", b"x", qos)],
            [expect("a", delivery("t", qos=qos, name="1")), send("a", Answer(kind, "1")), Drained("a"), Vanish("a")],
            [*_come_back(), expect("a", delivery("t", qos=qos, name="1", duplicate=True))],
        )
        for name, kind, qos, covers in (
            ("PUBACK", PUBACK, 2, "4.3.3-1"),
            ("PUBCOMP", PUBCOMP, 2, "4.3.3-1"),
            ("PUBREC", PUBREC, 1, "4.3.2-1"),
            ("PUBCOMP", PUBCOMP, 1, "4.3.2-1"),
        )
    ),
    case(
        "PUBACK after PUBREC does not complete QoS 2",
        "4.3.3-1 4.4.0-1",
        [*join("a", clean=False), *subscribe("a", ("t", 2)), *join("b"), *tell("b", "t", b"x", 2)],
        [expect("a", delivery("t", qos=2, name="1")), send("a", Answer(PUBREC, "1")), expect("a", Answer(PUBREL, "1"))],
        [send("a", Answer(PUBACK, "1")), Alive("a"), Vanish("a"), *_come_back(), expect("a", Answer(PUBREL, "1"))],
    ),
    case(
        "a retained message that was not acknowledged comes again",
        "4.4.0-1 3.3.1-8",
        [*join("b"), *tell("b", "t", b"x", 1, retain=True), *join("a", clean=False)],
        [send("a", subscribe_packet((f"{CASE}/t", 1)))],
        [expect("a", suback(1), delivery("t", qos=1, retain=True, name="1")), Vanish("a"), *_come_back()],
        [
            expect("a", delivery("t", qos=1, retain=True, duplicate=True, name="1")),
            *tell("b", "t", b"", 1, retain=True),
        ],
    ),
    case(
        "a QoS 2 message of a client is taken once over two connections",
        "4.3.3-2 4.4.0-1 3.1.2-4",
        [
            *listening(),
            *join("a", clean=False),
            send("a", publish("t", b"x", 2, 9)),
            expect("a", acknowledge(PUBREC, 9)),
        ],
        [Vanish("a"), *_come_back(), send("a", publish("t", b"x", 2, 9, duplicate=True))],
        [expect("a", acknowledge(PUBREC, 9)), send("a", acknowledge(PUBREL, 9)), expect("a", acknowledge(PUBCOMP, 9))],
        [expect("s", delivery("t")), Fence("s")],
    ),
    case(
        "a clean session forgets which QoS 2 messages it has taken",
        "3.1.2-6 4.3.3-2",
        [
            *listening(),
            *join("a"),
            send("a", publish("t", b"1", 2, 9)),
            expect("a", acknowledge(PUBREC, 9)),
            Vanish("a"),
        ],
        [*join("a"), *tell("a", "t", b"2", 2, 9), expect("s", delivery("t", b"1"), delivery("t", b"2")), Fence("s")],
    ),
    case(
        "PUBREL may come on the next connection",
        "4.3.3-2 4.4.0-1",
        [
            *listening(),
            *join("a", clean=False),
            send("a", publish("t", b"x", 2, 9)),
            expect("a", acknowledge(PUBREC, 9)),
        ],
        [Vanish("a"), *_come_back(), send("a", acknowledge(PUBREL, 9)), expect("a", acknowledge(PUBCOMP, 9))],
        [*tell("a", "t", b"y", 2, 9), expect("s", delivery("t"), delivery("t", b"y")), Fence("s")],
    ),
]

CASES = [*SESSIONS, *TAKEOVER, *REDELIVERY]
