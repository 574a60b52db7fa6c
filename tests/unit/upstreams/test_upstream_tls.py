"""TLS towards a real Mosquitto: whom the upstream trusts, what it shows, and whose move it is when that fails."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from gateway.errors import Blocked, DeliveryError, Unreachable
from gateway.event import Event
from gateway.forward.envelope import RawEnvelope
from gateway.upstreams.mqtt import MqttUpstream, MqttUpstreamConfig
from tests.site.certificates import SiteCertificates
from tests.unit.upstreams.mqtt_upstreams import deliver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.mosquitto_process import MosquittoProcess

    Mosquittos = Callable[..., MosquittoProcess]


@pytest.fixture
def site(tmp_path: Path) -> SiteCertificates:
    return SiteCertificates(tmp_path / "cloud")


class Cloud:
    """A Mosquitto with TLS."""

    def __init__(self, make: Mosquittos, site: SiteCertificates, server: tuple[Path, Path], lines: str = "") -> None:
        self.site = site
        files = f"cafile {site.ca_path}\ncertfile {server[0]}\nkeyfile {server[1]}\n"
        self.port = make(config=files + lines).start().port
        der = ssl.PEM_cert_to_DER_cert(server[0].read_text(encoding="ascii"))
        self.fingerprint = hashlib.sha256(der).hexdigest()

    def upstream(self, **keys: object) -> MqttUpstream:
        url = f"mqtts://127.0.0.1:{self.port}"
        config = MqttUpstreamConfig.model_validate({"type": "mqtt", "url": url} | keys)
        return MqttUpstream(
            config, RawEnvelope(gateway_id="hub", log_id="01J"), client_id="hub", section="upstreams.cloud"
        )

    async def trouble(self, **keys: object) -> DeliveryError | None:
        """What opening, and sending an event, ends with."""
        upstream = self.upstream(**keys)
        event = Event(1, 1_700_000_000_000_000_000, 0, "boot", "dev", "t", 1, False, b"x")
        try:
            await upstream.open()
            await deliver(upstream, [event])
        except DeliveryError as error:
            return error
        finally:
            await upstream.close()
        return None


@pytest.fixture
def cloud(mosquitto_at: Mosquittos, site: SiteCertificates) -> Callable[..., Cloud]:
    def make(server: tuple[Path, Path] | None = None, lines: str = "") -> Cloud:
        return Cloud(mosquitto_at, site, server or site.server(), lines)

    return make


async def test_an_authority_or_a_fingerprint_or_both_make_a_server_trusted(cloud: Callable[..., Cloud]) -> None:
    there = cloud()
    ca, pin = {"ca_file": str(there.site.ca_path)}, {"fingerprint_sha256": there.fingerprint}
    with_colons = ":".join(there.fingerprint[n : n + 2] for n in range(0, 64, 2)).upper()
    for keys in (ca, pin, ca | pin, {"fingerprint_sha256": with_colons}):
        assert await there.trouble(**keys) is None, keys


async def test_another_fingerprint_blocks_before_the_password_is_sent(
    cloud: Callable[..., Cloud], mosquitto_at: Mosquittos, tmp_path: Path
) -> None:
    there = cloud()
    log = tmp_path / "cloud.mosquitto.log"
    for more in ({}, {"ca_file": str(there.site.ca_path)}):
        error = await there.trouble(fingerprint_sha256="ab" * 32, username="hub", password="secret", **more)
        assert isinstance(error, Blocked)
        assert there.fingerprint in str(error)
    assert " as hub " not in log.read_text(encoding="utf-8")


async def test_a_server_of_an_unknown_authority_blocks_with_what_to_do(
    cloud: Callable[..., Cloud], tmp_path: Path
) -> None:
    there = cloud()
    other = SiteCertificates(tmp_path / "other")
    for keys in ({}, {"ca_file": str(other.ca_path)}):
        error = await there.trouble(**keys)
        assert isinstance(error, Blocked)
        assert "ca_file" in str(error)


async def test_a_server_with_another_name_blocks_unless_that_name_is_expected(
    cloud: Callable[..., Cloud], site: SiteCertificates
) -> None:
    there = cloud(site.issue("server", "server", alternatives=("cloud.example",)))
    error = await there.trouble(ca_file=str(site.ca_path))
    assert isinstance(error, Blocked)
    assert "server_name" in str(error)
    assert await there.trouble(ca_file=str(site.ca_path), server_name="cloud.example") is None


async def test_an_expired_server_blocks(cloud: Callable[..., Cloud], site: SiteCertificates) -> None:
    expired = await cloud(site.server(began_days_ago=50, days=20)).trouble(ca_file=str(site.ca_path))
    assert isinstance(expired, Blocked)
    assert "expired" in str(expired)


async def test_a_server_that_is_not_valid_yet_is_tried_again_and_the_clock_is_suspected(
    cloud: Callable[..., Cloud], site: SiteCertificates
) -> None:
    early = await cloud(site.server(began_days_ago=-10)).trouble(ca_file=str(site.ca_path))
    assert isinstance(early, Unreachable)
    assert "clock" in str(early)


@pytest.mark.parametrize("tls_version", ["tlsv1.2", "tlsv1.3"])
async def test_our_certificate_is_shown_and_a_server_that_refuses_it_blocks(
    cloud: Callable[..., Cloud], site: SiteCertificates, tmp_path: Path, tls_version: str
) -> None:
    there = cloud(lines=f"require_certificate true\nuse_identity_as_username true\ntls_version {tls_version}\n")
    ca = {"ca_file": str(site.ca_path)}

    def ours(pair: tuple[Path, Path]) -> dict[str, str]:
        return ca | {"certificate_file": str(pair[0]), "key_file": str(pair[1])}

    assert await there.trouble(**ours(site.issue("hub"))) is None
    stranger = SiteCertificates(tmp_path / "stranger").issue("hub")
    expired = site.issue("old", began_days_ago=50, days=20)
    for keys in (ca, ours(stranger), ours(expired)):
        error = await there.trouble(**keys)
        assert isinstance(error, Blocked), error
        assert "certificate_file" in str(error)


async def test_files_that_cannot_be_used_block_and_are_told_by_key(
    cloud: Callable[..., Cloud], site: SiteCertificates, tmp_path: Path
) -> None:
    there = cloud()
    certificate, key = map(str, site.issue("hub"))
    nowhere = str(tmp_path / "nowhere")
    for keys, told in (
        ({"ca_file": nowhere}, "upstreams.cloud.ca_file"),
        ({"certificate_file": certificate, "key_file": str(site.folder / "server.key")}, "is not the key of"),
        ({"certificate_file": nowhere, "key_file": key}, "upstreams.cloud.certificate_file"),
    ):
        error = await there.trouble(**keys)
        assert isinstance(error, Blocked)
        assert told in str(error)


async def test_a_port_where_no_tls_is_spoken_is_told_with_a_question_about_the_port() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"mqtts://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    config = MqttUpstreamConfig.model_validate({"type": "mqtt", "url": url})
    upstream = MqttUpstream(config, RawEnvelope(gateway_id="hub", log_id="01J"), client_id="hub")
    with pytest.raises(Unreachable, match="is the port right"):
        await upstream.open()
    server.close()


async def test_the_certificates_of_the_last_connection_are_told(
    cloud: Callable[..., Cloud], site: SiteCertificates
) -> None:
    there = cloud()
    certificate, key = site.issue("hub", days=200)
    upstream = there.upstream(ca_file=str(site.ca_path), certificate_file=str(certificate), key_file=str(key))
    assert upstream.certificates == []
    await upstream.open()
    await upstream.close()
    found = {each.what: each.where for each in upstream.certificates}
    assert found == {
        "upstreams.cloud.ca_file": str(site.ca_path),
        "upstreams.cloud.certificate_file": str(certificate),
        "upstreams.cloud: the server's": "127.0.0.1",
    }


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"url": "mqtt://x", "fingerprint_sha256": "ab" * 32}, "fingerprint_sha256 needs an mqtts:// url"),
        ({"url": "mqtts://x", "fingerprint_sha256": "ab"}, "64 hexadecimal digits"),
        ({"url": "mqtts://x", "key_file": "k"}, "belong together"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(keys: dict[str, str], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        MqttUpstreamConfig.model_validate({"type": "mqtt"} | keys)
