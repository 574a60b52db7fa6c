"""What the log tells of attempts on the gateway: who, from where, as whom and why; and that nobody can fill it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gateway.broker.login import hash_password
from gateway.health.ration import LINES_MAX
from tests.site.gateway_process import GatewayProcess
from tests.site.raw_client import RawClient, connect, publish

if TYPE_CHECKING:
    from collections.abc import Iterator

MALLORY = {"username": "mallory", "password": "guess"}
ALICE = {"username": "alice", "password": "wonderland"}
FLOOD = 3 * LINES_MAX


@pytest.fixture
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    users = f'[broker.users]\nalice = "{hash_password("wonderland")}"\n'
    process = GatewayProcess(tmp_path_factory.mktemp("guarded"), "guarded", broker=users).start()
    yield process
    process.kill()


def lines(gateway: GatewayProcess, event: str) -> list[str]:
    """Lines of one security event, from the time to the end."""
    return [line for line in gateway.log().splitlines() if "gateway.security: " in line and f"event='{event}'" in line]


def refused(gateway: GatewayProcess, client_id: str) -> None:
    with RawClient(gateway.port) as intruder:
        assert intruder.connect(client_id, **MALLORY)[1] != 0
        assert intruder.is_closed()


def violated(gateway: GatewayProcess, client_id: str) -> None:
    with RawClient(gateway.port) as client:
        client.join(client_id, **ALICE).send(b"\x00\x00")
        assert client.is_closed()


def test_a_refused_login_is_told_with_time_source_user_and_reason(guarded: GatewayProcess) -> None:
    refused(guarded, "intruder")
    assert guarded.stop() == 0
    (line,) = lines(guarded, "login refused")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 WARNING ", line)
    for field in (
        "source='127.0.0.1'",
        "user='mallory'",
        "client_id='intruder'",
        "reason='wrong user name or password'",
    ):
        assert field in line
    assert "guess" not in guarded.log()


def test_a_login_is_told_with_time_source_and_user_and_counted(guarded: GatewayProcess) -> None:
    with RawClient(guarded.port) as alice:
        alice.join("probe", **ALICE).ping()
    assert guarded.status()["broker"]["logins"] == 1
    assert guarded.stop() == 0
    (line,) = lines(guarded, "login")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 INFO ", line)
    for field in ("source='127.0.0.1'", "user='alice'", "client_id='probe'"):
        assert field in line
    assert "wonderland" not in guarded.log()


def test_a_violation_a_refused_publish_and_a_takeover_are_told_with_source_and_user(guarded: GatewayProcess) -> None:
    violated(guarded, "odd")
    with RawClient(guarded.port) as greedy:
        greedy.join("greedy", **ALICE).send(publish("devices/bob/temperature", b"x", 1, 1))
        assert greedy.is_closed()
    with RawClient(guarded.port) as older, RawClient(guarded.port) as newer:
        older.join("twin", **ALICE)
        newer.join("twin", **ALICE)
        assert older.is_closed()
    assert guarded.stop() == 0
    for event, client_id in (("violation", "odd"), ("publish refused", "greedy"), ("takeover", "twin")):
        line = next(line for line in lines(guarded, event) if f"client_id='{client_id}'" in line)
        for field in ("source='127.0.0.1'", "user='alice'", "reason="):
            assert field in line


@pytest.mark.parametrize(("attack", "event"), [(refused, "login refused"), (violated, "violation")])
def test_an_attacker_cannot_fill_the_log_and_how_often_it_tried_is_told(
    guarded: GatewayProcess, attack: object, event: str
) -> None:
    for number in range(FLOOD):
        attack(guarded, f"client-{number}")  # type: ignore[operator]
    assert guarded.stop() == 0
    assert len(lines(guarded, event)) == LINES_MAX
    assert f"more={FLOOD - LINES_MAX}" in guarded.log()


def test_a_client_that_names_itself_after_a_log_line_cannot_forge_one(guarded: GatewayProcess) -> None:
    with RawClient(guarded.port) as forger:
        forger.send(connect("x\n2026-01-01T00:00:00.000+00:00 WARNING gateway.security: forged", **MALLORY))
        forger.read()
    assert guarded.stop() == 0
    assert not [line for line in guarded.log().splitlines() if line.startswith("2026-01-01T00:00:00.000")]
