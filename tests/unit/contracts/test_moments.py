"""Times as devices write them."""

from __future__ import annotations

import pytest

from gateway.contracts.moments import epoch_ns, rfc3339_ns


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:01.5z", 1_500_000_000),
        ("1970-01-01 01:00:00.000000001+01:00", 1),
        ("1969-12-31T23:59:59.25-00:00", -750_000_000),
        ("2026-11-23T15:00:00.123456789123Z", 1_795_446_000_123_456_789),
        ("2016-12-31T23:59:60Z", 1_483_228_799_000_000_000),
    ],
)
def test_rfc_3339_is_read_to_the_nanosecond(text: str, nanoseconds: int) -> None:
    assert rfc3339_ns(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-11-23", "2026-11-23T15:00Z", "2026-11-23T15:00:00", "\N{FULLWIDTH DIGIT TWO}026-11-23T15:00:00Z",
     "2026-11-31T15:00:00Z", "2026-11-23T24:00:00Z",
     "2026-11-23T15:00:61Z", "2026-11-23T15:00:00+24:00", "2026-11-23T15:00:00Z ", "0000-01-01T00:00:00Z",
     "9999-01-01T00:00:00Z"],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        rfc3339_ns(text)


@pytest.mark.parametrize(
    ("number", "unit", "nanoseconds"),
    [
        (1_795_446_000, "s", 1_795_446_000_000_000_000),
        (1_795_446_000.25, "s", 1_795_446_000_250_000_000),
        (-0.5, "s", -500_000_000),
        (1_795_446_000_125, "ms", 1_795_446_000_125_000_000),
        (1_795_446_000_125_001, "us", 1_795_446_000_125_001_000),
        (1_795_446_000_125_001_007, "ns", 1_795_446_000_125_001_007),
    ],
)
def test_a_number_since_1970_is_read_in_its_unit(number: float, unit: str, nanoseconds: int) -> None:
    assert epoch_ns(number, unit) == nanoseconds  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [1_795_446_000_125, 10**400, 1e300, float("inf"), float("nan"), -(10**30)])
def test_milliseconds_for_seconds_are_no_time(number: float) -> None:
    with pytest.raises(ValueError):
        epoch_ns(number, "s")
