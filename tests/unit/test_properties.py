"""MQTT 5 properties: what the codec writes is read, and nothing else does any harm."""

from __future__ import annotations

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import properties

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NAME = TEXT.filter(bool)


def written(**fields: object) -> bytes:
    """The properties of a PUBLISH, as the codec writes them."""
    packet = mqtt5.PublishPacket("t", b"", **fields).write()
    body = packet[2:] if packet[1] < 0x80 else packet[3:]
    rest = body[3:]
    return rest[1:] if rest[0] < 0x80 else rest[2:]


@given(
    user=st.lists(st.tuples(NAME, TEXT), max_size=5),
    content_type=TEXT,
    is_text=st.booleans(),
    expiry=st.none() | st.integers(0, 2**32 - 1),
    alias=st.none() | st.integers(1, 65_535),
    subscriptions=st.lists(st.integers(1, (1 << 28) - 1), max_size=3),
)
def test_what_the_codec_writes_is_read(
    user: list[tuple[str, str]],
    content_type: str,
    is_text: bool,
    expiry: int | None,
    alias: int | None,
    subscriptions: list[int],
) -> None:
    data = written(
        user_properties=user,
        content_type=content_type or None,
        payload_format_indicator=int(is_text),
        message_expiry_interval=expiry,
        topic_alias=alias,
        subscription_ids=subscriptions,
        response_topic="reply/to",
        correlation_data=b"\xff\x00",
    )
    assert properties.beside(data) == (is_text, content_type, tuple(user))
    numbers = [value for identifier, value in properties.read(data) if identifier == 0x0B]
    assert numbers == subscriptions


@given(st.lists(st.tuples(NAME, TEXT), max_size=5))
def test_user_properties_are_written_as_the_codec_does(user: list[tuple[str, str]]) -> None:
    assert properties.write_user(user) == written(user_properties=user)


@given(st.binary(max_size=60))
def test_no_bytes_stop_what_goes_on_with_an_event(data: bytes) -> None:
    found = properties.beside(data)
    for name, value in found.user:
        assert (name + value).encode()


@given(st.lists(st.tuples(NAME, TEXT), min_size=1, max_size=3), st.data())
def test_what_stands_before_the_damage_counts(user: list[tuple[str, str]], data: st.DataObject) -> None:
    whole = properties.write_user(user)
    cut = data.draw(st.integers(0, len(whole) - 1))
    found = properties.beside(whole[:cut]).user
    assert found == tuple(user[: len(found)])
    assert len(found) < len(user)


def test_text_that_is_not_utf_8_is_left_out() -> None:
    spoilt = (
        b"\x26\x00\x01a\x00\x01\xff" + b"\x26\x00\x01b\x00\x01\x00" + b"\x26\x00\x00\x00\x01x" + b"\x03\x00\x01\xff"
    )
    assert properties.beside(spoilt + properties.write_user([("c", "d")])) == (False, "", (("c", "d"),))


@pytest.mark.parametrize("data", [b"\x99", b"\x02\x00", b"\x26\x00\x05ab", b"\x0b\xff\xff\xff\xff\x01", b"\x0b\x80"])
def test_what_is_malformed_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"malformed|unknown|four bytes"):
        list(properties.read(data))


def test_a_name_that_is_too_long_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="65535"):
        properties.write_user([("n" * 65_536, "")])
