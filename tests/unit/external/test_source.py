"""A source at a real Mosquitto: when it acknowledges, what it stores, and what it does when the broker is not there."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.site.certificates import SiteCertificates
from tests.site.external_broker import repeats, told
from tests.site.mosquitto_clients import publish
from tests.unit.broker.site import held_commits, until
from tests.unit.external.source_site import source_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.site.mosquitto_process import MosquittoProcess

    Mosquittos = Callable[..., MosquittoProcess]

pytestmark = pytest.mark.usefixtures("mosquitto_clients")
VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])


async def say(broker: MosquittoProcess, topic: str, payload: str, *arguments: str, qos: int = 1) -> None:
    done = await asyncio.to_thread(publish, broker.port, topic, "-m", payload, "-q", str(qos), *arguments)
    assert done.returncode == 0, done.stderr


@VERSIONS
async def test_each_message_becomes_an_event_with_its_device(
    tmp_path: Path, mosquitto_at: Mosquittos, version: str
) -> None:
    broker = mosquitto_at("site").start()
    async with source_at(tmp_path / "edge", broker.port, version=version, device_patterns=["{device}/rpc"]) as site:
        await say(broker, "devices/probe-1/t", "0", qos=0)
        await say(broker, "devices/probe-1/t", "1", qos=1)
        await say(broker, "shelly/rpc", "2", qos=2)
        events = await site.events(3)
    assert [(event.client_id, event.topic, event.qos, event.payload) for event in events] == [
        ("probe-1", "devices/probe-1/t", 0, b"0"),
        ("probe-1", "devices/probe-1/t", 1, b"1"),
        ("shelly", "shelly/rpc", 1, b"2"),
    ]


async def test_properties_of_mqtt_5_are_kept_as_they_stand_on_the_wire(
    tmp_path: Path, mosquitto_at: Mosquittos
) -> None:
    broker = mosquitto_at("site").start()
    command = ["mosquitto_pub", "-V", "5", "-p", str(broker.port), "-q", "1", "-t", "a", "-m", "x"]
    command += ["-D", "publish", "content-type", "text/plain", "-D", "publish", "user-property", "traceparent", "00-ab"]
    async with source_at(tmp_path / "edge", broker.port) as site:
        await asyncio.to_thread(subprocess.run, command, check=True)
        (event,) = await site.events(1)
    assert event.properties == b"\x03\x00\x0atext/plain" + b"&\x00\x0btraceparent\x00\x0500-ab"


@VERSIONS
async def test_the_broker_is_acknowledged_to_after_the_commit_and_not_before(
    tmp_path: Path, mosquitto_at: Mosquittos, version: str
) -> None:
    broker = mosquitto_at("site").start()
    async with source_at(tmp_path / "edge", broker.port, version=version) as site:
        with held_commits(tmp_path / "edge"):
            await say(broker, "a", "x", qos=2)
            await until(lambda: site.source.status().messages == 1)
            await until(lambda: site.log.status().error)  # the disk has been tried, and refused
            assert told(broker, "Received PUBACK") == []
        await until(lambda: told(broker, "Received PUBACK"))
        assert len(await site.events(1)) == 1


async def test_while_the_log_is_full_nothing_is_read_and_afterwards_all_of_it(
    tmp_path: Path, mosquitto_at: Mosquittos
) -> None:
    broker = mosquitto_at("site", "max_inflight_messages 0").start()
    lines = "\n".join("x" * 200 for _ in range(3000)).encode()
    async with source_at(tmp_path / "edge", broker.port, log={"pending_bytes_max": 100_000}) as site:
        with held_commits(tmp_path / "edge"):
            await asyncio.to_thread(publish, broker.port, "a/b", "-q", "1", "-l", stdin=lines)
            await until(lambda: site.source.status().held_up)
            taken = site.source.status().messages
            assert 100 < taken < 400
            await say(broker, "last", "x")
            assert site.source.status().messages == taken
        assert len(await site.events(3001)) == 3001
        assert not site.source.status().held_up


@VERSIONS
async def test_a_disk_that_takes_nothing_for_longer_than_the_keep_alive_loses_nothing_and_doubles_nothing(
    tmp_path: Path, mosquitto_at: Mosquittos, version: str
) -> None:
    broker = mosquitto_at("site", "max_inflight_messages 0").start()
    lines = "\n".join(f"{n} {'x' * 200}" for n in range(1000)).encode()
    keys: dict[str, object] = {"version": version, "keep_alive_s": 1}
    async with source_at(tmp_path / "edge", broker.port, log={"pending_bytes_max": 100_000}, **keys) as site:
        with held_commits(tmp_path / "edge"):
            await asyncio.to_thread(publish, broker.port, "a/b", "-q", "1", "-l", stdin=lines)
            await until(lambda: site.source.status().reconnects > 0)
            assert site.source.status().messages < 400
        events = await site.events(1000)
    assert sorted(event.payload for event in events) == sorted(lines.splitlines())


@VERSIONS
async def test_what_was_committed_and_not_acknowledged_comes_again_and_is_not_stored_again(
    tmp_path: Path, mosquitto_at: Mosquittos, version: str
) -> None:
    broker = mosquitto_at("site").start()
    data_dir = tmp_path / "edge"
    async with source_at(data_dir, broker.port, version=version) as site:
        site.source._connection._is_open = False  # an acknowledgement that never leaves
        await say(broker, "a", "x")
        await say(broker, "a", "x")
        assert len(await site.events(2)) == 2
        site.source._connection.drop()
        await until(lambda: site.source.status().repeats == 2)
        assert len(await site.events(2)) == 2
        await until(lambda: len(told(broker, "Received PUBACK")) == 2)
    assert repeats(broker) == 2


@VERSIONS
async def test_repeats_are_known_after_a_restart(tmp_path: Path, mosquitto_at: Mosquittos, version: str) -> None:
    broker = mosquitto_at("site").start()
    data_dir = tmp_path / "edge"
    async with source_at(data_dir, broker.port, version=version) as site:
        site.source._connection._is_open = False
        await say(broker, "a", "x")
        await site.events(1)
        site.source._connection.drop()
        site.source._stopping = True
    async with source_at(data_dir, broker.port, version=version) as site:
        await until(lambda: site.source.status().repeats == 1)
        assert len(await site.events(1)) == 1
        await say(broker, "a", "x")
        assert len(await site.events(2)) == 2


async def test_after_a_clean_stop_nothing_comes_again(tmp_path: Path, mosquitto_at: Mosquittos) -> None:
    broker = mosquitto_at("site").start()
    async with source_at(tmp_path / "edge", broker.port) as site:
        for n in range(20):
            await say(broker, "a", str(n), qos=1 if n % 2 else 0)
        await site.events(20)
    await until(lambda: told(broker, "Received DISCONNECT"))
    await say(broker, "a", "while it was away")
    async with source_at(tmp_path / "edge", broker.port) as site:
        events = await site.events(21)
        assert (len(events), events[-1].payload) == (21, b"while it was away")
        assert site.source.status().repeats == 0
    assert repeats(broker) == 0


async def test_what_is_proved_to_be_acknowledged_is_forgotten(tmp_path: Path, mosquitto_at: Mosquittos) -> None:
    broker = mosquitto_at("site").start()
    async with source_at(tmp_path / "edge", broker.port) as site:
        for n in range(10):
            await say(broker, "a", str(n))
        await until(lambda: len(site.source._kept._repeats) == 0 and site.log.head == 10)
        await say(broker, "a", "10")
        await site.events(11)
    async with source_at(tmp_path / "edge", broker.port) as site:
        assert len(site.log.inbound) == 1


@VERSIONS
async def test_retained_messages_come_once_however_often_it_reconnects(
    tmp_path: Path, mosquitto_at: Mosquittos, version: str
) -> None:
    broker = mosquitto_at("site").start()
    for n in range(5):
        await say(broker, f"state/{n}", "on", "-r")
    for _ in range(2):
        async with source_at(tmp_path / "edge", broker.port, version=version) as site:
            await site.events(5)
            site.source._connection.drop()
            await until(lambda site=site: site.source.status().reconnects == 1 and site.state == "connected")
            await say(broker, "marker", "x")
            events = await site.events(6)
    assert [event.payload for event in events] == [b"on"] * 5 + [b"x"] * 2
    assert [event.retain for event in events] == [True] * 5 + [False] * 2


@VERSIONS
async def test_topics_that_were_added_and_removed_count_from_the_next_start(
    tmp_path: Path, mosquitto_at: Mosquittos, version: str
) -> None:
    broker = mosquitto_at("site").start()
    async with source_at(tmp_path / "edge", broker.port, version=version, topics=["a", "b"]):
        pass
    await say(broker, "c", "too early", "-r")
    async with source_at(tmp_path / "edge", broker.port, version=version, topics=["b", "c"]) as site:
        for topic in ("a", "b", "c"):
            await say(broker, topic, "x")
        events = await site.events(3)
    assert [(event.topic, event.payload) for event in events] == [("c", b"too early"), ("b", b"x"), ("c", b"x")]


async def test_it_goes_on_when_the_broker_comes_back(tmp_path: Path, mosquitto_at: Mosquittos) -> None:
    persistence = f"persistence true\npersistence_location {tmp_path}/\n"
    broker = mosquitto_at("site", persistence).start()
    async with source_at(tmp_path / "edge", broker.port) as site:
        broker.stop()
        await until(lambda: site.state == "unreachable")
        assert "no connection to 127.0.0.1" in site.source.status().reason or "connection lost" in (
            site.source.status().reason
        )
        broker.start()
        await until(lambda: site.state == "connected")
        await say(broker, "a", "x")
        assert len(await site.events(1)) == 1
        assert (site.source.status().reason, site.source.status().sessions_lost) == ("", 0)
        assert site.source.status().reconnects == 1


async def test_a_broker_that_has_forgotten_the_session_is_told_of_and_its_packet_ids_begin_anew(
    tmp_path: Path, mosquitto_at: Mosquittos
) -> None:
    broker = mosquitto_at("site").start()
    async with source_at(tmp_path / "edge", broker.port) as site:
        site.source._connection._is_open = False
        await say(broker, "a", "x")
        await site.events(1)
        broker.kill()
        broker.start()
        await until(lambda: site.source.status().sessions_lost == 1 and site.state == "connected")
        assert len(site.source._kept._repeats) == 0
        await say(broker, "a", "x")
        assert len(await site.events(2)) == 2


async def test_it_starts_without_its_broker_and_waits_for_it(tmp_path: Path, mosquitto_at: Mosquittos) -> None:
    broker = mosquitto_at("site")
    async with source_at(tmp_path / "edge", broker.port, state="unreachable") as site:
        broker.start()
        await until(lambda: site.state == "connected")


async def test_a_login_that_is_refused_blocks_until_it_is_mended(tmp_path: Path, mosquitto_at: Mosquittos) -> None:
    users = tmp_path / "users"
    await asyncio.to_thread(subprocess.run, ["mosquitto_passwd", "-b", "-c", str(users), "edge", "right"], check=True)
    broker = mosquitto_at("site", f"allow_anonymous false\npassword_file {users}").start()
    password = tmp_path / "password"
    password.write_text("wrong\n", encoding="utf-8")
    async with source_at(
        tmp_path / "edge", broker.port, state="blocked", username="edge", password_file=str(password)
    ) as site:
        assert "not authorized" in site.source.status().reason
        password.unlink()
        await until(lambda: "cannot read password_file" in site.source.status().reason)
        password.write_text("right\n", encoding="utf-8")
        await until(lambda: site.state == "connected")


async def test_refused_subscriptions_are_shown_and_the_others_bring_events(
    tmp_path: Path, mosquitto_at: Mosquittos
) -> None:
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite open/#\ntopic write secret/#\n", encoding="utf-8")
    broker = mosquitto_at("site", f"acl_file {rules}").start()
    async with source_at(tmp_path / "edge", broker.port, topics=["open/#"]) as site:
        await say(broker, "open/a", "x")
        assert len(await site.events(1)) == 1


async def test_two_gateways_under_one_client_id_push_each_other_out_less_and_less_often(
    tmp_path: Path, mosquitto_at: Mosquittos
) -> None:
    broker = mosquitto_at("site").start()
    async with (
        source_at(tmp_path / "one", broker.port, backoff_max_s=60) as one,
        source_at(tmp_path / "two", broker.port, backoff_max_s=60) as two,
    ):
        await until(lambda: one.source._failures > 2 and two.source._failures > 2)
        assert "the broker closed it" in f"{one.source.status().reason} {two.source.status().reason}"


async def test_with_tls_it_knows_its_broker_by_fingerprint_and_tells_another_nothing(
    tmp_path: Path, mosquitto_at: Mosquittos
) -> None:
    site = SiteCertificates(tmp_path / "tls")
    certificate, key = site.issue("server", "server", alternatives=("localhost",))
    broker = mosquitto_at("site", f"cafile {site.ca_path}\ncertfile {certificate}\nkeyfile {key}\n").start()
    der = ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii"))
    url, right = f"mqtts://127.0.0.1:{broker.port}", hashlib.sha256(der).hexdigest()
    async with source_at(tmp_path / "edge", 0, state="blocked", url=url, fingerprint_sha256="0" * 64) as edge:
        assert f"has the fingerprint {right}" in edge.source.status().reason
        assert told(broker, "New client connected") == []
    async with source_at(tmp_path / "edge", 0, state="blocked", url=url) as edge:
        assert "is not trusted" in edge.source.status().reason
    async with source_at(tmp_path / "edge", 0, url=url, fingerprint_sha256=right) as edge:
        await until(lambda: len(edge.source.certificates) == 1)
    keys = {"ca_file": str(site.ca_path), "server_name": "localhost"}
    async with source_at(tmp_path / "edge", 0, url=url, **keys) as edge:
        assert [each.what for each in edge.source.certificates] == ["broker.ca_file", "broker: the server's"]
    async with source_at(tmp_path / "edge", 0, state="blocked", url=url, **keys | {"server_name": "other"}) as edge:
        assert "server_name" in edge.source.status().reason


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x03\x00\x00\x00" + b"\x32\x02\xff",
        b"\xff\xff\xff\xff\xff",
        None,
    ],
    ids=["closes", "speaks HTTP", "sends a broken PUBLISH", "sends an endless length", "says nothing"],
)
async def test_a_server_that_is_no_broker_is_tried_again_and_does_no_harm(
    tmp_path: Path, answer: bytes | None, port: int
) -> None:
    tried = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tried
        tried += 1
        await reader.read(1)
        writer.write(answer or b"")
        if answer is None:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with (
        server,
        source_at(tmp_path / "edge", port, state="unreachable", connect_timeout_s=0.2) as site,
    ):
        await until(lambda: tried > 2)
        assert site.source.status().reason
        assert site.log.head == 0
