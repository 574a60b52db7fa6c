"""Wills (section 3.1.2.5)."""

from __future__ import annotations

from tests.conformance.broker.steps import (
    CASE,
    Alive,
    Case,
    Closed,
    Fence,
    Step,
    Vanish,
    case,
    delivery,
    expect,
    join,
    leave,
    listening,
    send,
    suback,
    subscribe,
    subscribe_packet,
    tell,
)


def _with_will(qos: int = 0, *, retain: bool = False, payload: bytes = b"gone", clean: bool = True) -> list[Step]:
    return join("a", clean=clean, will=(f"{CASE}/w", payload, qos, retain))


_PUBLISHED = expect("s", delivery("w", b"gone"))

CASES: list[Case] = [
    case(
        "a will is published when a connection is reset",
        "3.1.2-8",
        [*listening(), *_with_will(), Vanish("a"), _PUBLISHED],
    ),
    case(
        "a will is published when a connection ends without DISCONNECT",
        "3.1.2-8",
        [*listening(), *_with_will(), Vanish("a", reset=False), _PUBLISHED],
    ),
    case(
        "a will is published when the client breaks the protocol",
        "3.1.2-8 4.8.0-1",
        [*listening(), *_with_will(), send("a", b"\xf0\0"), Closed("a"), _PUBLISHED, Fence("s")],
    ),
    case(
        "a will is published when DISCONNECT is malformed",
        "3.1.2-8 3.14.1-1",
        [*listening(), *_with_will(), send("a", b"\xe1\0"), Closed("a"), _PUBLISHED, Fence("s")],
    ),
    case(
        "a will is not published after DISCONNECT",
        "3.1.2-10 3.14.4-3",
        [*listening(), *_with_will(), *leave("a"), Fence("s")],
    ),
    case(
        "a will is not published after DISCONNECT although the connection is then reset",
        "3.14.4-3",
        [*listening(), *_with_will(), send("a", b"\xe0\0"), Vanish("a"), Fence("s"), Fence("s")],
    ),
    case("no will, none published", "3.1.2-12", [*listening(), *join("a"), Vanish("a"), Fence("s"), Fence("s")]),
    case(
        "a will is published once",
        "3.1.2-10",
        [*listening(), *_with_will(clean=False), Vanish("a"), _PUBLISHED],
        [*join("a", clean=False, present=True), Vanish("a"), Fence("s"), Fence("s")],
    ),
    case(
        "a later connection brings its own will",
        "3.1.2-10 3.1.2-8",
        [*listening(), *_with_will(payload=b"first"), *leave("a"), *_with_will(), Vanish("a"), _PUBLISHED],
    ),
    *(
        case(
            f"a will of QoS {qos} to a subscriber of QoS 2",
            "3.1.2-14 3.1.2-9",
            [*listening(qos=2), *_with_will(qos), Vanish("a"), expect("s", delivery("w", b"gone", qos))],
        )
        for qos in (0, 1, 2)
    ),
    case(
        "a will that is not to be retained is not",
        "3.1.2-16",
        [*listening(), *_with_will(), Vanish("a"), _PUBLISHED, *join("b"), *subscribe("b", ("w", 0)), Alive("b")],
    ),
    case(
        "a will that is to be retained is",
        "3.1.2-17 3.3.1-9",
        [*listening(), *_with_will(1, retain=True), Vanish("a"), _PUBLISHED, Fence("s")],
        [*join("b"), send("b", subscribe_packet((f"{CASE}/w", 1)))],
        [expect("b", suback(1), delivery("w", b"gone", 1, retain=True)), *tell("b", "gone"), *tell("b", "x")],
    ),
    case(
        "an empty will that is to be retained clears what was",
        "3.1.2-17 3.3.1-10",
        [*listening(), *join("b"), *tell("b", "w", b"old", retain=True), expect("s", delivery("w", b"old"))],
        [*_with_will(payload=b"", retain=True), Vanish("a"), expect("s", delivery("w", b""))],
        [*join("c"), *subscribe("c", ("w", 0)), Alive("c")],
    ),
    case(
        "an empty will is published",
        "3.1.2-8",
        [*listening(), *_with_will(payload=b""), Vanish("a"), expect("s", delivery("w", b""))],
    ),
]
