"""Whoever brings more than the disk takes, or does not read its answers, is not read from; nothing is lost by it."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from gateway.broker.broker import _KEEP_ALIVE_FACTOR
from gateway.broker.reading import CONGESTED_READ_BYTES_MAX
from tests.unit.broker import wire
from tests.unit.broker.site import Site, held_commits, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def is_read(site: Site, client_id: str = "dev") -> bool:
    return bool(site.connection(client_id)._transport.is_reading())


async def test_a_device_that_brings_more_than_the_disk_takes_is_not_read_until_there_is_room(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    site = await site_at(log={"pending_bytes_max": 4096})
    device = await site.connect()
    count, payload = 400, bytes(50_000)
    with held_commits(site.data_dir):
        for packet_id in range(1, count + 1):
            device.send(wire.publish("a", payload, 1, packet_id))
        await until(lambda: not is_read(site))
        unsent = device.writer.transport.get_write_buffer_size()
        assert unsent > 0
        other = await site.connect("other")
        assert device.writer.transport.get_write_buffer_size() == unsent
        assert site.log.intake.congested
    answers = [await device.next() for _ in range(count)]
    assert [answer.packet_id for answer in answers] == [*range(1, count + 1)]
    assert len(await site.events()) == count
    await device.ping()
    await other.ping()
    assert not site.ingest._waiting


async def test_devices_that_come_back_while_the_disk_is_full_do_not_fill_the_memory(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    site = await site_at(log={"pending_bytes_max": 4096})
    first = await site.connect("first")
    with held_commits(site.data_dir):
        first.send(*(wire.publish("a", bytes(1000), 1, packet_id) for packet_id in range(1, 21)))
        await until(lambda: not is_read(site, "first"))
        pending = site.log.intake._pending_bytes
        others = [await site.connect(f"dev-{n}") for n in range(10)]
        for other in others:
            other.send(*(wire.publish("b", bytes(1000), 1, packet_id) for packet_id in range(1, 21)))
        await until(lambda: not any(is_read(site, f"dev-{n}") for n in range(10)))
        assert site.log.intake._pending_bytes == pending
        others.pop().abort()
    for device in (first, *others):
        assert [(await device.next()).packet_id for _ in range(20)] == [*range(1, 21)]
        await device.ping()


async def test_silence_is_not_held_against_a_device_that_is_not_read(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    site = await site_at(log={"pending_bytes_max": 4096})
    device = await site.connect(keep_alive_s=10)
    with held_commits(site.data_dir):
        device.send(*(wire.publish("a", bytes(5000), 1, packet_id) for packet_id in range(1, 20)))
        await until(lambda: not is_read(site))
        site.broker._sweep(site.connection().heard_s + 1000)
    for _ in range(1, 20):
        assert (await device.next()).kind == wire.PUBACK
    await device.ping()


async def test_a_device_that_has_gone_while_the_disk_was_full_leaves_no_connection_behind(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    site = await site_at(log={"pending_bytes_max": 4096})
    device = await site.connect(keep_alive_s=10)
    with held_commits(site.data_dir):
        device.send(*(wire.publish("a", bytes(5000), 1, packet_id) for packet_id in range(1, 20)))
        await until(lambda: not is_read(site))
        connection = site.connection()
        await device.close()
        await until(lambda: connection.is_abandoned)
        site.broker._sweep(connection.heard_s + 1)
        assert not connection.closing
        site.broker._sweep(connection.heard_s + 1000)
        await until(lambda: connection.is_closed)


async def test_who_sends_no_event_is_served_while_the_disk_is_full(site_at: Callable[..., Awaitable[Site]]) -> None:
    site = await site_at(log={"pending_bytes_max": 4096})
    device, idle = await site.connect(), await site.connect("idle")
    with held_commits(site.data_dir):
        device.send(*(wire.publish("a", bytes(5000), 1, packet_id) for packet_id in range(1, 20)))
        await until(lambda: not is_read(site))
        assert site.broker.status().held_up == 1
        await idle.ping()
        assert await idle.subscribe(("a", 1)) == b"\1"
        await (await site.connect("new")).ping()
    assert site.connection("idle").connect is not None


async def test_connections_that_are_all_readable_when_the_log_fills_hold_little_each(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    site = await site_at(log={"pending_bytes_max": 4096})
    count = 50
    devices = [await site.connect(f"dev-{number}") for number in range(count)]
    with held_commits(site.data_dir):
        for device in devices:
            device.send(*(wire.publish("a", bytes(1000), 1, packet_id) for packet_id in range(1, 101)))
        await until(lambda: not any(is_read(site, f"dev-{number}") for number in range(count)))
        unparsed = sorted(len(site.connection(f"dev-{number}")._buffer) for number in range(count))
        assert unparsed[-2] <= CONGESTED_READ_BYTES_MAX
        assert site.log.intake._pending_bytes < 100_000
    for device in devices:
        assert [(await device.next()).packet_id for _ in range(100)] == [*range(1, 101)]


async def test_wills_beyond_their_room_in_a_full_log_are_dropped_and_counted(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    site = await site_at(log={"pending_bytes_max": 4096}, wills_bytes_max=10_000)
    device = await site.connect()
    with held_commits(site.data_dir):
        device.send(*(wire.publish("a", bytes(1000), 1, packet_id) for packet_id in range(1, 101)))
        await until(lambda: not is_read(site))
        for number in range(20):
            leaving = await site.connect(f"leaving-{number}", will=("gone", bytes(1000), 1, False))
            leaving.abort()
        await until(lambda: len(site.broker._connections) == 1)
        assert site.broker.status().wills_dropped == 10
    for _ in range(100):
        await device.next()
    assert len([event for event in await site.events() if event.topic == "gone"]) == 10


async def test_a_device_that_does_not_read_its_acknowledgements_is_not_read_either(site: Site) -> None:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", site.port))
    raw.setblocking(False)
    device = await wire.Device.on(raw)
    site.devices.append(device)
    device.send(wire.connect("dev"))
    await device.next()
    held = site.connection()
    held._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    device.writer.transport.pause_reading()
    sent = 0
    while not held._waits_for_reader:
        device.send(*(wire.publish("a", b"", 1, 1 + (sent + n) % 65_535) for n in range(1000)))
        sent += 1000
        await until(lambda: held._waits_for_reader or site.log.head == sent)  # noqa: B023 - asked at once
        assert sent < 1_000_000
    assert not is_read(site)
    device.writer.transport.resume_reading()
    for number in range(sent):
        assert (await device.next()).packet_id == 1 + number % 65_535
    assert is_read(site)
    await device.ping()


async def test_a_device_that_never_reads_again_is_closed_when_its_keep_alive_is_over(site: Site) -> None:
    await site.connect(keep_alive_s=10)
    connection = site.connection()
    connection.pause_writing()
    site.broker._sweep(connection.heard_s + 10 * _KEEP_ALIVE_FACTOR + 1)
    await until(lambda: connection.is_closed)


async def test_packets_that_are_begun_and_not_ended_take_no_more_than_their_memory(
    site_at: Callable[..., Awaitable[Site]],
) -> None:
    site = await site_at(unfinished_bytes_max=300_000)
    quick = await site.connect("quick")
    half = wire.publish("a", bytes(60_000), 1, 1)[:50_000]
    slow = []
    for number in range(10):
        slow.append(await site.connect(f"slow-{number}"))
        connection = site.connection(f"slow-{number}")
        slow[-1].send(half)
        await until(lambda: len(connection._buffer) == len(half) or connection.closing)  # noqa: B023 - asked at once
        quick.send(wire.publish("a", bytes(60_000), 1, number + 1))
        assert (await quick.next()).packet_id == number + 1
    closed = site.broker.status().unfinished_closed
    assert closed in {4, 5}  # one more, if the quick one's packet came in two pieces at the wrong moment
    for device in slow[:closed]:
        assert await device.rest() == b""
    for device in slow[closed:]:
        device.send(wire.publish("a", bytes(60_000), 1, 1)[50_000:])
        assert (await device.next()).kind == wire.PUBACK
