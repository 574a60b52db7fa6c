"""Handshakes that never end, come byte by byte or are none: they keep nobody out, and what they took is given back."""

from __future__ import annotations

import resource
import socket
import ssl
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.site.ports import wait_for
from tests.site.raw_client import RawClient, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.security.guarded import Guarded
    from tests.site.certificates import SiteCertificates


def test_handshakes_that_never_end_are_given_up_and_keep_nobody_out(
    guarded: Callable[..., Guarded], site: SiteCertificates
) -> None:
    edge = guarded("allow_anonymous = true\ntls_handshakes_max = 20\ntls_handshake_timeout_s = 6")
    beginnings = [hello(site), hello(site)[:-1], b"\x16\x03\x01", b""]
    with RawClient(edge.tls_port, site.trusting()) as before, ExitStack() as open_sockets:
        before.join("before")
        for n in range(100):
            half_open = open_sockets.enter_context(socket.create_connection(("127.0.0.1", edge.tls_port)))
            half_open.sendall(beginnings[n % 4])
        before.ping()
        with RawClient(edge.tls_port, site.trusting()) as device:
            device.join("dev").ping()
        assert edge.tls()["given_up"] >= 6  # 25 have said hello, 20 have a turn at a time, and it came last
        wait_for(lambda: edge.tls()["given_up"] == 100, what="all are given up")
        assert edge.tls()["handshaking"] == 0
        before.ping()
    assert edge.gateway.status()["broker"]["violations"] == 0


def test_one_address_with_many_half_open_handshakes_does_not_keep_another_waiting_for_all_of_them(
    guarded: Callable[..., Guarded], site: SiteCertificates
) -> None:
    edge = guarded("allow_anonymous = true\ntls_handshakes_max = 10\ntls_handshake_timeout_s = 60")
    with ExitStack() as open_sockets:
        for _ in range(120):  # 3 seconds for each ten of them
            half_open = open_sockets.enter_context(socket.create_connection(("127.0.0.1", edge.tls_port)))
            half_open.sendall(hello(site))
        elsewhere = socket.create_connection(("127.0.0.1", edge.tls_port), 20, source_address=("127.0.0.2", 0))
        with site.trusting().wrap_socket(elsewhere, server_hostname="127.0.0.1") as device:
            device.sendall(connect("dev"))
            assert device.recv(4) == b"\x20\x02\x00\x00"
        assert edge.tls()["handshaking"] > 60


def test_what_handshakes_took_is_given_back(guarded: Callable[..., Guarded], site: SiteCertificates) -> None:
    edge = guarded()
    with RawClient(edge.tls_port, site.trusting()) as device:
        device.join("dev").ping()
    before, beginning = resident_bytes(edge), hello(site)
    with ExitStack() as open_sockets:
        for _ in range(300):
            half_open = open_sockets.enter_context(socket.create_connection(("127.0.0.1", edge.tls_port)))
            half_open.sendall(beginning)
        wait_for(lambda: resident_bytes(edge) > before + 10e6, what="they take memory")
    wait_for(lambda: resident_bytes(edge) < before + 6e6, what="the memory is given back")


def resident_bytes(edge: Guarded) -> int:
    process = edge.gateway.process
    assert process is not None
    return int(Path(f"/proc/{process.pid}/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def hello(site: SiteCertificates) -> bytes:
    """What a client begins with."""
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        site.trusting().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1").do_handshake()
    return outgoing.read()


def test_a_hello_that_comes_byte_by_byte_is_understood(guarded: Callable[..., Guarded], site: SiteCertificates) -> None:
    edge = guarded()
    with socket.create_connection(("127.0.0.1", edge.tls_port), 10) as slow:
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in hello(site):
            slow.sendall(bytes([byte]))
        assert slow.recv(3) == b"\x16\x03\x03"


@pytest.mark.parametrize("data", [connect("plain"), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + b"\xff" * 60_000])
def test_what_is_no_tls_is_closed(guarded: Callable[..., Guarded], site: SiteCertificates, data: bytes) -> None:
    edge = guarded()
    with socket.create_connection(("127.0.0.1", edge.tls_port), 10) as stranger, ExitStack() as ended:
        ended.enter_context(suppress(ConnectionError))
        stranger.sendall(data)
        while stranger.recv(1000):
            pass
    wait_for(lambda: edge.tls()["handshaking"] == 0)
    with RawClient(edge.tls_port, site.trusting()) as device:
        device.join("dev").ping()


def test_garbage_after_the_handshake_ends_that_connection_only(
    guarded: Callable[..., Guarded], site: SiteCertificates
) -> None:
    edge = guarded()
    with RawClient(edge.tls_port, site.trusting()) as good:
        good.join("good")
        raw = socket.create_connection(("127.0.0.1", edge.tls_port), 10)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = site.trusting().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                raw.sendall(outgoing.read())
                incoming.write(raw.recv(65_536))
        tls.write(connect("bad"))
        raw.sendall(outgoing.read() + b"\x17\x03\x03\x00\x20" + b"g" * 32)
        with suppress(ConnectionError):
            while raw.recv(1000):
                pass
        raw.close()
        good.ping()
        wait_for(lambda: edge.gateway.status()["broker"]["clients"] == 1, what="the broken connection is gone")
