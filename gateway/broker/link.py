"""The socket of a connection as the gateway sees it: writing, closing, and how it ended."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from gateway.broker.reading import BufferedReader

if TYPE_CHECKING:
    from gateway.broker.reading import ReadBuffer

_TCP_ESTABLISHED = 1
"""First byte of what TCP_INFO tells (linux/tcp.h)."""


class Link(BufferedReader):
    """What a `Connection` does without looking at packets; `Wire` for an outbox."""

    __slots__ = ("_closed", "_is_read", "_transport", "is_closed", "peer", "reason", "violation")

    def __init__(self, read_buffer: ReadBuffer) -> None:
        super().__init__(read_buffer)
        self._transport: asyncio.Transport | None = None
        self._is_read = True
        self.peer: tuple[str, int] = ("", 0)
        self.reason = "connection lost"
        """Why it ended."""
        self.violation = ""
        """How the client broke the protocol; empty if it did not."""
        self.is_closed = False
        """Whether the socket is closed, and not only about to be."""
        self._closed: asyncio.Event | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        self._transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self.peer = (str(peer[0]), int(peer[1])) if peer else ("", 0)

    def _note_closed(self) -> None:
        self.is_closed = True
        if self._closed is not None:
            self._closed.set()

    def send(self, data: bytes | bytearray) -> None:
        """Write to the socket; nothing happens if it is closed."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def read_on(self, wanted: bool) -> None:  # noqa: FBT001 - whether it is wanted is all there is to say
        """Read from the socket, or let what comes wait in it."""
        if wanted is self._is_read or self._transport is None or self._transport.is_closing():
            return
        self._is_read = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def owed_bytes(self) -> int:
        """Bytes written and not yet taken by the network."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def close(self, reason: str) -> None:
        """Close after what was written is out; nothing more is read."""
        if self._transport is None or self._transport.is_closing():
            return
        self.reason = reason
        self._transport.close()

    def violate(self, how: str) -> None:
        """Close, because the client broke the protocol."""
        self.violation = how
        self.close(how)

    def abort(self, reason: str) -> None:
        """Close at once, whatever is still to be written."""
        if self._transport is not None:
            self.reason = reason
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Return when the socket is closed."""
        if not self.is_closed:
            if self._closed is None:  # not before it is needed: it takes as much memory as all the rest
                self._closed = asyncio.Event()
            await self._closed.wait()

    @property
    def certificate_name(self) -> str | None:
        """Who the client is by its certificate; None where it has to show none."""
        return None if self._transport is None else self._transport.get_extra_info("certificate_name")

    @property
    def is_abandoned(self) -> bool:
        """Whether the client has closed its side, which is not heard of while its socket is not read."""
        if self._transport is None:
            return True
        state = self._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        return bool(state[0] != _TCP_ESTABLISHED)

    @property
    def closing(self) -> bool:
        """Whether nothing more is read or written."""
        return self._transport is None or self._transport.is_closing()
