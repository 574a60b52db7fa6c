"""What somebody on the network can do to a gateway that keeps its limits: nothing that the others notice.

While each of them tries, a witness is served, memory stays within bounds, and afterwards every descriptor is back.
`python -m benchmarks.hostile` measures how long the witness waits.
"""

from __future__ import annotations

import resource
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from gateway.broker.login import hash_password
from tests.fuzz.gateway_health import GatewayHealth
from tests.site.flood import Flood
from tests.site.gateway_process import GatewayProcess
from tests.site.ports import wait_for
from tests.site.raw_client import PUBACK, RawClient, connect, packet, publish
from tests.site.witness import Witness

if TYPE_CHECKING:
    from collections.abc import Iterator

MB = 1024 * 1024
GROWTH_BYTES_MAX = 20 * MB
LOGINS_GROWTH_BYTES_MAX = 5 * MB
PINGS = 30
REFUSED = 0x80
UNAVAILABLE = 3
USERS = f'[broker.users]\npump = "{hash_password("right")}"\n'
LIMITS = """
allow_anonymous = true
connect_timeout_s = 60
publish_rate_max = 2000
subscriptions_per_client_max = 3
subscriber_queue_events_max = 500
topic_bytes_max = 100
topic_levels_max = 5
"""
ROLES = '[rights]\nanonymous_role = "local"\n[log]\nretained_messages_max = 200\nretention_bytes_max = 100000000\n'


@pytest.fixture(scope="module", autouse=True)
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def hall(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that has its first load behind it, so that what comes is not the cost of the first time."""
    process = GatewayProcess(tmp_path_factory.mktemp("hall"), "hall", ROLES, broker=LIMITS + USERS).start()
    with RawClient(process.port).join("first") as first:
        first.subscribe(("first/#", 1))
        for _ in range(50):
            first.send_and_receive("first/t", b"x" * 100)
    with ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(RawClient(process.port, source="127.9.9.9"))
            client.send(connect("x", username="nobody", password="x"))
    wait_for(lambda: process.status()["broker"]["refused_logins"] == 2, what="two logins refused")
    yield process
    process.kill()


@contextmanager
def unharmed(gateway: GatewayProcess, growth_bytes_max: int = GROWTH_BYTES_MAX) -> Iterator[Witness]:
    """A witness is served all the while; at the end memory is within bounds, and everything else as before."""
    health = GatewayHealth(gateway)
    with Witness(gateway.port) as witness:
        yield witness
        go_on(witness)
        assert health.growth_bytes() < growth_bytes_max
    health.check_idle()
    assert health.growth_bytes() < growth_bytes_max
    assert "Traceback" not in gateway.log()


def go_on(witness: Witness) -> None:
    """Wait until the witness has been served some more."""
    goal = len(witness.pings_s) + PINGS
    wait_for(lambda: witness.check() or len(witness.pings_s) >= goal, what="more answers for the witness")


def over_limits(gateway: GatewayProcess, limit: str) -> int:
    return int(gateway.status()["broker"]["over_limits"].get(limit, 0))


def source(number: int) -> str:
    return f"127.0.{1 + number // 200}.{1 + number % 200}"


def test_2000_half_open_connections(hall: GatewayProcess) -> None:
    half = connect("half-open")[:9]
    with unharmed(hall) as witness, ExitStack() as stack:
        for number in range(2000):
            client = stack.enter_context(RawClient(hall.port, source=source(number % 10)))
            if number % 2:
                client.send(half)
        wait_for(lambda: hall.status()["broker"]["connections"] == 2001, what="all of them")
        go_on(witness)


def test_3000_failed_logins_and_the_device_they_were_after_still_gets_in(hall: GatewayProcess) -> None:
    before = hall.status()["broker"]
    wrong = connect("guess", username="pump", password="wrong")
    with unharmed(hall, LOGINS_GROWTH_BYTES_MAX) as witness:
        for batch in range(60):
            with ExitStack() as stack:
                clients = [stack.enter_context(RawClient(hall.port, source=source(n % 5))) for n in range(50)]
                for client in clients:
                    client.send(wrong)
                answers = [client.read() for client in clients]
            assert all(answer is not None and answer.body[1] for answer in answers)
            if batch == 30:
                with RawClient(hall.port, source="127.8.8.8") as pump:
                    pump.join("pump", username="pump", password="right").ping()
        go_on(witness)
        now = hall.status()["broker"]
        assert now["refused_logins"] == before["refused_logins"] + 3000
        assert now["over_limits"]["login_failures_per_minute_max"] > 2500
        assert now["logins_pending"] == 0


def test_clients_that_trickle_are_closed_when_their_time_is_over(tmp_path_factory: pytest.TempPathFactory) -> None:
    broker = "allow_anonymous = true\nconnect_timeout_s = 1\n"
    gateway = GatewayProcess(tmp_path_factory.mktemp("loris"), "loris", broker=broker).start()
    try:
        with unharmed(gateway) as witness, ExitStack() as stack:
            clients = [stack.enter_context(RawClient(gateway.port)) for _ in range(300)]
            slow = connect("x" * 60_000)
            for at in range(20_000):
                with suppress(ConnectionError):
                    clients[at % 300].send(slow[at // 300 : at // 300 + 1])
                if at % 300 == 0 and gateway.status()["broker"]["connections"] == 1:
                    break
            wait_for(lambda: gateway.status()["broker"]["connections"] == 1, what="only the witness is left")
            go_on(witness)
    finally:
        gateway.kill()


def test_a_flood_of_retained_messages_leaves_room_for_those_of_others(hall: GatewayProcess) -> None:
    with unharmed(hall) as witness, RawClient(hall.port).join("flooder") as flooder:
        for number in range(5000):
            flooder.send(publish(f"flood/{number}", b"x" * 2000, retain=True))
        flooder.ping()
        assert hall.status()["log"]["retained"] <= 100
        go_on(witness)
        with RawClient(hall.port).join("modest") as modest:
            modest.publish("modest/state", b"here", retain=True)
            modest.subscribe(("modest/#", 1))
            assert modest.delivery().payload == b"here"
        assert hall.status()["log"]["retained_refused"] >= 4900
        for number in range(100):
            flooder.send(publish(f"flood/{number}", b"", retain=True))
        flooder.ping()
    wait_for(lambda: hall.status()["log"]["retained"] == 1, what="the flood is withdrawn")


def test_a_full_house_and_1000_resets_keep_nobody_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    broker = "allow_anonymous = true\nconnections_max = 100\nconnect_timeout_s = 60\n"
    gateway = GatewayProcess(tmp_path_factory.mktemp("full"), "full", broker=broker).start()
    try:
        with unharmed(gateway) as witness, ExitStack() as stack:
            for _ in range(150):
                stack.enter_context(RawClient(gateway.port, source="127.6.6.6"))
            for number in range(1000):
                client = RawClient(gateway.port, source="127.6.6.6")
                client.reset()
                if number % 250 == 0:
                    with RawClient(gateway.port, source="127.7.7.7") as late:
                        late.join("late").ping()
            go_on(witness)
            assert over_limits(gateway, "connections_max") >= 50
            assert gateway.status()["broker"]["turned_away"] == 0
    finally:
        gateway.kill()


def test_a_reader_that_never_reads(hall: GatewayProcess) -> None:
    with unharmed(hall) as witness, RawClient(hall.port) as deaf:
        deaf.join("deaf").subscribe(("flood/0", 0), ("flood/1", 1))
        with Flood(hall.port, "flood/0", b"x" * 4000, 16 * MB), RawClient(hall.port).join("one") as one:
            for number in range(1000):
                one.publish("flood/1", b"x" * 4000, 1 + number)
            go_on(witness)
        assert hall.status()["broker"]["deliveries_dropped"] > 0


def test_a_device_that_brings_too_much_is_slowed_and_loses_nothing(hall: GatewayProcess) -> None:
    before, head = over_limits(hall, "publish_rate_max"), hall.status()["log"]["head"]
    with unharmed(hall) as witness, RawClient(hall.port).join("eager") as eager:
        eager.send(b"".join(publish("eager/t", b"x", 1, 1 + number) for number in range(3000)))
        assert over_limits(hall, "publish_rate_max") > before
        goal = len(witness.pings_s)
        for number in range(3000):
            assert eager.expect(PUBACK).packet_id == 1 + number
        assert len(witness.pings_s) > goal
        eager.ping()
    assert len([event for event in hall.events() if event.seq > head and event.topic == "eager/t"]) == 3000


@pytest.mark.parametrize(
    ("limit", "sent"),
    [
        ("topic_bytes_max", publish("x" * 101, b"")),
        ("topic_levels_max", publish("a/b/c/d/e/f", b"")),
        ("topic_bytes_max", packet(0x82, b"\0\1\0\x65" + b"x" * 101 + b"\0")),
        ("topic_levels_max", packet(0x82, b"\0\1\0\x0b+/+/+/+/+/+\0")),
    ],
)
def test_a_topic_that_is_too_long_or_too_deep_ends_its_connection(
    hall: GatewayProcess, limit: str, sent: bytes
) -> None:
    before = over_limits(hall, limit)
    with RawClient(hall.port).join("long") as client:
        client.send(publish("x" * 100, b"") + publish("a/b/c/d/e", b""))
        client.ping()
        client.send(sent)
        assert client.is_closed()
    assert over_limits(hall, limit) == before + 1


def test_a_will_with_a_topic_that_is_too_long_lets_nobody_in(hall: GatewayProcess) -> None:
    with RawClient(hall.port) as client:
        client.send(connect("long-will", will=("x" * 101, b"", 0, False)))
        assert client.is_closed()


def test_one_subscription_too_many_is_refused_and_the_others_stay(hall: GatewayProcess) -> None:
    with RawClient(hall.port).join("curious") as client:
        assert client.subscribe(*((f"t/{n}", 1) for n in range(4))) == [1, 1, 1, REFUSED]
        assert client.subscribe(("t/0", 0)) == [0]
        client.unsubscribe("t/1")
        assert client.subscribe(("t/3", 1)) == [1]
    assert over_limits(hall, "subscriptions_per_client_max") == 1


def test_one_address_has_so_many_connections_and_others_have_theirs(tmp_path_factory: pytest.TempPathFactory) -> None:
    broker = "allow_anonymous = true\nconnections_per_address_max = 5\n"
    gateway = GatewayProcess(tmp_path_factory.mktemp("narrow"), "narrow", broker=broker).start()
    try:
        with ExitStack() as stack:
            clients = [stack.enter_context(RawClient(gateway.port)).join(f"c-{n}") for n in range(5)]
            assert stack.enter_context(RawClient(gateway.port)).is_closed()
            with RawClient(gateway.port, source="127.7.7.7") as other:
                other.join("other").ping()
            for client in clients:
                client.ping()
            clients[0].disconnect()
            wait_for(lambda: gateway.status()["broker"]["connections"] == 4, what="room for one more")
            with RawClient(gateway.port) as following:
                following.join("following").ping()
        assert over_limits(gateway, "connections_per_address_max") == 1
    finally:
        gateway.kill()
