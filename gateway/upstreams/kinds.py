"""The kinds of upstream there are: one line in the union, one case in `build`.

A kind's module holds its configuration and its class; it imports its client library only when the upstream is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gateway.client_tls import ClientTls
from gateway.forward.cloudevents import CloudEvents
from gateway.forward.envelope import RECEIVE_TIME, RawEnvelope
from gateway.forward.topic_map import TopicMap
from gateway.upstreams.mqtt import MqttUpstream, MqttUpstreamConfig

if TYPE_CHECKING:
    from gateway.certificates import Certificate
    from gateway.forward.described import InForce
    from gateway.forward.envelope import Marks, TrueTime
    from gateway.forward.upstream import Upstream

AnyUpstreamConfig: TypeAlias = MqttUpstreamConfig
"""Any `[upstreams.<name>]` section; `type` tells which."""


def build(
    config: AnyUpstreamConfig,
    *,
    name: str,
    gateway_id: str,
    log_id: str,
    true_time: TrueTime = RECEIVE_TIME,
    contracts: InForce | None = None,
    marks: Marks = (),
    suffix: str = "",
) -> Upstream:
    """The upstream that `config` describes; it is not connected yet.

    Args:
        config: its section of the configuration.
        name: of the upstream.
        gateway_id: names the source of the events.
        log_id: first part of an event's id.
        true_time: tells the time that an event is sent with.
        contracts: tells what the payloads of devices fulfil now, and so the types of events and the devices' own times.
        marks: names and values that go beside every event of this connection, where its protocol has room beside it.
        suffix: makes the name of this connection another than that of the upstream's first one.
    """
    topics = TopicMap(config.topic_map, gateway_id)
    envelope: RawEnvelope | CloudEvents
    if config.envelope == "raw":
        envelope = RawEnvelope(gateway_id=gateway_id, log_id=log_id, true_time=true_time, marks=marks, topics=topics)
    else:
        envelope = CloudEvents(
            gateway_id=gateway_id,
            log_id=log_id,
            true_time=true_time,
            marks=marks,
            topics=topics,
            contracts=contracts,
            is_binary=config.cloudevents_mode != "structured",
        )
    match config:
        case MqttUpstreamConfig():
            client_id, section = f"{gateway_id}-{name}", f"upstreams.{name}"
            return MqttUpstream(config, envelope, client_id=client_id, section=section, suffix=suffix)


def tls_of(config: AnyUpstreamConfig, name: str) -> ClientTls | None:
    """TLS of the upstream of this name; None if it has none."""
    return ClientTls(config, f"upstreams.{name}", config.address[0]) if config.tls else None


def certificates(upstream: Upstream) -> list[Certificate]:
    """The certificates that it used for its last connection, the server's among them."""
    return upstream.certificates if isinstance(upstream, MqttUpstream) else []
