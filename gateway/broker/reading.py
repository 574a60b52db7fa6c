"""How bytes come from the sockets of devices: into one piece of memory for all of them, in pieces of a known size.

A turn of the loop hands over what every readable socket has. While the log is full that must not become a queue of its
own: then a socket is read only a little at a time, so that thousands of them hold little, and PINGREQ and CONNECT are
still answered.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.ingest.ingest import Ingest

READ_BYTES_MAX = 64 * 1024
"""Most that one connection brings in a turn of the loop."""
CONGESTED_READ_BYTES_MAX = 2 * 1024
"""The same while the log is full."""


class ReadBuffer:
    """The memory; a socket's bytes are in it from `lend` to `take`, which no other socket comes between."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._whole = memoryview(bytearray(READ_BYTES_MAX))
        self._part = self._whole[:CONGESTED_READ_BYTES_MAX]

    def lend(self) -> memoryview:
        """Room for the next bytes of a socket."""
        return self._part if self._ingest.congested else self._whole

    def take(self, count: int) -> bytes:
        """The bytes that came."""
        return bytes(self._whole[:count])


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
