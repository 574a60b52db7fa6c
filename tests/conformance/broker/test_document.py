"""docs/mqtt-conformance.md names every statement, and tests and cases that are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conformance.broker.statements import STATEMENTS
from tests.conformance.broker.table import CASES

ROOT = Path(__file__).parents[3]
COVERS = {case.name: case.covers for case in CASES}


class Row(NamedTuple):
    statement: str
    text: str
    who: str
    tested_by: str

    @property
    def names(self) -> list[str]:
        return re.findall(r"`([^`]+)`", self.tested_by)

    @property
    def applies(self) -> bool:
        return not self.tested_by.startswith("does not apply: ")


TABLE = (ROOT / "docs" / "mqtt-conformance.md").read_text(encoding="utf-8").split("\n## ")[0].splitlines()
ROWS = [Row(*line.removeprefix("| ").removesuffix(" |").split(" | ")) for line in TABLE if line.startswith("| MQTT-")]


def test_every_statement_of_the_standard_has_one_row() -> None:
    assert [row.statement for row in ROWS] == list(STATEMENTS)
    assert len(STATEMENTS) == 141
    assert {row.who for row in ROWS} == {"server", "client", "both"}


@pytest.mark.parametrize("row", [row for row in ROWS if row.applies], ids=lambda row: row.statement)
def test_a_statement_names_tests_that_exist_and_cases_that_cover_it(row: Row) -> None:
    assert row.names
    for name in row.names:
        if "::" not in name:
            assert row.statement in COVERS[name]
            continue
        file, test = name.split("::")
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), name


def test_the_server_s_statements_are_tested_and_the_others_say_why_not() -> None:
    ours = [row for row in ROWS if row.who != "client"]
    assert sum(row.applies for row in ours) / len(ours) >= 0.95
    assert all(len(row.tested_by) > len("does not apply: ...") for row in ROWS)
