"""A restart refuses no connection: who connects meanwhile waits, and is served by the next process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.site.ports import free_port, wait_for
from tests.site.raw_client import RawClient, connect
from tests.site.service_manager import ServiceManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]


@pytest.fixture
def manager() -> Iterator[ServiceManager]:
    with ServiceManager() as manager:
        yield manager


def served(port: int, client_id: str) -> bool:
    """Whether a device that connects now is let in; False if it was let go, as one that the old process had, or is
    still waiting on a slow machine."""
    try:
        with RawClient(port) as device:
            device.send(connect(client_id))
            return device.read() is not None
    except ConnectionRefusedError:
        raise
    except (ConnectionError, TimeoutError):
        return False


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_clients_that_connect_while_the_gateway_is_down_are_served_when_it_is_back(
    gateway_at: Gateways, manager: ServiceManager, end: str
) -> None:
    gateway = gateway_at(websocket=True)
    manager.launch(gateway)
    manager.wait_ready()
    for _ in range(2):
        getattr(gateway, end)()
        waiting = [RawClient(gateway.port) for _ in range(50)]
        socket.create_connection(("127.0.0.1", gateway.ws_port), 10).close()
        for number, device in enumerate(waiting):
            device.send(connect(f"patient-{number}"))
        manager.launch(gateway)
        manager.wait_ready()
        for device in waiting:
            with device:
                assert device.expect(2).body == b"\0\0"
    assert [len(descriptors) for descriptors in manager.stored.values()] == [2]


def test_nobody_is_refused_at_any_moment_of_a_restart(gateway_at: Gateways, manager: ServiceManager) -> None:
    gateway = gateway_at()
    manager.launch(gateway)
    manager.wait_ready()
    over, failures, let_in = threading.Event(), [], [0]

    def come_and_go(name: str) -> None:
        while not over.is_set():
            try:
                let_in[0] += served(gateway.port, name)
            except OSError as error:
                failures.append(repr(error))

    devices = [threading.Thread(target=come_and_go, args=(f"device-{number}",)) for number in range(4)]
    for each in devices:
        each.start()
    try:
        for _ in range(2):
            assert gateway.stop() == 0
            manager.launch(gateway)
            manager.wait_ready()
    finally:
        over.set()
        for each in devices:
            each.join(30)
    assert failures == []
    assert let_in[0]
    assert served(gateway.port, "afterwards")


def test_another_address_in_the_configuration_is_listened_on_and_the_old_one_is_let_go(
    gateway_at: Gateways, manager: ServiceManager
) -> None:
    gateway = gateway_at()
    manager.launch(gateway)
    manager.wait_ready()
    assert gateway.stop() == 0
    old, gateway.port = gateway.port, free_port()
    text = gateway.config_path.read_text(encoding="utf-8").replace(f":{old}", f":{gateway.port}")
    gateway.config_path.write_text(text, encoding="utf-8")
    manager.launch(gateway)
    manager.wait_ready()
    assert served(gateway.port, "device")
    with pytest.raises(ConnectionRefusedError):
        RawClient(old)


def test_the_same_port_on_another_address_is_free_once_systemd_has_let_go_of_it(
    gateway_at: Gateways, manager: ServiceManager
) -> None:
    gateway = gateway_at()
    for old, new in (("", ""), ("127.0.0.1", "0.0.0.0"), ("0.0.0.0", "127.0.0.1")):
        text = gateway.config_path.read_text(encoding="utf-8").replace(f"mqtt://{old}", f"mqtt://{new}")
        gateway.config_path.write_text(text, encoding="utf-8")
        manager.launch(gateway)
        manager.wait_ready()
        assert served(gateway.port, "device")
        assert gateway.stop() == 0


def test_a_socket_unit_for_another_address_ends_the_start_with_both_named(
    gateway_at: Gateways, manager: ServiceManager
) -> None:
    gateway = gateway_at()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        manager.stored["gateway.socket"] = [os.dup(listening.fileno())]
        manager.launch(gateway)
        assert gateway.process is not None
        assert gateway.process.wait(20) == 1
        assert f"mqtt://127.0.0.1:{gateway.port}" in gateway.log()
        assert f"gateway.socket (127.0.0.1 port {listening.getsockname()[1]})" in gateway.log()
    assert "Traceback" not in gateway.log()


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None,
    reason="systemd-socket-activate is not installed (Debian: apt install systemd)",
)
def test_sockets_of_a_socket_unit_are_taken_over_from_systemd(gateway_at: Gateways) -> None:
    gateway = gateway_at(websocket=True)
    listen = [f"--listen=127.0.0.1:{port}" for port in (gateway.port, gateway.ws_port)]
    run = [sys.executable, "-m", "gateway", "run", "--config", str(gateway.config_path)]
    with gateway.log_path.open("ab") as log:  # it starts the gateway when the first device comes
        gateway.process = subprocess.Popen(["systemd-socket-activate", *listen, *run], stdout=log, stderr=log)
    wait_for(lambda: gateway.log().count("Listening on") == 2, what="listening on both")
    with RawClient(gateway.port) as first:
        assert first.join("first")
        gateway.wait_ready()
        assert gateway.status()["broker"]["listen"] == [
            f"mqtt://127.0.0.1:{gateway.port}",
            f"ws://127.0.0.1:{gateway.ws_port}",
        ]
    assert gateway.stop() == 0
