"""Runs of plain answers count as the same answers do that are read one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.event import Event
from gateway.upstreams.mqtt_answers import take_run
from gateway.upstreams.mqtt_flight import Flight

if TYPE_CHECKING:
    from random import Random

YES, YES_BUT_NOBODY, NO = b"", b"\x10", b"\x99"


def answer(packet_id: int, reason: bytes = YES) -> bytes:
    return bytes([0x40, 2 + len(reason)]) + packet_id.to_bytes(2, "big") + reason


def flying(count: int) -> Flight:
    flight = Flight()
    flight.give([Event(n, 0, 0, "boot", "dev", "t", 1, False, b"x") for n in range(1, count + 1)])
    flight.sent(count)
    return flight


@given(st.sampled_from([YES, YES_BUT_NOBODY]), st.permutations(range(1, 9)))
def test_all_of_one_form_are_taken_in_whatever_order(reason: bytes, order: list[int]) -> None:
    flight = flying(8)
    data = b"".join(answer(packet_id, reason) for packet_id in order)
    assert take_run(flight, data) == len(data)
    assert flight.acknowledged == 8
    assert flight.is_over()


@given(st.lists(st.sampled_from([YES, YES_BUT_NOBODY, NO]), min_size=1, max_size=8), st.integers(0, 4), st.randoms())
def test_a_run_ends_before_the_first_that_is_not_plain_or_not_whole(
    reasons: list[bytes], cut: int, random: Random
) -> None:
    order = list(range(1, len(reasons) + 1))
    if random.random() < 0.5:
        random.shuffle(order)
    answers = [answer(packet_id, reason) for packet_id, reason in zip(order, reasons, strict=True)]
    data = b"".join(answers)
    data = data[: len(data) - cut]
    plain = b"".join(answers[: reasons.index(NO)] if NO in reasons else answers)
    whole = b""
    for one in answers:
        if not plain.startswith(whole + one) or len(whole + one) > len(data):
            break
        whole += one
    flight = flying(8)
    assert take_run(flight, data) == len(whole)
    assert flight.in_flight == 8 - answers.index(one) - (whole == b"".join(answers))


def test_an_answer_to_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in flight"):
        take_run(flying(2), answer(9, YES_BUT_NOBODY))
