"""TLS listeners of a real gateway: who gets in, under which name, and that certificates can be replaced meanwhile."""

from __future__ import annotations

import signal
import ssl
import threading
import warnings
from typing import TYPE_CHECKING

import pytest
from websockets.sync import client
from websockets.typing import Subprotocol

from tests.security.guarded import Guarded
from tests.site.certificates import SiteCertificates
from tests.site.ports import wait_for
from tests.site.raw_client import PUBACK, RawClient, connect, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.gateway_process import GatewayProcess

    Gateways = Callable[..., GatewayProcess]


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


def test_mqtt_over_wss(guarded: Callable[..., Guarded], site: SiteCertificates) -> None:
    edge = guarded()
    with client.connect(
        f"wss://127.0.0.1:{edge.wss_port}/mqtt", ssl=site.trusting(), subprotocols=[Subprotocol("mqtt")]
    ) as device:
        device.send(connect("web"))
        assert device.recv() == b"\x20\x02\x00\x00"
        device.send(publish("t/web", b"x", 1, 7))
        assert device.recv() == b"\x40\x02\x00\x07"
    assert len(edge.gateway.events_on("t/web")) == 1


def test_a_client_that_trusts_another_authority_does_not_connect(
    guarded: Callable[..., Guarded], tmp_path: Path
) -> None:
    edge = guarded()
    with pytest.raises(ssl.SSLCertVerificationError):
        RawClient(edge.tls_port, SiteCertificates(tmp_path / "other").trusting())
    wait_for(lambda: "unknown ca" in edge.tls()["last_failure"], what="the failed handshake is counted")
    assert "1 TLS handshake(s) failed" in edge.gateway.command("status").stdout


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_shows_no_right_certificate_never_gets_to_connect(
    guarded: Callable[..., Guarded], site: SiteCertificates, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    edge = guarded("allow_anonymous = true", **required(site))
    stranger = SiteCertificates(tmp_path / "other")
    clients = {
        "none": None,
        "of another authority": stranger.issue("dev-1"),
        "expired": site.issue("late", began_days_ago=50, days=20),
        "not valid yet": site.issue("early", began_days_ago=-10),
        "of a server": site.server("another-server"),
        "its own": (stranger.ca_path, write(tmp_path / "own.key", stranger.authority.key)),
        "with a name of control characters": site.issue("control", common_name="dev\u0007"),
    }
    for what, pair in clients.items():
        context = site.trusting(pair)
        context.minimum_version = context.maximum_version = version
        assert refuses(edge.tls_port, context), what
    assert edge.gateway.status()["broker"]["accepted"] == 0
    right = site.trusting(site.issue("dev-1"))
    with RawClient(edge.tls_port, right) as device:
        device.join("dev-1").ping()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_common_name_is_the_user_and_no_other_name_is_taken(
    guarded: Callable[..., Guarded], site: SiteCertificates
) -> None:
    edge = guarded("allow_anonymous = false", **required(site))
    context = site.trusting(site.issue("dev-1"))
    with RawClient(edge.tls_port, context) as device:
        assert device.connect("dev-1", username="dev-2", password="x")[1] == 4
        assert device.is_closed()
    for options in ({}, {"username": "dev-1"}, {"username": "dev-1", "password": "whatever"}):
        with RawClient(edge.tls_port, context) as device:
            device.join("dev-1", **options)
            device.publish("devices/dev-1/t", b"x")
    with RawClient(edge.tls_port, context) as device:
        device.join("dev-1")
        device.send(publish("devices/dev-2/t", b"x", 1, 1))
        assert device.is_closed()
    assert edge.gateway.events_on("devices/dev-1/t", 3)
    with RawClient(edge.port) as plain:  # there the password is asked for, as ever
        assert plain.connect("dev-1", username="dev-1", password="x")[1] in {4, 5}


def test_the_alternative_name_is_the_user_where_the_configuration_says_so(
    guarded: Callable[..., Guarded], site: SiteCertificates
) -> None:
    edge = guarded("allow_anonymous = false", **required(site, identity="san"))
    with RawClient(edge.tls_port, site.trusting(site.issue("a", alternatives=("dev-7",)))) as device:
        device.join("x", username="dev-7").publish("devices/dev-7/t", b"x")
    two = site.issue("b", alternatives=("dev-7", "dev-8"))
    assert refuses(edge.tls_port, site.trusting(two))
    assert refuses(edge.tls_port, site.trusting(site.issue("c")))


def test_certificates_are_replaced_while_devices_stay_connected(
    guarded: Callable[..., Guarded], site: SiteCertificates
) -> None:
    edge = guarded()
    process = edge.gateway.process
    assert process is not None
    with RawClient(edge.tls_port, site.trusting()) as device:
        device.join("dev")
        before = serial(edge, site)
        site.server(days=10)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: serial(edge, site) != before, what="the new certificate is shown")
        device.publish("t/after", b"x")
        found = {each["what"]: each for each in edge.gateway.status()["certificates"]}
        assert "expires on" in found["broker.tls.certificate"]["problem"]

        (site.folder / "server.key").write_text("no key", encoding="ascii")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: bool(edge.tls()["reload_error"]), what="the failure is told")
        assert "broker.tls.key" in edge.tls()["reload_error"]
        assert "the old ones stay" in edge.gateway.log()
        device.publish("t/still", b"x")
        with RawClient(edge.tls_port, site.trusting()) as another:
            another.join("another").ping()


def test_an_authority_that_was_replaced_lets_no_old_certificate_in(
    guarded: Callable[..., Guarded], site: SiteCertificates, tmp_path: Path
) -> None:
    edge = guarded("allow_anonymous = false", **required(site))
    old = site.trusting(site.issue("dev-1"))
    with RawClient(edge.tls_port, old) as device:
        device.join("dev-1")
        new = SiteCertificates(tmp_path / "new")
        trusted_before = site.trusting(new.issue("dev-2"))
        site.ca_path.write_bytes(new.authority.certificate)
        edge.gateway.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        wait_for(lambda: refuses(edge.tls_port, old), what="the old authority is forgotten")
        device.ping()
        with RawClient(edge.tls_port, trusted_before) as another:
            another.join("dev-2").ping()


def serial(edge: Guarded, site: SiteCertificates) -> str:
    with RawClient(edge.tls_port, site.trusting()) as client:
        return str(client.socket.getpeercert()["serialNumber"])  # type: ignore[attr-defined]


def test_a_slow_reader_through_tls_is_not_read_and_loses_nothing(
    guarded: Callable[..., Guarded], site: SiteCertificates
) -> None:
    edge = guarded()
    with RawClient(edge.tls_port, site.trusting()) as device:
        device.join("dev")
        batch = b"".join(publish("t/bulk", b"y" * 1000, 1, n) for n in range(1, 3001))
        sender = threading.Thread(target=device.socket.sendall, args=(batch,))
        sender.start()
        for n in range(1, 3001):
            assert device.expect(PUBACK).packet_id == n
        sender.join(10)
    assert len(edge.gateway.events_on("t/bulk", 3000)) == 3000


def problem_of(gateway: GatewayProcess) -> str:
    done = gateway.command("check")
    assert (done.returncode, done.stdout) == (1, ""), done.stdout + done.stderr
    return done.stderr


def test_check_tells_by_key_what_is_wrong_with_a_certificate(gateway_at: Gateways, site: SiteCertificates) -> None:
    site.issue("other", "server")
    key, certificate = site.folder / "server.key", site.folder / "server.crt"
    edge = Guarded(gateway_at, site).gateway
    assert edge.command("check").returncode == 0
    right = key.read_bytes()
    key.write_bytes((site.folder / "other.key").read_bytes())
    assert "broker.tls.key" in (told := problem_of(edge))
    assert "is not the key of" in told
    key.write_text("nothing", encoding="ascii")
    assert "holds no private key" in problem_of(edge)
    key.unlink()
    assert "cannot be read: No such file" in problem_of(edge)
    key.write_bytes(right)
    certificate.write_text("nothing", encoding="ascii")
    assert "broker.tls.certificate" in (told := problem_of(edge))
    assert "holds no certificate" in told
    certificate.write_text("-----BEGIN CERTIFICATE-----\nMAMC\n-----END CERTIFICATE-----\n", encoding="ascii")
    assert "broker.tls.certificate" in problem_of(edge)
    certificate.unlink()
    assert "broker.tls.certificate" in problem_of(edge)


def test_an_expired_certificate_fails_the_check_and_is_told_by_a_gateway_that_goes_on_serving(
    gateway_at: Gateways, site: SiteCertificates
) -> None:
    site.server(began_days_ago=50, days=20)
    edge = Guarded(gateway_at, site)
    assert "has expired on" in (told := problem_of(edge.gateway))
    assert "--renew" in told
    edge.gateway.start()
    with RawClient(edge.port) as device:
        device.join("dev").publish("t/1", b"x")
    wait_for(lambda: "a certificate needs attention" in edge.gateway.log(), what="it is logged")
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        RawClient(edge.tls_port, site.trusting())
    while_running = edge.gateway.command("status").stdout
    edge.gateway.stop()
    for text in (while_running, edge.gateway.command("status").stdout):
        assert "certificate broker.tls.certificate" in text
        assert "expired on" in text
    assert edge.gateway.command_json("status")["certificates"][0]["days_left"] < 0


def test_a_key_is_read_from_where_systemd_puts_credentials(
    gateway_at: Gateways, site: SiteCertificates, tmp_path: Path
) -> None:
    site.server()
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (site.folder / "server.key").rename(credentials / "tls-key")
    edge = Guarded(gateway_at, site, key="tls-key")
    assert "$CREDENTIALS_DIRECTORY, which only the service has" in edge.gateway.command("check").stdout
    edge.gateway.start(env={"CREDENTIALS_DIRECTORY": str(credentials)})
    with RawClient(edge.tls_port, site.trusting()) as device:
        device.join("dev").ping()
