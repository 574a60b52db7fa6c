"""MQTT 3.1.1 by hand over a real socket: a client that can also say what no library would."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    import ssl

CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, PINGRESP = 2, 3, 4, 5, 6, 7, 9, 11, 13
TIMEOUT_S = 10.0


class Packet(NamedTuple):
    """One packet as it came."""

    kind: int
    flags: int
    body: bytes

    @property
    def packet_id(self) -> int:
        return int.from_bytes(self.body[:2])


class Delivery(NamedTuple):
    """A PUBLISH that a subscriber got."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    packet_id: int


def string(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return len(raw).to_bytes(2) + raw


def packet(first_byte: int, body: bytes = b"") -> bytes:
    length, head = len(body), bytearray([first_byte])
    while True:
        length, low = divmod(length, 128)
        head.append(low | (0x80 if length else 0))
        if not length:
            return bytes(head) + body


def connect_body(
    client_id: str | bytes,
    *,
    clean: bool = True,
    keep_alive_s: int = 0,
    username: str | None = None,
    password: str | bytes | None = None,
    will: tuple[str, bytes, int, bool] | None = None,
    protocol: str = "MQTT",
    level: int = 4,
) -> bytes:
    flags, rest = 2 * clean, string(client_id)
    if will is not None:
        topic, payload, qos, retain = will
        flags |= 4 | qos << 3 | retain << 5
        rest += string(topic) + string(payload)
    if username is not None:
        flags |= 0x80
        rest += string(username)
    if password is not None:
        flags |= 0x40
        rest += string(password)
    return string(protocol) + bytes([level, flags]) + keep_alive_s.to_bytes(2) + rest


def connect(client_id: str, **options: object) -> bytes:
    return packet(0x10, connect_body(client_id, **options))  # type: ignore[arg-type]


def publish(
    topic: str, payload: bytes, qos: int = 0, packet_id: int = 0, *, retain: bool = False, duplicate: bool = False
) -> bytes:
    identifier = packet_id.to_bytes(2) if qos else b""
    return packet(0x30 | duplicate << 3 | qos << 1 | retain, string(topic) + identifier + payload)


def acknowledge(kind: int, packet_id: int) -> bytes:
    return packet(kind << 4 | (2 if kind == PUBREL else 0), packet_id.to_bytes(2))


class RawClient:
    """One connection; a context manager. Whatever is waited for comes within `TIMEOUT_S` or the test fails."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT_S, source_address=(source, 0))
        self._buffer = b""
        if tls is not None:
            try:
                self.socket = tls.wrap_socket(self.socket, server_hostname="127.0.0.1")
            except OSError:
                self.socket.close()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def reset(self) -> None:
        """Vanish without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def read(self) -> Packet | None:
        """The next packet; None at the end of the connection."""
        try:
            head = self._take(1)
            length = shift = 0
            while True:
                byte = self._take(1)[0]
                length |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    return Packet(head[0] >> 4, head[0] & 15, self._take(length))
        except (EOFError, ConnectionError):
            return None

    def expect(self, kind: int) -> Packet:
        got = self.read()
        assert got is not None, f"the connection was closed instead of a packet of type {kind}"
        assert got.kind == kind, got
        return got

    def is_closed(self) -> bool:
        """Wait for the end of the connection; False if a packet comes instead."""
        return self.read() is None

    def connect(self, client_id: str, **options: object) -> tuple[bool, int]:
        """Log in; session present and return code."""
        self.send(connect(client_id, **options))
        body = self.expect(CONNACK).body
        return bool(body[0]), body[1]

    def join(self, client_id: str, **options: object) -> Self:
        """Log in successfully."""
        assert self.connect(client_id, **options)[1] == 0
        return self

    def ping(self) -> None:
        """Everything sent before has been read when this returns."""
        self.send(packet(0xC0))
        self.expect(PINGRESP)

    def disconnect(self) -> None:
        self.send(packet(0xE0))
        self.socket.close()

    def publish(self, topic: str, payload: bytes, packet_id: int = 1, **options: object) -> None:
        """Publish at QoS 1 and wait for the acknowledgement."""
        self.send(publish(topic, payload, 1, packet_id, **options))  # type: ignore[arg-type]
        assert self.expect(PUBACK).packet_id == packet_id

    def send_and_receive(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 to a topic it subscribes to at QoS 1: PUBACK and delivery come, in either order."""
        self.send(publish(topic, payload, 1, 1))
        kinds = set()
        for _ in range(2):
            got = self.read()
            assert got is not None
            kinds.add(got.kind)
            if got.kind == PUBLISH:
                assert got.body.endswith(payload)
                at = 2 + int.from_bytes(got.body[:2])
                self.send(acknowledge(PUBACK, int.from_bytes(got.body[at : at + 2])))
        assert kinds == {PUBACK, PUBLISH}

    def subscribe(self, *filters: tuple[str, int]) -> list[int]:
        """Subscribe; the granted codes."""
        wanted = b"".join(string(topic_filter) + bytes([qos]) for topic_filter, qos in filters)
        self.send(packet(0x82, b"\0\7" + wanted))
        return list(self.expect(SUBACK).body[2:])

    def unsubscribe(self, *filters: str) -> None:
        self.send(packet(0xA2, b"\0\x08" + b"".join(map(string, filters))))
        self.expect(UNSUBACK)

    def delivery(self, *, answer: bool = True) -> Delivery:
        """The next delivery, acknowledged as its QoS demands."""
        got = self.expect(PUBLISH)
        qos, end = got.flags >> 1 & 3, 2 + int.from_bytes(got.body[:2])
        after = end + 2 if qos else end
        packet_id = int.from_bytes(got.body[end:after])
        if answer and qos == 1:
            self.send(acknowledge(PUBACK, packet_id))
        elif answer and qos == 2:
            self.send(acknowledge(PUBREC, packet_id))
            assert self.expect(PUBREL).packet_id == packet_id
            self.send(acknowledge(PUBCOMP, packet_id))
        topic = got.body[2:end].decode()
        return Delivery(topic, got.body[after:], qos, bool(got.flags & 1), bool(got.flags & 8), packet_id)

    def _take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            chunk = self.socket.recv(65_536)
            if not chunk:
                raise EOFError
            self._buffer += chunk
        taken, self._buffer = self._buffer[:length], self._buffer[length:]
        return taken
