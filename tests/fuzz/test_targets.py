"""Framing, CONNECT and configuration files, given what the corpus has, that spoilt, and any bytes.

`make fuzz-guided` looks for more, guided by the code that is reached, and keeps what it finds in the corpus.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.kept import kept
from tests.fuzz.targets import TARGETS

CORPUS = {name: kept(name) for name in TARGETS}
PIECES = st.binary(max_size=8) | st.sampled_from([b"\0", b"\xff", b"\x80\x01", b"\n", b'"', b"="])


@st.composite
def spoilt(draw: st.DrawFn, inputs: list[bytes]) -> bytes:
    """An input of the corpus after a few mutations: pieces of it replaced, removed, doubled or borrowed."""
    data = draw(st.sampled_from(inputs))
    for _ in range(draw(st.integers(1, 4))):
        begin, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        other = draw(st.sampled_from(inputs))
        put = draw(st.one_of(PIECES, st.just(data[begin:end] * 2), st.just(other[begin:end])))
        data = data[:begin] + put + data[end:]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_kept_is_no_trouble(name: str) -> None:
    assert len(CORPUS[name]) > 20
    for data in CORPUS[name]:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_was_kept_is_no_trouble_when_it_is_spoilt(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(spoilt(CORPUS[name])))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_no_trouble(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_a_target_tells_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.broker.packets._decode", lambda raw: raw.decode(errors="replace"))
    with pytest.raises(AssertionError):
        TARGETS["connect"](b"\0\4MQTT\4\2\0\0\0\1\xff")
    monkeypatch.setattr("gateway.broker.connection.Connection._check_first", lambda *_: None)
    monkeypatch.setattr(
        "gateway.broker.connection.Connection.violate", lambda connection, how: setattr(connection, "violation", how)
    )
    with pytest.raises(AssertionError, match="does not end its connection"):
        TARGETS["framing"](b"\0\xf0\0")
