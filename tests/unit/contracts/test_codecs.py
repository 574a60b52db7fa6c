"""Payloads become values strictly; whatever is no payload of its codec is a ValueError and nothing else."""

from __future__ import annotations

import math
from contextlib import suppress

import cbor2
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contracts.codecs import DEPTH_MAX, decoder_of

JSON, NUMBER, TEXT, CBOR, MSGPACK, RAW = (
    decoder_of(codec)  # type: ignore[arg-type]
    for codec in ("json", "number", "text", "cbor", "msgpack", "raw")
)
DECODERS = [JSON, NUMBER, TEXT, CBOR, MSGPACK, RAW]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "value"),
    [(b' {"a" : [1, 2.5, true, null, "\\u00e9"]} ', {"a": [1, 2.5, True, None, "é"]}), (b"21", 21), (b'"x"', "x"),
     (b'{"a": {"b": 1}, "c": "d:e"}', {"a": {"b": 1}, "c": "d:e"}), (b"-0.5e1", -5.0)],
)  # fmt: skip
def test_json_is_read(payload: bytes, value: object) -> None:
    assert JSON(payload) == value


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"NaN", b"-Infinity", b'{"a": NaN}', b"{'a': 1}", b'{"a": 1,}', b"// x\n1", b"01", b"1 2", b"\xff",
     b'"\xff"', b'"\\ud800"', b"\xef\xbb\xbf1", b'{"a":1}\0', b"[" * 300 + b"]" * 300],
)  # fmt: skip
def test_what_is_not_quite_json_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        JSON(payload)


@pytest.mark.parametrize(
    "payload",
    [b'{"a":1,"a":2}', b'{"a":1,"a" : 2}', b'{"a":1,"\\u0061":2}', b'{"x":{"a":1,"a":2}}', b'[{"a":1,"a":1}]',
     b'{"a":":","a":"\\u003a"}', b'{"a":1,"b:":2,"a":3}'],
)  # fmt: skip
def test_a_key_that_stands_twice_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        JSON(payload)


@pytest.mark.parametrize(
    ("payload", "value"),
    [(b"21", 21), (b" 21.50\r\n", 21.5), (b"+5", 5), (b"-.5", -0.5), (b"5.", 5.0), (b"1e3", 1000.0), (b"007", 7)],
)
def test_a_number_alone_is_read(payload: bytes, value: float) -> None:
    number = NUMBER(payload)
    assert number == value
    assert type(number) is type(value)


@pytest.mark.parametrize(
    "payload", [b"", b" ", b"x", b"21 C", b"1,5", b"nan", b"inf", b"1e999", b"0x10", b"1_0", b"true", b".", b"9" * 5000]
)
def test_what_is_no_number_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        NUMBER(payload)


def test_text_is_utf_8_and_raw_is_anything() -> None:
    assert TEXT("grün".encode()) == "grün"
    with pytest.raises(ValueError):
        TEXT(b"\xff")
    assert RAW(b"\xff\x00") == b"\xff\x00"


@given(VALUES)
@settings(deadline=None)
def test_cbor_and_messagepack_hold_what_json_holds(value: object) -> None:
    assert CBOR(cbor2.dumps(value)) == value
    assert MSGPACK(msgpack.packb(value)) == value


def test_cbor_times_count_as_what_they_hold() -> None:
    text = "2026-11-23T15:00:00Z"
    tagged = {"t": cbor2.CBORTag(0, text), "n": cbor2.CBORTag(1, 5)}
    assert CBOR(cbor2.dumps(cbor2.CBORTag(55799, tagged))) == {"t": text, "n": 5}
    assert CBOR(cbor2.dumps({"b": b"\x00"})) == {"b": b"\x00"}


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x01\x02", bytes.fromhex("a2616101616102"), bytes.fromhex("a10101"), b"\x61\xff", b"\xf7", b"\xe0",
     b"\x9b\x00\x00\x00\xff\xff\xff\xff\xff", b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
     b"\x81" * (DEPTH_MAX + 2) + b"\x01",
     cbor2.dumps(math.nan), cbor2.dumps(math.inf), cbor2.dumps(2**70), cbor2.dumps({"a": [2**64]}),
     *(cbor2.dumps({"a": cbor2.CBORTag(tag, content)}) for tag, content in
       ((4, [1, 2]), (28, [1]), (29, 0), (35, "("), (37, b"0" * 16), (258, ["a"]), (999_999, 1)))],
)  # fmt: skip
def test_cbor_that_json_has_no_word_for_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        CBOR(payload)


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x01\x02", b"\x82\xa1a\x01\xa1a\x02", b"\x81\x01\x01", b"\x81\xc4\x01a\x01", b"\xa1\xff", b"\xc1",
     b"\xdf\xff\xff\xff\xff", b"\x91" * (DEPTH_MAX + 2) + b"\x01", b"\x91" * 5000 + b"\x01",
     b"\xd6\xff\x00\x00\x00\x01",
     msgpack.packb(math.nan), msgpack.packb({"a": msgpack.ExtType(5, b"x")})],
)  # fmt: skip
def test_messagepack_that_json_has_no_word_for_is_refused(payload: bytes) -> None:
    with pytest.raises(ValueError):
        MSGPACK(payload)


@given(st.binary(max_size=300))
@settings(deadline=None, max_examples=300)
def test_no_bytes_make_a_codec_raise_anything_else(payload: bytes) -> None:
    for decode in DECODERS:
        with suppress(ValueError, RecursionError):
            decode(payload)
