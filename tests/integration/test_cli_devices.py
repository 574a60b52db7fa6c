"""`gateway devices`, as the shell calls it, beside a running gateway and without one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gateway.broker.login import hash_password
from tests.site.raw_client import RawClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.site.gateway_process import GatewayProcess

BAD_LOGIN, NOT_AUTHORIZED = 4, 5


@pytest.fixture
def guarded(gateway_at: Callable[..., GatewayProcess]) -> GatewayProcess:
    users = f'[broker.users]\nfixed = {{ password = "{hash_password("fixed")}", role = "local" }}\n'
    return gateway_at(broker=users, config='[roles.desk]\nsubscribe = ["#"]\n')


@pytest.fixture
def running(guarded: GatewayProcess) -> Iterator[GatewayProcess]:
    yield guarded.start()
    guarded.kill()


def give(gateway: GatewayProcess, action: str, name: str, *more: str) -> str:
    """`add` or `rotate`; the secret."""
    answer = gateway.command_json("devices", action, name, *more)
    assert answer["name"] == name
    return str(answer["secret"])


def code(gateway: GatewayProcess, name: str, secret: str) -> int:
    with RawClient(gateway.port) as client:
        return client.connect(name, username=name, password=secret)[1]


def rows(gateway: GatewayProcess) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in gateway.command_json("devices", "list")}


def test_a_device_logs_in_as_soon_as_it_is_added_and_with_its_secret_only(running: GatewayProcess) -> None:
    secret = give(running, "add", "pump")
    assert len(secret) == 28
    with RawClient(running.port) as pump:
        pump.join("pump", username="pump", password=secret).publish("devices/pump/t", b"1")
    assert code(running, "pump", "guess") == BAD_LOGIN
    for path in (running.data_dir / "state.db", running.data_dir / "state.db-wal", running.log_path):
        assert secret.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("action", "answer"), [("disable", NOT_AUTHORIZED), ("remove", BAD_LOGIN), ("rotate", BAD_LOGIN)]
)
def test_who_is_connected_under_a_login_that_ends_is_closed_and_others_are_not(
    running: GatewayProcess, action: str, answer: int
) -> None:
    secret, others = give(running, "add", "pump"), give(running, "add", "other")
    with RawClient(running.port) as pump, RawClient(running.port) as other:
        pump.join("pump", username="pump", password=secret)
        other.join("other", username="other", password=others)
        assert rows(running)["pump"]["connected"] == 1
        assert running.command("devices", action, "pump").returncode == 0
        assert pump.is_closed()
        other.ping()
    assert code(running, "pump", secret) == answer
    assert f"event='device {action}' user='pump'" in running.log()


def test_a_disabled_device_comes_back_with_the_secret_it_has(running: GatewayProcess) -> None:
    secret = give(running, "add", "pump")
    for action, answer in (("disable", NOT_AUTHORIZED), ("enable", 0)):
        assert running.command("devices", action, "pump").returncode == 0
        assert code(running, "pump", secret) == answer


def test_a_role_gives_its_rights_at_once(running: GatewayProcess) -> None:
    secret = give(running, "add", "desk", "--role", "desk")
    with RawClient(running.port) as desk:
        assert desk.join("desk", username="desk", password=secret).subscribe(("#", 1)) == [1]
    assert rows(running)["desk"]["role"] == "desk"


def test_changes_are_made_without_a_gateway_too_and_last(guarded: GatewayProcess) -> None:
    secret = give(guarded, "add", "pump")
    gone = give(guarded, "add", "gone")
    assert guarded.command("devices", "remove", "gone").returncode == 0
    secret_2 = give(guarded, "rotate", "pump")
    assert secret_2 != secret
    found = rows(guarded)
    assert list(found) == ["fixed", "pump"]
    assert found["pump"]["connected"] is None
    guarded.start()
    assert [code(guarded, name, each) for name, each in (("pump", secret), ("pump", secret_2), ("gone", gone))] == [
        BAD_LOGIN,
        0,
        BAD_LOGIN,
    ]
    guarded.kill()
    guarded.start()
    assert code(guarded, "pump", secret_2) == 0


@pytest.mark.parametrize("is_running", [True, False])
@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (["add", "fixed"], "[broker.users]", "Change it there"),
        (["disable", "fixed"], "[broker.users]", "Change it there"),
        (["rotate", "nobody"], "no device 'nobody'", "gateway devices list"),
        (["add", "a/b"], "cannot be the name", "without '+'"),
        (["add", "new", "--role", "captain"], "no role 'captain'", "[roles.captain]"),
    ],
)
def test_what_cannot_be_done_is_said_with_a_hint_and_exits_1(
    guarded: GatewayProcess, is_running: bool, arguments: list[str], said: str, hint: str
) -> None:
    if is_running:
        guarded.start()
    done = guarded.command("devices", *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert said in done.stderr
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["add"], ["explode", "x"], ["add", "x", "--color", "red"]])
def test_wrong_usage_exits_2(guarded: GatewayProcess, arguments: list[str]) -> None:
    assert guarded.command("devices", *arguments).returncode == 2


def test_people_are_shown_the_secret_once_and_the_list_by_lines(running: GatewayProcess) -> None:
    added = running.command("devices", "add", "pump")
    assert added.stdout.startswith("user name  pump\nsecret     ")
    assert "only time" in added.stderr
    assert running.command("devices", "disable", "pump").returncode == 0
    with RawClient(running.port) as fixed:
        fixed.join("fixed", username="fixed", password="fixed")
        lines = running.command("devices", "list").stdout.splitlines()
    assert lines[0] == "fixed  enabled, role local, in [broker.users], 1 connection(s)"
    assert lines[1].startswith("pump  disabled, role default, added 20")
    assert json.loads(running.command("devices", "list", "--json").stdout)[1]["enabled"] is False
