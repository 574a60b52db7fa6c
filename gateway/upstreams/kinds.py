"""The kinds of upstream there are: one line in the union, one case in `build`.

A kind's module holds its configuration and its class; it imports its client library only when the upstream is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from gateway.upstreams.mqtt import MqttUpstream, MqttUpstreamConfig

if TYPE_CHECKING:
    from gateway.forward.upstream import Upstream

AnyUpstreamConfig: TypeAlias = MqttUpstreamConfig
"""Any `[upstreams.<name>]` section; `type` tells which."""


def build(config: AnyUpstreamConfig, *, name: str, gateway_id: str, log_id: str) -> Upstream:
    """The upstream that `config` describes; it is not connected yet.

    Args:
        config: its section of the configuration.
        name: of the upstream.
        gateway_id: names the source of the events.
        log_id: first part of an event's id.
    """
    match config:
        case MqttUpstreamConfig():
            return MqttUpstream(config, name=name, gateway_id=gateway_id, log_id=log_id)
