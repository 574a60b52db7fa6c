"""The control socket: who is asked, who answers, and what happens when nobody does."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from gateway import control
from gateway.errors import ConfigError, LogError

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "control.sock"


async def ask(data_dir: Path) -> dict[str, object] | None:
    return await asyncio.to_thread(control.ask_status, data_dir)


@contextmanager
def answering(data_dir: Path, answer: bytes) -> Iterator[None]:
    """Somebody else at the socket, who says this and hangs up."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(data_dir / NAME))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        yield
        thread.join(10)


async def test_a_running_gateway_answers_with_its_status(tmp_path: Path) -> None:
    async with control.serve(tmp_path, lambda: {"id": "edge", "text": "größe"}):
        for _ in range(3):
            assert await ask(tmp_path) == {"id": "edge", "text": "größe"}


async def test_a_large_status_arrives_whole(tmp_path: Path) -> None:
    status: dict[str, object] = {"upstreams": ["x" * 100] * 20_000}
    async with control.serve(tmp_path, lambda: status):
        assert await ask(tmp_path) == status


async def test_nobody_answers_without_a_gateway(tmp_path: Path) -> None:
    assert await ask(tmp_path) is None
    assert await ask(tmp_path / "no such folder") is None


async def test_the_socket_of_a_gateway_that_was_killed_is_no_answer_and_no_obstacle(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / NAME))
    assert (tmp_path / NAME).exists()
    assert await ask(tmp_path) is None
    async with control.serve(tmp_path, lambda: {"id": "next"}):
        assert await ask(tmp_path) == {"id": "next"}


async def test_the_socket_is_gone_after_the_end(tmp_path: Path) -> None:
    async with control.serve(tmp_path, dict):
        assert (tmp_path / NAME).is_socket()
    assert not (tmp_path / NAME).exists()
    assert await ask(tmp_path) is None


async def test_the_data_directory_may_be_deeper_than_a_socket_address_is_long(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-name-of-a-folder"] * 6)
    deep.mkdir(parents=True)
    assert len(str(deep / NAME).encode()) > 108
    async with control.serve(deep, lambda: {"id": "deep"}):
        assert await ask(deep) == {"id": "deep"}
    assert not (deep / NAME).exists()


async def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    def open_now() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    async with control.serve(tmp_path, dict):
        await ask(tmp_path)
        before = open_now()
        for _ in range(5):
            await ask(tmp_path)
            await ask(tmp_path / "no such folder")
        assert open_now() <= before


@pytest.mark.parametrize("request_line", [b"stop\n", b"\n", b"status", b""])
async def test_only_status_can_be_asked_for(tmp_path: Path, request_line: bytes) -> None:
    async with control.serve(tmp_path, lambda: {"id": "edge"}):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / NAME))
        writer.write(request_line)
        writer.write_eof()
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()
        assert await ask(tmp_path) == {"id": "edge"}


async def test_a_client_that_says_nothing_is_let_go_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_TIMEOUT_S", 0.05)
    async with control.serve(tmp_path, dict):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / NAME))
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_a_gateway_that_does_not_answer_in_time_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(str(tmp_path / NAME))
        stuck.listen()
        assert await ask(tmp_path) is None


@pytest.mark.parametrize("said", [b"", b'{"id": "ed', b"\xff"])
async def test_a_gateway_that_ends_before_its_answer_does_is_no_answer(tmp_path: Path, said: bytes) -> None:
    with answering(tmp_path, said):
        assert await ask(tmp_path) is None


async def test_a_running_gateway_tells_its_books(tmp_path: Path) -> None:
    async def books() -> list[dict[str, object]]:
        return [{"upstream": "cloud", "received": 3}]

    async with control.serve(tmp_path, dict, books):
        assert await asyncio.to_thread(control.ask_books, tmp_path) == [{"upstream": "cloud", "received": 3}]
    async with control.serve(tmp_path, dict):
        assert await asyncio.to_thread(control.ask_books, tmp_path) is None


async def test_books_that_the_disk_does_not_tell_are_no_answer(tmp_path: Path) -> None:
    async def books() -> list[dict[str, object]]:
        raise LogError("the disk refuses")

    async with control.serve(tmp_path, dict, books):
        assert await asyncio.to_thread(control.ask_books, tmp_path) is None


async def test_a_command_is_carried_out_and_answered(tmp_path: Path) -> None:
    asked: list[dict[str, object]] = []

    async def carry_out(request: dict[str, object]) -> object:
        asked.append(request)
        if request["command"] == "fail":
            raise ConfigError("no", "try yes")
        return [request["command"]]

    async with control.serve(tmp_path, dict, carry_out=carry_out):
        answer = await asyncio.to_thread(control.command, tmp_path, {"command": "go", "name": "größe\n"})
        assert answer == ["go"]
        assert asked == [{"command": "go", "name": "größe\n"}]
        with pytest.raises(ConfigError, match="no") as caught:
            await asyncio.to_thread(control.command, tmp_path, {"command": "fail"})
        assert caught.value.hint == "try yes"
    assert await asyncio.to_thread(control.command, tmp_path, {"command": "go"}) is None


@pytest.mark.parametrize("line", [b"{}\n", b'{"command": 7}\n', b"{\n", b"{" * 9000, b'{"a":' * 1500 + b"\n"])
async def test_what_is_no_command_is_an_error_and_harms_nobody(tmp_path: Path, line: bytes) -> None:
    async with control.serve(tmp_path, lambda: {"id": "edge"}, carry_out=lambda _: pytest.fail("carried out")):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / NAME))
        writer.write(line)
        writer.write_eof()
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        assert (b"error" in answer) == line.endswith(b"\n")
        assert await ask(tmp_path) == {"id": "edge"}


async def test_only_the_user_of_the_gateway_can_connect(tmp_path: Path) -> None:
    async with control.serve(tmp_path, dict):
        assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
