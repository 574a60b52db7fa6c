"""Which contract judges a topic, what it says of a payload, and that nothing makes it raise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contracts.contracts import NO_CONTRACTS, Contracts
from gateway.contracts.verdict import VALUE_CHARACTERS_MAX, Violation
from tests.unit.contracts.contracts_of import contracts_of

TEMPERATURE = """
[temperature]
topic = "sensors/{device}/temperature"
[temperature.fields]
temperature = { type = "number", unit = "Cel", min = -40, max = 85 }
position = { type = "object", required = false, fields = { x = "number", y = "number" } }
samples = { type = "array", required = false, items = "integer" }
"""
TOPIC = "sensors/d1/temperature"


def violation(field: str, rule: str, value: str) -> Violation:
    return Violation("temperature", "1", "d1", field, rule, value, "quarantine")


def test_a_payload_as_the_contract_says_is_accepted() -> None:
    contracts = contracts_of(TEMPERATURE)
    assert contracts
    assert contracts.judge(TOPIC, b'{"temperature": 21.5, "anything": "else"}') is None


@pytest.mark.parametrize(
    ("payload", "field", "rule", "value"),
    [
        (b'{"temperature": "21"}', "temperature", "type", '"21"'),
        (b'{"temperature": true}', "temperature", "type", "true"),
        (b'{"temperature": null}', "temperature", "type", "null"),
        (b'{"temperature": 1e999}', "temperature", "type", "Infinity"),
        (b'{"temperature": 85.5}', "temperature", "max", "85.5"),
        (b'{"temperature": -41}', "temperature", "min", "-41"),
        (b"{}", "temperature", "required", ""),
        (b"[21]", "", "type", "[21]"),
        (b'{"temperature": 1, "position": {"x": 1, "y": "2"}}', "position.y", "type", '"2"'),
        (b'{"temperature": 1, "position": {"x": 1}}', "position.y", "required", ""),
        (b'{"temperature": 1, "samples": [1, 2, 3.5]}', "samples.2", "type", "3.5"),
        (b"", "", "codec", ""),
        (b"21.5 degrees", "", "codec", "21.5 degrees"),
        (b"\xff\xfe", "", "codec", "\\xff\\xfe"),
        (b'{"temperature": NaN}', "", "codec", '{"temperature": NaN}'),
        (b'{"temperature": 21, "temperature": 99}', "", "codec", '{"temperature": 21, "temperature": 99}'),
    ],
)
def test_a_violation_names_field_rule_and_value(payload: bytes, field: str, rule: str, value: str) -> None:
    assert contracts_of(TEMPERATURE).judge(TOPIC, payload) == violation(field, rule, value)


def test_a_long_value_is_cut() -> None:
    contracts = contracts_of(TEMPERATURE)
    for payload in (b'{"temperature": "' + b"x" * 5000 + b'"}', b"x" * 5000):
        verdict = contracts.judge(TOPIC, payload)
        assert isinstance(verdict, Violation)
        assert len(verdict.value) == VALUE_CHARACTERS_MAX


def test_a_number_without_a_fraction_is_an_integer() -> None:
    contracts = contracts_of(TEMPERATURE)
    assert contracts.judge(TOPIC, b'{"temperature": 21, "samples": [1, 2.0, -3e2]}') is None


def test_a_contract_says_what_becomes_of_its_violations() -> None:
    contracts = contracts_of('[a]\ntopic = "a/#"\npolicy = "flag"\nfields = { x = "number" }')
    verdict = contracts.judge("a/b/c", b"{}")
    assert isinstance(verdict, Violation)
    assert (verdict.policy, verdict.device) == ("flag", "")


@pytest.mark.parametrize(("without", "policy"), [("flag", "flag"), ("refuse", "reject")])
def test_a_topic_without_a_contract_is_treated_as_configured(without: str, policy: str) -> None:
    contracts = contracts_of(TEMPERATURE, without)  # type: ignore[arg-type]
    assert contracts.judge("other/d1", b"x") == Violation("", "", "", "", "contract", "other/d1", policy)  # type: ignore[arg-type]
    assert contracts_of(TEMPERATURE).judge("other/d1", b"x") is None


def test_without_contracts_there_is_nothing_to_judge() -> None:
    assert not NO_CONTRACTS
    assert NO_CONTRACTS.judge("a/b", b"x") is None
    assert contracts_of("", "flag")


def test_the_most_special_pattern_counts() -> None:
    contracts = contracts_of(
        '[any]\ntopic = "a/#"\nfields = { x = "number" }\n'
        '[named]\ntopic = "a/{device}/c"\nfields = { y = "number" }\n'
        '[exact]\ntopic = "a/b/c"\nfields = { z = "number" }\n'
    )
    assert contracts.judge("a/b/c", b'{"z": 1}') is None
    assert contracts.judge("a/x/c", b'{"y": 1}') is None
    assert contracts.judge("a/x/d", b'{"x": 1}') is None
    assert isinstance(contracts.judge("a/b/c", b'{"x": 1}'), Violation)


VERSIONS = """
["temperature.v1"]
topic = "sensors/{device}/temperature"
fields = { celsius = "number" }
["temperature.v10"]
topic = "sensors/+/temperature"
extra = "forbid"
fields = { temperature = "number" }
["temperature.v9"]
topic = "sensors/{device}/temperature"
fields = { temp = "number" }
"""


def test_a_payload_of_any_version_is_accepted_and_a_violation_names_the_newest() -> None:
    contracts = contracts_of(VERSIONS)
    for payload in (b'{"celsius": 1}', b'{"temp": 1}', b'{"temperature": 1.5}'):
        assert contracts.judge(TOPIC, payload) is None
    verdict = contracts.judge(TOPIC, b'{"temperature": "x"}')
    assert verdict == Violation("temperature.v10", "10", "d1", "temperature", "type", '"x"', "quarantine")
    assert [contract.version for contract in contracts.contracts_of(TOPIC)] == ["10", "9", "1"]


def test_topics_that_are_kept_at_hand_are_limited() -> None:
    contracts = Contracts(contracts_of(TEMPERATURE).all, topics_max=3)
    for number in range(10):
        assert contracts.judge(f"sensors/d{number}/temperature", b'{"temperature": 1}') is None
    assert len(contracts._bound) == 3


def test_an_empty_payload_that_removes_a_retained_message_can_be_let_through() -> None:
    removing = '[gone]\ntopic = "sensors/{device}/temperature"\ncodec = "text"\nvalue = { length_max = 0 }\n'
    contracts = contracts_of(TEMPERATURE + removing)
    assert contracts.judge(TOPIC, b"") is None
    assert isinstance(contracts.judge(TOPIC, b"x"), Violation)


PLAIN = """
[p]
topic = "p"
[p.fields]
a = "number"
b = { type = "string", required = false }
n = { type = "integer", required = false }
"""


@pytest.mark.parametrize(
    ("payload", "rule"),
    [
        (b'{"a": 1}', None),
        (b'{"a": 1, "b": "x", "n": 2.0}', None),
        (b'{"a": 1, "b": "12:30"}', None),
        (b'{"a": 1, "other": {"a": 5}}', None),
        (b'{"a": "1"}', "type"),
        (b'{"b": "x"}', "required"),
        (b'{"a": 1, "a": 2}', "codec"),
        (b'{"a": 1, "b": "x", "\\u0061": 2}', "codec"),
        (b'{"a": 1, "other": NaN}', "codec"),
        (b'{"a": 1, "other": {"x": 1, "x": 1}}', "codec"),
        (b'{"a": NaN}', "codec"),
        (b'{"a": 1} x', "codec"),
    ],
)
@pytest.mark.parametrize("before", [[], [b'{"a": 1, "b": "12:30"}']], ids=["in one step", "in two steps"])
def test_plain_fields_are_judged_alike_in_one_step_and_in_two(
    payload: bytes, rule: str | None, before: list[bytes]
) -> None:
    contracts = contracts_of(PLAIN)
    assert [contracts.judge("p", each) for each in before] == [None] * len(before)
    assert (contracts.all[0].at_once is None) == bool(before)
    verdict = contracts.judge("p", payload)
    assert (verdict.rule if isinstance(verdict, Violation) else verdict) == rule


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(payload: bytes) -> None:
    for body in (payload, b'{"temperature":' + payload + b"}", b'{"temperature":1,"x":"' + payload + b'"}'):
        assert isinstance(contracts_of_temperature().judge(TOPIC, body), Violation | None)


@pytest.mark.parametrize(
    "payload",
    [b"[" * 100_000, b"9" * 100_000, b'{"temperature": ' + b"9" * 400 + b"}", b'{"a":' * 300, b'"\\ud800"'],
    ids=["deep", "endless number", "number beyond any float", "deep objects", "half a character"],
)
def test_extremes_are_violations(payload: bytes) -> None:
    verdict = contracts_of_temperature().judge(TOPIC, payload)
    assert isinstance(verdict, Violation)
    verdict.value.encode()


_TEMPERATURE_CONTRACTS = contracts_of(TEMPERATURE)


def contracts_of_temperature() -> Contracts:
    return _TEMPERATURE_CONTRACTS
