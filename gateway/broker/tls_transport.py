"""The transport that a `Connection` in TLS sees: what is written to it goes out encrypted."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any, NamedTuple


class Engine(NamedTuple):
    """OpenSSL for one connection, and what goes in and comes out encrypted."""

    tls: ssl.SSLObject
    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO


class TlsTransport(asyncio.Transport):
    """Looks like a socket to what is inside; what is written goes out encrypted."""

    def __init__(self, socket: asyncio.Transport, engine: Engine, name: str | None) -> None:
        super().__init__()
        self._socket = socket
        self._tls, _, self._outgoing = engine
        self._name = name

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the socket knows; `certificate_name` is who the client is, if it had to show a certificate."""
        return self._name if name == "certificate_name" else self._socket.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; nothing happens if the socket is closing."""
        if self._socket.is_closing():
            return
        left = memoryview(data)
        try:
            while left:
                left = left[self._tls.write(left) :]
        except ssl.SSLError:  # the client broke TLS, which the next read tells
            return
        self.flush()

    def flush(self) -> None:
        """Write whatever TLS has to say."""
        data = self._outgoing.read()
        if data and not self._socket.is_closing():
            self._socket.write(data)

    def close(self) -> None:
        """Say goodbye and close the socket once it is out."""
        if self._socket.is_closing():
            return
        with suppress(ssl.SSLError):  # we do not wait for the client's goodbye
            self._tls.unwrap()
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
