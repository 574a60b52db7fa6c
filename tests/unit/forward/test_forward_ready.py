"""What a forwarder waits for between connecting and sending."""

from __future__ import annotations

import asyncio

import pytest

from gateway.clock import SystemClock
from gateway.forward.runner import Forwarder
from tests.unit.forward.forward_fakes import MemoryLog, ScriptedUpstream, make_config, make_event


async def test_nothing_is_sent_before_it_is_ready() -> None:
    log, upstream = MemoryLog([make_event(1)]), ScriptedUpstream()
    asked, ready = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        asked.set()
        await ready.wait()

    forwarder = Forwarder("cloud", make_config(), upstream, log, SystemClock(), ready=wait)
    task = asyncio.create_task(forwarder.run())
    async with asyncio.timeout(10):
        await asked.wait()
        for _ in range(50):  # turns of the loop, in which it could send
            await asyncio.sleep(0)
        assert upstream.taken == []
        ready.set()
        while log.cursor("cloud") < 1:
            await asyncio.sleep(0.001)
    assert upstream.taken == [1]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
