"""MQTT 5 properties as bytes: what a PUBLISH may carry beside its payload. Pure. Source: OASIS MQTT 5.0, section 2.2.2.

Everywhere here the properties are without the length that stands before them on the wire, as an event keeps them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Value: TypeAlias = int | bytes | tuple[bytes, bytes]

PAYLOAD_FORMAT, CONTENT_TYPE, USER_PROPERTY = 0x01, 0x03, 0x26
_SUBSCRIPTION_ID = 0x0B
_INTEGER_BYTES = {
    **dict.fromkeys((0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((0x13, 0x21, 0x22, 0x23), 2),
    **dict.fromkeys((0x02, 0x11, 0x18, 0x27), 4),
}
_TEXTS = frozenset((0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F))  # binary data looks the same


class Beside(NamedTuple):
    """What an event has beside its payload that means something to whoever gets it next."""

    is_text: bool
    """Whether the payload is said to be UTF-8."""
    content_type: str
    """Of the payload; empty if it is not told."""
    user: tuple[tuple[str, str], ...]
    """User properties, names and values, in their order; a name may come twice."""


def read(data: bytes, at: int = 0) -> Iterator[tuple[int, Value]]:
    """Identifier and value of each property from `at` to the end of `data`: a number, bytes, or two of them.

    Raises:
        ValueError: an identifier that there is not, or a property that is cut off; those before it were given.
    """
    while at < len(data):
        identifier = data[at]
        value, at = _value(data, at + 1, identifier)
        yield identifier, value


def beside(data: bytes) -> Beside:
    """What goes on with an event; of malformed properties what could be read, and no text that is not UTF-8.

    What belongs to the connection it came by (topic alias, subscription identifiers), to a request that was made on
    this site (response topic, correlation data), or to the moment it came (message expiry interval) is left out.
    """
    is_text, content_type, user = False, "", []
    try:
        for identifier, value in read(data):
            if identifier == USER_PROPERTY and isinstance(value, tuple):
                name, text = _text(value[0]), _text(value[1])
                if name and text is not None:
                    user.append((name, text))
            elif identifier == CONTENT_TYPE and isinstance(value, bytes):
                content_type = _text(value) or ""
            elif identifier == PAYLOAD_FORMAT:
                is_text = value == 1
    except ValueError:
        pass
    return Beside(is_text, content_type, tuple(user))


def write_user(pairs: Iterable[tuple[str, str]]) -> bytes:
    """User properties, to be added to others.

    Raises:
        ValueError: a name or a value is longer than 65,535 bytes.
    """
    return b"".join(b"\x26" + _string(name) + _string(value) for name, value in pairs)


def _string(text: str) -> bytes:
    data = text.encode()
    if len(data) > 65_535:
        raise ValueError(f"text of {len(data)} bytes, 65535 are the limit")
    return len(data).to_bytes(2, "big") + data


def _text(data: bytes) -> str | None:
    """None for what may not stand in a packet that we write (section 1.5.4)."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _value(data: bytes, at: int, identifier: int) -> tuple[Value, int]:
    """The value at `at`, and where it ends."""
    if (size := _INTEGER_BYTES.get(identifier)) is not None:
        return int.from_bytes(_take(data, at, size), "big"), at + size
    if identifier in _TEXTS:
        return _take_text(data, at)
    if identifier == USER_PROPERTY:
        name, at = _take_text(data, at)
        value, at = _take_text(data, at)
        return (name, value), at
    if identifier == _SUBSCRIPTION_ID:
        return _take_length(data, at)
    raise ValueError(f"unknown property 0x{identifier:02X}")


def _take_length(data: bytes, at: int) -> tuple[int, int]:
    """A Variable Byte Integer (section 1.5.5)."""
    value = 0
    for index in range(4):
        byte = _take(data, at + index, 1)[0]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("a length of more than four bytes")


def _take_text(data: bytes, at: int) -> tuple[bytes, int]:
    text = _take(data, at + 2, int.from_bytes(_take(data, at, 2), "big"))
    return text, at + 2 + len(text)


def _take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ValueError("malformed properties")
    return data[at : at + size]
