"""TLS listeners of a real gateway: who gets in, under which name, and that certificates can be replaced meanwhile."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import warnings
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.site.certificates import SiteCertificates
from tests.site.gateway_process import GatewayProcess
from tests.site.ports import free_port, wait_for
from tests.site.raw_client import RawClient, connect, packet, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Gateways = Callable[..., GatewayProcess]


@pytest.fixture
def site(tmp_path: Path) -> SiteCertificates:
    return SiteCertificates(tmp_path / "certificates")


def tls_section(site: SiteCertificates, **options: str) -> str:
    keys = {"certificate": str(site.folder / "server.crt"), "key": str(site.folder / "server.key"), **options}
    return "[broker.tls]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


class Guarded:
    """A gateway with listeners `mqtts` and `wss`, and `mqtt` beside them."""

    def __init__(self, make: Gateways, site: SiteCertificates, broker: str = "", **tls: str) -> None:
        if not (site.folder / "server.crt").exists():
            site.server()
        self.port, self.tls_port, self.wss_port = free_port(), free_port(), free_port()
        listen = [f"{kind}://127.0.0.1:{port}" for kind, port in self.ports.items()]
        lines = f"listen = {json.dumps(listen)}\n{broker or 'allow_anonymous = true'}\n{tls_section(site, **tls)}"
        self.gateway = make(broker=lines)
        self.site = site

    @property
    def ports(self) -> dict[str, int]:
        return {"mqtt": self.port, "mqtts": self.tls_port, "wss": self.wss_port}

    def tls(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.status()["broker"]["tls"]
        return found


@pytest.fixture
def guarded(gateway_at: Gateways, site: SiteCertificates) -> Callable[..., Guarded]:
    """Make and start a gateway with TLS listeners."""

    def make(broker: str = "", **tls: str) -> Guarded:
        found = Guarded(gateway_at, site, broker, **tls)
        found.gateway.start()
        return found

    return make


REQUIRED = {"client_certificate": "required"}


def required(site: SiteCertificates, **more: str) -> dict[str, str]:
    return {"client_ca": str(site.ca_path), "client_certificate": "required", **more}


def refuses(port: int, context: ssl.SSLContext) -> bool:
    """Whether a handshake fails; TLS 1.3 tells a client only with its first read."""
    try:
        with RawClient(port, context) as client:
            client.send(connect("intruder"))
            return client.socket.recv(1) == b""
    except (ssl.SSLError, ConnectionError):
        return True


def test_a_device_publishes_through_tls(guarded: Callable[..., Guarded], site: SiteCertificates) -> None:
    edge = guarded()
    with RawClient(edge.tls_port, site.trusting()) as device:
        device.join("dev")
        device.publish("t/1", b"x" * 200_000)
        assert device.socket.version() == "TLSv1.3"  # type: ignore[attr-defined]
    assert [event.payload for event in edge.gateway.events_on("t/1")] == [b"x" * 200_000]


def test_tls_1_2_is_spoken_and_1_1_is_not(guarded: Callable[..., Guarded], site: SiteCertificates) -> None:
    edge = guarded()
    two = site.trusting()
    two.maximum_version = ssl.TLSVersion.TLSv1_2
    with RawClient(edge.tls_port, two) as device:
        device.join("two").ping()
    one = site.trusting()
    one.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        one.minimum_version = one.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        RawClient(edge.tls_port, one)
    assert "unsupported protocol" in edge.tls()["last_failure"]
