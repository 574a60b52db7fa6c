"""How bytes come from the sockets of devices: into one piece of memory for all of them, in pieces of a known size.

A turn of the loop hands over what every readable socket has. While the log is full that must not become a queue of its
own: then a socket is read only a little at a time, so that thousands of them hold little, and PINGREQ and CONNECT are
still answered. Nor may thousands that each begin a large packet and never end it: what they hold together is limited.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.ingest.ingest import Ingest

READ_BYTES_MAX = 64 * 1024
"""Most that one connection brings in a turn of the loop."""
CONGESTED_READ_BYTES_MAX = 2 * 1024
"""The same while the log is full."""


class Unfinished(Protocol):
    """A connection that waits for the rest of a packet."""

    def abort(self, reason: str) -> None:
        """Close at once."""
        ...


class ReadBuffer:
    """The memory; a socket's bytes are in it from `lend` to `take`, which no other socket comes between."""

    def __init__(self, ingest: Ingest, unfinished_bytes_max: int) -> None:
        self._ingest = ingest
        self._unfinished_bytes_max = unfinished_bytes_max
        self._unfinished: OrderedDict[Unfinished, int] = OrderedDict()
        """Connections with a part of a packet, and its bytes; whose packet began first comes first."""
        self._unfinished_bytes = 0
        self.closed = 0
        """Connections closed because such parts took too much memory together."""
        self._whole = memoryview(bytearray(READ_BYTES_MAX))
        self._part = self._whole[:CONGESTED_READ_BYTES_MAX]

    def lend(self) -> memoryview:
        """Room for the next bytes of a socket."""
        return self._part if self._ingest.congested else self._whole

    def take(self, count: int) -> bytes:
        """The bytes that came."""
        return bytes(self._whole[:count])

    def note(self, connection: Unfinished, bytes_: int, *, anew: bool) -> None:
        """A connection keeps the beginning of a packet, in `bytes_`; if that is too much, who began first is closed.

        With `anew` it has finished the one before.
        """
        if anew or not bytes_:
            self.forget(connection)
        if not bytes_:
            return
        self._unfinished_bytes += bytes_ - self._unfinished.get(connection, 0)
        self._unfinished[connection] = bytes_
        while self._unfinished_bytes > self._unfinished_bytes_max:
            slowest, freed = self._unfinished.popitem(last=False)
            self._unfinished_bytes -= freed
            self.closed += 1
            slowest.abort("its packet was the longest unfinished when memory for such packets was used up")

    def forget(self, connection: Unfinished) -> None:
        """A connection has finished its packet, or is gone."""
        self._unfinished_bytes -= self._unfinished.pop(connection, 0)


class BufferedReader(asyncio.BufferedProtocol):
    """A protocol that is read through a `ReadBuffer`."""

    __slots__ = ("_read_buffer",)

    def __init__(self, read_buffer: ReadBuffer) -> None:
        self._read_buffer = read_buffer

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        """Room for the next bytes."""
        return self._read_buffer.lend()

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self.data_received(self._read_buffer.take(nbytes))

    @abstractmethod
    def data_received(self, data: bytes) -> None:
        """Bytes came: handle them."""
