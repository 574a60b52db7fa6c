"""A broker that says yes: it takes any connection, acknowledges every publish (MQTT 3.1.1 and 5) and keeps nothing."""

from __future__ import annotations

import socket
import struct
import time

from benchmarks.frames import packet, split_packets

READ_BYTES = 1 << 18
_CONNECT, _PUBLISH, _PUBREL, _SUBSCRIBE, _UNSUBSCRIBE, _PINGREQ = 1, 3, 6, 8, 10, 12


class Session:
    """One connection, as bytes in and bytes out."""

    def __init__(self) -> None:
        self._level = 4
        self._rest = b""

    def answer(self, data: bytes) -> bytes:
        """What goes back for `data`, which continues the data before."""
        data = self._rest + data
        packets, end = split_packets(data)
        self._rest = data[end:]
        return b"".join([self._answer_one(data, *where) for where in packets])

    def _answer_one(self, data: bytes, start: int, body: int, end: int) -> bytes:
        kind = data[start] >> 4
        if kind == _PUBLISH:
            qos = data[start] >> 1 & 3
            at = body + 2 + (data[body] << 8 | data[body + 1])
            return b"" if qos == 0 else (b"\x40\x02" if qos == 1 else b"\x50\x02") + data[at : at + 2]
        if kind == _CONNECT:
            self._level = data[body + 6] & 0x7F
            return b"\x20\x03\x00\x00\x00" if self._level == 5 else b"\x20\x02\x00\x00"
        if kind == _PUBREL:
            return b"\x70\x02" + data[body : body + 2]
        if kind in {_SUBSCRIBE, _UNSUBSCRIBE}:
            return self._answer_filters(data[body:end], subscribing=kind == _SUBSCRIBE)
        return b"\xd0\x00" if kind == _PINGREQ else b""

    def _answer_filters(self, body: bytes, *, subscribing: bool) -> bytes:
        properties = b"\x00" if self._level == 5 else b""
        at = 2 + (1 + body[2] if self._level == 5 else 0)
        count = 0
        while at + 2 <= len(body):
            at += 2 + struct.unpack_from(">H", body, at)[0] + (1 if subscribing else 0)
            count += 1
        codes = bytes(count) if subscribing or self._level == 5 else b""
        return packet(0x90 if subscribing else 0xB0, body[:2] + properties + codes)


class Sink:
    """The sockets of it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener: socket.socket | None = None
        self._sessions: dict[socket.socket, Session] = {}
        self.connected_at: float | None = None

    def listen(self) -> None:
        """Open the port; until then a connection to it is refused."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self.connected_at = time.monotonic()

    def sockets(self) -> list[socket.socket]:
        """What to wait on; empty while the port is closed."""
        return [*self._sessions, self._listener] if self._listener else []

    def read(self, ready: socket.socket) -> bytes:
        """Serve one ready socket; the bytes in which events may be."""
        if ready is self._listener:
            peer, _ = ready.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sessions[peer] = Session()
            return b""
        try:
            data = ready.recv(READ_BYTES)
            ready.sendall(self._sessions[ready].answer(data))
        except ConnectionError:
            data = b""
        if not data:
            del self._sessions[ready]
            ready.close()
        return data
