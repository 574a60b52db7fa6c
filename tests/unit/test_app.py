"""The parts put together: a gateway in this process, from its first to its last moment."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from gateway import control
from gateway.app import Gateway
from gateway.config.model import Config
from gateway.errors import ConfigError
from gateway.eventlog.history import History
from tests.unit.broker import wire
from tests.unit.broker.site import held_commits, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def config_of(data_dir: Path, **sections: object) -> Config:
    return Config.model_validate(
        {
            "gateway": {"id": "edge", "data_dir": data_dir, "clock_wait_s": 0},
            "broker": {"listen": ["mqtt://127.0.0.1:0"], "allow_anonymous": True},
        }
        | sections
    )


async def ask(data_dir: Path) -> dict[str, Any] | None:
    return await asyncio.to_thread(control.ask_status, data_dir) if data_dir.is_dir() else None


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[tuple[Gateway, int]]:
    """A gateway and its port; stopped as systemd would stop it."""
    gateway = Gateway(config)
    task = asyncio.create_task(gateway.run())
    await until(lambda: task.done() or (hasattr(gateway, "_broker") and gateway._broker.addresses))
    try:
        yield gateway, gateway._broker.addresses[0].port
    finally:
        if not task.done():
            os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(10):
            await task


async def test_it_takes_events_in_tells_its_status_and_stops_on_sigterm(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with running(config_of(data_dir)) as (_, port):
        device = await wire.Device.dial(port)
        device.send(wire.connect("dev") + wire.publish("a", b"x", 1, 1))
        assert [(await device.next()).kind for _ in range(2)] == [wire.CONNACK, wire.PUBACK]
        async with asyncio.timeout(10):
            while (facts := await ask(data_dir)) is None:
                await asyncio.sleep(0.01)
        assert (facts["id"], facts["running"], facts["upstreams"]) == ("edge", True, [])
        assert (facts["log"]["head"], facts["broker"]["clients"]) == (1, 1)
        assert facts["broker"]["listen"] == [f"mqtt://127.0.0.1:{port}"]
    assert await device.rest() == b""
    await device.close()
    assert await ask(data_dir) is None
    with History(data_dir) as history:
        assert [event.payload for event in history.scan(0)] == [b"x"]


async def test_what_devices_have_sent_reaches_the_disk_before_the_end(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    async with running(config_of(data_dir)) as (gateway, port):
        device = await wire.Device.dial(port)
        device.send(wire.connect("dev"))
        await device.next()
        with held_commits(data_dir):
            device.send(*(wire.publish("a", str(n).encode()) for n in range(100)))
            await device.ping()
            assert gateway._log.head == 0
            os.kill(os.getpid(), signal.SIGTERM)
            assert await device.rest() == b""
    await device.close()
    with History(data_dir) as history:
        assert [int(event.payload) for event in history.scan(0)] == [*range(100)]


async def test_an_upstream_that_is_not_there_is_shown_with_what_is_pending(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        url = f"mqtt://127.0.0.1:{nobody.getsockname()[1]}"
    config = config_of(tmp_path / "data", upstreams={"cloud": {"type": "mqtt", "url": url}})
    async with running(config) as (gateway, port):
        device = await wire.Device.dial(port)
        device.send(wire.connect("dev") + wire.publish("a", b"x", 1, 1))
        assert [(await device.next()).kind for _ in range(2)] == [wire.CONNACK, wire.PUBACK]
        await until(lambda: gateway.status()["upstreams"][0]["reason"])  # type: ignore[index]
        (cloud,) = gateway.status()["upstreams"]  # type: ignore[misc]
        assert (cloud["name"], cloud["type"], cloud["url"], cloud["pending"]) == ("cloud", "mqtt", url, 1)
        assert cloud["state"] != "connected"
        await device.close()


async def test_a_port_in_use_ends_it_and_frees_the_data_directory(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = [f"mqtt://127.0.0.1:{taken.getsockname()[1]}"]
        with pytest.raises(ConfigError, match="cannot listen on"):
            await Gateway(config_of(tmp_path, broker={"listen": listen})).run()
    async with running(config_of(tmp_path)):
        pass


async def test_two_gateways_never_share_a_data_directory(tmp_path: Path) -> None:
    async with running(config_of(tmp_path)):
        with pytest.raises(ConfigError, match=f"is in use by another gateway .process {os.getpid()}"):
            Gateway(config_of(tmp_path))


async def test_systemd_is_told_of_the_beginning_and_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            async with running(config_of(tmp_path / "data")) as (_, port):
                assert (await loop.sock_recv(systemd, 1000)).startswith(b"FDSTORE=1\n")
                assert await loop.sock_recv(systemd, 1000) == (
                    b"READY=1\nSTATUS=listening on mqtt://127.0.0.1:%d" % port
                )
                assert await loop.sock_recv(systemd, 1000) == b"WATCHDOG=1"
            assert await loop.sock_recv(systemd, 1000) == b"STOPPING=1"
