"""Backoff, selection, envelope and configuration."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway import backoff
from gateway.event import ACCEPTED, FLAGGED, QUARANTINED
from gateway.forward import selection
from gateway.forward.envelope import RawEnvelope, time_text
from gateway.forward.selection import Selection
from tests.unit.forward.forward_fakes import make_config, make_event

if TYPE_CHECKING:
    from gateway.event import Event


def test_wait_doubles_up_to_its_limit() -> None:
    waits = [backoff.wait_s(n, initial_s=1, max_s=10, randomness=0) for n in range(1, 7)]
    assert waits == [1, 2, 4, 8, 10, 10]


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_wait_is_shortened_by_a_quarter_at_most(failures: int, randomness: float) -> None:
    wait = backoff.wait_s(failures, initial_s=1, max_s=120, randomness=randomness)
    assert 0.75 <= wait <= 120


def test_selection_forgets_topics_beyond_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_TOPICS_CACHED_MAX", 3)
    chosen = Selection("cloud", ["a/+", "b/#"])
    events = [make_event(n, topic) for n, topic in enumerate(["a/1", "a/2", "c", "b", "b/1/2", "a/1", "c"])]
    assert [event.topic for event in chosen.of(events)] == ["a/1", "a/2", "b", "b/1/2", "a/1"]
    assert len(chosen._verdicts) <= 3


def test_a_quarantined_event_is_not_sent_and_is_the_upstreams_only_if_its_topics_match() -> None:
    chosen = Selection("cloud", ["a/#"])
    judged = [("a", ACCEPTED, ""), ("a", FLAGGED, ""), ("a", QUARANTINED, ""), ("b", QUARANTINED, "")]
    judged += [("a", QUARANTINED, "cloud"), ("a", QUARANTINED, "other")]
    events = [
        make_event(n, topic, origin)._replace(verdict=verdict) for n, (topic, verdict, origin) in enumerate(judged)
    ]
    assert [event.seq for event in chosen.of(events)] == [0, 1]
    assert chosen.quarantined(events) == [2, 5]


def test_an_event_is_of_the_first_lane_that_it_matches_and_of_the_rest_otherwise() -> None:
    lanes = ["a/x/#", "a/+/y"]
    judged = [("a/x/y", ""), ("a/b/y", ""), ("a/b", ""), ("b/x/y", ""), ("a/x", "cloud")]
    events = [make_event(n, topic, origin) for n, (topic, origin) in enumerate(judged)]
    events.append(make_event(5, "a/x")._replace(verdict=QUARANTINED))
    rest, first, second = (Selection("cloud", ["a/#"], lanes, lane=lane) for lane in (None, 0, 1))
    assert [[event.seq for event in each.of(events)] for each in (rest, first, second)] == [[2], [0], [1]]
    assert (rest.of_lanes(events), rest.quarantined(events)) == ([0, 1], [5])
    assert first.of_lanes(events) == first.quarantined(events) == []
    assert [first.wants(topic) for topic in ("a/x", "a/b/y", "b/x")] == [True, False, False]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"backlog_rate_max": 10}, 'catch_up = "live_first"'),
        ({"priorities": ["a", "b", "a"]}, "twice"),
        ({"priorities": ["a#"]}, "not an MQTT topic filter"),
        ({"priorities": [f"a/{n}" for n in range(9)]}, "at most 8"),
        ({"time_to_live_s": -1}, "greater than or equal to 0"),
        ({"catch_up": "newest"}, "'in_order' or 'live_first'"),
    ],
)
def test_what_cannot_be_caught_up_so_is_refused_with_what_to_write(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        make_config(**wrong)


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_time_is_rfc_3339_in_utc(wall_ns: int) -> None:
    text = time_text(wall_ns)
    parsed = datetime.fromisoformat(text)
    assert int(parsed.timestamp()) == wall_ns // 10**9
    assert parsed.microsecond == wall_ns // 1000 % 10**6
    assert len(text) == len("2026-11-23T04:05:16.000001Z")


def test_raw_envelope_names_the_event() -> None:
    envelope = RawEnvelope(gateway_id="greenhouse-7", log_id="01J")
    assert envelope.properties(make_event(42)) == [
        ("id", "01J.42"),
        ("time", "2023-11-14T22:13:20.000000Z"),
        ("source", "urn:gateway:greenhouse-7"),
        ("device", "dev"),
        ("clockquality", "synced"),
    ]


def test_raw_envelope_marks_every_event_of_a_connection() -> None:
    envelope = RawEnvelope(gateway_id="g", log_id="l", marks=[("replay", "7"), ("historical", "true")])
    for seq in (1, 2):
        assert envelope.properties(make_event(seq))[-2:] == [("replay", "7"), ("historical", "true")]


def test_raw_envelope_says_the_true_time_and_how_sure_it_is() -> None:
    class LateClock:
        def of(self, event: Event) -> tuple[int, str]:
            return event.received_ns + 1_500_000_000, "corrected"

    envelope = RawEnvelope(gateway_id="greenhouse-7", log_id="01J", true_time=LateClock())
    properties = dict(envelope.properties(make_event(42)))
    assert (properties["time"], properties["clockquality"]) == ("2023-11-14T22:13:21.500000Z", "corrected")


@pytest.mark.parametrize(
    "wrong",
    [
        {"topics": []},
        {"topics": ["a#"]},
        {"unknown": 1},
        {"batch_events_max": 0},
        {"stall_timeout_s": 0},
        {"backoff_initial_s": 9, "backoff_max_s": 1},
    ],
)
def test_wrong_configuration_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        make_config(**wrong)
