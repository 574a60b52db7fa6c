"""CloudEvents out of MQTT packets, read by the `cloudevents` package, which has no binding for MQTT of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from dateutil.parser import isoparse

if TYPE_CHECKING:
    from collections.abc import Iterable


def read_binary(user_properties: Iterable[tuple[str, str]], content_type: str | None, payload: bytes) -> CloudEvent:
    """A message in binary mode (MQTT binding, section 3.1); raises if it is no CloudEvent."""
    pairs = list(user_properties)
    attributes: dict[str, object] = dict(pairs)
    assert len(attributes) == len(pairs), "an attribute came twice"
    attributes["time"] = isoparse(attributes["time"])
    if content_type is not None:
        attributes["datacontenttype"] = content_type
    return CloudEvent(attributes, payload or None)


def read_structured(payload: bytes) -> CloudEvent:
    """A message in structured mode (JSON format); raises if it is no CloudEvent."""
    event = JSONFormat().read(None, payload)
    assert isinstance(event, CloudEvent)
    return event
