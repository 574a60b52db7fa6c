"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from gateway.health.systemd import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(params=["a path", "an abstract address"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """The address as the environment names it, and the socket that systemd would read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.settimeout(10)
        if request.param == "a path":
            name = str(tmp_path / "notify")
            reader.bind(name)
        else:
            name = f"@edge-gateway-test-{os.getpid()}"
            reader.bind("\0" + name[1:])
        yield name, reader


def test_ready_alive_and_stopping_are_datagrams_of_their_own(systemd: tuple[str, socket.socket]) -> None:
    name, reader = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready("listening on mqtt://127.0.0.1:1883")
    notifier.alive()
    notifier.stopping()
    assert [reader.recv(1000) for _ in range(3)] == [
        b"READY=1\nSTATUS=listening on mqtt://127.0.0.1:1883",
        b"WATCHDOG=1",
        b"STOPPING=1",
    ]


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/no/such/socket"}])
def test_without_systemd_nothing_happens(environment: dict[str, str]) -> None:
    notifier = Notifier(environment)
    notifier.ready("")
    notifier.alive()
    notifier.stopping()
    assert notifier.watchdog_s is None


def test_a_systemd_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(name)
        notifier = Notifier({"NOTIFY_SOCKET": name})
        for _ in range(5000):
            notifier.alive()


@pytest.mark.parametrize(
    ("environment", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid() + 1)}, None),
        ({"WATCHDOG_PID": str(os.getpid())}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_the_watchdog_is_fed_only_when_systemd_watches_this_process(
    environment: dict[str, str], watchdog_s: float | None
) -> None:
    assert Notifier(environment).watchdog_s == watchdog_s


def test_what_systemd_shall_let_go_of_is_let_go_of_on_return(systemd: tuple[str, socket.socket]) -> None:
    name, reader = systemd
    heard: list[bytes] = []

    def answer() -> None:
        heard.append(reader.recv(1000))
        message, (barrier,), _, _ = socket.recv_fds(reader, 1000, 1)
        heard.append(message)
        os.close(barrier)

    listener = threading.Thread(target=answer)
    listener.start()
    Notifier({"NOTIFY_SOCKET": name}).unstore("gateway-listen")
    assert heard == [b"FDSTOREREMOVE=1\nFDNAME=gateway-listen", b"BARRIER=1"]
    listener.join(10)
