"""Who may look at the wall clock: it stamps and is shown, and nothing is timed by it."""

from __future__ import annotations

import re
from pathlib import Path

import gateway

ROOT = Path(gateway.__file__).parent
READS = re.compile(r"\btime\.time\b|\btime_ns\(|datetime\.(now|utcnow|today)|\b(gm|local)time\(\)|CLOCK_REALTIME")
ASKS = re.compile(r"\.wall_ns\(")
MAY_READ = {"clock.py", "eventlog/damage.py", "broker/registry.py", "cli/upstreams.py"}
"""The clock itself, the names of files that are set aside, and since when a device has its login or an upstream is
paused, for people."""
MAY_ASK = {
    *("ingest/ingest.py", "health/clocksync.py", "health/expiry.py"),
    *("forward/fleet.py", "forward/replay.py"),
}
"""The stamp of an event, the watch over the clock, until when certificates are valid, what time of the day it is if the
clock was set, and when a replay began and ended, for people.
In `eventlog/` and `cli/` it stamps what people read."""


def files_with(pattern: re.Pattern[str]) -> set[str]:
    files = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py")}
    return {name for name, text in files.items() if pattern.search(text)}


def test_nothing_is_timed_by_the_wall_clock() -> None:
    assert files_with(READS) == MAY_READ
    assert {name for name in files_with(ASKS) if not name.startswith(("eventlog/", "cli/"))} == MAY_ASK


def test_what_decides_in_the_log_is_given_ages_and_knows_no_clock() -> None:
    for name in ("retention", "boots", "recent", "batch", "commit"):
        text = (ROOT / "eventlog" / f"{name}.py").read_text(encoding="utf-8")
        assert not ASKS.search(text), name
