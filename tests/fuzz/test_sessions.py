"""Many thousand spoilt sessions against one gateway: others are served throughout, and nothing is left behind.

`GATEWAY_FUZZ_SESSIONS` says how many, `GATEWAY_TEST_SEED` which. What a gateway stumbled over is kept in `corpus` and
played by every later run.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from random import Random, SystemRandom
from typing import TYPE_CHECKING

import pytest

from tests.fuzz import sessions
from tests.fuzz.driver import Driver
from tests.fuzz.gateway_health import GatewayHealth, GatewayLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.fuzz.sessions import Session
    from tests.site.gateway_process import GatewayProcess

CORPUS = Path(__file__).parent / "corpus"
SESSIONS = int(os.environ.get("GATEWAY_FUZZ_SESSIONS", "20000"))
SEED = int(os.environ.get("GATEWAY_TEST_SEED") or SystemRandom().randrange(1_000_000))
MEMORY_GROWTH_BYTES_MAX = 10 * 1024 * 1024
WARM_UP = max(2000, SESSIONS // 50)
SLOWEST_PER_S = 100


def numbered(first: int, end: int) -> Iterator[tuple[int, Session]]:
    """Each session has a random generator of its own, so that it can be made again alone."""
    for number in range(first, end):
        yield number, sessions.spoilt(Random(f"{SEED}:{number}"))


@pytest.mark.timeout(120 + SESSIONS / SLOWEST_PER_S)
def test_spoilt_sessions_disturb_nobody_and_leave_nothing(
    gateway_at: Callable[..., GatewayProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = gateway_at().start()
    driver = Driver(gateway.port, GatewayLog(gateway).check)
    began_s = time.monotonic()

    def play(first: int) -> None:
        try:
            driver.play(numbered(first, min(first + WARM_UP, SESSIONS)))
        except ExceptionGroup:
            gateway.kill()
            keep(blame(gateway_at, driver.under_way))
            raise
        driver.tidy()

    play(0)
    health = GatewayHealth(gateway)
    for first in range(WARM_UP, SESSIONS, WARM_UP):
        play(first)
    health.check_idle()
    growth_bytes = health.growth_bytes()
    assert growth_bytes < MEMORY_GROWTH_BYTES_MAX, f"seed {SEED}"
    with capsys.disabled():
        print(  # noqa: T201 - the seed repeats the run
            f"\nfuzz: {SESSIONS} sessions with seed {SEED} in {time.monotonic() - began_s:.0f} s, "
            f"{gateway.status()['broker']['violations']} ended for breaking the protocol, "
            f"{driver.witnessed} messages of the witness acknowledged, memory grew by {growth_bytes / 1e6:.1f} MB"
        )


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_stumbled_over_once_is_no_trouble_now(gateway_at: Callable[..., GatewayProcess], path: Path) -> None:
    entry = [sessions.from_values(values) for values in json.loads(path.read_text(encoding="utf-8"))]
    assert not is_trouble(gateway_at(path.stem), entry)


def is_trouble(gateway: GatewayProcess, played: Iterable[Session]) -> bool:
    """Whether a gateway, started if it does not run, meets an error in these sessions, one after the other."""
    if gateway.process is None or gateway.process.poll() is not None:
        gateway.start()
    try:
        driver = Driver(gateway.port, GatewayLog(gateway).check)
        driver.play(enumerate(played), parallel=1)
        driver.tidy()
    except (AssertionError, OSError, ExceptionGroup):
        gateway.kill()
        gateway.log_path.unlink()
        return True
    return False


def blame(gateway_at: Callable[..., GatewayProcess], suspects: dict[int, Session]) -> dict[str, list[Session]]:
    """The sessions that are trouble alone; if none is, all of them together."""
    gateway = gateway_at("suspect")
    alone = {f"{SEED}-{number}": [each] for number, each in suspects.items() if is_trouble(gateway, [each])}
    return alone or {f"{SEED}-{min(suspects, default=0)}-together": list(suspects.values())}


def keep(entries: dict[str, list[Session]]) -> None:
    for name, played in entries.items():
        text = json.dumps([session.as_values() for session in played], indent=1)
        (CORPUS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
