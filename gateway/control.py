"""A socket in the data directory through which commands on this machine ask a running gateway, or have it changed.

One request a connection, one line: `status`, `books`, or `{"command": ..., ...}`, answered by one JSON document; what
cannot be done is answered with `{"error": ..., "hint": ...}`. The socket is for the gateway's own user only (0600).
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigError, GatewayError, LogError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
    from pathlib import Path


_NAME = "control.sock"
_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 60.0
"""For books every segment that is pending for some upstream is looked into; a change waits for the disk."""
_REQUEST_BYTES_MAX = 8192


@asynccontextmanager
async def serve(
    data_dir: Path,
    status: Callable[[], dict[str, object]],
    books: Callable[[], Awaitable[list[dict[str, object]]]] | None = None,
    carry_out: Callable[[dict[str, Any]], Awaitable[object]] | None = None,
) -> AsyncIterator[None]:
    """Answer `status`, and `books` if they are kept, while the context is open; commands are for `carry_out`.

    What that returns is the answer; a `GatewayError` that it raises is answered as one.
    """

    async def document(wanted: bytes) -> object:
        if wanted == b"books\n" and books is not None:
            return await books()
        if wanted.startswith(b"{") and wanted.endswith(b"\n"):
            return await _obey(wanted, carry_out)
        return status() if wanted == b"status\n" else None

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A disk that refuses leaves the question without an answer; whoever asked reads the files and meets the error.
        with suppress(TimeoutError, ConnectionError, LogError, ValueError):  # ValueError: the line is too long
            async with asyncio.timeout(_TIMEOUT_S) as deadline:
                wanted = await reader.readline()
                deadline.reschedule(asyncio.get_running_loop().time() + _ANSWER_TIMEOUT_S)
                found = await document(wanted)
                if found is not None:
                    writer.write(json.dumps(found).encode())
                    await writer.drain()
        writer.close()

    with _short_path(data_dir) as path:
        with suppress(FileNotFoundError):
            (data_dir / _NAME).unlink()
        server = await asyncio.start_unix_server(answer, sock=_bind(path), limit=_REQUEST_BYTES_MAX)
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
    answer: list[dict[str, Any]] | None = _ask(data_dir, b"books\n", _ANSWER_TIMEOUT_S)
    return answer


def command(data_dir: Path, request: Mapping[str, object]) -> Any:
    """Have the gateway that runs on `data_dir` carry out a command; returns its answer, None if no gateway answers.

    Raises:
        ConfigError: it cannot be done, as the gateway says.
    """
    answer = _ask(data_dir, json.dumps(request).encode() + b"\n", _ANSWER_TIMEOUT_S)
    if isinstance(answer, dict) and "error" in answer:
        raise ConfigError(str(answer["error"]), str(answer.get("hint", "")))
    return answer


async def _obey(line: bytes, carry_out: Callable[[dict[str, Any]], Awaitable[object]] | None) -> object:
    try:
        request = json.loads(line)
        if carry_out is None or not isinstance(request.get("command"), str):
            raise ConfigError("this is no command that the gateway knows")
        return await carry_out(request)
    except GatewayError as error:
        return {"error": str(error), "hint": error.hint}
    except (ValueError, RecursionError):
        return {"error": "this is not JSON", "hint": ""}


def _bind(path: str) -> socket.socket:
    """A socket that only this user can connect to, from its first moment on."""
    listening = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listening.bind(path)
    except OSError:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening


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
