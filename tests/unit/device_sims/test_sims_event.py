"""The bytes of an event."""

import json

import pytest

from device_sims.event import encode, iso_ms
from device_sims.verdict import identify


def test_a_payload_is_compact_json_with_identity_time_and_values():
    payload = encode("bed-0001", 7, 1_700_000_000_123_456_789, {"temperature_c": 21.5})
    assert payload == b'{"device":"bed-0001","n":7,"time":"2023-11-14T22:13:20.123Z","temperature_c":21.5}'
    assert identify(payload) == ("bed-0001", 7)


def test_milliseconds_are_cut_not_rounded_into_the_next_second():
    assert iso_ms(1_700_000_000_999_999_999) == "2023-11-14T22:13:20.999Z"


def test_a_value_that_json_cannot_carry_is_refused():
    with pytest.raises(ValueError):
        encode("d", 1, 0, {"power_w": float("nan")})


def test_the_same_event_is_always_the_same_bytes():
    values = {"power_w": 1.0, "energy_kwh": 2.0}
    assert encode("d", 1, 5, values) == encode("d", 1, 5, dict(values))
    assert json.loads(encode("d", 1, 5, values))["power_w"] == 1.0
