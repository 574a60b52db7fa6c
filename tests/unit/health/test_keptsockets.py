"""What is inherited and what systemd is asked to keep, with real sockets and a real datagram socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.broker.config import parse_listen
from gateway.broker.listening import listen
from gateway.errors import ConfigError
from gateway.health import keptsockets
from gateway.health.keptsockets import KeptSockets
from gateway.health.systemd import Notifier

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[tuple[Notifier, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reader:
        reader.bind(str(tmp_path / "notify"))
        reader.settimeout(10)
        yield Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}), reader


@contextmanager
def handed_over(
    monkeypatch: pytest.MonkeyPatch, given: socket.socket, name: str, pid: int | None = None
) -> Iterator[dict[str, str]]:
    """The environment of a process to which systemd hands `given`; a copy of it, which the process takes over."""
    descriptor = os.dup(given.fileno())
    os.set_inheritable(descriptor, True)
    monkeypatch.setattr(keptsockets, "_FIRST", descriptor)
    yield {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid() if pid is None else pid), "LISTEN_FDNAMES": name}


def address_of(listening: socket.socket) -> str:
    return f"mqtt://127.0.0.1:{listening.getsockname()[1]}"


def heard(reader: socket.socket) -> tuple[list[str], list[int]]:
    text, descriptors, _, _ = socket.recv_fds(reader, 1000, 4)
    return text.decode().splitlines(), descriptors


async def test_a_new_socket_is_handed_to_systemd_which_then_holds_it_open(
    systemd: tuple[Notifier, socket.socket],
) -> None:
    notifier, reader = systemd
    ((address, listening),) = await listen([parse_listen("mqtt://127.0.0.1:0")], KeptSockets(notifier, {}))
    lines, (descriptor,) = heard(reader)
    assert lines == ["FDSTORE=1", "FDPOLL=0", "FDNAME=gateway-listen"]
    port = listening.getsockname()[1]
    listening.close()
    with socket.socket(fileno=descriptor) as kept, closing(socket.create_connection(("127.0.0.1", port), 10)):
        kept.accept()[0].close()
    assert str(address) == "mqtt://127.0.0.1:0"


async def test_an_inherited_socket_is_taken_over_and_not_stored_again(
    systemd: tuple[Notifier, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier, reader = systemd
    with socket.create_server(("127.0.0.1", 0)) as ours, handed_over(monkeypatch, ours, "gateway-listen") as given:
        kept = KeptSockets(notifier, given)
        ((_, listening),) = await listen([parse_listen(address_of(ours))], kept)
        with listening:
            assert listening.getsockname() == ours.getsockname()
        assert given == {}
    reader.setblocking(False)
    with pytest.raises(BlockingIOError):
        reader.recv(100)


async def test_no_process_that_is_started_inherits_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours, handed_over(monkeypatch, ours, "gateway-listen") as given:
        kept = KeptSockets(Notifier({}), given)
        taken = kept.claim(socket.AF_INET, ours.getsockname())
        assert taken is not None
        with taken:
            code = f"import os, sys; sys.exit(os.path.exists('/proc/self/fd/{taken.fileno()}'))"
            assert subprocess.run([sys.executable, "-c", code], close_fds=False, check=False).returncode == 0


async def test_what_the_configuration_no_longer_names_is_closed_and_taken_out_of_the_store(
    systemd: tuple[Notifier, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier, reader = systemd
    monkeypatch.setattr("gateway.health.systemd._HEARD_TIMEOUT_S", 0.01)  # nobody reads before this is over
    with socket.create_server(("127.0.0.1", 0)) as ours, handed_over(monkeypatch, ours, "gateway-listen") as given:
        old = ours.getsockname()
        kept = KeptSockets(notifier, given)
        ours.close()
        ((_, listening),) = await listen([parse_listen("mqtt://127.0.0.1:0")], kept)
    with listening:
        assert heard(reader) == (["FDSTOREREMOVE=1", "FDNAME=gateway-listen"], [])
        (barrier,), (descriptor,) = heard(reader)
        os.close(descriptor)
        assert barrier == "BARRIER=1"
        lines, (descriptor,) = heard(reader)
        os.close(descriptor)
        assert lines[0] == "FDSTORE=1"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(old, 10)


async def test_a_socket_of_a_socket_unit_that_is_no_address_of_ours_is_an_error_that_names_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours, handed_over(monkeypatch, ours, "gateway.socket") as given:
        kept = KeptSockets(Notifier({}), given)
        with pytest.raises(ConfigError) as told:
            await listen([parse_listen("mqtt://127.0.0.1:0")], kept)
        taken = kept.claim(socket.AF_INET, ours.getsockname())
        assert taken is not None
        taken.close()
        assert "mqtt://127.0.0.1:0" in str(told.value)
        assert f"gateway.socket (127.0.0.1 port {ours.getsockname()[1]})" in str(told.value)
        assert "ListenStream=" in told.value.hint


async def test_what_is_meant_for_another_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as ours:
        with handed_over(monkeypatch, ours, "gateway-listen", pid=1) as given:
            kept = KeptSockets(Notifier({}), given)
        assert kept.claim(socket.AF_INET, ours.getsockname()) is None
        os.close(keptsockets._FIRST)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_what_does_not_listen_is_an_error_with_what_to_write(monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as ours:
        ours.bind(("127.0.0.1", 0))
        with handed_over(monkeypatch, ours, "odd") as given, pytest.raises(ConfigError, match="odd") as told:
            KeptSockets(Notifier({}), given)
        assert "ListenStream=" in told.value.hint
        os.close(keptsockets._FIRST)


async def test_a_name_that_stands_for_no_address_is_told_by_its_key() -> None:
    with pytest.raises(ConfigError, match=r"broker\.listen: cannot listen on mqtt://no-such-host\.invalid:1"):
        await listen([parse_listen("mqtt://no-such-host.invalid:1")])


async def test_a_name_with_two_addresses_is_listened_on_at_both_and_not_twice_at_one() -> None:
    listening = await listen([parse_listen("mqtt://localhost:0")])
    try:
        found = {each.getsockname()[0] for _, each in listening}
        expected = {each[4][0] for each in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        assert found == expected
        assert len(listening) == len(expected)
    finally:
        for _, each in listening:
            each.close()
