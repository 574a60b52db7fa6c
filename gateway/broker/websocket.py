"""MQTT over WebSocket (MQTT 3.1.1 section 6): the transport a `Connection` sees is made of binary messages.

The protocol is the sans-I/O core of the `websockets` library; a client that does not offer the subprotocol `mqtt`, or
speaks plain HTTP, is refused by it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from gateway.broker.reading import BufferedReader

if TYPE_CHECKING:
    from gateway.broker.connection import Connection
    from gateway.broker.reading import ReadBuffer

_DATA = {Opcode.BINARY, Opcode.CONT}


class WebSocketTransport(asyncio.Transport):
    """Looks like a socket to the connection; what is written goes out as one binary message."""

    def __init__(self, socket: asyncio.Transport, protocol: ServerProtocol) -> None:
        super().__init__()
        self._socket = socket
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the socket knows, the peer's address above all."""
        return self._socket.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a binary message; nothing happens if the client has said goodbye."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_binary(bytes(data))
            self.flush()

    def flush(self) -> None:
        """Write whatever the protocol has to say."""
        data = b"".join(self._protocol.data_to_send())
        if data and not self._socket.is_closing():
            self._socket.write(data)  # writelines of some Pythons (CVE-2024-12254) tells nobody when the client is slow

    def close(self) -> None:
        """Send a close message and close the socket once it is out."""
        if self._socket.is_closing():
            return
        if self._protocol.state is State.OPEN:  # else it is not over with the handshake, or has been sent already
            self._protocol.send_close(1000)
        self.flush()
        self._socket.close()

    def abort(self) -> None:
        """Close the socket at once."""
        self._socket.abort()

    def is_closing(self) -> bool:
        """Whether nothing more is read or written."""
        return self._socket.is_closing()

    def pause_reading(self) -> None:
        """Read no more from the socket."""
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Read from the socket again."""
        self._socket.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Bytes not yet taken by the network."""
        return self._socket.get_write_buffer_size()


class WebSocketServer(BufferedReader):
    """Unwraps messages and feeds them to a `Connection`."""

    def __init__(self, connection: Connection, message_bytes_max: int, read_buffer: ReadBuffer) -> None:
        super().__init__(read_buffer)
        self._connection = connection
        self._protocol = ServerProtocol(subprotocols=["mqtt"], max_size=message_bytes_max)  # type: ignore[list-item]
        self._transport: WebSocketTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open; the handshake comes first."""
        self._transport = WebSocketTransport(transport, self._protocol)  # type: ignore[arg-type]
        self._connection.connection_made(self._transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came: the handshake, or messages with MQTT in them."""
        self._protocol.receive_data(data)
        for happened in self._protocol.events_received():
            if isinstance(happened, Request):
                self._protocol.send_response(self._protocol.accept(happened))
            elif isinstance(happened, Frame):
                self._take(happened)
        if self._transport is not None:
            self._transport.flush()
            if self._protocol.close_expected():
                self._transport.close()

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.TEXT:
            self._connection.violate("a WebSocket text message; MQTT is binary (MQTT-6.0.0-1)")
        elif frame.opcode in _DATA and not self._connection.closing:
            self._connection.data_received(bytes(frame.data))

    def eof_received(self) -> None:
        """The client has closed its side; the socket follows."""
        self._protocol.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self._connection.connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._connection.resume_writing()
