"""The retained message of a topic (MQTT 3.1.1 section 3.3.1.3). Pure data."""

from __future__ import annotations

from typing import NamedTuple


class Retained(NamedTuple):
    """The last event that was published to a topic with the RETAIN flag."""

    topic: str
    seq: int
    qos: int
    payload: bytes
    """Empty: the device has withdrawn the retained message."""
