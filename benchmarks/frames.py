"""The bytes of the benchmark, all of them encoded before the clock starts.

Pure: no sockets, no clock. Every payload is JSON, of `PAYLOAD_BYTES` unless said otherwise, and carries its own number,
so that a receiver can tell each event from every other one, whatever envelope it travelled in (MQTT 3.1.1, sections
3.1 to 3.10).
"""

from __future__ import annotations

import re
import struct

PAYLOAD_BYTES = 100
PUBACK_BYTES = 4
PACKET_IDS_MAX = 65_535
NUMBER = re.compile(rb'"n":"([0-9]{8})"')
NUMBER_BYTES = len(b'"n":"00000000"')
DELIVERED = re.compile(rb'/m(..)\{"n":"', re.DOTALL)  # the packet id between topic and payload of a QoS 1 delivery
DELIVERED_BYTES = len(b'/m..{"n":"')

_PAYLOAD = b'{"n":"%08d","temperature":21.50,"humidity":48.25,"unit":"C","note":"%b"}'
_FILLED_FROM = len(_PAYLOAD % (0, b""))


class ProtocolError(Exception):
    """The peer sent what MQTT does not allow it to send here."""


def payload(number: int, bytes_: int = PAYLOAD_BYTES) -> bytes:
    return _PAYLOAD % (number, b"." * (bytes_ - _FILLED_FROM))


def topic(device: int) -> str:
    return f"devices/bench-{device:02d}/m"


def string(text: str) -> bytes:
    """`text` as MQTT writes it: two bytes of length, then UTF-8."""
    raw = text.encode()
    return struct.pack(">H", len(raw)) + raw


def packet(first_byte: int, body: bytes) -> bytes:
    """A control packet: first byte, remaining length in one to four bytes, body."""
    length, head = len(body), bytearray([first_byte])
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + body


def connect(client_id: str, *, clean_session: bool = True, password: str = "", version: int = 4) -> bytes:
    """CONNECT, of MQTT 3.1.1 (4) or 5; with a password also a login, under the client id."""
    flags = (2 if clean_session else 0) | (0xC0 if password else 0)
    login = string(client_id) + string(password) if password else b""
    no_properties = b"\0" if version == 5 else b""
    head = string("MQTT") + struct.pack(">BBH", version, flags, 600) + no_properties
    return packet(0x10, head + string(client_id) + login)


def is_welcome(connack: bytes) -> bool:
    """Whether a whole CONNACK, of either version, says yes."""
    return connack[:1] == b"\x20" and connack[3:4] == b"\0"


def subscribe(topic_filter: str, packet_id: int = 1, qos: int = 0) -> bytes:
    """SUBSCRIBE; at QoS 0 what it asks for needs no acknowledgement and costs the receiver nothing to take."""
    return packet(0x82, struct.pack(">H", packet_id) + string(topic_filter) + bytes([qos]))


def pubacks_for(stream: bytes) -> bytes:
    """The acknowledgements of the events at QoS 1 in a stream of deliveries; looking for them is the whole parsing."""
    ids = DELIVERED.findall(stream)
    return b"\x40\x02" + b"\x40\x02".join(ids) if ids else b""


DISCONNECT = b"\xe0\x00"


def publish(device: int, packet_id: int, number: int, payload_bytes: int = PAYLOAD_BYTES) -> bytes:
    """PUBLISH at QoS 1."""
    return packet(0x32, string(topic(device)) + struct.pack(">H", packet_id) + payload(number, payload_bytes))


def packet_id(index: int) -> int:
    return index % PACKET_IDS_MAX + 1


def publish_tape(device: int, numbers: range, payload_bytes: int = PAYLOAD_BYTES) -> tuple[bytes, int]:
    """All PUBLISH packets of one device in a row, and the bytes of each: any run of packets is one slice."""
    frames = [publish(device, packet_id(index), number, payload_bytes) for index, number in enumerate(numbers)]
    return b"".join(frames), len(frames[0]) if frames else 0


def puback_tape(count: int) -> bytes:
    """The acknowledgements that answer `count` packets of a tape, in the order MQTT-4.6.0-2 demands."""
    return b"".join(struct.pack(">HH", 0x4002, packet_id(index)) for index in range(count))


def match_pubacks(received: bytes, expected: bytes, offset: int) -> int:
    """Bytes acknowledged so far, given `received` after `offset` of them; comparing memory is the whole parsing.

    Raises:
        ProtocolError: something other than the next acknowledgements arrived.
    """
    end = offset + len(received)
    if expected[offset:end] != received:
        raise ProtocolError(f"not the PUBACKs that were due: {received[:16].hex()} at {offset}")
    return end


def split_packets(data: bytes) -> tuple[list[tuple[int, int, int]], int]:
    """Whole packets in `data` as (start, start of body, end), and how many bytes they take."""
    packets, start, size = [], 0, len(data)
    while start + 2 <= size:
        length, shift, body = 0, 0, start + 1
        while body < size:
            length |= (data[body] & 127) << shift
            shift += 7
            body += 1
            if data[body - 1] < 128:
                break
            if shift > 21:
                raise ProtocolError("remaining length of more than four bytes")
        else:
            break
        if body + length > size:
            break
        packets.append((start, body, body + length))
        start = body + length
    return packets, start
