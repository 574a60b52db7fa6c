"""What `gateway status` says of the clock."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.cli import status
from gateway.health.clocksync import ClockStatus

SET: dict[str, Any] = ClockStatus(
    set=True, source="kernel", set_s=7200.0, agrees=True, steps=0, last_step_s=None
)._asdict()
UNSET: dict[str, Any] = SET | {"set": False, "source": "", "set_s": None, "agrees": False}


@pytest.mark.parametrize(
    ("clock", "said"),
    [
        (SET, "set for 7,200 s (the kernel says so)"),
        (SET | {"source": "trust"}, "(gateway.clock is trust)"),
        (UNSET, "not set since this boot"),
        (SET | {"agrees": False, "steps": 1, "last_step_s": 946e6}, "times are corrected; 1 step(s) since the start"),
        (UNSET | {"steps": 2, "last_step_s": -946e6}, "the last by -946,000,000.0 s"),
    ],
)
def test_the_state_of_the_clock_is_told(capsys: pytest.CaptureFixture[str], clock: dict[str, Any], said: str) -> None:
    status._show_clock(clock)
    assert said in capsys.readouterr().out
