"""What somebody who guesses passwords can do to devices whose names it knows: nothing but make one wait a moment."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from gateway.broker.login import hash_password
from tests.site.gateway_process import GatewayProcess
from tests.site.raw_client import RawClient, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED, BAD_CLIENT_ID, UNAVAILABLE, BAD_LOGIN = 0, 2, 3, 4
ATTACKER, CLEAN = "127.66.6.6", "127.1.1.1"
FAILURES_MAX = 5


@pytest.fixture
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    hashed = hash_password("right")
    broker = f"login_failures_per_minute_max = {FAILURES_MAX}\n[broker.users]\npump = '{hashed}'\nlamp = '{hashed}'\n"
    process = GatewayProcess(tmp_path_factory.mktemp("guarded"), "guarded", broker=broker).start()
    yield process
    process.kill()


def code(gateway: GatewayProcess, name: str, password: str, source: str) -> int:
    with RawClient(gateway.port, source=source) as client:
        return client.connect(name, username=name, password=password)[1]


def guess(gateway: GatewayProcess, name: str, source: str) -> int:
    """The first answer that is not about the password, after at most so many guesses."""
    for _ in range(2 * FAILURES_MAX):
        answer = code(gateway, name, "wrong", source)
        if answer != BAD_LOGIN:
            return answer
    return BAD_LOGIN


def test_who_guesses_from_one_address_is_soon_not_listened_to_and_others_are(guarded: GatewayProcess) -> None:
    assert guess(guarded, "pump", ATTACKER) == UNAVAILABLE
    assert code(guarded, "lamp", "right", ATTACKER) == UNAVAILABLE
    assert code(guarded, "lamp", "right", CLEAN) == ACCEPTED
    assert guarded.status()["broker"]["over_limits"]["login_failures_per_minute_max"] >= 2
    assert "reason='too many failed logins from this address; not checked'" in guarded.log()


def test_guesses_from_many_addresses_do_not_lock_out_the_device(guarded: GatewayProcess) -> None:
    for number in range(3 * FAILURES_MAX):
        assert code(guarded, "pump", "wrong", f"127.66.7.{1 + number}") == BAD_LOGIN
    assert code(guarded, "pump", "wrong", "127.66.7.15") == UNAVAILABLE
    assert code(guarded, "pump", "right", CLEAN) == ACCEPTED


def test_a_device_that_was_here_comes_back_beside_an_attacker_at_its_own_address(guarded: GatewayProcess) -> None:
    assert code(guarded, "pump", "right", ATTACKER) == ACCEPTED
    assert guess(guarded, "pump", ATTACKER) == UNAVAILABLE
    assert code(guarded, "pump", "right", ATTACKER) == ACCEPTED


def test_guessing_at_unknown_names_counts_like_guessing_at_known_ones(guarded: GatewayProcess) -> None:
    answers = [code(guarded, f"nobody-{number}", "wrong", ATTACKER) for number in range(FAILURES_MAX + 2)]
    assert answers == [BAD_LOGIN] * FAILURES_MAX + [UNAVAILABLE] * 2


def test_the_client_id_of_a_stored_device_belongs_to_it(guarded: GatewayProcess) -> None:
    secret = guarded.command_json("devices", "add", "stored")["secret"]
    with RawClient(guarded.port) as pump, RawClient(guarded.port) as stored:
        assert pump.connect("stored", username="pump", password="right")[1] == BAD_CLIENT_ID
        stored.join("stored", username="stored", password=secret).ping()


def test_whoever_logs_in_while_its_device_is_disabled_does_not_stay(guarded: GatewayProcess) -> None:
    secret = guarded.command_json("devices", "add", "race")["secret"]
    with ExitStack() as stack:
        clients = [stack.enter_context(RawClient(guarded.port)) for _ in range(10)]
        for number, client in enumerate(clients):
            client.send(connect(f"race-{number}", username="race", password=secret))
        assert guarded.command("devices", "disable", "race").returncode == 0
        for client in clients:
            while client.read() is not None:
                pass
    assert guarded.status()["broker"]["clients"] == 0
