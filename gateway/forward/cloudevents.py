"""CloudEvents 1.0: an event as attributes beside its payload, or as one JSON document. Pure.

Sources: CloudEvents 1.0.2, its JSON format, and its extensions sequence, partitioning, recorded time and distributed
tracing. Attributes are `specversion`, `id`, `source`, `type`, `subject` (the device), `time` (the device's own if its
contract names one, else that of receipt), `datacontenttype`, and as extensions `recordedtime` (of receipt), `sequence`
(`seq` with 20 digits), `partitionkey` (the device), `clockquality`, `topic` (as it came), the marks of the connection,
`verdict`, and the user properties an event came with, where their names may be attributes.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from functools import lru_cache
from typing import TYPE_CHECKING

from gateway.event import FLAGGED
from gateway.forward.content import JSON, is_json, media_type, names_json
from gateway.forward.described import Descriptions
from gateway.forward.envelope import NOTHING, RECEIVE_TIME, RESERVED, time_text
from gateway.forward.topic_map import AS_IT_CAME
from gateway.properties import beside

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.event import Event
    from gateway.forward.described import InForce
    from gateway.forward.envelope import Marks, TrueTime
    from gateway.forward.topic_map import TopicMap
    from gateway.properties import Beside

STRUCTURED_TYPE = "application/cloudevents+json"
SEQUENCE_DIGITS = 20
"""Enough for every `seq`, so that text sorts as numbers do."""

_NAME = re.compile(r"[a-z0-9]+")
_OURS = RESERVED | {
    *("specversion", "type", "subject", "datacontenttype", "dataschema", "data"),
    *("recordedtime", "sequence", "partitionkey"),
}
_NONCHARACTERS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_FORBIDDEN = re.compile(f"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef{_NONCHARACTERS}]")
_HEAD = b'{"specversion":"1.0","id":"%b%d","time":"%b","recordedtime":"%b","sequence":"%020d"'
_FACES_MAX = 4096
"""Topics and devices that are remembered; beyond it all are forgotten at once, which costs little and is bounded."""


class CloudEvents:
    """Describes events for the world outside this gateway.

    Args:
        gateway_id: id of this gateway, names the source of the event.
        log_id: id of the event log; with `seq` it names an event once and for all, on every try the same.
        true_time: tells the time of receipt of an event.
        marks: names and values that go beside every event.
        topics: where events go.
        contracts: tells what payloads fulfil, which names the types of events.
        is_binary: whether attributes go beside the payload, where the protocol has room for them.
    """

    def __init__(
        self,
        *,
        gateway_id: str,
        log_id: str,
        true_time: TrueTime = RECEIVE_TIME,
        marks: Marks = (),
        topics: TopicMap = AS_IT_CAME,
        contracts: InForce | None = None,
        is_binary: bool = True,
    ) -> None:
        self.source = f"urn:gateway:{gateway_id}"
        self.id_prefix = f"{log_id}."
        """An event's id is this and its seq."""
        self.true_time = true_time
        self.marks = tuple(marks)
        self.topics = topics
        self.is_binary = is_binary
        self.describe = Descriptions(contracts).of
        """Tells type, device's time and media type by topic and payload."""
        self._taken = _OURS.union(name for name, _ in marks)
        self._faces: dict[tuple[str, str, str, str], bytes] = {}
        """What `structured` says of a topic, a device, a clock quality and a type."""
        self._id = json.dumps(self.id_prefix)[1:-1].encode()

    def attributes(self, event: Event) -> list[tuple[str, str]]:
        """All attributes but `datacontenttype`, in the order they are sent."""
        true_ns, quality = self.true_time.of(event)
        type_, own_ns, _ = self.describe(event.topic, event.payload)
        return [
            ("specversion", "1.0"),
            ("id", f"{self.id_prefix}{event.seq}"),
            ("time", time_text(true_ns if own_ns is None else own_ns)),
            ("recordedtime", time_text(true_ns)),
            ("sequence", f"{event.seq:0{SEQUENCE_DIGITS}}"),
            *self.shared(event.topic, event.client_id, quality, type_),
            *self.of_event(event, came_with(event)),
        ]

    def shared(self, topic: str, client_id: str, quality: str, type_: str) -> list[tuple[str, str]]:
        """Attributes that many events of a device with a topic share; no subject if the device has no name."""
        device = _allowed(client_id)
        named = [("subject", device), ("partitionkey", device)] if device else []
        return [
            ("source", self.source),
            ("type", type_),
            *named,
            ("clockquality", quality),
            ("topic", _allowed(topic)),
            *((name, _allowed(value)) for name, value in self.marks),
        ]

    def of_event(self, event: Event, came_with: Beside) -> list[tuple[str, str]]:
        """Attributes that only this event has: how it was judged, and what it came with.

        Left out is what may not be the name of an attribute or is one of ours, and what is empty. Of two with one name
        the first counts.
        """
        found = {"verdict": "flagged"} if event.verdict == FLAGGED else {}
        for name, value in came_with.user:
            if value and name not in self._taken and _NAME.fullmatch(name):
                found.setdefault(name, _allowed(value))
        return list(found.items())

    def structured(self, event: Event) -> bytes:
        """The event as one JSON document; its payload as `data` if it is JSON, as it came, else as `data_base64`."""
        true_ns, quality = self.true_time.of(event)
        type_, own_ns, told = self.describe(event.topic, event.payload)
        brought = came_with(event)
        received = time_text(true_ns).encode()
        time = received if own_ns is None else time_text(own_ns).encode()
        seq = event.seq
        head = _HEAD % (self._id, seq, time, received, seq)
        key = event.topic, event.client_id, quality, type_
        face = self._faces.get(key) or self._look_at(*key)
        own = _members(self.of_event(event, brought)) if event.verdict or brought.user else b""
        return b"".join((head, face, own, *_data(event.payload, declared(event, brought, told)), b"}"))

    def _look_at(self, topic: str, client_id: str, quality: str, type_: str) -> bytes:
        if len(self._faces) >= _FACES_MAX:
            self._faces.clear()
        face = _members(self.shared(topic, client_id, quality, type_))
        self._faces[topic, client_id, quality, type_] = face
        return face


def came_with(event: Event) -> Beside:
    """What `event` has beside its payload."""
    return NOTHING if event.properties is None else beside(event.properties)


def declared(event: Event, brought: Beside, told: str) -> str:
    """The media type that sender or contract give a payload; empty if neither does. `told`: by `describe`."""
    return brought.content_type or ("" if event.verdict else told)


def _data(payload: bytes, named: str) -> tuple[bytes, ...]:
    """The members of a document that hold the payload (JSON format, section 3.1)."""
    content_type = media_type(payload, named)
    described = _described(content_type)
    if not payload:
        return (described,)
    if (content_type == JSON and not named) or (names_json(content_type) and is_json(payload)):
        return described, b',"data":', payload
    return described, b',"data_base64":"', b64encode(payload), b'"'


@lru_cache(maxsize=256)
def _described(content_type: str) -> bytes:
    """The member that tells the type of the payload; nothing if it is empty."""
    return _members([("datacontenttype", content_type)]) if content_type else b""


def _members(attributes: Iterable[tuple[str, str]]) -> bytes:
    """Members of a JSON object that others precede."""
    return "".join(f',"{name}":{json.dumps(value, ensure_ascii=False)}' for name, value in attributes).encode()


def _allowed(text: str) -> str:
    """`text` with what no attribute may have (section "Type system") replaced by U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text)
