"""What kind of data a payload is, as a media type. Pure."""

from __future__ import annotations

import re

from pydantic_core import from_json

JSON, TEXT, BINARY = "application/json", "text/plain; charset=utf-8", "application/octet-stream"
_JSON_BEGINS = frozenset(b'{["-0123456789tfn \t\r\n')
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_MEDIA_TYPE = re.compile(r"[!#$&^_.+\-0-9A-Za-z]{1,127}/[!#$&^_.+\-0-9A-Za-z]{1,127}[ ]?(?:;[ -~]{0,255})?")
_JSON_TYPE = re.compile(r"[^/;]+/(?:[^/;]+\+)?json[ ]?(?:;.*)?", re.IGNORECASE)


def media_type(payload: bytes, declared: str = "") -> str:
    """The type that was declared, if it is one and names no envelope; else what the payload looks like.

    A payload in an envelope of its own would be taken for ours by whoever reads it. Empty for an empty payload.
    """
    if declared and _MEDIA_TYPE.fullmatch(declared) and not declared.lower().startswith("application/cloudevents"):
        return declared
    if not payload:
        return ""
    if payload[0] in _JSON_BEGINS and is_json(payload):
        return JSON
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return BINARY
    return BINARY if _CONTROLS.search(text) else TEXT


def is_json(payload: bytes) -> bool:
    """Whether it is one JSON value in UTF-8 (RFC 8259), no deeper than 200 levels."""
    try:
        from_json(payload, allow_inf_nan=False, cache_strings=False)
    except ValueError:
        return False
    return True


def names_json(content_type: str) -> bool:
    """Whether this media type is that of JSON."""
    return _JSON_TYPE.fullmatch(content_type) is not None
