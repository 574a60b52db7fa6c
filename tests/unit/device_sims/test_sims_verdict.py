"""The verdict."""

import base64
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_sims.verdict import EXAMPLES_MAX, DeviceVerdict, Tally, identify, judge


def test_nothing_is_wrong_when_everything_arrives_once_and_in_order():
    verdict = judge([("a", 1), ("a", 2), ("b", 1)], [("a", 1), ("b", 1), ("a", 2)])
    assert verdict.ok
    assert verdict.total == DeviceVerdict("total", acknowledged=3, received=3)


def test_what_was_acknowledged_and_never_arrived_is_lost():
    verdict = judge([("a", 1), ("a", 2), ("b", 1)], [("a", 2)])
    assert not verdict.ok
    assert [(device.device, device.lost, device.lost_examples) for device in verdict.devices] == [
        ("a", 1, (1,)),
        ("b", 1, (1,)),
    ]


def test_a_repetition_is_a_duplicate_and_neither_lost_nor_out_of_order():
    verdict = judge([("a", 1), ("a", 2)], [("a", 1), ("a", 2), ("a", 1), ("a", 1)])
    assert verdict.ok
    assert (verdict.total.duplicates, verdict.total.out_of_order) == (2, 0)


def test_a_first_arrival_behind_a_later_one_is_out_of_order():
    verdict = judge([("a", n) for n in (1, 2, 3)], [("a", 1), ("a", 3), ("a", 2)])
    assert not verdict.ok
    assert verdict.total.out_of_order == 1


def test_devices_have_no_order_among_each_other():
    assert judge([("a", 1), ("b", 1)], [("b", 1), ("a", 1)]).ok


def test_what_arrived_without_an_acknowledgement_is_extra_and_allowed():
    verdict = judge([("a", 1)], [("a", 1), ("a", 2), ("c", 1)])
    assert verdict.ok
    assert verdict.total.extra == 2


def test_only_a_few_examples_of_losses_are_kept():
    verdict = judge([("a", n) for n in range(1, 1000)], [])
    assert verdict.total.lost == 999
    assert verdict.devices[0].lost_examples == tuple(range(1, EXAMPLES_MAX + 1))


def test_a_tally_knows_whether_anything_is_still_missing():
    tally = Tally()
    tally.deliver("a", 1)
    assert not tally.lacks_any_of([("a", 1)])
    assert tally.lacks_any_of([("a", 1), ("a", 2)])
    assert tally.lacks_any_of([("b", 1)])


identities = st.tuples(st.sampled_from("abc"), st.integers(1, 12))


@given(st.lists(identities), st.lists(identities))
def test_the_counts_agree_with_a_plain_reading_of_the_lists(acknowledged, delivered):
    verdict = judge(acknowledged, delivered)
    promised, arrived = set(acknowledged), Counter(delivered)
    first_arrivals = list(dict.fromkeys(delivered))
    behind = sum(
        any(device == other and n < later for other, later in first_arrivals[:position])
        for position, (device, n) in enumerate(first_arrivals)
    )
    assert verdict.total.acknowledged == len(promised)
    assert verdict.total.received == len(arrived)
    assert verdict.total.lost == len(promised - arrived.keys())
    assert verdict.total.extra == len(arrived.keys() - promised)
    assert verdict.total.duplicates == len(delivered) - len(arrived)
    assert verdict.total.out_of_order == behind
    assert verdict.ok == (promised <= arrived.keys() and behind == 0)
    assert sum(device.lost for device in verdict.devices) == verdict.total.lost


def test_an_event_is_identified_inside_a_cloudevents_envelope():
    inner = {"device": "a", "n": 3}
    assert identify(json.dumps({"specversion": "1.0", "data": inner}).encode()) == ("a", 3)
    packed = base64.b64encode(json.dumps(inner).encode()).decode()
    assert identify(json.dumps({"specversion": "1.0", "data_base64": packed}).encode()) == ("a", 3)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\xfe",
        b"21.5",
        b"[]",
        b"{}",
        b'{"device":"a"}',
        b'{"device":"a","n":0}',
        b'{"device":"a","n":true}',
        b'{"device":"a","n":"1"}',
        b'{"device":7,"n":1}',
        b'{"specversion":"1.0","data":"text"}',
        b'{"specversion":"1.0","data_base64":"&"}',
        b'{"specversion":"1.0"}',
        b"[" * 100_000,
    ],
)
def test_a_foreign_payload_is_nobodys(payload):
    assert identify(payload) is None
