"""What the reason codes of MQTT 5 mean to a forwarder. Pure. Source: OASIS MQTT 5.0, section 2.4.

A code may be one that its packet must not carry: servers send 0x95 in PUBACK (Mosquitto, for a message above its
limit), so that every table is asked for any code.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.errors import Blocked, Busy, DeliveryError, Unreachable


class Poison(NamedTuple):
    """The one event that was meant can never be taken."""

    reason: str


_NAMES = {
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: 'it does not speak MQTT 5 (set version = "3.1.1")',
    0x85: "it does not accept the client id",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "another client uses the same client id",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x93: "receive maximum exceeded",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
}

_POISON = (0x90, 0x95, 0x99)
_BLOCKING = (0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x9A, 0x9B, 0x9C, 0x9D)
_ASKING_FOR_TIME = (0x89, 0x96, 0x97, 0x9F)

_CONNACK: dict[int, type[DeliveryError]] = {
    **dict.fromkeys((*_BLOCKING, 0x90, 0x95), Blocked),
    **dict.fromkeys((*_ASKING_FOR_TIME, 0x88), Busy),
}
_DISCONNECT: dict[int, type[DeliveryError]] = {
    **dict.fromkeys((*_BLOCKING, 0x8E), Blocked),
    **dict.fromkeys(_ASKING_FOR_TIME, Busy),
}


def of_connack(code: int, text: str) -> DeliveryError | None:
    """None: the server has us. `text` is its reason string."""
    if code < 0x80:
        return None
    return _CONNACK.get(code, Unreachable)(f"connection refused: {_describe(code, text)}")


def of_puback(code: int, text: str) -> DeliveryError | Poison | None:
    """None: the server has the message. Whatever it does not explain is tried again later."""
    if code < 0x80:
        return None
    what = f"publish refused: {_describe(code, text)}"
    if code in _POISON:
        return Poison(what)
    return Blocked(what) if code in _BLOCKING else Busy(what)


def of_disconnect(code: int, text: str) -> DeliveryError | Poison:
    """What to do now; `Poison` only means something if exactly one event was in flight."""
    what = f"the server closed the connection: {_describe(code, text)}"
    return Poison(what) if code in _POISON else _DISCONNECT.get(code, Unreachable)(what)


def _describe(code: int, text: str) -> str:
    named = f"{_NAMES.get(code, 'reason')} (0x{code:02X})"
    return f"{named}: {text}" if text else named
