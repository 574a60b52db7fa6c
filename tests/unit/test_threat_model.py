"""docs/threat-model.md names tests that exist, for every threat, and documents that are there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "docs" / "threat-model.md"
TEXT = MODEL.read_text(encoding="utf-8")


class Threat(NamedTuple):
    number: str
    threat: str
    done: str
    shown_by: str
    left: str


THREATS = [
    Threat(*(cell.strip() for cell in line.strip("|").split("|")))
    for line in TEXT.splitlines()
    if re.match(r"\| [A-Z]\d+ \|", line)
]


@pytest.mark.parametrize("threat", THREATS, ids=lambda threat: threat.number)
def test_a_threat_names_tests_that_exist_or_says_that_nothing_shows_it(threat: Threat) -> None:
    named = re.findall(r"`(tests/[^`:]+)::(\w+)`", threat.shown_by)
    assert named or threat.shown_by.startswith("nothing: ")
    assert len(named) == threat.shown_by.count("`") // 2, "a test is named as `file::test`"
    for file, test in named:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(rf"^(async )?def {test}\(", text, re.MULTILINE), f"{file}::{test}"


def test_threats_are_numbered_once_and_references_lead_to_them() -> None:
    numbers = [threat.number for threat in THREATS]
    assert len(numbers) == len(set(numbers))
    standards = TEXT.partition("## Against the standards")[2]
    referred = set(re.findall(r"\b[NDUMS]\d+\b", standards))
    assert referred <= set(numbers), referred - set(numbers)


def test_every_test_of_attacks_belongs_to_a_threat() -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / "security").glob("test_*.py")}
    assert files <= set(re.findall(r"`(tests/[^`:]+)::", TEXT))


@pytest.mark.parametrize("document", [MODEL, ROOT / "SECURITY.md"], ids=lambda path: path.name)
def test_links_lead_to_documents(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (document.parent / link).is_file()] == []
