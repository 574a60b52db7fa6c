"""The gateway as a process: what it refuses to start with, how it stops, and what it tells systemd."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

from device_sims.verdict import identify, judge
from tests.site.load import Load
from tests.site.ports import free_port, wait_for
from tests.site.raw_client import PUBACK, RawClient, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]

STOP_TIMEOUT_S = 10
AS_NOBODY = """
import encodings.ascii, encodings.idna, os, sys
from pathlib import Path
import gateway.app
from gateway.cli.main import main
from gateway.config import load
load.load(Path(sys.argv[-1]))  # imports what it needs while the interpreter may still be read
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.argv[0] = "gateway"
main()
"""


# --- what it does not start with ---


def ended(gateway: GatewayProcess) -> int:
    assert gateway.process is not None
    return gateway.process.wait(20)


def test_a_port_in_use_ends_it_with_the_key_to_change(gateway_at: Gateways) -> None:
    gateway = gateway_at()
    with socket.create_server(("127.0.0.1", gateway.port)):
        assert ended(gateway.start(wait=False)) == 1
    assert f"broker.listen: cannot listen on mqtt://127.0.0.1:{gateway.port}" in gateway.log()
    assert "Traceback" not in gateway.log()
    gateway.start()
    assert gateway.stop() == 0


def test_a_second_gateway_on_the_same_data_names_the_first_and_ends(gateway_at: Gateways) -> None:
    first = gateway_at().start()
    second = gateway_at("second")
    text = second.config_path.read_text(encoding="utf-8").replace(str(second.data_dir), str(first.data_dir))
    second.config_path.write_text(text, encoding="utf-8")
    assert ended(second.start(wait=False)) == 1
    assert first.process is not None
    assert f"is in use by another gateway (process {first.process.pid})" in second.log()
    assert "Traceback" not in second.log()
    with RawClient(first.port) as device:
        device.join("device").publish("a", b"still at work")
    assert first.stop() == 0


@pytest.fixture
def forbidden() -> Iterator[Path]:
    """A folder that everybody may read and only its owner may write, and not even he if he is not root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "closed").mkdir()
        config = f'[gateway]\nid = "x"\ndata_dir = "{folder}/closed/data"\n[broker]\nlisten = ["mqtt://127.0.0.1:0"]\n'
        (folder / "gateway.toml").write_text(config, encoding="utf-8")
        folder.chmod(0o755)
        (folder / "closed").chmod(0o555)
        yield folder
        (folder / "closed").chmod(0o755)


def as_nobody(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, command, "--config", folder / "gateway.toml"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_data_dir_that_cannot_be_made_ends_it_with_what_to_do(forbidden: Path) -> None:
    done = as_nobody("run", forbidden)
    assert done.returncode == 1
    assert f"gateway.data_dir: {forbidden}/closed/data cannot be created" in done.stderr
    assert "(uid " in done.stderr
    assert "Traceback" not in done.stderr
    done = as_nobody("check", forbidden)
    assert done.returncode == 0
    assert "is not writable for this user" in done.stdout


@pytest.mark.parametrize("command", ["run", "check", "status", "tail", "events"])
@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder that belongs to somebody else")
def test_a_data_dir_of_somebody_else_is_told_without_a_traceback(forbidden: Path, command: str) -> None:
    data_dir = forbidden / "closed" / "data"
    data_dir.mkdir()
    (data_dir / "log").mkdir()
    (data_dir / "state.db").touch()
    data_dir.chmod(0o700)
    done = as_nobody(command, forbidden)
    assert "Traceback" not in done.stderr
    assert str(data_dir) in done.stdout + done.stderr
    assert done.returncode == (0 if command == "check" else 1)


def test_the_environment_decides_where_it_listens(gateway_at: Gateways) -> None:
    gateway = gateway_at()
    other = free_port()
    gateway.start(env={"GATEWAY__BROKER__LISTEN": f"mqtt://127.0.0.1:{other}"})
    assert gateway.status()["broker"]["listen"] == [f"mqtt://127.0.0.1:{other}"]
    with RawClient(other) as device:
        device.join("device").ping()


# --- how it stops ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_under_load_in_time_and_everything_acknowledged_is_stored(gateway_at: Gateways, number: int) -> None:
    gateway = gateway_at(upstream_port=free_port()).start()
    with Load(gateway.port) as load:
        load.wait_acknowledged(2000)
        assert gateway.process is not None
        gateway.process.send_signal(number)
        assert gateway.process.wait(STOP_TIMEOUT_S) == 0
        acknowledged = load.acknowledged()
    stored = [known for event in gateway.events() if (known := identify(event.payload)) is not None]
    verdict = judge(acknowledged, stored)
    assert verdict.ok, verdict.total
    assert "Traceback" not in gateway.log()


def test_it_stops_in_time_while_an_upstream_is_silent_and_a_subscriber_does_not_read(gateway_at: Gateways) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        gateway = gateway_at(upstream_port=silent.getsockname()[1]).start()
        with RawClient(gateway.port) as deaf, RawClient(gateway.port) as device, RawClient(gateway.port) as unknown:
            deaf.join("deaf").subscribe(("flood", 0))
            device.join("device")
            for n in range(40):
                device.publish("flood", bytes(200_000), n + 1)
            unknown.send(b"\x10")  # the beginning of a CONNECT
            assert gateway.stop(STOP_TIMEOUT_S) == 0
    assert "Traceback" not in gateway.log()


def test_devices_that_are_connected_leave_no_will_when_the_gateway_stops(gateway_at: Gateways) -> None:
    gateway = gateway_at().start()
    with RawClient(gateway.port) as device:
        device.join("device", will=("will/device", b"gone", 1, False))
        assert gateway.stop() == 0
        assert device.is_closed()
    assert gateway.events() == []


# --- what it tells systemd ---


class Systemd:
    """The other side of NOTIFY_SOCKET; a context manager."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(20)
        self.socket.bind(address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def hear(self) -> str:
        """The next message, but for those about sockets to keep (tests/integration/test_restart.py)."""
        while (message := self.socket.recv(4096).decode()).startswith("FDSTORE"):
            pass
        return message

    def hear_until(self, wanted: str) -> None:
        deadline = time.monotonic() + 20
        while self.hear() != wanted:
            assert time.monotonic() < deadline, wanted

    def drain(self) -> None:
        """Forget what was said so far."""
        self.socket.setblocking(False)
        try:
            while True:
                self.hear()
        except BlockingIOError:
            self.socket.settimeout(20)


@pytest.fixture
def systemd() -> Iterator[tuple[Systemd, dict[str, str]]]:
    with tempfile.TemporaryDirectory() as folder:  # a shorter path than pytest's: it must fit into 107 bytes
        address = f"{folder}/notify"
        with Systemd(address) as listener:
            yield listener, {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "300000"}


def test_systemd_hears_ready_then_alive_then_stopping(
    gateway_at: Gateways, systemd: tuple[Systemd, dict[str, str]]
) -> None:
    listener, environment = systemd
    gateway = gateway_at().start(wait=False, env=environment)
    assert listener.hear().splitlines() == ["READY=1", f"STATUS=listening on mqtt://127.0.0.1:{gateway.port}"]
    with RawClient(gateway.port) as device:
        device.join("ready-means-ready").ping()
    assert [listener.hear() for _ in range(5)] == ["WATCHDOG=1"] * 5
    assert gateway.stop() == 0
    listener.hear_until("STOPPING=1")


def test_systemd_may_listen_in_the_abstract_namespace_and_without_a_watchdog(gateway_at: Gateways) -> None:
    name = f"gateway-test-{os.getpid()}"
    with Systemd(f"\0{name}") as listener:
        gateway = gateway_at().start(wait=False, env={"NOTIFY_SOCKET": f"@{name}"})
        assert listener.hear().startswith("READY=1")
        assert listener.hear() == "WATCHDOG=1"
        assert gateway.stop() == 0
        listener.hear_until("STOPPING=1")


def test_a_gateway_that_cannot_start_is_never_ready(
    gateway_at: Gateways, systemd: tuple[Systemd, dict[str, str]]
) -> None:
    listener, environment = systemd
    gateway = gateway_at()
    with socket.create_server(("127.0.0.1", gateway.port)):
        assert ended(gateway.start(wait=False, env=environment)) == 1
    listener.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.hear()


def test_a_watchdog_meant_for_another_process_is_not_fed_faster(gateway_at: Gateways) -> None:
    name = f"gateway-test-other-{os.getpid()}"
    with Systemd(f"\0{name}") as listener:
        environment = {"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"}
        gateway = gateway_at().start(wait=False, env=environment)
        assert listener.hear().startswith("READY=1")
        assert listener.hear() == "WATCHDOG=1"  # then the next one is 10 s away
        with RawClient(gateway.port) as device:
            device.join("device").publish("a", b"x")
        assert gateway.stop() == 0
        assert listener.hear() == "STOPPING=1"


def newest_segment(gateway: GatewayProcess) -> sqlite3.Connection:
    path = max((gateway.data_dir / "log").glob("*.db"))
    return sqlite3.connect(path, isolation_level=None)


def test_the_watchdog_is_not_fed_while_the_writer_is_stuck(
    gateway_at: Gateways, systemd: tuple[Systemd, dict[str, str]]
) -> None:
    listener, environment = systemd
    gateway = gateway_at().start(env=environment)
    lock = newest_segment(gateway)
    try:
        with RawClient(gateway.port) as device:
            device.join("device")
            lock.execute("BEGIN IMMEDIATE")
            device.send(publish("stuck", b"x", 1, 1))
            gateway.status()  # goes through the event loop: the message has been read and handed to the writer
            gateway.status()
            listener.drain()
            listener.socket.settimeout(1)
            with pytest.raises(TimeoutError):
                listener.hear()
            lock.execute("ROLLBACK")
            listener.socket.settimeout(20)
            assert device.expect(PUBACK).packet_id == 1
            assert listener.hear() == "WATCHDOG=1"
    finally:
        lock.close()
    assert "the disk has not answered" in gateway.log()
    assert json.loads(json.dumps(gateway.status()))["log"]["head"] == 1


def test_a_segment_that_cannot_be_written_is_left_and_the_event_acknowledged_from_the_next_one(
    gateway_at: Gateways,
) -> None:
    gateway = gateway_at().start()
    lock = newest_segment(gateway)
    try:
        with RawClient(gateway.port) as device:
            device.join("device").publish("before", b"x", 1)
            lock.execute("BEGIN IMMEDIATE")
            device.socket.settimeout(30)
            device.publish("meanwhile", b"y", 2)
            wait_for(lambda: gateway.status()["log"]["segments"] == 2, what="a second segment")
            device.publish("after", b"z", 3)
    finally:
        lock.close()
    gateway.kill()
    gateway.start()
    assert [(event.seq, event.topic) for event in gateway.events()] == [(1, "before"), (2, "meanwhile"), (3, "after")]
