"""What is said of the wear of a card is arithmetic on what the kernel counts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gateway.health import wear

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_wear_is_extrapolated_to_days_and_years() -> None:
    found = wear.estimate(written_bytes=1_000_000, events=500, uptime_s=3600, endurance_tb=30)
    assert found.bytes_per_event == 2000
    assert found.bytes_per_day == 24_000_000
    assert found.card_years == round(30e12 / 24e6 / 365.25, 1)


def test_the_first_second_tells_no_pace() -> None:
    found = wear.estimate(written_bytes=1_000_000, events=500, uptime_s=0.5, endurance_tb=30)
    assert (found.bytes_per_event, found.bytes_per_day, found.card_years) == (2000, None, None)


def test_nothing_is_said_of_a_card_whose_endurance_is_not_known() -> None:
    assert wear.estimate(1000, 1, 1000, None).card_years is None


def test_before_the_first_event_and_the_first_byte_there_is_nothing_to_divide() -> None:
    assert wear.estimate(0, 0, 0, 30) == wear.Wear(0, None, None, None)


def test_what_this_process_writes_is_counted(tmp_path: Path) -> None:
    before = wear.of_this_process(1, 1, None)
    with (tmp_path / "file").open("wb") as file:
        file.write(bytes(1_000_000))
        file.flush()
        os.fsync(file.fileno())
    after = wear.of_this_process(1, 1, None)
    assert before is not None
    assert after is not None
    assert after.written_bytes >= before.written_bytes


def test_where_the_kernel_does_not_count_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wear, "_IO_FILE", tmp_path / "missing")
    assert wear.of_this_process(1, 1, None) is None
