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

from gateway.errors import LogError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path


_NAME = "control.sock"
_TIMEOUT_S = 2.0
_BOOKS_TIMEOUT_S = 60.0
"""Every segment that is pending for some upstream is looked into."""


@asynccontextmanager
async def serve(
    data_dir: Path,
    status: Callable[[], dict[str, object]],
    books: Callable[[], Awaitable[list[dict[str, object]]]] | None = None,
) -> AsyncIterator[None]:
    """Answer `status`, and `books` if they are kept, while the context is open."""

    async def document(wanted: bytes) -> object:
        if wanted == b"books\n" and books is not None:
            return await books()
        return status() if wanted == b"status\n" else None

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A disk that refuses leaves the question without an answer; whoever asked reads the files and meets the error.
        with suppress(TimeoutError, ConnectionError, LogError):
            async with asyncio.timeout(_TIMEOUT_S) as deadline:
                wanted = await reader.readline()
                deadline.reschedule(asyncio.get_running_loop().time() + _BOOKS_TIMEOUT_S)
                found = await document(wanted)
                if found is not None:
                    writer.write(json.dumps(found).encode())
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
    answer: dict[str, Any] | None = _ask(data_dir, b"status\n", _TIMEOUT_S)
    return answer


def ask_books(data_dir: Path) -> list[dict[str, Any]] | None:
    """The books of the gateway that runs on `data_dir`, at one moment; None if none answers."""
    answer: list[dict[str, Any]] | None = _ask(data_dir, b"books\n", _BOOKS_TIMEOUT_S)
    return answer


def _ask(data_dir: Path, what: bytes, timeout_s: float) -> Any:
    try:
        with _short_path(data_dir) as path, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(what)
            chunks = []
            while chunk := connection.recv(65_536):
                chunks.append(chunk)
        return json.loads(b"".join(chunks))
    except (OSError, ValueError):  # ValueError: it ended before its answer did
        return None


@contextmanager
def _short_path(data_dir: Path) -> Iterator[str]:
    """A name for the socket of at most 107 bytes, which is all the kernel takes, however deep the directory is."""
    descriptor = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_NAME}"
    finally:
        os.close(descriptor)
