"""What the AsyncAPI document and the schemas say, against what the gateway does."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from gateway.config.model import Config
from gateway.contracts.build import build
from gateway.event import FLAGGED, Event
from gateway.export.asyncapi import Address, document, overlap
from gateway.export.draft07 import as_draft07
from gateway.export.schemas import schemas
from gateway.forward.cloudevents import CloudEvents
from gateway.forward.envelope import RawEnvelope
from gateway.forward.topic_map import TopicMap
from gateway.topics import matches

CLOUD = {"type": "mqtt", "url": "mqtts://cloud.example:8883"}
CLIMATE = {"topic": "sensors/{device}/climate", "fields": {"t": {"type": "number", "unit": "Cel", "min": -40}}}
TRACE = b"&\x00\x0btraceparent\x00\x0500-ab"


def config_of(**sections: Any) -> Config:
    return Config.model_validate({"gateway": {"id": "edge", "data_dir": Path("data")}} | sections)


def document_of(**sections: Any) -> dict[str, Any]:
    config = config_of(**sections)
    return document(config, build(config.contracts, config.ingest.without_contract))


def schemas_of(**sections: Any) -> dict[str, Any]:
    config = config_of(**sections)
    found = schemas(config, build(config.contracts))
    for schema in found.values():
        jsonschema_rs.meta.validate(schema)
    return found


def addresses(told: dict[str, Any], action: str) -> dict[str | None, set[str]]:
    """Of all operations with an action: the address, and the messages there."""
    found: dict[str | None, set[str]] = {}
    for operation in told["operations"].values():
        if operation["action"] == action:
            channel = told["channels"][operation["channel"]["$ref"].rsplit("/", 1)[1]]
            found[channel["address"]] = set(channel["messages"])
    return found


def test_versions_of_a_contract_are_messages_of_one_channel() -> None:
    told = document_of(contracts={"climate.v1": CLIMATE, "climate.v2": CLIMATE})
    assert addresses(told, "receive") == {"sensors/{device}/climate": {"climate.v1", "climate.v2"}, None: {"any"}}
    message = told["components"]["messages"]["climate.v2"]
    assert message["contentType"] == "application/json"
    assert message["x-contract"] == {
        "version": "2",
        "codec": "json",
        "policy": "quarantine",
        "compatibility": "none",
    }
    assert told["components"]["schemas"]["climate.v2"]["properties"]["t"] == {
        "type": "number",
        "minimum": -40,
        "x-unit": "Cel",
    }


def test_wildcards_become_parameters_and_the_filter_stands_beside_them() -> None:
    address = Address.of("a/+/{device}/#")
    assert address == ("a/{level_2}/{device}/{rest}", "a/+/+/#")
    assert set(address.parameters()) == {"level_2", "device", "rest"}


def test_topics_without_a_contract_are_told_of_unless_they_are_refused() -> None:
    contracts = {"climate": CLIMATE}
    told = document_of(contracts=contracts, ingest={"without_contract": "refuse"}, upstreams={"cloud": CLOUD})
    assert None not in {*addresses(told, "receive"), *addresses(told, "send")}
    told = document_of(contracts=contracts, ingest={"without_contract": "flag"}, upstreams={"cloud": CLOUD})
    assert None in addresses(told, "receive")
    assert None in addresses(told, "send")
    assert "It is marked." in told["components"]["messages"]["any"]["summary"]


def test_an_upstream_is_sent_what_it_wants_under_its_topics() -> None:
    cloud = CLOUD | {"topics": ["sensors/#"], "topic_map": {"sensors/{device}/climate": "{gateway}/{device}/c"}}
    told = document_of(
        contracts={"climate": CLIMATE, "door": CLIMATE | {"topic": "doors/{device}"}}, upstreams={"cloud": cloud}
    )
    assert addresses(told, "send") == {"edge/{device}/c": {"climate"}, None: {"any"}}
    headers = told["components"]["messages"]["cloud.climate"]["headers"]["$ref"].rsplit("/", 1)[1]
    assert "topic" in told["components"]["schemas"][headers]["properties"]
    assert told["servers"]["cloud"] == {
        "host": "cloud.example:8883",
        "protocol": "secure-mqtt",
        "protocolVersion": "5",
    }


def test_an_external_broker_is_the_server_that_events_come_from() -> None:
    told = document_of(broker={"mode": "external", "url": "mqtt://site.example"})
    assert told["servers"] == {"source": {"host": "site.example:1883", "protocol": "mqtt", "protocolVersion": "5"}}


@pytest.mark.parametrize("listen", ["mqtt://127.0.0.1:1883", "ws://[::1]:8083"])
def test_listeners_are_servers(listen: str) -> None:
    (server,) = document_of(broker={"listen": [listen]})["servers"].values()
    assert f"{server['protocol']}://{server['host']}" == listen


def test_filters_overlap_if_a_topic_matches_both() -> None:
    levels = ["a", "b", ""]
    topics = ["/".join(each) for n in (1, 2, 3) for each in itertools.product(levels, repeat=n) if any(each) or n > 1]
    parts = ["a", "b", "+"]
    filters = ["/".join(each) for n in (1, 2, 3) for each in itertools.product(parts, repeat=n)]
    filters += ["#", *(f"{each}/#" for each in filters if each.count("/") < 2)]
    for one, other in itertools.combinations(filters, 2):
        assert overlap(one, other) == any(matches(one, topic) and matches(other, topic) for topic in topics)


# --- what is really sent ---


class Contracts:
    """What an envelope asks for the contracts in force."""

    def __init__(self, config: Config) -> None:
        self.contracts = build(config.contracts)


def events() -> list[Event]:
    plain = Event(1, 1_790_000_000_000_000_000, 0, "boot", "d1", "sensors/d1/climate", 1, False, b'{"t": 21.5}')
    return [
        plain,
        plain._replace(seq=2, properties=TRACE),
        plain._replace(seq=3, payload=b"\xff", verdict=FLAGGED),
        plain._replace(seq=4, topic="other", client_id=""),
        plain._replace(seq=5, payload=b""),
    ]


def test_the_raw_envelope_has_the_headers_that_are_told() -> None:
    for topic_map in ({}, {"sensors/{device}/climate": "c/{device}"}):
        told = schemas_of(upstreams={"cloud": CLOUD | {"topic_map": topic_map}})["cloud.headers"]
        for marks in ((), (("replay", "7"),), (("historical", "true"),)):
            envelope = RawEnvelope(gateway_id="edge", log_id="01J", marks=marks, topics=TopicMap(topic_map, "edge"))
            for event in events():
                jsonschema_rs.validate(told, dict(envelope.properties(event)))
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.validate(told, dict(envelope.properties(event)) | {"source": "urn:gateway:other"})


@pytest.mark.parametrize("mode", ["binary", "structured"])
def test_cloudevents_are_as_they_are_told(mode: str) -> None:
    cloud = CLOUD | {"envelope": "cloudevents", "cloudevents_mode": mode}
    sections: dict[str, Any] = {"contracts": {"climate.v3": CLIMATE}, "upstreams": {"cloud": cloud}}
    found = schemas_of(**sections)
    told = found["cloud.cloudevent" if mode == "structured" else "cloud.headers"]
    in_force = Contracts(config_of(**sections))
    envelope = CloudEvents(gateway_id="edge", log_id="01J", contracts=in_force, marks=(("replay", "7"),))
    for event in events():
        attributes = dict(envelope.attributes(event))
        jsonschema_rs.validate(told, json.loads(envelope.structured(event)) if mode == "structured" else attributes)
        assert attributes["type"] in told["properties"]["type"]["enum"]
    whole = document_of(**sections)["components"]["messages"]["cloud.climate.v3"]
    assert '"const": "climate.v3"' in json.dumps(whole)


# --- draft 7 ---

OTHER_DRAFTS: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    (
        {"$defs": {"t": {"type": "number"}}, "properties": {"a": {"$ref": "#/$defs/t", "minimum": 3}}},
        [{"a": 4}, {}],
        [{"a": 2}, {"a": "x"}],
    ),
    ({"prefixItems": [{"type": "string"}], "items": {"type": "number"}}, [["a", 1, 2], []], [[1], ["a", "b"]]),
    ({"dependentRequired": {"a": ["b"]}}, [{"a": 1, "b": 2}, {"c": 1}], [{"a": 1}]),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, [{"a": 1, "b": 2}], [{"a": 1}]),
    (
        {"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 3, "exclusiveMinimum": True},
        [4, "x"],
        [3],
    ),
    ({"anyOf": [{"not": {"type": "null"}}, {"properties": {"items": {"type": "null"}}}]}, [1, {"items": None}], []),
    ({"type": "object", "unevaluatedProperties": False, "properties": {"a": True}}, [{"a": 1}], []),
    (
        {"$id": "urn:x", "$anchor": "y", "properties": {"child": {"$ref": "#"}}, "type": "object"},
        [{"child": {}}],
        [{"child": 1}],
    ),
    ({"$defs": {"y": {"$anchor": "y", "type": "null"}}, "$ref": "#y"}, [None], []),
]


@pytest.mark.parametrize(("schema", "right", "wrong"), OTHER_DRAFTS)
def test_other_drafts_are_said_in_the_words_of_draft_7(
    schema: dict[str, Any], right: list[Any], wrong: list[Any]
) -> None:
    converted = as_draft07(schema, "#/x")
    judge = jsonschema_rs.Draft7Validator({"x": converted, "$ref": "#/x"})
    for value in right:
        assert jsonschema_rs.is_valid(schema, value)
        assert judge.is_valid(value)
    for value in wrong:
        assert not jsonschema_rs.is_valid(schema, value)
        assert not judge.is_valid(value)
