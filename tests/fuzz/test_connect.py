"""Any CONNECT is read as it was meant, or is a violation."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.broker import packets
from gateway.broker.packets import Connect, Will
from gateway.errors import ProtocolViolation
from gateway.topics import is_valid_topic
from tests.site.raw_client import connect_body

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
WILLS = st.builds(Will, TEXT.filter(is_valid_topic), st.binary(max_size=30), st.integers(0, 2), st.booleans())
CONNECTS = st.builds(
    Connect,
    protocol=st.just("MQTT"),
    level=st.just(4),
    client_id=TEXT,
    clean_session=st.booleans(),
    keep_alive_s=st.integers(0, 65_535),
    username=TEXT,
    password=st.none() | st.binary(max_size=30),
    will=st.none() | WILLS,
)


def written(connect: Connect) -> bytes:
    return connect_body(
        connect.client_id,
        clean=connect.clean_session,
        keep_alive_s=connect.keep_alive_s,
        username=connect.username,
        password=connect.password,
        will=None if connect.will is None else tuple(connect.will),
    )


@given(CONNECTS)
def test_a_connect_is_read_as_it_was_written(connect: Connect) -> None:
    assert packets.read_connect(written(connect)) == connect


@given(CONNECTS, st.data())
def test_a_connect_with_a_bit_flipped_is_another_one_or_a_violation(connect: Connect, data: st.DataObject) -> None:
    body = bytearray(written(connect))
    body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with suppress(ProtocolViolation):
        assert packets.read_connect(bytes(body)) != connect


@given(CONNECTS, st.data())
def test_a_connect_that_is_cut_or_goes_on_is_a_violation(connect: Connect, data: st.DataObject) -> None:
    body = written(connect)
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    for wrong in (cut, body + data.draw(st.binary(min_size=1, max_size=5))):
        with pytest.raises(ProtocolViolation):
            packets.read_connect(wrong)
