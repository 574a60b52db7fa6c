"""Who gets in: nobody changes anything before the login is checked, and one client id has one connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.broker.login import hash_password
from tests.site.gateway_process import GatewayProcess
from tests.site.mosquitto_clients import publish
from tests.site.ports import wait_for
from tests.site.raw_client import CONNACK, RawClient, connect, packet, string

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED, BAD_LEVEL, BAD_CLIENT_ID, BAD_LOGIN, NOT_AUTHORIZED = 0, 1, 2, 4, 5
ALICE = {"username": "alice", "password": "wonderland"}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    users = f"""[broker.users]
alice = {{ password = "{hash_password("wonderland")}", role = "local" }}
bob = "{hash_password("")}"
"""
    process = GatewayProcess(tmp_path_factory.mktemp("guarded"), "guarded", broker=users).start()
    yield process
    process.kill()


@pytest.mark.parametrize(
    ("login", "code"),
    [
        (ALICE, ACCEPTED),
        ({"username": "bob", "password": ""}, ACCEPTED),
        ({"username": "bob"}, ACCEPTED),
        ({"username": "alice", "password": "Wonderland"}, BAD_LOGIN),
        ({"username": "alice", "password": ""}, BAD_LOGIN),
        ({"username": "alice"}, BAD_LOGIN),
        ({"username": "Alice", "password": "wonderland"}, BAD_LOGIN),
        ({"username": "", "password": ""}, BAD_LOGIN),
        ({"username": "mallory", "password": "wonderland"}, BAD_LOGIN),
        ({}, NOT_AUTHORIZED),
    ],
)
def test_only_a_known_user_with_the_right_password_gets_in(
    guarded: GatewayProcess, login: dict[str, str], code: int
) -> None:
    with RawClient(guarded.port) as client:
        assert client.connect("somebody", **login) == (False, code)
        if code:
            assert client.is_closed()
        else:
            client.ping()


def test_mosquitto_pub_logs_in_with_user_and_password(guarded: GatewayProcess, mosquitto_clients: None) -> None:
    right = ["-q", "1", "-m", "x", "-u", "alice", "-P", "wonderland"]
    assert publish(guarded.port, "login/right", *right).returncode == 0
    assert publish(guarded.port, "login/wrong", *right[:-1], "guess").returncode != 0
    assert [event.topic for event in guarded.events_on("login/right")] == ["login/right"]
    assert not [event for event in guarded.events() if event.topic == "login/wrong"]


@pytest.mark.parametrize("login", [{"username": "alice", "password": "guess"}, {"username": "eve"}, {}])
def test_a_refused_login_changes_nothing_of_the_session_it_was_after(
    guarded: GatewayProcess, login: dict[str, str]
) -> None:
    client_id = f"victim-{len(login)}-{login.get('username')}"
    with RawClient(guarded.port) as victim:
        victim.join(client_id, clean=False, **ALICE).subscribe(("victim/#", 1))
        refused_before = guarded.status()["broker"]["refused_logins"]
        with RawClient(guarded.port) as intruder:
            assert intruder.connect(client_id, clean=True, will=("will/evil", b"", 0, False), **login)[1] != ACCEPTED
            assert intruder.is_closed()
        assert guarded.status()["broker"]["refused_logins"] == refused_before + 1
        victim.ping()
        with RawClient(guarded.port) as friend:
            friend.join("friend", **ALICE).publish("victim/news", b"still here")
        assert victim.delivery().payload == b"still here"
    with RawClient(guarded.port) as victim:
        assert victim.connect(client_id, clean=False, **ALICE) == (True, ACCEPTED)
    assert not [event for event in guarded.events() if event.topic == "will/evil"]


def test_what_follows_a_refused_connect_is_not_read(guarded: GatewayProcess) -> None:
    with RawClient(guarded.port) as intruder:
        smuggled = packet(0x32, string("smuggled/topic") + b"\0\1x")
        intruder.send(connect("smuggler", username="alice", password="guess") + smuggled)
        assert intruder.expect(CONNACK).body == bytes([0, BAD_LOGIN])
        assert intruder.is_closed()
    with RawClient(guarded.port) as friend:
        friend.join("honest", **ALICE).publish("smuggled/after", b"")
    assert not [event for event in guarded.events() if event.topic == "smuggled/topic"]


def test_what_a_device_sends_right_after_its_connect_waits_for_its_login(guarded: GatewayProcess) -> None:
    with RawClient(guarded.port) as hasty:
        hasty.send(connect("hasty", **ALICE) + packet(0x32, string("hasty/topic") + b"\0\1x"))
        assert hasty.expect(CONNACK).body == b"\0\0"
        assert hasty.expect(4).packet_id == 1
    assert guarded.events_on("hasty/topic")[0].client_id == "hasty"


def test_the_same_client_id_takes_over_and_the_older_connection_is_closed(guarded: GatewayProcess) -> None:
    with RawClient(guarded.port) as older, RawClient(guarded.port) as newer:
        older.join("twin", clean=False, will=("will/twin", b"", 0, False), **ALICE).subscribe(("twin/#", 1))
        assert newer.connect("twin", clean=False, **ALICE) == (True, ACCEPTED)
        assert older.is_closed()
        with RawClient(guarded.port) as friend:
            friend.join("twins-friend", **ALICE).publish("twin/news", b"for the newer")
        assert newer.delivery().payload == b"for the newer"
    assert len(guarded.events_on("will/twin")) == 1
    wait_for(lambda: guarded.status()["broker"]["clients"] == 0, what="all clients gone")


def test_many_takeovers_at_once_leave_one_connection(guarded: GatewayProcess) -> None:
    clients = [RawClient(guarded.port) for _ in range(12)]
    try:
        for client in clients:
            client.send(connect("crowd", **ALICE))
        codes = [answer.body[1] for client in clients if (answer := client.read()) is not None]
        assert set(codes) == {ACCEPTED}
        wait_for(lambda: guarded.status()["broker"]["connections"] == 1, what="one connection left")
        assert guarded.status()["broker"]["clients"] == 1
    finally:
        for client in clients:
            client.socket.close()


def test_an_mqtt_5_client_is_told_that_this_version_is_not_spoken(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as modern:
        modern.send(packet(0x10, string("MQTT") + b"\5\2\0\0" + b"\0" + string("modern")))
        assert modern.expect(CONNACK).body == bytes([0, BAD_LEVEL])
        assert modern.is_closed()


def test_mosquitto_pub_with_mqtt_5_fails_and_stores_nothing(edge: GatewayProcess, mosquitto_clients: None) -> None:
    done = publish(edge.port, "modern/topic", "-V", "mqttv5", "-q", "1", "-m", "x")
    assert done.returncode != 0
    assert not [event for event in edge.events() if event.topic == "modern/topic"]


def test_an_old_mqtt_3_1_client_is_told_that_this_version_is_not_spoken(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as old:
        old.send(packet(0x10, string("MQIsdp") + b"\3\2\0\0" + string("old")))
        assert old.expect(CONNACK).body == bytes([0, BAD_LEVEL])
        assert old.is_closed()


def test_a_persistent_session_without_a_client_id_is_refused(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as nameless:
        assert nameless.connect("", clean=False) == (False, BAD_CLIENT_ID)
        assert nameless.is_closed()


def test_clients_without_a_client_id_get_different_ones(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as first, RawClient(edge.port) as second:
        first.join("").publish("nameless/1", b"")
        second.join("").publish("nameless/1", b"")
        first.ping()
    assert len({event.client_id for event in edge.events_on("nameless/1", 2)}) == 2


def test_a_will_below_dollar_is_refused_at_login(edge: GatewayProcess) -> None:
    with RawClient(edge.port) as forger:
        assert forger.connect("forger", will=("$SYS/x", b"", 0, False)) == (False, NOT_AUTHORIZED)
        assert forger.is_closed()
