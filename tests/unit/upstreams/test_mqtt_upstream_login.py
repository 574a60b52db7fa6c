"""The MQTT upstream logs in to servers that refuse it, talk nonsense or are not there."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import mqtt5
import pytest

from gateway.errors import Blocked, Busy, DeliveryError, Unreachable
from gateway.upstreams.kinds import build
from gateway.upstreams.mqtt import MqttUpstreamConfig
from tests.unit.upstreams.mqtt_server import HANG_UP, ScriptedServer
from tests.unit.upstreams.mqtt_upstreams import VERSIONS, connected, deliver, make_events, make_upstream

if TYPE_CHECKING:
    from pathlib import Path


async def failed_login(server: ScriptedServer, expected: type[DeliveryError], **config: object) -> DeliveryError:
    async with asyncio.timeout(10), server.serving():
        upstream = make_upstream(server.port, **config)
        with pytest.raises(expected) as caught:
            await upstream.open()
        await upstream.close()
    return caught.value


@VERSIONS
async def test_login_carries_client_id_and_credentials(version: str) -> None:
    server = ScriptedServer(version)
    async with connected(server, username="me", password="secret", keep_alive_s=77):
        pass
    body = server.connects[0]
    assert body[:6] == b"\x00\x04MQTT"
    assert body[6] == (5 if version == "5" else 4)
    assert body[7] == 0xC2  # user name, password, clean start
    assert int.from_bytes(body[8:10], "big") == 77
    assert body.endswith(b"\x00\x09hub-cloud\x00\x02me\x00\x06secret")


@pytest.mark.parametrize(
    ("key", "name"), [({}, b"\x00\x11hub-cloud-backlog"), ({"client_id": "x"}, b"\x00\x09x-backlog")]
)
async def test_a_second_connection_logs_in_under_a_name_of_its_own(key: dict[str, str], name: bytes) -> None:
    server = ScriptedServer()
    async with asyncio.timeout(10), server.serving():
        config = MqttUpstreamConfig(type="mqtt", url=f"mqtt://127.0.0.1:{server.port}", **key)
        marks = [("historical", "true")]
        upstream = build(config, name="cloud", gateway_id="hub", log_id="01J", marks=marks, suffix="-backlog")
        await upstream.open()
        await upstream.send(make_events(2))
        await upstream.send(())
        await upstream.close()
    assert server.connects[0].endswith(name)
    assert [publish.properties["historical"] for publish in server.publishes] == ["true", "true"]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (0x80, Unreachable),
        (0x88, Busy),
        (0x89, Busy),
        (0x97, Busy),
        (0x9F, Busy),
        *((code, Blocked) for code in (0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x9C, 0x9D)),
        (0xEE, Unreachable),
    ],
)
async def test_login_refused_by_an_mqtt_5_server(code: int, error: type[DeliveryError]) -> None:
    server = ScriptedServer()
    server.welcome = bytes((0x20, 3, 0, code, 0))
    assert type(await failed_login(server, error)) is error


@pytest.mark.parametrize(
    ("code", "error"), [(1, Blocked), (2, Blocked), (3, Busy), (4, Blocked), (5, Blocked), (9, Unreachable)]
)
async def test_login_refused_by_a_3_1_1_server(code: int, error: type[DeliveryError]) -> None:
    server = ScriptedServer("3.1.1")
    server.welcome = bytes((0x20, 2, 0, code))
    assert type(await failed_login(server, error, version="3.1.1")) is error


@pytest.mark.parametrize(
    ("welcome", "error", "text"),
    [
        (b"\x20\x02\x00\x01", Blocked, r"3\.1\.1"),
        (mqtt5.ConnAckPacket(max_qos=mqtt5.QoS.AT_MOST_ONCE).write(), Blocked, "QoS 0"),
        (b"\x20\x00", Unreachable, "malformed"),
        (b"\x40\x02\x00\x01", Unreachable, "not in flight"),
        (HANG_UP, Unreachable, "closed"),
    ],
)
async def test_a_welcome_we_cannot_use(welcome: bytes, error: type[DeliveryError], text: str) -> None:
    server = ScriptedServer()
    server.welcome = welcome
    assert re.search(text, str(await failed_login(server, error)))


async def test_no_server_at_all_is_unreachable(unused_tcp_port: int) -> None:
    upstream = make_upstream(unused_tcp_port)
    with pytest.raises(Unreachable):
        await deliver(upstream, make_events(1))
    with pytest.raises(Unreachable):
        await upstream.open()
    await upstream.close()
    assert upstream.acknowledged == 0


async def test_password_file_is_read_at_each_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    server = ScriptedServer()
    async with asyncio.timeout(10), server.serving():
        upstream = make_upstream(server.port, username="me", password_file="mqtt")
        with pytest.raises(Blocked, match="password_file"):
            await upstream.open()
        (tmp_path / "mqtt").write_text("fresh\n")
        await upstream.open()
        await upstream.close()
    assert server.connects[0].endswith(b"\x00\x05fresh")


async def test_a_plain_server_behind_a_tls_address_is_unreachable() -> None:
    server = ScriptedServer()
    async with asyncio.timeout(10), server.serving():
        upstream = make_upstream(server.port, url=f"mqtts://127.0.0.1:{server.port}")

        async def talk_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"no TLS here, sorry")

        server.talk = talk_plainly
        with pytest.raises(Unreachable):
            await upstream.open()
        await upstream.close()
