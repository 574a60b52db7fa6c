"""The first lines of a kind pass, the rest is counted and told in one line."""

from __future__ import annotations

import asyncio
import logging

import pytest

from gateway.health.ration import Ration, keep_renewed


def line(message: str, name: str = "gateway.security", level: int = logging.WARNING) -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 1, message, (), None)


def test_so_many_lines_of_each_kind_pass_and_the_rest_is_counted() -> None:
    ration = Ration(lines_max=3)
    assert [ration.filter(line("login refused")) for _ in range(5)] == [True] * 3 + [False] * 2
    assert ration.filter(line("takeover"))
    assert ration.renew() == {"login refused": 2}


def test_a_new_interval_begins_with_a_new_ration() -> None:
    ration = Ration(lines_max=1)
    assert [ration.filter(line("login refused")) for _ in range(2)] == [True, False]
    assert ration.renew() == {"login refused": 1}
    assert ration.filter(line("login refused"))
    assert ration.renew() == {}


@pytest.mark.parametrize(
    "record",
    [
        line("the disk refuses", name="gateway.eventlog.commit"),
        line("a session failed", name="gateway.broker.broker", level=logging.ERROR),
    ],
)
def test_what_the_gateway_says_of_itself_is_never_held_back(record: logging.LogRecord) -> None:
    ration = Ration(lines_max=1)
    assert all(ration.filter(record) for _ in range(100))
    assert ration.renew() == {}


async def test_what_was_held_back_is_told_in_one_line_also_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    ration = Ration(lines_max=1)
    renewing = asyncio.create_task(keep_renewed(ration, interval_s=0.001))
    ration.filter(line("login refused"))
    ration.filter(line("login refused"))
    async with asyncio.timeout(10):
        while not caplog.records:
            await asyncio.sleep(0.001)
    renewing.cancel()
    await asyncio.wait([renewing])
    (told,) = caplog.records
    assert (told.__dict__["of"], told.__dict__["more"]) == ("login refused", 1)

    caplog.clear()
    renewing = asyncio.create_task(keep_renewed(ration, interval_s=3600))
    await asyncio.sleep(0)
    for _ in range(8):
        ration.filter(line("takeover"))
    renewing.cancel()
    await asyncio.wait([renewing])
    assert [record.__dict__["more"] for record in caplog.records] == [7]
