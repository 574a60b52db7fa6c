"""Whose an event is, as its topic tells."""

from __future__ import annotations

import pytest

from gateway.external.device import by_topic, pattern


@pytest.mark.parametrize(
    ("topic", "device"),
    [
        ("devices/probe-1/temperature", "probe-1"),
        ("tele/plug/SENSOR", "plug"),
        ("zigbee2mqtt/lamp", "lamp"),
        ("alone", "alone"),
        ("first/", "first"),
        ("first//third", "first"),
        ("/second", "second"),
        ("/", "/"),
        ("$SYS/broker/uptime", "broker"),
    ],
)
def test_without_a_pattern_it_is_the_second_level_or_the_first(topic: str, device: str) -> None:
    assert by_topic([])(topic) == device


def test_the_first_pattern_that_matches_tells() -> None:
    device_of = by_topic(["home/+/BTtoMQTT/{device}", "{device}/events/rpc", "home/{device}/#"])
    assert device_of("home/hub/BTtoMQTT/A4C138") == "A4C138"
    assert device_of("shellyplus1-08b61f/events/rpc") == "shellyplus1-08b61f"
    assert device_of("home/hub/LWT") == "hub"
    assert device_of("other/probe/t") == "probe"


def test_an_empty_level_at_the_place_of_the_device_is_left_to_the_next_rule() -> None:
    assert by_topic(["a/{device}/b"])("a//b") == "a"


@pytest.mark.parametrize("text", ["devices/#", "{a}/{device}", "{name}/x", "x/{device}y"])
def test_a_pattern_without_exactly_the_device_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="write for example"):
        pattern(text)
