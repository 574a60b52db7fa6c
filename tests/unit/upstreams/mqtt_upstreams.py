"""MQTT upstreams for tests: made, connected to a scripted server, and given events to send."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from gateway.event import Event
from gateway.upstreams import kinds
from gateway.upstreams.mqtt import MqttUpstream, MqttUpstreamConfig
from tests.unit.upstreams.mqtt_server import ScriptedServer, puback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


def make_events(count: int, payload: bytes = b"x", *, retain: bool = False) -> list[Event]:
    return [
        Event(100 + n, 1_700_000_000_123_456_789, 0, "boot", f"dev{n % 3}", f"t/{n}", 1, retain, payload)
        for n in range(count)
    ]


def make_upstream(port: int, **config: object) -> MqttUpstream:
    keys = {"type": "mqtt", "url": f"mqtt://127.0.0.1:{port}"} | config
    upstream = kinds.build(MqttUpstreamConfig.model_validate(keys), name="cloud", gateway_id="hub", log_id="01J")
    assert isinstance(upstream, MqttUpstream)
    return upstream


@asynccontextmanager
async def connected(server: ScriptedServer, **config: object) -> AsyncIterator[MqttUpstream]:
    async with asyncio.timeout(20), server.serving():
        upstream = make_upstream(server.port, version=server.version, **config)
        await upstream.open()
        try:
            yield upstream
        finally:
            await upstream.close()


async def deliver(upstream: MqttUpstream, events: Sequence[Event]) -> None:
    """Send, and wait until the server has answered everything."""
    await upstream.send(events)
    await upstream.send(())


def answering(codes: dict[int, int]) -> Callable[..., bytes | None]:
    """PUBACKs by topic number; everything else is taken."""
    return lambda publish: puback(publish.packet_id, codes.get(int(publish.topic[2:]), 0), "because")
