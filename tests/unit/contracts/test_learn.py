"""A contract that is learned from payloads loads as it is, and accepts what it was learned from."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import cbor2
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.model import Config
from gateway.contracts.build import build
from gateway.contracts.learn import Sample, codec_of, learn, name_of, with_device
from gateway.contracts.learned import with_margin
from gateway.contracts.toml_text import inline

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.contracts.contracts import Contracts

BEGIN_NS = 1_790_000_000_000_000_000


def samples(payloads: Iterable[bytes], device: str = "d1", topic: str = "sensors/d1/t") -> list[Sample]:
    return [Sample(device, topic, each, BEGIN_NS + n * 10**9) for n, each in enumerate(payloads)]


def loaded(text: str) -> Contracts:
    values = {"gateway": {"id": "edge", "data_dir": "data"}} | tomllib.loads(text)
    return build(Config.model_validate(values).contracts, "refuse")


def section(text: str) -> dict[str, Any]:
    (found,) = tomllib.loads(text)["contracts"].values()
    return found


def objects(*values: object) -> list[Sample]:
    return samples(json.dumps(value).encode() for value in values)


def accepts_all(text: str, learned_from: Iterable[Sample]) -> bool:
    contracts = loaded(text)
    verdicts = [(each, contracts.judge(each.topic, each.payload)) for each in learned_from]
    return all(said is None or hasattr(said, "time_ns") for _, said in verdicts)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=8), json_values, max_size=5), min_size=1, max_size=12))
def test_any_json_objects_are_accepted_by_what_is_learned_from_them(values: list[dict[str, Any]]) -> None:
    learned_from = objects(*values)
    assert accepts_all(learn("sensors/+/t", learned_from), learned_from)


@settings(deadline=None)
@given(st.lists(json_values, min_size=1, max_size=12))
def test_any_json_values_are_accepted_by_what_is_learned_from_them(values: list[Any]) -> None:
    learned_from = objects(*values)
    assert accepts_all(learn("sensors/+/t", learned_from), learned_from)


@settings(deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12))
def test_any_bytes_are_accepted_by_what_is_learned_from_them(payloads: list[bytes]) -> None:
    learned_from = samples(payloads)
    assert accepts_all(learn("sensors/d1/t", learned_from), learned_from)


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18), min_size=1))
def test_any_numbers_are_accepted_by_what_is_learned_from_them(numbers: list[float]) -> None:
    learned_from = samples(repr(number).encode() for number in numbers)
    text = learn("sensors/d1/t", learned_from)
    assert section(text)["codec"] == "number"
    assert accepts_all(text, learned_from)


@settings(deadline=None)
@given(st.floats(-1e15, 1e15), st.floats(-1e15, 1e15))
def test_limits_never_shut_out_what_was_seen(one: float, other: float) -> None:
    least, most = with_margin(min(one, other), max(one, other))
    assert least <= min(one, other) <= max(one, other) <= most


def test_limits_have_room_for_half_of_the_range_and_keep_the_sign() -> None:
    assert with_margin(18.2, 24.6) == (15, 28)
    assert with_margin(0, 100) == (0, 150)
    assert with_margin(3, 40) == (0, 59)
    assert with_margin(-80, -60) == (-90, -50)
    assert with_margin(-8, -1) == (-12, 0)
    assert with_margin(5, 5) == (2.5, 7.5)


def test_what_is_always_there_is_required_and_what_repeats_itself_is_a_list() -> None:
    values = [{"t": 20 + n / 10, "n": n, "mode": "heat" if n % 2 else "cool", "on": n > 5} for n in range(20)]
    values[3]["note"] = "a word that is said once"
    values[4]["t"] = None
    fields = section(learn("sensors/d1/t", objects(*values)))["fields"]
    assert fields == {
        "t": {"type": "number", "min": 19, "max": 23, "nullable": True},
        "n": {"type": "integer", "min": 0, "max": 29},
        "mode": {"type": "string", "enum": ["cool", "heat"]},
        "on": {"type": "boolean"},
        "note": {"type": "string", "length_max": 48, "required": False},
    }


def test_objects_and_arrays_are_looked_into() -> None:
    value = {"wifi": {"rssi": -60, "more": {"x": 1}}, "samples": [{"v": 1.5}, {"v": 2.5, "bad": True}], "empty": []}
    fields = section(learn("sensors/d1/t", objects(value, value)))["fields"]
    assert fields["wifi"]["fields"]["rssi"] == {"type": "integer", "min": -90, "max": -30}
    assert fields["wifi"]["fields"]["more"]["fields"]["x"]["type"] == "integer"
    item = fields["samples"]["items"]
    assert item["fields"]["v"] == {"type": "number", "min": 1, "max": 3}
    assert item["fields"]["bad"] == {"type": "boolean", "required": False}
    assert fields["empty"] == {"type": "array", "items_max": 8}


def test_numbers_and_times_of_the_device_are_suggested_and_not_in_force() -> None:
    values = [
        {"seq": 100 + n, "ts": (BEGIN_NS // 10**6) + 1000 * n, "uptime": 7 * n, "at": "2026-09-21T14:13:20Z"}
        for n in range(20)
    ]
    text = learn("sensors/d1/t", objects(*values))
    assert '# sequence_field = "seq"  # one more than the last time in 19 of 19' in text
    assert '# time_field = "ts"' in text
    assert '# time_unit = "ms"' in text
    assert '# time_field = "at"' in text
    assert "uptime" not in "".join(line for line in text.splitlines() if line.startswith("#"))
    assert not {"sequence_field", "time_field"} & set(section(text))
    wanted = text.replace("# sequence_field", "sequence_field").replace('# time_field = "ts"', 'time_field = "ts"')
    said = loaded(wanted.replace("# time_unit", "time_unit")).judge("sensors/d1/t", json.dumps(values[0]).encode())
    assert (said.sequence, said.time_ns) == (100, BEGIN_NS)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("payloads", "codec"),
    [
        ([b"21.5", b"22", b"-1e3"], "number"),
        ([b"21.5", b'"x"'], "json"),
        ([b"on", b"off"], "text"),
        ([b"\xff\x00", b"\x80"], "raw"),
        ([cbor2.dumps({"t": n}) for n in range(3)], "cbor"),
        ([msgpack.packb({"t": n}) for n in range(3)], "msgpack"),
    ],
)
def test_the_codec_is_found(payloads: list[bytes], codec: str) -> None:
    assert codec_of(payloads) == codec
    learned_from = samples(payloads)
    text = learn("sensors/d1/t", learned_from)
    assert section(text).get("codec", "json") == codec
    assert accepts_all(text, learned_from)


def test_empty_payloads_are_left_out_and_counted() -> None:
    text = learn("sensors/d1/t", samples([b"1", b""]))
    assert "# Learned from 1 event(s)" in text
    assert "# 1 empty payload(s)" in text
    with pytest.raises(ValueError, match="to learn from"):
        learn("sensors/d1/t", samples([b""]))


def test_payloads_that_are_not_of_the_codec_asked_for_are_an_error() -> None:
    with pytest.raises(ValueError, match="not every payload is json"):
        learn("sensors/d1/t", samples([b"on"]), codec="json")


def test_the_level_that_always_is_the_device_gets_its_name() -> None:
    heard = [Sample(each, f"sensors/{each}/t", b"1", 0) for each in ("a", "b")]
    assert with_device("sensors/+/t", heard) == "sensors/{device}/t"
    assert with_device("sensors/{device}/t", heard) == "sensors/{device}/t"
    assert with_device("sensors/+/t", [*heard, Sample("x", "sensors/c/t", b"1", 0)]) == "sensors/+/t"
    assert with_device("+/+/#", heard) == "+/{device}/#"


def test_a_name_is_made_of_the_topic() -> None:
    assert name_of("sensors/{device}/temperature") == "sensors-temperature"
    assert name_of("tele/+/SENSOR/#") == "tele-SENSOR"
    assert name_of("+/#") == "learned"


@settings(deadline=None)
@given(st.recursive(st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=5))
def test_toml_reads_back_what_is_written(value: object) -> None:
    assert tomllib.loads(f"x = {inline(value)}")["x"] == value
