"""`gateway demo`: what a newcomer is shown is true."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gateway", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


def test_the_demo_survives_its_outage_and_its_power_cut_without_a_loss(tmp_path: Path) -> None:
    done = demo("--duration", "8", "--json", "--keep", str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["ok"] is True
    assert (verdict["lost"], verdict["out_of_order"]) == (0, 0)
    assert verdict["acknowledged"] > 0
    assert "Traceback" not in done.stderr
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert {"edge.log", "upstream.log", "ledger.db"} <= kept


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--duration", "1"], 2, "--duration"),
        (["--keep", "."], 1, "Name a folder that does not exist yet"),
        (["--fleet", "nowhere.toml", "--duration", "4"], 1, "nowhere"),
    ],
)
def test_a_demo_that_cannot_be_given_says_why(arguments: list[str], code: int, told: str) -> None:
    done = demo(*arguments)
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr
