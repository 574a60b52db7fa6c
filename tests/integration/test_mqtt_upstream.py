"""The MQTT upstream against a real Mosquitto: TLS, passwords, both versions."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiomqtt
import pytest

from gateway.errors import Blocked, Refused
from gateway.event import Event
from gateway.forward.envelope import RawEnvelope
from gateway.upstreams import kinds
from gateway.upstreams.mqtt import MqttUpstream, MqttUpstreamConfig
from tests.site.cloudevents_reader import read_binary, read_structured
from tests.unit.upstreams.mqtt_upstreams import deliver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.site.mosquitto_process import MosquittoProcess


def make_events(count: int, payload: bytes = b"x") -> list[Event]:
    return [
        Event(1 + n, 1_700_000_000_000_000_000, 0, "boot", "dev", f"t/{n}", 1, n == 0, payload) for n in range(count)
    ]


def make_upstream(url: str, **keys: object) -> MqttUpstream:
    config = MqttUpstreamConfig.model_validate({"type": "mqtt", "url": url} | keys)
    return MqttUpstream(config, RawEnvelope(gateway_id="hub", log_id="01J"), client_id="hub-cloud")


@asynccontextmanager
async def opened(upstream: MqttUpstream) -> AsyncIterator[MqttUpstream]:
    async with asyncio.timeout(20):
        await upstream.open()
        try:
            yield upstream
        finally:
            await upstream.close()


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """`ca.pem`, and `server.pem` with `server.key` for 127.0.0.1."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed (Debian package openssl)")
    (tmp_path / "san").write_text("subjectAltName=IP:127.0.0.1\n", encoding="ascii")
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    by_ca = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    for command in (
        ("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA", "-days", "2"),
        ("req", *new_key, "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=server"),
        ("x509", "-req", "-in", "server.csr", *by_ca, "-out", "server.pem", "-days", "2", "-extfile", "san"),
    ):
        subprocess.run(("openssl", *command), cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_events_arrive_by_either_version(mosquitto_at: Callable[..., MosquittoProcess], version: str) -> None:
    port = mosquitto_at().start().port
    async with (
        opened(make_upstream(f"mqtt://127.0.0.1:{port}", version=version)) as upstream,
        aiomqtt.Client("127.0.0.1", port) as receiver,
    ):
        await receiver.subscribe("t/#", qos=1)
        await deliver(upstream, make_events(300))
        messages = receiver.messages
        topics = [str((await anext(messages)).topic) for _ in range(300)]
        assert topics == [f"t/{n}" for n in range(300)]
    async with asyncio.timeout(10), aiomqtt.Client("127.0.0.1", port) as receiver:
        await receiver.subscribe("t/#", qos=1)
        message = await anext(receiver.messages)
        assert (str(message.topic), message.retain) == ("t/0", True)


@pytest.mark.parametrize(("version", "mode"), [("5", "binary"), ("5", "structured"), ("3.1.1", None)])
async def test_cloudevents_arrive_under_mapped_topics(
    mosquitto_at: Callable[..., MosquittoProcess], version: str, mode: str | None
) -> None:
    port = mosquitto_at().start().port
    keys = {
        "version": version,
        "envelope": "cloudevents",
        "cloudevents_mode": mode,
        "topic_map": {"t/{n}": "plant/{n}"},
    }
    config = MqttUpstreamConfig.model_validate({"type": "mqtt", "url": f"mqtt://127.0.0.1:{port}"} | keys)
    upstream = kinds.build(config, name="cloud", gateway_id="hub", log_id="01J", marks=[("replay", "7")])
    assert isinstance(upstream, MqttUpstream)
    payloads = [b'{"temperature": 21.5}', b"\xff\x00", b"ON"]
    events = [
        event._replace(payload=payload) for event, payload in zip(make_events(len(payloads)), payloads, strict=True)
    ]
    async with (
        opened(upstream),
        aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as receiver,
    ):
        await receiver.subscribe("plant/#", qos=1)
        await deliver(upstream, events)
        for number, payload in enumerate(payloads):
            message = await anext(receiver.messages)
            assert str(message.topic) == f"plant/{number}"
            assert isinstance(message.payload, bytes)
            if mode == "binary":
                user, content_type = message.properties.UserProperty, getattr(message.properties, "ContentType", None)
                event = read_binary(user, content_type, message.payload)
            else:
                event = read_structured(message.payload)
            assert (event.get_id(), event.get_extension("topic")) == (f"01J.{1 + number}", f"t/{number}")
            assert (event.get_extension("replay"), event.get_subject()) == ("7", "dev")
            expected = json.loads(payload) if mode != "binary" and number == 0 else payload
            assert event.get_data() == expected


async def test_tls_is_used_and_the_server_is_verified(
    mosquitto_at: Callable[..., MosquittoProcess], certificates: Path
) -> None:
    files = "".join(
        f"{key} {certificates / name}\n"
        for key, name in (("cafile", "ca.pem"), ("certfile", "server.pem"), ("keyfile", "server.key"))
    )
    port = mosquitto_at(config=files).start().port
    url = f"mqtts://127.0.0.1:{port}"
    async with opened(make_upstream(url, ca_file=str(certificates / "ca.pem"))) as upstream:
        await deliver(upstream, make_events(200))
        assert upstream.acknowledged == 200
    stranger = make_upstream(url)
    with pytest.raises(Blocked, match="certificate"):
        await stranger.open()
    await stranger.close()
    misled = make_upstream(url, ca_file=str(certificates / "nowhere.pem"))
    with pytest.raises(Blocked, match="ca_file"):
        await misled.open()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_a_wrong_password_blocks(
    mosquitto_at: Callable[..., MosquittoProcess], tmp_path: Path, version: str
) -> None:
    if shutil.which("mosquitto_passwd") is None:
        pytest.skip("mosquitto_passwd is not installed (Debian package mosquitto)")
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "hub", "right"], check=True)
    port = mosquitto_at(config=f"allow_anonymous false\npassword_file {passwords}").start().port
    secret = tmp_path / "secret"
    secret.write_text("wrong\n", encoding="ascii")
    upstream = make_upstream(f"mqtt://127.0.0.1:{port}", version=version, username="hub", password_file=str(secret))
    with pytest.raises(Blocked, match="not authorized"):
        await upstream.open()
    await upstream.close()
    secret.write_text("right\n", encoding="ascii")
    async with opened(upstream):
        await deliver(upstream, make_events(1))


async def test_the_servers_packet_limit_is_found_before_sending(
    mosquitto_at: Callable[..., MosquittoProcess],
) -> None:
    port = mosquitto_at(config="max_packet_size 2000").start().port
    async with opened(make_upstream(f"mqtt://127.0.0.1:{port}")) as upstream:
        with pytest.raises(Refused):
            await deliver(upstream, make_events(1, b"x" * 2000))
        await deliver(upstream, make_events(1))
