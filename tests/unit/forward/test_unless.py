"""Awaiting one thing unless another comes first, in every order in which the two can come."""

from __future__ import annotations

import asyncio

import pytest

from gateway.forward.unless import unless


class Attempt:
    """A wait that notes how it went."""

    def __init__(self, error_when_cancelled: Exception | None = None) -> None:
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.began = self.cancelled = False
        self._error = error_when_cancelled

    async def run(self) -> str:
        self.began = True
        try:
            return await self.end
        except asyncio.CancelledError:
            self.cancelled = True
            if self._error is not None:
                raise self._error from None
            raise


def nothing_yet() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_comes_first_is_returned_and_the_other_may_come_later() -> None:
    done, attempt = nothing_yet(), Attempt()
    waiting = asyncio.ensure_future(unless(done, attempt.run()))
    await turns()
    attempt.end.set_result("here")
    assert await waiting == "here"
    done.set_result(None)
    await turns()
    assert waiting.cancelling() == 0


async def test_the_attempt_is_cancelled_when_the_other_comes_and_its_task_goes_on() -> None:
    done, attempt = nothing_yet(), Attempt()

    async def twice() -> str | None:
        assert await unless(done, attempt.run()) is None
        await turns()
        return await unless(nothing_yet(), asyncio.sleep(0, "next"))

    waiting = asyncio.ensure_future(twice())
    await turns()
    done.set_result(None)
    assert await waiting == "next"
    assert attempt.cancelled


async def test_nothing_is_begun_when_the_other_is_there_already() -> None:
    done, attempt = nothing_yet(), Attempt()
    done.set_result(None)
    assert await unless(done, attempt.run()) is None
    assert not attempt.began


@pytest.mark.parametrize("error", [ValueError("broken"), TimeoutError("its own")])
async def test_what_the_attempt_raises_is_raised(error: Exception) -> None:
    attempt = Attempt()
    attempt.end.set_exception(error)
    with pytest.raises(type(error), match=str(error)):
        await unless(nothing_yet(), attempt.run())


async def test_what_it_raises_on_its_way_out_is_raised() -> None:
    done, attempt = nothing_yet(), Attempt(ValueError("broken"))
    waiting = asyncio.ensure_future(unless(done, attempt.run()))
    await turns()
    done.set_result(None)
    with pytest.raises(ValueError, match="broken"):
        await waiting


async def test_a_cancelled_wait_is_cancelled_also_when_the_other_comes_in_the_same_turn() -> None:
    for is_at_once in (False, True):
        done, attempt = nothing_yet(), Attempt()
        waiting = asyncio.ensure_future(unless(done, attempt.run()))
        await turns()
        if is_at_once:
            done.set_result(None)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert attempt.cancelled


async def test_a_deadline_around_it_holds() -> None:
    attempt = Attempt()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await unless(nothing_yet(), attempt.run())
    assert attempt.cancelled


@pytest.mark.parametrize("is_attempt_first", [True, False])
async def test_both_in_the_same_turn_leave_nothing_behind(is_attempt_first: bool) -> None:
    done, attempt = nothing_yet(), Attempt()
    waiting = asyncio.ensure_future(unless(done, attempt.run()))
    await turns()
    if is_attempt_first:
        attempt.end.set_result("here")
        done.set_result(None)
    else:
        done.set_result(None)
        attempt.end.set_result("here")
    assert await waiting in {"here", None}
    await turns()
    assert waiting.cancelling() == 0
