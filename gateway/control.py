"""A socket in the data directory through which commands on this machine ask a running gateway.

One request a connection: a line with the name of what is wanted, answered by one JSON document. Whoever may read the
data directory may ask; nothing can be changed here.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


_NAME = "control.sock"
_TIMEOUT_S = 2.0


@asynccontextmanager
async def serve(data_dir: Path, status: Callable[[], dict[str, object]]) -> AsyncIterator[None]:
    """Answer `status` while the context is open."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_TIMEOUT_S):
                if await reader.readline() == b"status\n":
                    writer.write(json.dumps(status()).encode())
                    await writer.drain()
        writer.close()

    with _short_path(data_dir) as path:
        with suppress(FileNotFoundError):
            (data_dir / _NAME).unlink()
        server = await asyncio.start_unix_server(answer, path)
    try:
        yield
    finally:
        server.close()
        (data_dir / _NAME).unlink(missing_ok=True)


def ask_status(data_dir: Path) -> dict[str, Any] | None:
    """The status of the gateway that runs on `data_dir`; None if none answers."""
    try:
        with _short_path(data_dir) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT_S)
            connection.connect(path)
            connection.sendall(b"status\n")
            chunks = []
            while chunk := connection.recv(65_536):
                chunks.append(chunk)
        answer: dict[str, Any] = json.loads(b"".join(chunks))
    except (OSError, ValueError):  # ValueError: it ended before its answer did
        return None
    return answer


@contextmanager
def _short_path(data_dir: Path) -> Iterator[str]:
    """A name for the socket of at most 107 bytes, which is all the kernel takes, however deep the directory is."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)
