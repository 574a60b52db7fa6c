"""What contracts tell upstreams of events."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from gateway.contracts.contracts import NO_CONTRACTS, Contracts
from gateway.contracts.verdict import Stamp
from gateway.forward import described
from gateway.forward.described import Descriptions
from tests.unit.contracts.contracts_of import contracts_of


class Holder(NamedTuple):
    contracts: Contracts


def descriptions_of(text: str) -> Descriptions:
    return Descriptions(Holder(contracts_of(text)))


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
    for descriptions in (Descriptions(), Descriptions(Holder(NO_CONTRACTS))):
        assert descriptions.of("any/topic", b"x") == ("gateway.message", None, "")
    assert descriptions_of(TEMPERATURE).of("any/topic", b"x") == ("gateway.message", None, "")


def test_a_type_is_name_and_version_of_the_contract() -> None:
    descriptions = descriptions_of(TEMPERATURE + VERSIONS)
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
    assert descriptions_of(VERSIONS).of("meters/m1", payload).type == type_


def test_what_is_remembered_of_topics_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "_TOPICS_CACHED_MAX", 3)
    descriptions = descriptions_of(TEMPERATURE)
    for number in range(20):
        assert descriptions.of(f"sensors/{number}/temperature", b"{}").type == "temperature.v1"
        assert len(descriptions._topics) <= 3


STAMPED = """
[climate]
topic = "climate/{device}"
time_field = "at"
sequence_field = "n"
[climate.fields]
at = { type = "any", required = false }
n = { type = "integer", required = false }
"""


@pytest.mark.parametrize(
    ("payload", "time_ns"),
    [
        (b'{"at": "2026-02-24T22:20:38.5Z", "n": 1}', 1_771_971_638_500_000_000),
        (b'{"at": 1771971638.5}', 1_771_971_638_500_000_000),
        (b'{"n": 1}', None),
        (b"{}", None),
        (b'{"at": "yesterday"}', None),
        (b"flagged, because it is no JSON", None),
    ],
)
def test_the_devices_own_time_is_told_where_a_contract_names_it(payload: bytes, time_ns: int | None) -> None:
    assert descriptions_of(STAMPED).of("climate/c1", payload) == ("climate.v1", time_ns, "")


@pytest.mark.parametrize("time_ns", [-1, 253_402_300_800 * 10**9])
def test_a_time_that_cannot_be_written_is_none(time_ns: int) -> None:
    class Told(Contracts):
        def stamp(self, topic: str, payload: bytes) -> Stamp:
            return Stamp("climate", "c1", None, time_ns)

    descriptions = Descriptions(Holder(Told(contracts_of(STAMPED).all)))
    assert descriptions.of("climate/c1", b"{}") == ("climate.v1", None, "")


def test_contracts_that_are_replaced_count_from_then_on() -> None:
    class Changing:
        contracts = contracts_of(TEMPERATURE)

    descriptions = Descriptions(Changing())
    assert descriptions.of("meters/m1", b"{}").type == "gateway.message"
    Changing.contracts = contracts_of(VERSIONS)
    assert descriptions.of("meters/m1", b"{}").type == "power.v2"
    assert descriptions.of("sensors/s1/temperature", b"{}").type == "other.v1.3"


@pytest.mark.parametrize(
    ("codec", "media_type"),
    [("cbor", "application/cbor"), ("msgpack", "application/vnd.msgpack"), ("json", ""), ("raw", "")],
)
def test_how_a_payload_is_written_is_told_where_it_cannot_be_seen(codec: str, media_type: str) -> None:
    value = "" if codec == "raw" else 'value = "any"'
    descriptions = descriptions_of(f'[packed]\ntopic = "p"\ncodec = "{codec}"\n{value}')
    assert descriptions.of("p", b"\xa0").media_type == media_type
