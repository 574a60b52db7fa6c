"""An MQTT 5 server that does to a publisher what its script says, in threads, on a real socket."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import mqtt5

if TYPE_CHECKING:
    from collections.abc import Callable

WELCOME: Final = mqtt5.ConnAckPacket().write()
SILENCE: Final = b""
"""An answer: none."""


class Reset(Exception):  # noqa: N818 - what a script does, not what went wrong
    """Raised by a script to reset the connection."""


class Arrival(NamedTuple):
    """A PUBLISH as the server got it."""

    connection: int
    """1 for the first connection, and so on."""
    position: int
    """1 for the first PUBLISH of its connection, and so on."""
    packet_id: int
    topic: str
    payload: bytes
    properties: dict[str, str]


def accept(arrival: Arrival) -> bytes:
    return mqtt5.PubAckPacket(arrival.packet_id).write()


def refuse(arrival: Arrival, reason: mqtt5.PubAckReasonCode) -> bytes:
    return mqtt5.PubAckPacket(arrival.packet_id, reason_code=reason).write()


class ScriptedUpstream:
    """Listens while its context is open. `arrivals` is the record of everything that came, in order."""

    def __init__(
        self,
        answer: Callable[[Arrival], bytes] = accept,
        welcome: Callable[[int], bytes] = lambda _: WELCOME,
    ) -> None:
        """Asks `answer` what to say to each PUBLISH, and `welcome` what to say to the n-th connection."""
        self.arrivals: list[Arrival] = []
        self.connections = 0
        self._answer = answer
        self._welcome = welcome
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._closing = False

    def __enter__(self) -> Self:
        self._spawn(self._listen)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(connection)
            self._spawn(self._serve, connection, self.connections)

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection:
            try:
                self._talk(connection, number)
            except Reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                return

    def _talk(self, connection: socket.socket, number: int) -> None:
        buffer, position = b"", 0
        while chunk := connection.recv(65_536):
            buffer += chunk
            answers = bytearray()
            try:
                while (length := _length(buffer)) is not None and length <= len(buffer):
                    packet, _ = mqtt5.read(memoryview(buffer[:length]))
                    buffer = buffer[length:]
                    if isinstance(packet, mqtt5.ConnectPacket):
                        answers += self._welcome(number)
                    elif isinstance(packet, mqtt5.PingReqPacket):
                        answers += mqtt5.PingRespPacket().write()
                    elif isinstance(packet, mqtt5.PublishPacket):
                        position += 1
                        answers += self._take(packet, number, position)
            finally:
                if answers:
                    connection.sendall(answers)

    def _take(self, packet: mqtt5.PublishPacket, number: int, position: int) -> bytes:
        properties = dict(packet.user_properties)
        payload = bytes(packet.payload or b"")
        arrival = Arrival(number, position, packet.packet_id or 0, packet.topic, payload, properties)
        self.arrivals.append(arrival)
        return self._answer(arrival)


def _length(buffer: bytes) -> int | None:
    """Length of the packet that `buffer` begins with; None if that cannot be told yet."""
    length = shift = 0
    for at, byte in enumerate(buffer[1:5], 2):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return at + length
    return None
