"""Which event a released one was: a user property of MQTT 5, which goes with it wherever it is sent. Pure."""

from __future__ import annotations

from gateway.properties import USER_PROPERTY, beside, write_user

ORIGINAL = "original"
"""Name of the user property; its value is the id of the event, `<log id>.<seq>`."""
ORIGINAL_TIME = "originaltime"
"""When that came, RFC 3339."""


def with_original(properties: bytes | None, event_id: str, time: str) -> bytes:
    """The properties of a released event: those it had, which event it was, and when that came."""
    return (properties or b"") + write_user([(ORIGINAL, event_id), (ORIGINAL_TIME, time)])


def is_release(properties: bytes | None) -> bool:
    """Whether these are the properties of a released event."""
    if not properties or USER_PROPERTY not in properties:
        return False
    return any(name == ORIGINAL for name, _ in beside(properties).user)
