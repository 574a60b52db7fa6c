"""When events go one by one."""

from __future__ import annotations

from gateway.forward.caution import Caution


def test_without_trouble_nothing_goes_alone() -> None:
    assert not Caution().goes_alone(1)


def test_after_trouble_one_event_goes_alone_until_it_is_taken() -> None:
    caution = Caution()
    caution.trouble()
    assert caution.goes_alone(7)
    caution.taken()
    assert not caution.goes_alone(8)


def test_a_bad_link_over_which_events_get_through_is_no_reason_to_send_them_one_by_one() -> None:
    caution = Caution()
    for begin in range(1, 1000, 100):
        caution.ended(begin, begin + 999, taken=100)
        assert not caution.goes_alone(begin + 100)


def test_a_connection_that_comes_to_nothing_once_is_forgiven() -> None:
    caution = Caution()
    caution.ended(1, 1000, taken=0)
    assert not caution.goes_alone(1)
    caution.ended(101, 1100, taken=100)
    caution.ended(102, 1101, taken=1)
    assert not caution.goes_alone(102)


def test_after_two_that_came_to_nothing_what_was_on_its_way_goes_one_by_one() -> None:
    caution = Caution()
    caution.ended(1, 1000, taken=3)
    caution.ended(4, 1003, taken=3)
    caution.taken()
    assert caution.goes_alone(4)
    assert caution.goes_alone(1003)
    assert not caution.goes_alone(1004)


def test_a_connection_that_ends_with_one_event_alone_and_unanswered_was_not_ended_by_a_refusal() -> None:
    caution = Caution()
    caution.ended(1, 1000, taken=3)
    caution.ended(4, 1003, taken=3)
    caution.ended(9, 9, taken=5)
    caution.taken()
    assert not caution.goes_alone(9)


def test_a_connection_that_ends_after_a_refusal_says_nothing_of_the_next_event() -> None:
    caution = Caution()
    caution.ended(1, 1000, taken=3)
    caution.ended(4, 1003, taken=3)
    caution.refused()
    caution.ended(9, 9, taken=5)
    caution.trouble()
    caution.taken()
    assert caution.goes_alone(9)
    caution.ended(9, 9, taken=0)
    caution.taken()
    assert not caution.goes_alone(9)


def test_an_event_with_which_connections_end_again_and_again_is_named() -> None:
    caution = Caution()
    caution.ended(5, 900, taken=0)
    for _ in range(2):
        caution.ended(5, 5, taken=0)
        assert caution.suspicion == ""
    caution.ended(5, 5, taken=0)
    assert "event 5 was alone on its way each of the last 3 times" in caution.suspicion
    caution.ended(6, 6, taken=0)
    assert caution.suspicion == ""
