"""What one client or one address may take."""

from __future__ import annotations

import pytest

from gateway.broker.config import BrokerConfig
from gateway.broker.limits import House, Pace, over_long
from tests.unit.broker.ports import Now


class Caller:
    """Fulfils `Guest`."""

    def __init__(self) -> None:
        self.shown_out = ""

    def abort(self, reason: str) -> None:
        self.shown_out = reason


@pytest.mark.parametrize(
    ("topic", "limit"),
    [
        (b"a/b/c", None),
        (b"x" * 10, None),
        (b"x" * 11, "topic_bytes_max"),
        (b"a/b/c/", "topic_levels_max"),
        (b"//", None),
    ],
)
def test_a_topic_may_be_so_long_and_so_deep(topic: bytes, limit: str | None) -> None:
    found = over_long(topic, BrokerConfig(topic_bytes_max=10, topic_levels_max=3))
    assert (found.limit if found is not None else None) == limit


def test_a_second_of_events_at_once_and_then_at_the_rate() -> None:
    now = Now()
    pace = Pace(100, now)
    assert [pace.take() for _ in range(100)] == [0] * 100
    assert pace.take() == pytest.approx(0.1)
    now.seconds += 0.1
    assert [pace.take() for _ in range(9)] == [0] * 9
    now.seconds += 3600
    assert [pace.take() for _ in range(100)] == [0] * 100
    assert pace.take() > 0


def test_a_slow_rate_waits_until_there_is_room_for_one() -> None:
    now = Now()
    pace = Pace(1, now)
    assert pace.take() == 0
    wait_s = pace.take()
    now.seconds += wait_s
    assert pace.take() == 0


def test_one_address_has_so_many_connections() -> None:
    house = House(10, 2)
    one, two, three = Caller(), Caller(), Caller()
    assert house.enter(one, "192.0.2.1") == house.enter(two, "192.0.2.1") == ""
    assert house.enter(three, "192.0.2.1") == "too many connections from its address"
    house.leave(three)
    assert house.enter(three, "192.0.2.2") == ""
    assert house.over_address == 1
    house.leave(one)
    house.leave(one)
    assert house.enter(one, "192.0.2.1") == ""
    assert len(house) == 3


def test_who_has_not_logged_in_makes_room_oldest_of_the_most_crowded_address_first() -> None:
    house = House(4, 10)
    crowd = [Caller() for _ in range(3)]
    for each in crowd:
        assert house.enter(each, "192.0.2.66") == ""
    single, late = Caller(), Caller()
    assert house.enter(single, "192.0.2.1") == ""
    assert house.enter(late, "192.0.2.2") == ""
    assert [bool(each.shown_out) for each in (*crowd, single, late)] == [True, False, False, False, False]
    assert (len(house), house.made_room, house.turned_away) == (4, 1, 0)
    house.leave(crowd[0])
    assert len(house) == 4


def test_who_has_logged_in_stays_whoever_comes() -> None:
    house = House(2, 10)
    admitted = [Caller(), Caller()]
    for each in admitted:
        house.enter(each, "192.0.2.1")
        house.admit(each)
    assert house.enter(Caller(), "192.0.2.2") == "too many connections"
    assert house.turned_away == 1
    assert not any(each.shown_out for each in admitted)
    house.leave(admitted[0])
    assert house.enter(Caller(), "192.0.2.2") == ""


def test_nothing_is_kept_of_who_has_gone() -> None:
    house = House(100, 10)
    for number in range(50):
        guest = Caller()
        house.enter(guest, f"192.0.2.{number}")
        if number % 2:
            house.admit(guest)
        house.leave(guest)
    house.admit(guest)
    assert len(house) == len(house._counts) == len(house._strangers) == 0
