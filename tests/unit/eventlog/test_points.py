"""Places in the log, as people write them."""

from __future__ import annotations

import pytest

from gateway.eventlog.points import Point, parse

NOON_NS = 1_795_435_200 * 10**9


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("beginning", Point("beginning")),
        ("now", Point("now")),
        ("0", Point("seq", 0)),
        ("1200", Point("seq", 1200)),
        ("2026-11-23T12:00", Point("time", NOON_NS)),
        ("2026-11-23T12:00:00.5Z", Point("time", NOON_NS + 500_000_000)),
        ("2026-11-23T13:00:00.000000001+01:00", Point("time", NOON_NS + 1)),
        ("2026-11-23", Point("time", NOON_NS - 12 * 3600 * 10**9)),
    ],
)
def test_a_seq_a_time_and_two_words_are_places(text: str, point: Point) -> None:
    assert parse(text) == point


@pytest.mark.parametrize("text", ["", "Beginning", "-1", "٣", "1.5", "tomorrow", "2026-13-01", "1e3"])
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="beginning or now"):
        parse(text)
