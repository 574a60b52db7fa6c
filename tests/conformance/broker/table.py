"""All the cases, from the specification's sections in their order."""

from __future__ import annotations

from tests.conformance.broker import (
    cases_connect,
    cases_packets,
    cases_publish,
    cases_retained,
    cases_sessions,
    cases_subscribe,
    cases_wills,
)

CASES = [
    *cases_packets.CASES,
    *cases_connect.CASES,
    *cases_sessions.CASES,
    *cases_wills.CASES,
    *cases_publish.CASES,
    *cases_retained.CASES,
    *cases_subscribe.CASES,
]
