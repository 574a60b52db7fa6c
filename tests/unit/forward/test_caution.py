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


def test_a_connection_that_ends_once_is_forgiven() -> None:
    caution = Caution()
    caution.ended(1, 1000)
    assert not caution.goes_alone(2)
    caution.ended(1001, 2000)
    assert not caution.goes_alone(1001)


def test_a_second_end_within_a_stretch_sends_what_is_left_of_it_one_by_one() -> None:
    caution = Caution()
    caution.ended(1, 1000)
    caution.ended(400, 1300)
    caution.taken()
    assert caution.goes_alone(401)
    assert caution.goes_alone(1000)
    assert not caution.goes_alone(1001)


def test_while_events_go_alone_the_stretch_does_not_grow() -> None:
    caution = Caution()
    caution.ended(1, 1000)
    caution.ended(1, 1000)
    for seq in range(100, 1001, 100):
        caution.ended(seq, seq)
    assert not caution.goes_alone(1001)


def test_an_event_with_which_connections_end_again_and_again_is_named() -> None:
    caution = Caution()
    caution.ended(5, 900)
    for _ in range(2):
        caution.ended(5, 5)
        assert caution.suspicion == ""
    caution.ended(5, 5)
    assert "event 5 was alone on its way each of the last 3 times" in caution.suspicion
    caution.ended(6, 6)
    assert caution.suspicion == ""
