"""Retained messages (section 3.3.1.3)."""

from __future__ import annotations

from tests.conformance.broker.steps import (
    CASE,
    Alive,
    Case,
    Step,
    Vanish,
    case,
    delivery,
    expect,
    expect_unordered,
    join,
    leave,
    listening,
    publish,
    send,
    suback,
    subscribe,
    subscribe_packet,
    tell,
    unsubscribe,
)


def _retained_seen(*wanted: Step) -> list[Step]:
    """A new subscriber to `t` gets what is retained there."""
    return [*join("new"), send("new", subscribe_packet((f"{CASE}/t", 2))), *wanted, Alive("new"), *leave("new")]


def _seen(payload: bytes = b"x", qos: int = 1) -> list[Step]:
    return _retained_seen(expect_unordered("new", suback(2), delivery("t", payload, qos, retain=True)))


_NOTHING = _retained_seen(expect("new", suback(2)))
_CLEAR = tell("a", "t", b"", 1, retain=True)

CASES: list[Case] = [
    *(
        case(
            f"retained at QoS {qos}",
            "3.3.1-5 3.3.1-6 3.3.1-8 3.8.4-6",
            [
                *join("a"),
                *(
                    tell("a", "t", b"x", qos, retain=True)
                    if qos
                    else [send("a", publish("t", retain=True)), Alive("a"), *tell("a", "u")]
                ),
            ],
            [*_seen(qos=qos), *_CLEAR],
        )
        for qos in (0, 1, 2)
    ),
    case("not retained", "3.3.1-12", [*join("a"), *tell("a", "t"), *_NOTHING]),
    case(
        "what is not to be retained leaves what is",
        "3.3.1-12",
        [*join("a"), *tell("a", "t", b"kept", retain=True), *tell("a", "t", b"passing"), *_seen(b"kept"), *_CLEAR],
    ),
    case(
        "an empty message that is not to be retained leaves what is",
        "3.3.1-12",
        [*join("a"), *tell("a", "t", b"kept", retain=True), *tell("a", "t", b""), *_seen(b"kept"), *_CLEAR],
    ),
    case(
        "the last retained message counts",
        "3.3.1-5 3.3.1-6",
        [
            *join("a"),
            *tell("a", "t", b"1", retain=True),
            *tell("a", "t", b"2", 2, retain=True),
            *_seen(b"2", 2),
            *_CLEAR,
        ],
    ),
    case(
        "QoS 0 replaces what was retained",
        "3.3.1-7",
        [*join("a"), *tell("a", "t", b"1", retain=True), send("a", publish("t", b"2", retain=True)), *tell("a", "u")],
        [*_seen(b"2", 0), *_CLEAR],
    ),
    *(
        case(
            f"an empty retained message of QoS {qos} clears",
            "3.3.1-10 3.3.1-11",
            [*listening(), *join("a"), *tell("a", "t", b"x", retain=True), expect("s", delivery("t"))],
            [
                *(
                    tell("a", "t", b"", qos, retain=True)
                    if qos
                    else [send("a", publish("t", b"", retain=True)), *tell("a", "u")]
                )
            ],
            [expect("s", delivery("t", b""), *([] if qos else [delivery("u")])), *_NOTHING],
        )
        for qos in (0, 1, 2)
    ),
    case("an empty retained message is not retained", "3.3.1-11", [*join("a"), *_CLEAR, *_NOTHING]),
    case(
        "RETAIN is 0 for those who are subscribed already",
        "3.3.1-9",
        [*listening(qos=1), *join("a"), *tell("a", "t", retain=True), expect("s", delivery("t", qos=1)), *_CLEAR],
        [expect("s", delivery("t", b"", 1))],
    ),
    case(
        "retained messages outlive the session of who published them",
        "3.1.2-7",
        [*join("a"), *tell("a", "t", retain=True), *leave("a"), *join("a", clean=False), *_seen(), *leave("a")],
        [*join("a"), *_seen(), Vanish("a"), *_seen(), *join("a"), *_CLEAR],
    ),
    case(
        "a subscription gets the retained message of each topic that it matches",
        "3.3.1-6 3.3.2-3",
        [*join("a"), *(step for t in ("r/1", "r/2", "r/2/3", "q") for step in tell("a", t, t.encode(), retain=True))],
        [*join("b"), send("b", subscribe_packet((f"{CASE}/r/+", 0)))],
        [expect_unordered("b", suback(0), *(delivery(t, t.encode(), retain=True) for t in ("r/1", "r/2"))), Alive("b")],
        [*join("c"), send("c", subscribe_packet((f"{CASE}/r/#", 0)))],
        [
            expect_unordered("c", suback(0), *(delivery(t, t.encode(), retain=True) for t in ("r/1", "r/2", "r/2/3"))),
            Alive("c"),
        ],
        [*(step for t in ("r/1", "r/2", "r/2/3", "q") for step in tell("a", t, b"", retain=True))],
    ),
    case(
        "retained messages go to who subscribes and to nobody else",
        "3.3.1-6",
        [
            *listening(),
            *join("a"),
            *tell("a", "t", retain=True),
            expect("s", delivery("t")),
            *_seen(),
            Alive("s"),
            *_CLEAR,
        ],
    ),
    case(
        "retained messages come at the lower QoS",
        "3.8.4-6",
        [*join("a"), *tell("a", "t", b"x", 2, retain=True), *join("b"), send("b", subscribe_packet((f"{CASE}/t", 1)))],
        [expect_unordered("b", suback(1), delivery("t", qos=1, retain=True)), *_CLEAR],
    ),
    case(
        "a subscription that is made again gets the retained message again",
        "3.8.4-3 3.3.1-6",
        [*join("a"), *tell("a", "t", retain=True), *join("b"), send("b", subscribe_packet((f"{CASE}/t", 0)))],
        [expect_unordered("b", suback(0), delivery("t", retain=True)), send("b", subscribe_packet((f"{CASE}/t", 0)))],
        [expect_unordered("b", suback(0), delivery("t", retain=True)), Alive("b"), *_CLEAR],
    ),
    case(
        "a subscription that comes back with its session gets no retained message",
        "3.3.1-6 3.1.2-4",
        [*join("a"), *join("b", clean=False), *subscribe("b", ("t", 0)), *leave("b"), *tell("a", "t", retain=True)],
        [*join("b", clean=False, present=True), Alive("b"), *_CLEAR],
    ),
    case(
        "UNSUBSCRIBE leaves what is retained",
        "3.1.2-7 3.10.4-2",
        [*join("a"), *tell("a", "t", retain=True), *join("b"), *subscribe("b", ("u", 0)), *unsubscribe("b", "u", "t")],
        [*_seen(), *_CLEAR],
    ),
]
