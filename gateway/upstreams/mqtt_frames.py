"""Whole MQTT packets out of a stream of bytes (MQTT 5.0 and 3.1.1, section 2.1). Pure."""

from __future__ import annotations


def split(data: bytes, bytes_max: int) -> tuple[list[tuple[int, bytes]], bytes]:
    """First byte and body of each packet that is whole, and what is left of the next one.

    Raises:
        ValueError: a length that no packet has, or one above `bytes_max`, which bounds what is left.
    """
    packets = []
    at = 0
    while (length_end := read_length(data, at + 1)) is not None:
        length, body_at = length_end
        if length > bytes_max:
            raise ValueError(f"packet of {length} bytes, {bytes_max} are the limit")
        if body_at + length > len(data):
            break
        packets.append((data[at], data[body_at : body_at + length]))
        at = body_at + length
    return packets, data[at:]


def read_length(data: bytes, at: int) -> tuple[int, int] | None:
    """A Variable Byte Integer and where it ends; None if it is not all there.

    Raises:
        ValueError: it has more than four bytes.
    """
    value = 0
    for index in range(4):
        if at + index >= len(data):
            return None
        byte = data[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("a length of more than four bytes")


def write_length(value: int) -> bytes:
    """A Variable Byte Integer (section 1.5.5 of MQTT 5.0, 2.2.3 of 3.1.1).

    Raises:
        ValueError: more than four bytes would be needed.
    """
    if value >= 1 << 28:
        raise ValueError(f"packet of {value} bytes, {(1 << 28) - 1} are the limit")
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def write_string(data: bytes) -> bytes:
    """A UTF-8 Encoded String or Binary Data (sections 1.5.4 and 1.5.6 of MQTT 5.0, 1.5.3 of 3.1.1).

    Raises:
        ValueError: it is too long.
    """
    if len(data) > 65_535:
        raise ValueError(f"text of {len(data)} bytes, 65535 are the limit")
    return len(data).to_bytes(2, "big") + data
