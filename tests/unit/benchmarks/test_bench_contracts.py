"""The measure of contracts: every case judges what it says it judges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.contracts import TOPIC, cases, microseconds
from gateway.contracts.build import build
from gateway.contracts.config import ContractConfig
from gateway.contracts.verdict import Stamp, Violation

if TYPE_CHECKING:
    from pathlib import Path


def test_each_case_is_accepted_but_the_one_that_violates(tmp_path: Path) -> None:
    for case in cases(tmp_path):
        section = {"topic": "sensors/{device}/climate", **case.contract}
        contracts = build({"climate": ContractConfig.model_validate(section)})
        verdict = contracts.judge(TOPIC, case.payload)
        assert isinstance(verdict, Violation) == ("violation" in case.name)
        assert isinstance(verdict, Stamp) == ("time and number" in case.name)
        assert microseconds(contracts, case.payload, 10) >= 0
