"""An AsyncAPI 3.0 document of everything that this gateway accepts and emits. Pure.

Operations are told from this gateway's side: it receives what devices send, and sends to its upstreams. Channels are
the topic patterns of contracts. AsyncAPI has no wildcards: '+' is told as a parameter, '#' as the parameter `rest`, and
the filter as it is under `x-mqtt-filter`. Payloads are told in the words of JSON Schema draft 7, which it understands;
`gateway.export.schemas` has them as they were written. Source: asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway import __version__, mqtt_address
from gateway.broker.config import BrokerConfig
from gateway.contracts.config import family_and_version
from gateway.export.draft07 import as_draft07
from gateway.export.envelopes import attributes, raw_headers, structured
from gateway.forward.cloudevents import STRUCTURED_TYPE
from gateway.forward.described import DEFAULT_TYPE, type_of
from gateway.forward.topic_map import TopicMap

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.config.model import Config
    from gateway.contracts.contracts import Contract, Contracts
    from gateway.upstreams.kinds import AnyUpstreamConfig

CONTENT_TYPES = {
    "json": "application/json",
    "number": "text/plain",
    "text": "text/plain",
    "cbor": "application/cbor",
    "msgpack": "application/vnd.msgpack",
    "raw": "application/octet-stream",
}
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9._-]+")
_PROTOCOLS = {"mqtt": "mqtt", "mqtts": "secure-mqtt", "ws": "ws", "wss": "wss"}
_NAMED = re.compile(r"\{([a-z][a-z0-9_]*)\}")


class Address(NamedTuple):
    """A topic pattern as AsyncAPI has it."""

    text: str
    mqtt_filter: str

    @classmethod
    def of(cls, pattern: str) -> Address:
        """Name the levels that have no name."""
        levels = [
            f"{{level_{at}}}" if level == "+" else "{rest}" if level == "#" else level
            for at, level in enumerate(pattern.split("/"), 1)
        ]
        return cls("/".join(levels), "/".join("+" if _NAMED.fullmatch(each) else each for each in pattern.split("/")))

    def parameters(self) -> dict[str, Any]:
        """What its names stand for."""
        told = {"rest": "Any number of levels.", "device": "The device's name."}
        return {name: {"description": told.get(name, "One level.")} for name in _NAMED.findall(self.text)}


def document(config: Config, contracts: Contracts) -> dict[str, Any]:
    """The whole of it; plain JSON values."""
    writer = _Writer(config, contracts)
    writer.accept()
    for name, upstream in config.upstreams.items():
        writer.emit(name, upstream)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": config.gateway.id,
            "version": __version__,
            "description": "What this edge gateway accepts from devices and sends to its upstreams.",
        },
        "defaultContentType": "application/json",
        "servers": writer.servers,
        "channels": writer.channels,
        "operations": writer.operations,
        "components": {"schemas": writer.schemas, "messages": writer.messages},
    }


class _Writer:
    """Collects the parts."""

    def __init__(self, config: Config, contracts: Contracts) -> None:
        self._config = config
        self._contracts = contracts
        self.servers: dict[str, Any] = {}
        self.channels: dict[str, Any] = {}
        self.operations: dict[str, Any] = {}
        self.messages: dict[str, Any] = {}
        self.schemas: dict[str, Any] = {}

    def accept(self) -> None:
        """What devices send."""
        servers = [self._server(*each) for each in _entrances(self._config)]
        for contract in self._contracts.all:
            root = f"#/components/schemas/{contract.name}"
            self.schemas[contract.name] = as_draft07(contract.json_schema(), root)
            self.messages[contract.name] = self._accepted(contract)
        for pattern, contracts in _by_topic(self._contracts.all):
            messages = {each.name: f"#/components/messages/{each.name}" for each in contracts}
            self._operate("receive", "", Address.of(pattern), servers, messages)
        without = self._config.ingest.without_contract
        if without != "refuse":
            self.messages["any"] = {
                "title": "Any other message",
                "summary": "Of a topic without a contract." + (" It is marked." if without == "flag" else ""),
                "contentType": CONTENT_TYPES["raw"],
                "payload": {},
            }
            self._operate("receive", "", None, servers, {"any": "#/components/messages/any"})

    def emit(self, name: str, upstream: AnyUpstreamConfig) -> None:
        """What goes to an upstream: what of the accepted it wants, in its envelope, under its topics."""
        address = mqtt_address.parse(upstream.url)
        server = self._server(
            name, f"{address.host}:{address.port}", "secure-mqtt" if address.tls else "mqtt", upstream.version
        )
        topics = TopicMap(upstream.topic_map, self._config.gateway.id)
        found: dict[str, dict[str, str]] = {}
        for contract in self._contracts.all:
            accepted = Address.of(contract.pattern.text)
            if any(overlap(each, accepted.mqtt_filter) for each in upstream.topics):
                target = _target(topics, accepted.text)
                key = f"{name}.{contract.name}"
                self.messages[key] = self._emitted(contract, name, is_mapped=target != accepted.text)
                found.setdefault(target, {})[contract.name] = f"#/components/messages/{key}"
        for target, messages in found.items():
            self._operate("send", name, Address.of(target), [server], messages)
        if self._config.ingest.without_contract != "refuse":
            key = f"{name}.any"
            self.messages[key] = self._emitted(None, name, is_mapped=bool(upstream.topic_map))
            self._operate("send", name, None, [server], {"any": f"#/components/messages/{key}"})

    def _server(self, name: str, host: str, protocol: str, version: str) -> dict[str, str]:
        self.servers[name] = {"host": host, "protocol": protocol, "protocolVersion": version}
        return {"$ref": f"#/servers/{name}"}

    def _operate(
        self,
        action: str,
        upstream: str,
        address: Address | None,
        servers: list[dict[str, str]],
        messages: dict[str, str],
    ) -> None:
        """An operation and the channel that it is on."""
        told = "other-topics" if address is None else _NOT_IN_KEYS.sub("-", address.text).strip("-") or "topic"
        key = _free(f"{upstream}.{told}" if upstream else told, self.channels)
        channel: dict[str, Any] = {"address": None if address is None else address.text}
        if address is not None:
            channel |= {"parameters": address.parameters()} if address.parameters() else {}
            channel["x-mqtt-filter"] = address.mqtt_filter
        self.channels[key] = {
            **channel,
            "servers": servers,
            "messages": {name: {"$ref": reference} for name, reference in messages.items()},
        }
        operation: dict[str, Any] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{key}"},
            "messages": [{"$ref": f"#/channels/{key}/messages/{name}"} for name in messages],
        }
        if action == "send":
            operation["bindings"] = {"mqtt": {"qos": 1, "bindingVersion": "0.2.0"}}
        self.operations[f"{action}.{key}"] = operation

    def _accepted(self, contract: Contract) -> dict[str, Any]:
        config = self._config.contracts[contract.name]
        return {
            "name": contract.name,
            "title": f"{family_and_version(contract.name, None)[0]}, version {contract.version}",
            **({"summary": config.description} if config.description else {}),
            "contentType": CONTENT_TYPES[contract.codec],
            "payload": {"$ref": f"#/components/schemas/{contract.name}"},
            "x-contract": {
                "version": contract.version,
                "codec": contract.codec,
                "policy": contract.policy,
                "compatibility": config.compatibility,
            },
        }

    def _emitted(self, contract: Contract | None, upstream: str, *, is_mapped: bool) -> dict[str, Any]:
        config = self._config.upstreams[upstream]
        payload = {} if contract is None else {"$ref": f"#/components/schemas/{contract.name}"}
        codec = "raw" if contract is None else contract.codec
        type_ = {"const": DEFAULT_TYPE if contract is None else type_of(contract)}
        message: dict[str, Any] = {
            "title": "Any other event" if contract is None else f"An event of {contract.name}",
            "contentType": CONTENT_TYPES[codec],
            "payload": payload,
        }
        if config.envelope == "raw" and config.version == "3.1.1":
            return message
        envelope = self._envelope(upstream, is_mapped=is_mapped)
        if config.envelope == "raw":
            return message | {"headers": envelope}
        if is_structured(config):
            inside = {"data": payload} if codec in ("json", "number") else {}
            narrowed = {"allOf": [envelope, {"properties": {"type": type_, **inside}}]}
            return message | {"contentType": STRUCTURED_TYPE, "payload": narrowed}
        return message | {"headers": {"type": "object", "allOf": [envelope, {"properties": {"type": type_}}]}}

    def _envelope(self, upstream: str, *, is_mapped: bool) -> dict[str, str]:
        """A reference to what stands around each payload for an upstream, which stands in the document once."""
        config, source = self._config.upstreams[upstream], f"urn:gateway:{self._config.gateway.id}"
        key = f"{upstream}.envelope"
        if config.envelope == "raw":
            key += ".mapped" * is_mapped
            self.schemas[key] = raw_headers(source, is_mapped=is_mapped)
        else:
            self.schemas[key] = structured(source) if is_structured(config) else attributes(source)
        return {"$ref": f"#/components/schemas/{key}"}


def is_structured(upstream: AnyUpstreamConfig) -> bool:
    """Whether its CloudEvents are one JSON document."""
    return upstream.cloudevents_mode == "structured" or upstream.version == "3.1.1"


def overlap(one: str, other: str) -> bool:
    """Whether there is a topic that both of the valid filters match."""
    return _overlap(one.split("/"), other.split("/"))


def _overlap(one: list[str], other: list[str]) -> bool:
    if one[:1] == ["#"] or other[:1] == ["#"]:
        return True
    if not one or not other:
        return one == other
    if one[0] != other[0] and "+" not in (one[0], other[0]):
        return False
    return _overlap(one[1:], other[1:])


def _entrances(config: Config) -> Iterator[tuple[str, str, str, str]]:
    """Where events come in: name, host, protocol and its version."""
    broker = config.broker
    if not isinstance(broker, BrokerConfig):
        host, port, has_tls = broker.address
        yield "source", f"{host}:{port}", "secure-mqtt" if has_tls else "mqtt", broker.version
        return
    for number, each in enumerate(broker.addresses(), 1):
        host = f"[{each.host}]" if ":" in each.host else each.host
        yield f"devices-{number}", f"{host}:{each.port}", _PROTOCOLS[each.scheme], "3.1.1"


def _by_topic(contracts: Iterable[Contract]) -> list[tuple[str, list[Contract]]]:
    found: dict[str, list[Contract]] = {}
    for contract in contracts:
        found.setdefault(contract.pattern.text, []).append(contract)
    return list(found.items())


def _target(topics: TopicMap, address: str) -> str:
    """Where events of an address go; the names in it take part as levels, and stand in the target as well."""
    try:
        return topics.of(address)
    except ValueError:  # what a device is called decides, and braces are longer
        return address


def _free(key: str, taken: Iterable[str]) -> str:
    number, free = 1, key
    while free in set(taken):
        number += 1
        free = f"{key}.{number}"
    return free
