"""MQTT 3.1.1 packets as bytes: reading what devices send, writing what they are sent. Pure.

Everything that the specification (OASIS, 29 October 2014) forbids raises `ProtocolViolation`; the caller closes that
connection and reads nothing after it. MQTT 5 will be a second reader beside this one.
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.errors import ProtocolViolation
from gateway.topics import is_valid_filter, is_valid_topic

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14

PINGRESP_PACKET = b"\xd0\x00"
ACCEPTED, BAD_PROTOCOL_LEVEL, BAD_CLIENT_ID, UNAVAILABLE, BAD_LOGIN, NOT_AUTHORIZED = 0, 1, 2, 3, 4, 5
"""CONNACK return codes (section 3.2.2.3)."""

_FLAGS = {PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}
"""Fixed header flags of packets that a client may send; 0 where not named (section 2.2.2)."""
_FROM_CLIENT = {CONNECT, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT}


class Will(NamedTuple):
    """What a device wants published when it disappears."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


class Connect(NamedTuple):
    """A CONNECT packet."""

    protocol: str
    level: int
    client_id: str
    clean_session: bool
    keep_alive_s: int
    username: str | None
    password: bytes | None
    will: Will | None


class Header(NamedTuple):
    """A fixed header: where its packet's body is in the bytes at hand."""

    kind: int
    flags: int
    start: int
    end: int


def read_header(data: bytes | bytearray, at: int, packet_bytes_max: int) -> Header | None:
    """Read the fixed header at `at`; None if more bytes are needed to tell.

    Raises:
        ProtocolViolation: its length is malformed or larger than `packet_bytes_max`, its type or flags forbidden.
    """
    length = shift = 0
    position = at + 1
    while True:
        if position >= len(data):
            return None
        byte = data[position]
        position += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 21:
            raise ProtocolViolation("remaining length has more than four bytes")
    if length > packet_bytes_max:
        raise ProtocolViolation(f"packet of {length} bytes is larger than broker.packet_bytes_max ({packet_bytes_max})")
    kind, flags = data[at] >> 4, data[at] & 15
    if kind not in _FROM_CLIENT:
        raise ProtocolViolation(f"a client may not send packet type {kind}")
    if kind != PUBLISH and flags != _FLAGS.get(kind, 0):
        raise ProtocolViolation(f"packet type {kind} with flags {flags:04b}")
    return Header(kind, flags, position, position + length)


def read_topic(raw: bytes) -> str:
    """Decode and check the topic of a PUBLISH.

    Raises:
        ProtocolViolation: bad UTF-8, empty, or with a wildcard (sections 1.5.3, 3.3.2.1, 4.7).
    """
    topic = _decode(raw)
    if not is_valid_topic(topic):
        raise ProtocolViolation(f"topic {topic!r} cannot be published to")
    return topic


def read_packet_id(body: bytes) -> int:
    """The body of PUBACK, PUBREC, PUBREL and PUBCOMP.

    Raises:
        ProtocolViolation: it is not two bytes, or 0.
    """
    if len(body) != 2:
        raise ProtocolViolation("an acknowledgement has a body of two bytes")
    return _not_zero(int.from_bytes(body))


def expect_empty(body: bytes) -> None:
    """The body of PINGREQ and DISCONNECT.

    Raises:
        ProtocolViolation: there is one.
    """
    if body:
        raise ProtocolViolation("a packet without fields has a body")


def read_subscribe(body: bytes) -> list[tuple[str, int]]:
    """Filters and QoS of a SUBSCRIBE.

    Raises:
        ProtocolViolation: no filter, bad UTF-8, a QoS above 2, a malformed body.
    """
    reader = _Reader(body)
    _not_zero(reader.number())
    wanted = []
    while reader.rest():
        topic_filter, qos = _decode(reader.string()), reader.byte()
        if qos > 2:
            raise ProtocolViolation(f"SUBSCRIBE asks for QoS {qos}")
        if not is_valid_filter(topic_filter):
            raise ProtocolViolation(f"topic filter {topic_filter!r} is not valid")
        wanted.append((topic_filter, qos))
    if not wanted:
        raise ProtocolViolation("SUBSCRIBE without a topic filter")
    return wanted


def read_unsubscribe(body: bytes) -> list[str]:
    """Filters of an UNSUBSCRIBE.

    Raises:
        ProtocolViolation: no filter, one that is not valid, bad UTF-8, a malformed body.
    """
    reader = _Reader(body)
    _not_zero(reader.number())
    filters = []
    while reader.rest():
        topic_filter = _decode(reader.string())
        if not is_valid_filter(topic_filter):
            raise ProtocolViolation(f"topic filter {topic_filter!r} is not valid")
        filters.append(topic_filter)
    if not filters:
        raise ProtocolViolation("UNSUBSCRIBE without a topic filter")
    return filters


def read_connect(body: bytes) -> Connect:
    """Read a CONNECT; of one for another protocol level no more than the level.

    Raises:
        ProtocolViolation: it is malformed (section 3.1).
    """
    reader = _Reader(body)
    protocol, level = _decode(reader.string()), reader.byte()
    if (protocol, level) != ("MQTT", 4):
        return Connect(protocol, level, "", True, 0, None, None, None)
    flags = reader.byte()
    keep_alive_s = reader.number()
    if flags & 1:
        raise ProtocolViolation("CONNECT with its reserved flag set")
    client_id = _decode(reader.string())
    will = _read_will(reader, flags)
    username = _decode(reader.string()) if flags & 0x80 else None
    if flags & 0x40 and username is None:
        raise ProtocolViolation("CONNECT with a password and no user name")
    password = reader.string() if flags & 0x40 else None
    if reader.rest():
        raise ProtocolViolation("CONNECT with bytes after its end")
    return Connect(protocol, level, client_id, bool(flags & 2), keep_alive_s, username, password, will)


def write_connect(client_id: str, *, clean_session: bool) -> bytes:
    """A CONNECT without login and will: what amqtt is told of a client that has been admitted."""
    name = client_id.encode()
    body = b"\x00\x04MQTT\x04" + (b"\x02" if clean_session else b"\x00") + b"\x00\x00" + _string(name)
    return bytes([CONNECT << 4]) + _length(len(body)) + body


def write_connack(code: int) -> bytes:
    """A CONNACK without a session."""
    return bytes((CONNACK << 4, 2, 0, code))


def write_publish(
    topic: str, payload: bytes, qos: int = 0, packet_id: int = 0, *, retain: bool = False, duplicate: bool = False
) -> bytes:
    """A PUBLISH."""
    name = topic.encode()
    head = PUBLISH << 4 | (8 if duplicate else 0) | qos << 1 | retain
    identifier = packet_id.to_bytes(2) if qos else b""
    length = 2 + len(name) + len(identifier) + len(payload)
    return b"".join((bytes((head,)), _length(length), len(name).to_bytes(2), name, identifier, payload))


def write_ack(kind: int, packet_id: int) -> bytes:
    """PUBACK, PUBREC, PUBREL or PUBCOMP."""
    return bytes((kind << 4 | _FLAGS.get(kind, 0), 2)) + packet_id.to_bytes(2)


def _read_will(reader: _Reader, flags: int) -> Will | None:
    qos, retain = flags >> 3 & 3, bool(flags & 0x20)
    if not flags & 4:
        if qos or retain:
            raise ProtocolViolation("CONNECT with will flags and no will")
        return None
    if qos > 2:
        raise ProtocolViolation("CONNECT with a will of QoS 3")
    topic = read_topic(reader.string())
    return Will(topic, reader.string(), qos, retain)


class _Reader:
    """Takes a body apart from its front."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def rest(self) -> int:
        return len(self._body) - self._at

    def take(self, length: int) -> bytes:
        if self.rest() < length:
            raise ProtocolViolation("packet is shorter than its fields")
        self._at += length
        return self._body[self._at - length : self._at]

    def byte(self) -> int:
        return self.take(1)[0]

    def number(self) -> int:
        return int.from_bytes(self.take(2))

    def string(self) -> bytes:
        return self.take(self.number())


def _decode(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise ProtocolViolation("a string is not UTF-8") from error
    if "\0" in text:
        raise ProtocolViolation("a string contains U+0000")
    return text


def _not_zero(packet_id: int) -> int:
    if packet_id == 0:
        raise ProtocolViolation("packet identifier 0")
    return packet_id


def _string(raw: bytes) -> bytes:
    return len(raw).to_bytes(2) + raw


def _length(length: int) -> bytes:
    out = bytearray()
    while True:
        length, byte = divmod(length, 128)
        if length:
            out.append(byte | 0x80)
        else:
            out.append(byte)
            return bytes(out)
