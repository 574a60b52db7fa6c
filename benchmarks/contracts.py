"""Validations a second on one core, by how a contract is told and how its payload is written.

`python -m benchmarks.contracts`. It counts processor time, so that what else the machine does matters little. The exit
code is 0 whatever the figures are.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cbor2
import msgpack
from pydantic import BaseModel, ConfigDict, Field

from gateway.contracts.build import build
from gateway.contracts.config import ContractConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.contracts.contracts import Contracts

GOAL = 100_000
TOPIC = "sensors/d1/climate"
PATTERN = "sensors/{device}/climate"
ROUNDS = 5
FIELDS = {
    "temperature": {"type": "number", "unit": "Cel", "min": -40, "max": 85},
    "humidity": {"type": "number", "unit": "%", "min": 0, "max": 100},
    "sequence": {"type": "integer", "min": 0},
    "state": {"type": "string", "enum": ["ok", "low battery"]},
}
SMALL = {"temperature": 21.5, "humidity": 48.25, "sequence": 123456, "state": "ok"}
NESTED = {
    **SMALL,
    "at": "2026-11-23T15:00:00Z",
    "position": {"x": 1.5, "y": 2.5},
    "samples": [21.5, 21.25, 21.0, 20.75, 20.5, 20.25, 20.0, 19.75],
}
NESTED_FIELDS = {
    **FIELDS,
    "at": "string",
    "position": {"type": "object", "fields": {"x": "number", "y": "number"}},
    "samples": {"type": "array", "items": "number", "items_max": 16},
}


class Climate(BaseModel):
    """The same contract as a model."""

    model_config = ConfigDict(extra="ignore")

    temperature: float = Field(ge=-40, le=85)
    humidity: float = Field(ge=0, le=100)
    sequence: int = Field(ge=0)
    state: str


class Case(NamedTuple):
    """A line of the table."""

    name: str
    contract: dict[str, object]
    payload: bytes


def cases(folder: Path) -> list[Case]:
    """Everything that is measured."""
    schema_file = folder / "climate.json"
    in_schema = build({"climate": _config({"fields": FIELDS})}).all[0].json_schema()
    schema_file.write_text(json.dumps(in_schema))
    small, nested = json.dumps(SMALL).encode(), json.dumps(NESTED).encode()
    stamped: dict[str, object] = {
        "fields": {**FIELDS, "at": "number"},
        "sequence_field": "sequence",
        "time_field": "at",
    }
    return [
        Case("fields, json", {"fields": FIELDS}, small),
        Case("fields, json, with a violation", {"fields": FIELDS}, small.replace(b"21.5", b"99.5")),
        Case("fields, json, time and number told", stamped, json.dumps({**SMALL, "at": 1795446000.25}).encode()),
        Case("fields, json, nested", {"fields": NESTED_FIELDS}, nested),
        Case("fields, cbor", {"fields": FIELDS, "codec": "cbor"}, cbor2.dumps(SMALL)),
        Case("fields, msgpack", {"fields": FIELDS, "codec": "msgpack"}, msgpack.packb(SMALL)),
        Case("schema_file, json", {"schema_file": str(schema_file)}, small),
        Case("model, json", {"model": f"{Climate.__module__}:{Climate.__name__}"}, small),
        Case("value, number", {"codec": "number", "value": {"min": -40, "max": 85}}, b"21.5"),
        Case("value, text", {"codec": "text", "value": {"enum": ["ON", "OFF"]}}, b"ON"),
        Case("raw", {"codec": "raw"}, b"\x00" * 100),
        Case("no contract", {"topic": "other", "codec": "raw"}, small),
    ]


def _config(contract: dict[str, object]) -> ContractConfig:
    return ContractConfig.model_validate({"topic": PATTERN, **contract})


def microseconds(contracts: Contracts, payload: bytes, number: int) -> float:
    """Processor time of a judgement: the best of some rounds, without that of the loop."""
    judge = contracts.judge
    return max(0.0, _best(lambda: judge(TOPIC, payload), number) - _best(lambda: None, number))


def _best(call: Callable[[], object], number: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(number):
            call()
        best = min(best, (time.thread_time() - began) / number * 1e6)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contracts", description=__doc__)
    parser.add_argument("--number", type=int, default=50_000, help="judgements of a round")
    parser.add_argument("--quick", action="store_true", help="short rounds: to see that it works")
    options = parser.parse_args()
    number = 2_000 if options.quick else options.number
    print(f"{'contract':36} {'bytes':>5} {'µs each':>8} {'a second':>10}")
    yardstick = json.dumps(SMALL).encode()
    each = _best(lambda: json.loads(yardstick), number)
    print(f"{'to compare: json.loads alone':36} {len(yardstick):>5} {each:>8.2f} {1e6 / each:>10,.0f}")
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(Path(folder)):
            contracts = build({"climate": _config(case.contract)})
            each = microseconds(contracts, case.payload, number)
            rate = 1e6 / each if each else float("inf")
            met = "" if rate >= GOAL else f"  below {GOAL:,}"
            print(f"{case.name:36} {len(case.payload):>5} {each:>8.2f} {rate:>10,.0f}{met}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
