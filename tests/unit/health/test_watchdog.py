"""The watchdog is fed for as long as the beat answers, and not a moment longer."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.health.systemd import Notifier
from gateway.health.watchdog import watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[tuple[Notifier, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(str(tmp_path / "notify"))
        reader.setblocking(False)
        yield Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "30000"}), reader


async def fed(reader: socket.socket, times: int) -> None:
    async with asyncio.timeout(10):
        for _ in range(times):
            assert await asyncio.get_running_loop().sock_recv(reader, 100) == b"WATCHDOG=1"


@asynccontextmanager
async def watching(notifier: Notifier, beat: Callable[[], Awaitable[None]]) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(watch(notifier, beat))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_it_is_fed_while_the_beat_answers(systemd: tuple[Notifier, socket.socket]) -> None:
    notifier, reader = systemd
    beats = 0

    async def beat() -> None:
        nonlocal beats
        beats += 1

    async with watching(notifier, beat):
        await fed(reader, 3)
    assert beats >= 3


async def test_it_is_not_fed_while_the_beat_does_not_answer_and_again_when_it_does(
    systemd: tuple[Notifier, socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    notifier, reader = systemd
    stuck, tried = True, asyncio.Semaphore(0)

    async def beat() -> None:
        tried.release()
        if stuck:
            await asyncio.Event().wait()

    async with watching(notifier, beat):
        async with asyncio.timeout(10):
            for _ in range(4):
                await tried.acquire()
        with pytest.raises(BlockingIOError):
            reader.recv(100)
        assert "the disk has not answered" in caplog.text
        stuck = False
        await fed(reader, 2)


async def test_an_error_of_the_beat_is_not_swallowed(systemd: tuple[Notifier, socket.socket]) -> None:
    async def beat() -> None:
        raise ZeroDivisionError

    async with watching(systemd[0], beat) as task:
        await asyncio.wait([task], timeout=10)
        assert isinstance(task.exception(), ZeroDivisionError)


async def test_without_a_watchdog_the_beat_is_tried_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.health.watchdog._INTERVAL_S", 0.01)
    tried = asyncio.Semaphore(0)

    async def beat() -> None:
        tried.release()
        await asyncio.Event().wait()

    async with watching(Notifier({}), beat), asyncio.timeout(10):
        for _ in range(3):
            await tried.acquire()
    assert "the disk has not answered" in caplog.text
