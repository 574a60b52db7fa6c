"""What somebody with one stolen login can do to the others: nothing. One test per threat, against a real gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.broker.login import hash_password
from tests.site.gateway_process import GatewayProcess
from tests.site.ports import wait_for
from tests.site.raw_client import (
    CONNACK,
    PUBACK,
    PUBCOMP,
    PUBREC,
    PUBREL,
    RawClient,
    acknowledge,
    connect,
    packet,
    publish,
    string,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCEPTED, BAD_CLIENT_ID, NOT_AUTHORIZED, REFUSED = 0, 2, 5, 0x80
NAMES = ("alice", "bob", "mallory", "+", "desk", "reader")
LOGIN = {name: {"username": name, "password": "secret"} for name in NAMES}
ROLES = """
[roles.desk]
publish = ["commands/#"]
subscribe = ["devices/#"]
[roles.reader]
subscribe = ["news/#"]
"""


def start(folder: Path, name: str, extra: str = "") -> GatewayProcess:
    hashed = hash_password("secret")
    roles = {"desk": "desk", "reader": "reader"}
    users = [
        f'"{user}" = {{ password = "{hashed}", role = "{roles[user]}" }}' if user in roles else f'"{user}" = "{hashed}"'
        for user in NAMES
    ]
    broker = "[broker.users]\n" + "\n".join(users)
    return GatewayProcess(folder, name, extra + ROLES, broker=broker).start()


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that closes the connection of who publishes where it may not: the default."""
    process = start(tmp_path_factory.mktemp("strict"), "strict")
    yield process
    process.kill()


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that drops what they publish."""
    process = start(tmp_path_factory.mktemp("lenient"), "lenient", '[rights]\non_refused_publish = "drop"\n')
    yield process
    process.kill()


@pytest.fixture
def client(strict: GatewayProcess) -> Iterator[Callable[..., RawClient]]:
    """Clients of the strict gateway, under their own names unless told otherwise."""
    opened: list[RawClient] = []

    def joined(name: str, client_id: str | None = None, **options: object) -> RawClient:
        opened.append(RawClient(strict.port))
        return opened[-1].join(client_id or name, **LOGIN[name], **options)

    yield joined
    for each in opened:
        each.socket.close()


def stored(gateway: GatewayProcess, marker: bytes) -> list[str]:
    """Topics of the events with such a payload; an honest device's message after them all is there first."""
    with RawClient(gateway.port) as after:
        after.join("alice-after", **LOGIN["alice"]).publish("devices/alice/after", marker)
    return [event.topic for event in gateway.events() if event.payload == marker and event.topic[-6:] != "/after"]


def counted(gateway: GatewayProcess, key: str) -> int:
    return gateway.status()["broker"][key]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("topic", ["devices/alice/t", "commands/mallory/x", "a", "$SYS/x", "devices"])
def test_a_message_on_another_devices_topic_is_neither_stored_nor_acknowledged(
    strict: GatewayProcess, client: Callable[..., RawClient], topic: str, qos: int
) -> None:
    bystander, mallory = client("bob"), client("mallory")
    marker = f"forged {topic} {qos}".encode()
    before = counted(strict, "refused_publishes")
    mallory.send(publish("devices/mallory/ok", marker, 1, 9) + publish(topic, marker, qos, 1))
    mallory.send(publish("devices/mallory/late", marker, 1, 2))
    while (answer := mallory.read()) is not None:  # what came before it is acknowledged, or not any more
        assert (answer.kind, answer.packet_id) == (PUBACK, 9)
    assert stored(strict, marker) == ["devices/mallory/ok"]
    assert counted(strict, "refused_publishes") == before + 1
    bystander.ping()


@pytest.mark.parametrize("topic", ["devices/alice/t", "$SYS/x"])
def test_a_gateway_told_so_drops_a_refused_message_and_keeps_the_connection(
    lenient: GatewayProcess, topic: str
) -> None:
    marker = f"dropped {topic}".encode()
    before = counted(lenient, "refused_publishes")
    with RawClient(lenient.port) as mallory:
        mallory.join("mallory", **LOGIN["mallory"])
        mallory.send(publish(topic, marker))
        mallory.publish(topic, marker, 1)
        mallory.send(publish(topic, marker, 2, 2))
        assert mallory.expect(PUBREC).packet_id == 2
        mallory.send(acknowledge(PUBREL, 2))
        assert mallory.expect(PUBCOMP).packet_id == 2
        mallory.publish("devices/mallory/ok", marker, 3)
    assert stored(lenient, marker) == ["devices/mallory/ok"]
    assert counted(lenient, "refused_publishes") == before + 3


def test_a_refusal_is_shown_with_client_topic_reason_and_how_often(lenient: GatewayProcess) -> None:
    with RawClient(lenient.port) as mallory:
        mallory.join("some-id", **LOGIN["mallory"])
        for number in range(3):
            mallory.publish(f"devices/some-id/{number}", b"shown")
    row = lenient.status()["broker"]["refusals"][0]
    reason = "role 'default' does not grant it"
    assert row == {
        "client_id": "some-id",
        "username": "mallory",
        "action": "publish",
        "topic": "devices/some-id/2",
        "reason": reason,
        "times": 3,
    }
    line = f"refused 3 time(s): some-id (user mallory): publish devices/some-id/2: {reason}"
    assert line in lenient.command("status").stdout
    log = [line for line in lenient.log().splitlines() if "gateway.security" in line and "devices/some-id/" in line]
    assert len(log) == 1, "further ones are counted"


def test_wildcards_read_nothing_of_others_and_what_is_ones_own_is_granted_beside_them(
    client: Callable[..., RawClient],
) -> None:
    mallory, desk = client("mallory"), client("desk")
    wanted = ["#", "+/#", "commands/#", "commands/+", "commands/+/on", "+/mallory/#", "commands/bob/on", "/#", "+"]
    own = ["commands/mallory/#", "commands/mallory/+/on"]
    filters = [(each, 1) for each in (*wanted, *own)]
    assert mallory.subscribe(*filters) == [REFUSED] * len(wanted) + [1] * len(own)
    desk.publish("commands/bob/on", b"for bob")
    desk.publish("commands/mallory/on", b"for mallory")
    assert mallory.delivery().payload == b"for mallory"
    mallory.ping()


def test_the_topics_of_the_gateway_and_shared_subscriptions_are_granted_to_no_device(
    strict: GatewayProcess, client: Callable[..., RawClient]
) -> None:
    before = counted(strict, "refused_subscriptions")
    for name in ("mallory", "desk"):
        refused = client(name).subscribe(("$SYS/#", 0), ("$SYS/broker/load", 0), ("$share/g/devices/#", 0), ("$x", 0))
        assert refused == [REFUSED] * 4
    assert counted(strict, "refused_subscriptions") == before + 8


@pytest.mark.parametrize("topic", ["devices/alice/status", "$SYS/x"])
def test_a_will_on_another_devices_topic_does_not_get_in(strict: GatewayProcess, topic: str) -> None:
    with RawClient(strict.port) as mallory:
        mallory.send(
            connect("mallory", will=(topic, b"will", 1, True), **LOGIN["mallory"])
            + publish("devices/mallory/x", b"will", 1, 1)
        )
        assert mallory.expect(CONNACK).body == bytes([0, NOT_AUTHORIZED])
        assert mallory.is_closed()
    assert stored(strict, b"will") == []


def test_a_will_is_dropped_where_messages_are(lenient: GatewayProcess) -> None:
    for topic in ("devices/alice/status", "devices/mallory/status"):
        with RawClient(lenient.port) as mallory:
            mallory.join("mallory", will=(topic, b"last words", 1, True), **LOGIN["mallory"])
            mallory.reset()
    lenient.events_on("devices/mallory/status")
    assert stored(lenient, b"last words") == ["devices/mallory/status"]


def test_retained_messages_of_others_can_be_neither_read_nor_replaced_nor_removed(
    strict: GatewayProcess, client: Callable[..., RawClient]
) -> None:
    client("alice").publish("devices/alice/state", b"true", retain=True)
    client("desk").publish("commands/alice/goal", b"21", retain=True)
    for payload in (b"forged", b""):
        mallory = client("mallory")
        mallory.send(publish("devices/alice/state", payload, 1, 1, retain=True))
        assert mallory.is_closed()
    mallory = client("mallory")
    assert mallory.subscribe(("devices/#", 1), ("commands/alice/goal", 1), ("commands/mallory/#", 1)) == [0x80, 0x80, 1]
    mallory.ping()  # nothing came before its answer
    desk = client("desk")
    desk.subscribe(("devices/alice/state", 1))
    assert desk.delivery().payload == b"true"


def test_a_client_id_of_another_login_takes_over_nothing(
    strict: GatewayProcess, client: Callable[..., RawClient]
) -> None:
    alice, random_id = client("alice", clean=False), client("bob", "tool-4711")
    assert alice.subscribe(("commands/alice/on", 1)) == [1]
    before = counted(strict, "refused_client_ids")
    for victim in ("alice", "reader", "tool-4711"):  # the second was never here
        for clean in (True, False):
            with RawClient(strict.port) as mallory:
                assert mallory.connect(victim, clean=clean, **LOGIN["mallory"]) == (False, BAD_CLIENT_ID)
                assert mallory.is_closed()
    random_id.ping()
    alice.disconnect()
    client("desk").publish("commands/alice/on", b"while away")
    with RawClient(strict.port) as mallory:
        assert mallory.connect("alice", clean=True, **LOGIN["mallory"]) == (False, BAD_CLIENT_ID)
    assert counted(strict, "refused_client_ids") == before + 7
    with RawClient(strict.port) as back:
        assert back.connect("alice", clean=False, **LOGIN["alice"]) == (True, ACCEPTED)
        assert back.delivery().payload == b"while away"


def test_a_session_that_waits_under_a_made_up_client_id_is_its_users_alone(
    strict: GatewayProcess, client: Callable[..., RawClient]
) -> None:
    client("alice", "made-up", clean=False).disconnect()
    wait_for(lambda: not counted(strict, "clients"), what="its leaving")
    with RawClient(strict.port) as mallory:
        assert mallory.connect("made-up", clean=True, **LOGIN["mallory"]) == (False, BAD_CLIENT_ID)
    with RawClient(strict.port) as back:
        assert back.connect("made-up", clean=False, **LOGIN["alice"]) == (True, ACCEPTED)


def test_a_name_with_a_wildcard_grants_nothing(strict: GatewayProcess, client: Callable[..., RawClient]) -> None:
    plus = client("+")
    assert plus.subscribe(("commands/+/#", 1), ("commands/alice/#", 1)) == [REFUSED, REFUSED]
    plus.send(publish("devices/alice/t", b"by plus", 1, 1))
    assert plus.is_closed()
    assert stored(strict, b"by plus") == []


def test_what_waits_and_what_comes_is_not_delivered_once_the_right_to_it_is_gone(tmp_path: Path) -> None:
    gateway = start(tmp_path, "gateway", '[rights]\npublish = ["news/#"]\n')
    try:
        with RawClient(gateway.port) as reader:
            assert reader.join("reader", clean=False, **LOGIN["reader"]).subscribe(("news/#", 1)) == [1]
            with RawClient(gateway.port) as writer:
                writer.join("bob", **LOGIN["bob"]).publish("news/secret", b"in flight")
            assert reader.delivery(answer=False).payload == b"in flight"
        assert gateway.stop() == 0
        text = gateway.config_path.read_text(encoding="utf-8")
        gateway.config_path.write_text(
            text.replace('subscribe = ["news/#"]', 'subscribe = ["news/open"]'), encoding="utf-8"
        )
        gateway.start()
        with RawClient(gateway.port) as writer, RawClient(gateway.port) as reader:
            writer.join("bob", **LOGIN["bob"]).publish("news/secret", b"while away")
            writer.publish("news/open", b"open, while away")
            assert reader.connect("reader", clean=False, **LOGIN["reader"]) == (True, ACCEPTED)
            assert reader.delivery().payload == b"open, while away"
            writer.publish("news/secret", b"while here")
            writer.publish("news/open", b"open, while here")
            assert reader.delivery().payload == b"open, while here"
            assert reader.subscribe(("news/#", 1)) == [REFUSED]
            reader.ping()
    finally:
        gateway.kill()


def test_without_logins_and_rules_everything_on_loopback_is_allowed_but_the_gateways_own(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path, "open").start()
    try:
        with RawClient(gateway.port) as anyone:
            anyone.join("x").publish("sensors/hall", b"1")
            assert anyone.subscribe(("#", 1), ("$SYS/#", 1), ("$share/g/#", 1)) == [1, 1, REFUSED]
            anyone.send_and_receive("demo/a", b"2")
            anyone.send(packet(0x30, string("$SYS/forged") + b"3"))
            assert anyone.is_closed()
        assert [event.topic for event in gateway.events()] == ["sensors/hall", "demo/a"]
    finally:
        gateway.kill()
