"""Which event a released one was, in its properties."""

from __future__ import annotations

from gateway.ingest.originals import is_release, with_original
from gateway.properties import beside, write_user


def test_a_release_keeps_its_properties_and_names_the_original():
    released = with_original(write_user([("traceparent", "00-1")]), "abc.5", "2026-01-01T00:00:00Z")
    assert beside(released).user == (
        ("traceparent", "00-1"),
        ("original", "abc.5"),
        ("originaltime", "2026-01-01T00:00:00Z"),
    )
    assert is_release(released)


def test_others_are_no_release():
    for properties in (None, b"", write_user([("origin", "original")]), b"\x26\xff"):
        assert not is_release(properties)
