"""Contracts for tests: what they say is in the payload itself."""

from __future__ import annotations

import json

from gateway.contracts.verdict import Stamp, Violation


class SaidByPayload:
    """Fulfils what ingest needs of `Contracts`.

    `{"device": "d", "number": 5}` is accepted and numbered, `{"rule": "max", "policy": "flag"}` violates, and whatever
    is no JSON object has no contract.
    """

    stamped = frozenset("c")

    def __bool__(self):
        return True

    def judge(self, topic, payload):
        if not payload.startswith(b"{"):
            return None
        told = json.loads(payload)
        if "rule" in told:
            policy = told.get("policy", "quarantine")
            return Violation("c", "1", told.get("device", "d"), "x", told["rule"], str(told.get("value", "")), policy)
        return Stamp("c", told.get("device", "d"), told.get("number"), told.get("time_ns"))


def numbered(number, device="d", **more):
    return json.dumps({"device": device, "number": number, **more}).encode()


def violating(rule="max", **more):
    return json.dumps({"rule": rule, **more}).encode()
