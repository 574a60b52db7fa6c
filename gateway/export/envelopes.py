"""What stands around a payload when it is sent, as JSON Schema (2020-12). Pure. See `gateway.forward`."""

from __future__ import annotations

from typing import Any

_TIME = {"type": "string", "format": "date-time"}
_QUALITY = {
    "type": "string",
    "enum": ["synced", "corrected", "unsynced"],
    "description": "How sure the time of receipt is.",
}
_MARKS = {
    "verdict": {"type": "string", "const": "flagged", "description": "It violates its contract, which lets it pass."},
    "replay": {"type": "string", "description": "It is sent again by the replay of this id."},
    "historical": {"type": "string", "const": "true", "description": "It is of the backlog, behind newer ones."},
}
_OTHERS = {"type": "string", "description": "A user property that the message came with, traceparent for example."}


def raw_headers(source: str, *, is_mapped: bool) -> dict[str, Any]:
    """User properties of MQTT 5 beside a payload in the raw envelope."""
    properties: dict[str, Any] = {
        "id": {"type": "string", "description": "Id of the log and number of the event: the same on every try."},
        "time": _TIME | {"description": "When it was received."},
        "source": {"type": "string", "const": source},
        "device": {"type": "string"},
        "clockquality": _QUALITY,
        **_MARKS,
    }
    if is_mapped:
        properties["topic"] = {"type": "string", "description": "The topic that the message came to."}
    required = ["id", "time", "source", "device", "clockquality"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": _OTHERS}


def attributes(source: str) -> dict[str, Any]:
    """Attributes of CloudEvents 1.0, as an object."""
    properties: dict[str, Any] = {
        "specversion": {"type": "string", "const": "1.0"},
        "id": {"type": "string", "minLength": 1, "description": "The same on every try."},
        "source": {"type": "string", "const": source},
        "type": {"type": "string", "minLength": 1, "description": "The contract that it fulfils, and its version."},
        "subject": {"type": "string", "minLength": 1, "description": "The device."},
        "time": _TIME | {"description": "The device's own, if its contract names one, else that of receipt."},
        "recordedtime": _TIME | {"description": "When it was received."},
        "sequence": {"type": "string", "pattern": "^[0-9]{20}$"},
        "partitionkey": {"type": "string", "minLength": 1, "description": "The device."},
        "datacontenttype": {"type": "string"},
        "clockquality": _QUALITY,
        "topic": {"type": "string", "description": "The topic that the message came to."},
        **_MARKS,
    }
    required = ["specversion", "id", "source", "type", "time", "recordedtime", "sequence", "clockquality", "topic"]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": _OTHERS}


def structured(source: str) -> dict[str, Any]:
    """A CloudEvent as one JSON document, with `data` where the payload is JSON."""
    document = attributes(source)
    document["properties"] |= {"data": {}, "data_base64": {"type": "string", "contentEncoding": "base64"}}
    return document
