"""JSON Schemas of everything that this gateway accepts and emits, each on its own. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.export.asyncapi import is_structured
from gateway.export.envelopes import attributes, raw_headers, structured
from gateway.forward.described import DEFAULT_TYPE, type_of

if TYPE_CHECKING:
    from gateway.config.model import Config
    from gateway.contracts.contracts import Contracts

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas(config: Config, contracts: Contracts) -> dict[str, dict[str, Any]]:
    """By name: payloads under the name of their contract, envelopes under that of their upstream.

    A contract that is told by a JSON Schema file has that schema, in the dialect that it names.
    """
    found = {
        each.name: _named(each.json_schema(), each.name, config.contracts[each.name].description)
        for each in contracts.all
    }
    source = f"urn:gateway:{config.gateway.id}"
    for name, upstream in config.upstreams.items():
        if upstream.envelope == "raw":
            if upstream.version != "3.1.1":
                found[f"{name}.headers"] = _named(
                    raw_headers(source, is_mapped=bool(upstream.topic_map)),
                    f"{name}.headers",
                    "User properties of MQTT 5 beside each payload.",
                )
            continue
        types = [DEFAULT_TYPE, *dict.fromkeys(type_of(each) for each in contracts.all)]
        envelope = structured(source) if is_structured(upstream) else attributes(source)
        envelope["properties"]["type"] = {"type": "string", "enum": types}
        key = f"{name}.{'cloudevent' if is_structured(upstream) else 'headers'}"
        found[key] = _named(envelope, key, "A CloudEvent, as this upstream gets it.")
    return found


def _named(schema: dict[str, Any], title: str, description: str) -> dict[str, Any]:
    """With what tells its dialect and its name, where it does not say so itself."""
    described = {"description": description} if description else {}
    return {"$schema": DIALECT, "title": title, **described} | schema
