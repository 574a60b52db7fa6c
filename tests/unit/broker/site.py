"""A broker on a free port with a real event log, whose commits can be held back."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from gateway.broker.broker import Broker
from gateway.broker.config import BrokerConfig
from gateway.clock import SystemClock
from gateway.eventlog.config import LogConfig
from gateway.eventlog.log import EventLog
from gateway.ingest.ingest import Ingest
from tests.unit.broker import wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.broker.rights import Rights
    from gateway.event import Event


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that no future tells of."""
    async with asyncio.timeout(wire.TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.001)


def open_log(data_dir: Path, **options: object) -> EventLog:
    return EventLog(data_dir, LogConfig.model_validate({"retry_interval_s": 0.01} | options), SystemClock(), ())


@contextmanager
def held_commits(data_dir: Path) -> Iterator[None]:
    """The disk takes no event: another connection holds the write lock of the newest segment."""
    newest = max((data_dir / "log").glob("*.db"))
    with _write_lock(newest):
        yield


@contextmanager
def held_state(data_dir: Path) -> Iterator[None]:
    """The disk takes no session: another connection holds the write lock of `state.db`."""
    with _write_lock(data_dir / "state.db"):
        yield


@contextmanager
def _write_lock(path: Path) -> Iterator[None]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


class Site:
    """The parts of a gateway that devices see."""

    def __init__(
        self, data_dir: Path, log: dict[str, object], broker: dict[str, object], rights: Rights | None = None
    ) -> None:
        self.data_dir = data_dir
        self.log = open_log(data_dir, **log)
        self.ingest = Ingest(self.log, SystemClock())
        self.config = BrokerConfig.model_validate(
            {"listen": ["mqtt://127.0.0.1:0"], "allow_anonymous": True, "logins_parallel_max": 1} | broker
        )
        self.broker = Broker(self.config, self.log, self.ingest, rights)
        self.devices: list[wire.Device] = []
        self._closed = False

    @property
    def port(self) -> int:
        return self.broker.addresses[0].port

    @property
    def delivery(self):
        return self.broker._delivery

    @property
    def sessions(self):
        return self.broker._sessions

    async def dial(self) -> wire.Device:
        """A device whose socket is open and that has said nothing."""
        device = await wire.Device.dial(self.port)
        self.devices.append(device)
        return device

    async def connect(self, client_id: str = "dev", **options: object) -> wire.Device:
        """A device that the broker has let in."""
        device, answer = await self.try_connect(client_id, **options)
        assert answer.body[1:] == b"\0"
        return device

    async def try_connect(self, client_id: str = "dev", **options: object) -> tuple[wire.Device, wire.Packet]:
        """A device that has sent CONNECT, and the CONNACK."""
        device = await self.dial()
        device.send(wire.connect(client_id, **options))
        answer = await device.next()
        assert answer.kind == wire.CONNACK
        return device, answer

    async def leave(self, device: wire.Device) -> None:
        """DISCONNECT, and wait until the broker has forgotten the connection."""
        device.send(wire.DISCONNECT_PACKET)
        await device.rest()
        await self.quiet()

    async def quiet(self) -> None:
        """Wait until no session is being wound up."""
        serving = {task for task in self.broker._serving.values() if self._is_over(task)}
        if serving:
            await asyncio.wait(serving, timeout=wire.TIMEOUT_S)
        await until(lambda: not any(self._is_over(task) for task in self.broker._serving.values()))

    def _is_over(self, task: asyncio.Task[None]) -> bool:
        return any(serving is task and connection.closing for connection, serving in self.broker._serving.items())

    async def events(self) -> list[Event]:
        """Every event, once all that was taken in is on disk."""
        async with asyncio.timeout(wire.TIMEOUT_S):
            await self.log.intake.settled()
        events: list[Event] = []
        while more := await self.log.read(events[-1].seq if events else 0, 10_000):
            events += more
        return events

    def connection(self, client_id: str = "dev"):
        return self.broker._clients[client_id]

    async def close(self) -> None:
        """Stop as the gateway does; idempotent."""
        if self._closed:
            return
        self._closed = True
        for device in self.devices:
            device.abort()
        await self.broker.close()
        await self.log.close(5)
