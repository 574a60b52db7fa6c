"""What is installed is one set of files: pyproject.toml, constraints.txt and requirements.lock say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
BUILD = {"pip", "setuptools"}
"""Wanted for installing, whatever versions the tests run with."""


def without_comments(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]


def locked() -> dict[str, tuple[Requirement, list[str]]]:
    """What the lock names: name to requirement and hashes."""
    found = {}
    for line in without_comments(LOCK):
        requirement, *hashes = line.split("--hash=")
        parsed = Requirement(requirement)
        found[canonicalize_name(parsed.name)] = parsed, [each.strip() for each in hashes]
    return found


def wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return [Requirement(each) for each in project["project"]["dependencies"] + project["build-system"]["requires"]]


def version(requirement: Requirement) -> str:
    (only,) = requirement.specifier
    assert only.operator == "=="
    return only.version


@pytest.mark.parametrize("requirement", wanted(), ids=lambda requirement: requirement.name)
def test_the_lock_has_what_the_project_wants_in_a_version_that_it_takes(requirement: Requirement) -> None:
    found, _ = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version(found)), "write the lock anew: make lock"
    assert (found.marker is None) == (requirement.marker is None)


def test_the_lock_names_the_versions_that_the_tests_run_with() -> None:
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    tested = {canonicalize_name(each.name): version(each) for each in map(Requirement, without_comments(constraints))}
    installed = {name: version(requirement) for name, (requirement, _) in locked().items() if name not in BUILD}
    assert installed == {name: tested.get(name) for name in installed}, "write the lock anew: make lock"


def test_everything_in_the_lock_is_held_to_hashes() -> None:
    for name, (_, hashes) in locked().items():
        assert hashes, name
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each) for each in hashes), name


def test_the_lock_leaves_it_to_the_machine_where_packages_come_from() -> None:
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host", LOCK)
