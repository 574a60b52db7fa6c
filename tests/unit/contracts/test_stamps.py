"""A device's own time and number are read from where the contract says."""

from __future__ import annotations

import pytest

from gateway.contracts.verdict import Stamp, Violation
from tests.unit.contracts.contracts_of import contracts_of

COUNTED = """
[counted]
topic = "c/{device}"
sequence_field = "status.n"
time_field = "t"
time_unit = "ms"
[counted.fields]
t = { type = "any", required = false }
status = { type = "object", required = false }
"""


@pytest.mark.parametrize(
    ("payload", "sequence", "time_ns"),
    [
        (b'{"status": {"n": 7}, "t": 1500}', 7, 1_500_000_000),
        (b'{"status": {"n": 7.0}}', 7, None),
        (b'{"t": "1970-01-01T00:00:02Z", "status": {}}', None, 2_000_000_000),
        (b'{"status": {"n": 0}, "t": null}', 0, None),
    ],
)
def test_time_and_number_are_told(payload: bytes, sequence: int | None, time_ns: int | None) -> None:
    contracts = contracts_of(COUNTED)
    assert contracts.judge("c/d1", payload) == Stamp("counted", "d1", sequence, time_ns)
    assert contracts.stamp("c/d1", payload) == Stamp("counted", "d1", sequence, time_ns)


def test_a_payload_without_them_says_nothing() -> None:
    contracts = contracts_of(COUNTED)
    assert contracts.judge("c/d1", b"{}") is None
    assert contracts.stamp("c/d1", b"{}") is None
    assert contracts.stamp("c/d1", b"no JSON") is None


@pytest.mark.parametrize(
    ("payload", "field", "rule", "value"),
    [
        (b'{"status": {"n": -1}}', "status.n", "sequence_field", "-1"),
        (b'{"status": {"n": true}}', "status.n", "sequence_field", "true"),
        (b'{"status": {"n": 1.5}}', "status.n", "sequence_field", "1.5"),
        (b'{"status": {"n": "7"}}', "status.n", "sequence_field", '"7"'),
        (b'{"status": {"n": 9223372036854775808}}', "status.n", "sequence_field", "9223372036854775808"),
        (b'{"t": "yesterday"}', "t", "time_field", '"yesterday"'),
        (b'{"t": false}', "t", "time_field", "false"),
        (b'{"t": 1e18}', "t", "time_field", "1e+18"),
        (b'{"t": [1500]}', "t", "time_field", "[1500]"),
    ],
)
def test_what_is_named_and_is_none_violates(payload: bytes, field: str, rule: str, value: str) -> None:
    expected = Violation("counted", "1", "d1", field, rule, value, "quarantine")
    assert contracts_of(COUNTED).judge("c/d1", payload) == expected


def test_items_of_arrays_have_numbers() -> None:
    contracts = contracts_of(COUNTED.replace("status.n", "status.1").replace('"object"', '"array"'))
    assert contracts.judge("c/d", b'{"status": [5, 6]}') == Stamp("counted", "d", 6, None)
    assert contracts.judge("c/d", b'{"status": [5]}') is None
