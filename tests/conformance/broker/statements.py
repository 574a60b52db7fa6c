"""The identifiers of all normative statements of MQTT 3.1.1 (OASIS Standard, 29 October 2014, appendix B).

The one place that says which there are; docs/mqtt-conformance.md and the cases are checked against it. Two are printed
in the standard with a slip of the pen and named here as the others are: `MQTT-3.1.2.7` and `MQTT-3-8.3-4`.
"""

from __future__ import annotations

_HOW_MANY = {
    "1.5.3": 3,
    "2.2.2": 2,
    "2.3.1": 7,
    "3.1.0": 2,
    "3.1.2": 24,
    "3.1.3": 11,
    "3.1.4": 5,
    "3.2.0": 1,
    "3.2.2": 6,
    "3.3.1": 12,
    "3.3.2": 3,
    "3.3.4": 1,
    "3.3.5": 2,
    "3.6.1": 1,
    "3.8.1": 1,
    "3.8.3": 4,
    "3.8.4": 6,
    "3.9.3": 2,
    "3.10.1": 1,
    "3.10.3": 2,
    "3.10.4": 6,
    "3.12.4": 1,
    "3.14.1": 1,
    "3.14.4": 3,
    "4.1.0": 2,
    "4.3.1": 1,
    "4.3.2": 2,
    "4.3.3": 2,
    "4.4.0": 1,
    "4.5.0": 2,
    "4.6.0": 6,
    "4.7.1": 3,
    "4.7.2": 1,
    "4.7.3": 4,
    "4.8.0": 2,
    "6.0.0": 4,
    "7.0.0": 2,
    "7.1.1": 1,
    "7.1.2": 1,
}
"""Statements in each section; they are numbered from 1."""

STATEMENTS = tuple(f"MQTT-{section}-{number}" for section, count in _HOW_MANY.items() for number in range(1, count + 1))
