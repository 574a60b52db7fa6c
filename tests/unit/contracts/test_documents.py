"""Reading payloads by the codec of their contract."""

from __future__ import annotations

import cbor2
import pytest

from gateway.contracts.build import build
from gateway.contracts.config import ContractConfig
from gateway.contracts.documents import Documents


@pytest.fixture
def documents():
    sections = {
        "climate.v1": {"topic": "climate/{device}", "codec": "cbor", "fields": {"t": {"type": "number"}}},
        "climate.v2": {"topic": "climate/{device}", "codec": "json", "fields": {"t": {"type": "number"}}},
        "level": {"topic": "level/+", "codec": "number", "fields": {"value": {"type": "number"}}},
    }
    del sections["level"]["fields"]
    return Documents(build({name: ContractConfig.model_validate(each) for name, each in sections.items()}))


@pytest.mark.parametrize(
    ("topic", "payload", "value"),
    [
        ("climate/one", cbor2.dumps({"t": 21.5, "more": [1]}), {"t": 21.5, "more": [1]}),
        ("climate/one", b'{"t": "hot"}', {"t": "hot"}),
        ("level/one", b" 12.50 ", 12.5),
        ("other", b'{"a": 1}', {"a": 1}),
    ],
)
def test_a_payload_is_read_by_what_its_topic_says(documents, topic, payload, value):
    assert documents.of(topic, payload) == value
    assert documents.of(topic, payload) == value


@pytest.mark.parametrize(("topic", "payload"), [("climate/one", b"\xff\xff"), ("level/one", b"{}"), ("other", b"\xa0")])
def test_what_cannot_be_read_is_refused(documents, topic, payload):
    with pytest.raises(ValueError, match="no contract"):
        documents.of(topic, payload)
