"""Conditions on payloads: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.conditions import TEXT_CHARACTERS_MAX, Condition, json_of

PAYLOAD = json.dumps(
    {
        "temperature": 31.5,
        "ok": True,
        "none": None,
        "one": 1,
        "text": "30",
        "status": {"door": "open", "room-temp": -2, "deep": {"er": 1}},
        "values": [1, {"x": 5}],
        "odd name": {"a.b": "it's"},
        "and": 7,
        "größe": 3,
    }
).encode()


@pytest.mark.parametrize(
    "text",
    [
        "temperature > 30",
        "temperature>=31.5",
        "temperature < 1e2",
        "temperature != 31",
        "$.temperature == 31.5",
        "ok == true",
        "ok != false",
        "none == null",
        "none != 0",
        'status.door == "open"',
        "status.door == 'open'",
        'status.door > "ope"',
        "status.room-temp <= -2",
        "status.deep.er == 1",
        "values.0 == 1",
        "values.1.x == 5",
        "`odd name`.`a.b` == 'it\\'s'",
        "`and` == 7",
        "größe == 3",
        "temperature > 30 and ok == true",
        "temperature > 99 or ok == true",
        "temperature > 99 and ok == false or one == 1",
        "temperature > 99 AND (ok == false OR one == 1) or ok == true",
        "  ( ( one==1 ) )  ",
        "status != 1",
        "temperature != 'hot'",
    ],
)
def test_what_holds(text):
    assert Condition(text).holds(json_of("t", PAYLOAD))


@pytest.mark.parametrize(
    "text",
    [
        "temperature > 31.5",
        "missing == 1",
        "missing != 1",
        "missing == null",
        "temperature.x == 1",
        "text == 30",
        "text > 3",
        "temperature > '3'",
        "ok == 1",
        "one == true",
        "ok > 0",
        "none < 1",
        "status == 'open'",
        "values.2 == 1",
        "values.x == 1",
        "temperature > 99 and (ok == true or one == 1)",
    ],
)
def test_what_does_not_hold(text):
    assert not Condition(text).holds(json_of("t", PAYLOAD))


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"21.5", "$ > 20"),
        (b'"on"', "$ == 'on'"),
        (b"[3, 4]", "$.1 == 4"),
        (b'{"$": 1}', "`$` == 1"),
    ],
)
def test_the_whole_payload_is_a_field(payload, text):
    assert Condition(text).holds(json_of("t", payload))


@pytest.mark.parametrize("payload", [b"", b"hot", b"\xff\x00", b"{", b"[" * 100_000, b"1" * 5000])
def test_what_is_no_json_says_nothing(payload):
    with pytest.raises(ValueError, match=r"."):
        json_of("t", payload)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "a field is missing at the end; write for example"),
        ("temperature", "after temperature there must be one of =="),
        ("temperature = 3", "'= 3': to compare, write =="),
        ("temperature > hot", 'text stands in quotes: temperature > "hot"'),
        ("temperature >", "there must be a number"),
        ("temperature > 3 ok == true", "before 'ok' there must be 'and' or 'or'"),
        ("(temperature > 3", r"a '\)' is missing before the end"),
        ("temperature > 3)", r"before '\)' there must be"),
        ("and == 3", "a field is missing at 'and'"),
        ("3 < temperature", "a field is missing at '3'"),
        ("temperature > 'hot", "the closing ' is missing"),
        ("temperature > true", "true has no order"),
        ("temperature > null", "null has no order"),
        ("temperature; import os", "cannot be understood"),
        ("temperature > 3 and", "a field is missing at the end"),
        ("temperature > 3.4.5", "cannot be understood"),
        ("(" * 33 + "a == 1" + ")" * 33, "may be 32 deep"),
        ("a == 1 and " * TEXT_CHARACTERS_MAX, "a condition may have 1000 characters"),
    ],
)
def test_what_means_nothing_is_told_with_what_to_write(text, told):
    with pytest.raises(ValueError, match=told):
        Condition(text)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("ab"), inner, max_size=2)),
    max_leaves=5,
)
operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])


@given(st.text(max_size=40), values)
def test_any_text_is_understood_or_refused(text, value):
    try:
        condition = Condition(text)
    except ValueError:
        return
    assert condition.holds(value) in {True, False}


@given(st.sampled_from(["$", "a", "a.b", "a.0", "b.a.1"]), operators, st.sampled_from(["1", "'x'", "-2.5"]), values)
def test_any_value_is_judged(field, operator, value, document):
    assert Condition(f"{field} {operator} {value}").holds(document) in {True, False}


@given(st.integers(-100, 100), st.integers(-100, 100))
def test_numbers_are_compared_as_numbers(value, limit):
    held = [Condition(f"v {operator} {limit}").holds({"v": value}) for operator in ("==", "!=", "<", "<=", ">", ">=")]
    assert held == [value == limit, value != limit, value < limit, value <= limit, value > limit, value >= limit]
