"""What contracts tell upstreams of events."""

from __future__ import annotations

import pytest

from gateway.contracts.contracts import NO_CONTRACTS
from gateway.forward import described
from gateway.forward.described import Descriptions
from tests.unit.contracts.contracts_of import contracts_of

TEMPERATURE = """
[temperature]
topic = "sensors/{device}/temperature"
fields = { celsius = "number" }
"""
VERSIONS = """
["power.v1"]
topic = "meters/+"
fields = { watts = "number" }
["power.v2"]
topic = "meters/+"
fields = { kilowatts = "number" }
[other]
topic = "#"
version = "1.3"
fields = { a = "number" }
"""


def test_an_event_without_a_contract_has_a_type_that_never_changes() -> None:
    assert Descriptions(NO_CONTRACTS).of("any/topic", b"x") == ("gateway.message", None)
    assert Descriptions(contracts_of(TEMPERATURE)).of("any/topic", b"x") == ("gateway.message", None)


def test_a_type_is_name_and_version_of_the_contract() -> None:
    descriptions = Descriptions(contracts_of(TEMPERATURE + VERSIONS))
    assert descriptions.of("sensors/s1/temperature", b'{"celsius": 21}').type == "temperature.v1"
    assert descriptions.of("elsewhere", b'{"a": 1}').type == "other.v1.3"


@pytest.mark.parametrize(
    ("payload", "type_"),
    [
        (b'{"watts": 1}', "power.v1"),
        (b'{"kilowatts": 1}', "power.v2"),
        (b'{"watts": 1, "kilowatts": 1}', "power.v2"),
        (b"neither", "power.v2"),
    ],
)
def test_of_several_versions_the_newest_that_is_fulfilled_counts(payload: bytes, type_: str) -> None:
    assert Descriptions(contracts_of(VERSIONS)).of("meters/m1", payload).type == type_


def test_what_is_remembered_of_topics_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "_TOPICS_CACHED_MAX", 3)
    descriptions = Descriptions(contracts_of(TEMPERATURE))
    for number in range(20):
        assert descriptions.of(f"sensors/{number}/temperature", b"{}").type == "temperature.v1"
        assert len(descriptions._topics) <= 3
