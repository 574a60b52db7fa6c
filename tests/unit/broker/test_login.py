"""Who is let in, and that a wrong name costs as much as a wrong password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import argon2
import pytest

from gateway.broker import login as module
from gateway.broker.login import Login, hash_password

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture
def login(checks: Checks) -> Iterator[Login]:
    login = Login(USERS, allow_anonymous=False, parallel_max=1)
    yield login
    login.close()


async def test_the_right_password_is_admitted_and_any_other_is_not(login: Login) -> None:
    assert await login.admits("dev", b"right")
    assert await login.admits("other", b"else")
    for wrong in (b"wrong", b"", None, b"Right", b"right\0", b"\xff\xfe", b"else"):
        assert not await login.admits("dev", wrong)


async def test_an_unknown_user_costs_a_verification_like_a_known_one(login: Login, checks: Checks) -> None:
    assert not await login.admits("dev", b"wrong")
    assert not await login.admits("nobody", b"wrong")
    assert len(checks.hashes) == 2
    assert argon2.extract_parameters(checks.hashes[1]) == argon2.extract_parameters(QUICK.hash("x"))


async def test_a_decoy_never_lets_anybody_in(login: Login, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_verify", lambda _, __: True)
    assert not await login.admits("nobody", b"whatever")


async def test_a_success_is_remembered_and_a_failure_is_not(login: Login, checks: Checks) -> None:
    for _ in range(3):
        assert await login.admits("dev", b"right")
    assert len(checks.hashes) == 1
    for _ in range(3):
        assert not await login.admits("dev", b"wrong")
    assert len(checks.hashes) == 4
    assert await login.admits("dev", b"right")
    assert len(checks.hashes) == 4


async def test_what_is_remembered_is_neither_the_password_nor_the_same_in_another_process(login: Login) -> None:
    assert await login.admits("dev", b"right")
    other = Login(USERS, allow_anonymous=False, parallel_max=1)
    assert await other.admits("dev", b"right")
    other.close()
    assert b"right" not in login._seen["dev"]
    assert login._seen["dev"] != other._seen["dev"]


async def test_a_changed_password_is_asked_for_by_the_next_process(login: Login) -> None:
    assert await login.admits("dev", b"right")
    changed = Login(USERS | {"dev": QUICK.hash("new")}, allow_anonymous=False, parallel_max=1)
    assert not await changed.admits("dev", b"right")
    assert await changed.admits("dev", b"new")
    changed.close()


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_client_without_a_user_name_is_let_in_as_the_configuration_says(allowed: bool, checks: Checks) -> None:
    login = Login(USERS, allow_anonymous=allowed, parallel_max=1)
    assert await login.admits(None, None) is allowed
    assert not await login.admits("dev", b"wrong")
    login.close()


@pytest.mark.parametrize("allowed", [True, False])
async def test_without_any_user_a_name_proves_nothing(allowed: bool, checks: Checks) -> None:
    login = Login({}, allow_anonymous=allowed, parallel_max=1)
    assert await login.admits("anybody", b"anything") is allowed
    assert checks.hashes == []
    login.close()


@pytest.mark.parametrize("hashed", ["$argon2id$", "$argon2id$v=19$m=8,t=1,p=1$bad$bad", "$argon2id$v=19$m=8,t=1,p=1"])
async def test_a_hash_that_is_damaged_lets_nobody_in(hashed: str) -> None:
    login = Login({"dev": hashed}, allow_anonymous=False, parallel_max=1)
    assert not await login.admits("dev", b"right")
    login.close()


def test_a_hash_verifies_its_password_and_is_salted() -> None:
    first, second = hash_password("sécret"), hash_password("sécret")
    assert first != second
    assert first.startswith("$argon2id$")
    assert module._verify(first, "sécret".encode())
    assert not module._verify(first, b"secret")
