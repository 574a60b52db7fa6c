"""Who is let in, that a wrong name costs as much as a wrong password, and that who guesses does not hinder others."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import argon2
import pytest

from gateway.broker import login as module
from gateway.broker.config import BrokerConfig
from gateway.broker.login import Login, Verdict, hash_password
from gateway.broker.registry import Registry
from tests.unit.broker.ports import Now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUICK = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
USERS = {"dev": QUICK.hash("right"), "other": QUICK.hash("else")}


class Checks:
    """The hash verifications that ran, in the order they did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hashes: list[str] = []
        verify = module._verify

        def counted(hashed: str, password: bytes) -> bool:
            self.hashes.append(hashed)
            return verify(hashed, password)

        monkeypatch.setattr(module, "_verify", counted)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    monkeypatch.setattr(module, "_HASHER", QUICK)
    return Checks(monkeypatch)


class Desk:
    """A `Login` with a clock that is set by hand; passwords are checked as quickly as can be."""

    def __init__(self, users: dict[str, str] = USERS, **options: object) -> None:
        config = BrokerConfig.model_validate({"users": users, "logins_parallel_max": 1, **options})
        self.now = Now()
        self.registry = Registry(config.users)
        self.login = Login(self.registry, config, self.now)

    async def judge(self, name: str | None, password: bytes | None, address: str = "192.0.2.1") -> Verdict:
        return await self.login.judge(name, password, address=address)

    async def admits(self, name: str | None, password: bytes | None, address: str = "192.0.2.1") -> bool:
        return await self.judge(name, password, address) is Verdict.ADMITTED

    async def fail(self, times: int, address: str, name: str = "dev") -> None:
        for _ in range(times):
            assert await self.judge(name, b"wrong", address) is Verdict.WRONG


@pytest.fixture
def desk_with(checks: Checks) -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(*users: dict[str, str], **options: object) -> Desk:
        made.append(Desk(*users, **options))
        return made[-1]

    yield make
    for each in made:
        each.login.close()


@pytest.fixture
def desk(desk_with: Callable[..., Desk]) -> Desk:
    return desk_with()


async def test_the_right_password_is_admitted_and_any_other_is_not(desk: Desk) -> None:
    assert await desk.admits("dev", b"right")
    assert await desk.admits("other", b"else")
    for wrong in (b"wrong", b"", None, b"Right", b"right\0", b"\xff\xfe", b"else"):
        assert await desk.judge("dev", wrong) is Verdict.WRONG


async def test_an_unknown_user_costs_a_verification_like_a_known_one(desk: Desk, checks: Checks) -> None:
    assert not await desk.admits("dev", b"wrong")
    assert not await desk.admits("nobody", b"wrong")
    assert len(checks.hashes) == 2
    assert argon2.extract_parameters(checks.hashes[1]) == argon2.extract_parameters(QUICK.hash("x"))


async def test_a_decoy_never_lets_anybody_in(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_verify", lambda _, __: True)
    assert not await desk.admits("nobody", b"whatever")


async def test_a_success_is_remembered_and_a_failure_is_not(desk: Desk, checks: Checks) -> None:
    for _ in range(3):
        assert await desk.admits("dev", b"right")
    assert len(checks.hashes) == 1
    for _ in range(3):
        assert not await desk.admits("dev", b"wrong")
    assert len(checks.hashes) == 4
    assert await desk.admits("dev", b"right")
    assert len(checks.hashes) == 4
    desk.login.forget("dev")
    assert await desk.admits("dev", b"right")
    assert len(checks.hashes) == 5


async def test_what_is_remembered_is_neither_the_password_nor_the_same_in_another_process(
    desk_with: Callable[..., Desk],
) -> None:
    one, other = desk_with(), desk_with()
    assert await one.admits("dev", b"right")
    assert await other.admits("dev", b"right")
    assert b"right" not in one.login._seen["dev"]
    assert one.login._seen["dev"] != other.login._seen["dev"]


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_client_without_a_user_name_is_let_in_as_the_configuration_says(
    allowed: bool, desk_with: Callable[..., Desk]
) -> None:
    desk = desk_with(allow_anonymous=allowed)
    assert await desk.judge(None, None) is (Verdict.ADMITTED if allowed else Verdict.NAMELESS)
    assert not await desk.admits("dev", b"wrong")


@pytest.mark.parametrize("allowed", [True, False])
async def test_without_any_user_a_name_proves_nothing(
    allowed: bool, desk_with: Callable[..., Desk], checks: Checks
) -> None:
    assert await desk_with({}, allow_anonymous=allowed).admits("anybody", b"anything") is allowed
    assert checks.hashes == []


async def test_a_certificate_lets_in_under_its_own_name_only_and_costs_no_check(desk: Desk, checks: Checks) -> None:
    for name, verdict in ((None, Verdict.ADMITTED), ("dev", Verdict.ADMITTED), ("other", Verdict.WRONG)):
        assert await desk.login.judge(name, None, certified="dev") is verdict
    assert checks.hashes == []


async def test_a_disabled_login_is_no_good_with_password_or_certificate(desk: Desk) -> None:
    desk.registry._users["dev"] = desk.registry._users["dev"]._replace(enabled=False)
    assert await desk.judge("dev", b"right") is Verdict.DISABLED
    assert await desk.judge("dev", b"wrong") is Verdict.WRONG
    assert await desk.login.judge(None, None, certified="dev") is Verdict.DISABLED
    assert await desk.login.judge(None, None, certified="other") is Verdict.ADMITTED


@pytest.mark.parametrize("hashed", ["$argon2id$v=19$m=8,t=1,p=1$bad$bad", "$argon2id$v=19$m=8,t=1,p=1$AAAA$AAAA"])
async def test_a_hash_that_is_damaged_lets_nobody_in(hashed: str, desk_with: Callable[..., Desk]) -> None:
    assert not await desk_with({"dev": hashed}).admits("dev", b"right")


async def test_an_address_that_fails_too_often_is_refused_unchecked_until_a_while_has_passed(
    desk: Desk, checks: Checks
) -> None:
    await desk.fail(20, "192.0.2.66")
    assert await desk.judge("other", b"else", "192.0.2.66") is Verdict.THROTTLED
    assert len(checks.hashes) == 20
    assert desk.login.throttled == 1
    assert await desk.judge("other", b"else", "192.0.2.1") is Verdict.ADMITTED
    desk.now.seconds += 3.1  # a minute has room for 20
    desk.login.forget("other")
    assert await desk.judge("other", b"else", "192.0.2.66") is Verdict.ADMITTED


async def test_addresses_of_one_ipv6_network_are_one(desk: Desk) -> None:
    for number in range(20):
        await desk.fail(1, f"2001:db8::{number:x}")
    assert await desk.judge("dev", b"right", "2001:db8::ffff") is Verdict.THROTTLED
    assert await desk.judge("dev", b"right", "2001:db8:0:1::1") is Verdict.ADMITTED


async def test_guessing_at_a_name_from_anywhere_only_makes_its_device_wait(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_DELAY_S", 0.01)
    for number in range(20):
        await desk.fail(1, f"192.0.2.{100 + number}")
    assert await desk.judge("dev", b"wrong", "192.0.2.100") is Verdict.THROTTLED
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(wait_s: float) -> None:
        waits.append(wait_s)
        await sleep(wait_s)

    monkeypatch.setattr(module.asyncio, "sleep", noted)
    assert await desk.judge("dev", b"right", "192.0.2.1") is Verdict.ADMITTED
    assert waits == [0.01]
    assert await desk.judge("other", b"else", "192.0.2.1") is Verdict.ADMITTED
    assert waits == [0.01], "another name waited"


async def test_a_device_that_was_here_before_is_let_in_whatever_its_neighbours_do(desk: Desk, checks: Checks) -> None:
    assert await desk.admits("dev", b"right")
    await desk.fail(20, "192.0.2.1")
    checked = len(checks.hashes)
    assert await desk.judge("dev", b"right") is Verdict.ADMITTED
    assert await desk.judge("dev", b"wrong") is Verdict.THROTTLED
    assert len(checks.hashes) == checked


class Slow:
    """Password checks that take until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Event()
        self.checked: list[bytes] = []
        verify = module._verify

        def slowly(hashed: str, password: bytes) -> bool:
            self.checked.append(password)
            assert self.go.wait(10)
            return verify(hashed, password)

        monkeypatch.setattr(module, "_verify", slowly)


async def test_addresses_take_turns_however_many_logins_one_of_them_has_under_way(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch)
    crowd = [asyncio.create_task(desk.judge("dev", b"wrong", "192.0.2.66")) for _ in range(10)]
    while desk.login.pending < 9:
        await asyncio.sleep(0)
    late = asyncio.create_task(desk.judge("other", b"else", "192.0.2.1"))
    await asyncio.sleep(0)
    slow.go.set()
    assert await late is Verdict.ADMITTED
    await asyncio.gather(*crowd)
    assert slow.checked.index(b"else") <= 2


async def test_beyond_logins_pending_max_the_address_with_most_of_them_loses_one(
    desk_with: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, slow = desk_with(logins_pending_max=5), Slow(monkeypatch)
    crowd = [asyncio.create_task(desk.judge("dev", b"wrong", "192.0.2.66")) for _ in range(10)]
    while sum(each.done() for each in crowd) < 4:
        await asyncio.sleep(0)
    assert desk.login.pending == 5
    late = asyncio.create_task(desk.judge("other", b"else", "192.0.2.1"))
    await asyncio.sleep(0)
    slow.go.set()
    assert await late is Verdict.ADMITTED
    verdicts = await asyncio.gather(*crowd)
    assert (verdicts.count(Verdict.CROWDED), verdicts.count(Verdict.WRONG)) == (5, 5)
    assert desk.login.crowded_out == 5
    assert desk.login.pending == 0


async def test_who_has_given_up_costs_no_check_and_no_place(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    first = asyncio.create_task(desk.judge("dev", b"wrong"))
    gone = asyncio.create_task(desk.login.judge("dev", b"gone", address="192.0.2.2", is_gone=lambda: True))
    cancelled = asyncio.create_task(desk.judge("dev", b"cancelled", "192.0.2.3"))
    while desk.login.pending < 2:
        await asyncio.sleep(0)
    cancelled.cancel()
    slow.go.set()
    assert await first is Verdict.WRONG
    assert await gone is Verdict.GONE
    assert slow.checked == [b"wrong"]
    assert await desk.admits("dev", b"right")
    assert desk.login._free == 1


async def test_checks_leave_the_processor_to_others(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[int] = []

    def noted(_: str, __: bytes) -> bool:
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return True

    monkeypatch.setattr(module, "_verify", noted)
    assert await desk.admits("dev", b"right")
    assert found == [os.getpriority(os.PRIO_PROCESS, 0) + 10]


async def test_a_login_that_changes_while_it_is_checked_is_refused(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    login = asyncio.create_task(desk.judge("dev", b"right"))
    while not slow.checked:
        await asyncio.sleep(0)
    desk.registry._users["dev"] = desk.registry._users["other"]
    slow.go.set()
    assert await login is Verdict.WRONG
    assert "dev" not in desk.login._seen


def test_a_hash_verifies_its_password_and_is_salted() -> None:
    first, second = hash_password("sécret"), hash_password("sécret")
    assert first != second
    assert first.startswith("$argon2id$")
    assert module._verify(first, "sécret".encode())
    assert not module._verify(first, b"secret")
