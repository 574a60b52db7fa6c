"""No acknowledgement before the COMMIT, none out of order, none twice: over real sockets, with commits held back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.broker import wire
from tests.unit.broker.site import Site, held_commits
from tests.unit.ingest.stand_in import SaidByPayload, numbered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def test_puback_waits_for_commit(site: Site) -> None:
    device = await site.connect()
    with held_commits(site.data_dir):
        device.send(wire.publish("a", b"21.5", 1, 7))
        await device.ping()  # would have read a PUBACK instead, had there been one
        assert site.log.head == 0
        assert site.log.intake.congested is False
    assert await device.next() == (wire.PUBACK, 0, b"\x00\x07")
    assert site.log.head == 1
    assert [event.payload for event in await site.events()] == [b"21.5"]


async def test_a_repeat_that_its_bytes_tell_is_stored_once_and_acknowledged_after_the_commit(site: Site) -> None:
    site.ingest.use(SaidByPayload())
    device = await site.connect()
    with held_commits(site.data_dir):
        device.send(wire.publish("a", numbered(1), 1, 7), wire.publish("a", b"21.5", 1, 8))
        await device.ping()
        device.abort()
        again = await site.connect()
        repeats = [
            wire.publish("a", payload, 1, number, flags=8) for number, payload in ((7, numbered(1)), (8, b"21.5"))
        ]
        again.send(*repeats)
        await again.ping()
        assert site.log.head == 0
    assert await again.next() == (wire.PUBACK, 0, b"\x00\x07")
    assert await again.next() == (wire.PUBACK, 0, b"\x00\x08")
    assert [event.payload for event in await site.events()] == [numbered(1), b"21.5", b"21.5"]


async def test_pubrec_waits_for_commit(site: Site) -> None:
    device = await site.connect()
    with held_commits(site.data_dir):
        device.send(wire.publish("a", b"21.5", 2, 7))
        await device.ping()
        assert site.log.head == 0
    assert await device.next() == (wire.PUBREC, 0, b"\x00\x07")
    assert [event.payload for event in await site.events()] == [b"21.5"]


async def test_pubcomp_waits_for_the_release_to_be_on_disk(site: Site) -> None:
    device = await site.connect()
    device.send(wire.publish("a", b"", 2, 7))
    await device.next()
    with held_commits(site.data_dir):
        device.send(wire.ack(wire.PUBREL, 7))
        await device.ping()
    assert await device.next() == (wire.PUBCOMP, 0, b"\x00\x07")


async def test_an_event_of_qos_0_is_stored_and_not_acknowledged(site: Site) -> None:
    device = await site.connect()
    device.send(wire.publish("a", b"zero"))
    await device.ping()
    assert [(event.qos, event.payload) for event in await site.events()] == [(0, b"zero")]
    await device.ping()


async def test_pubacks_come_in_the_order_of_the_publishes(site: Site) -> None:
    device = await site.connect()
    order = [5, 3, 65_535, 1, 4, 2] * 50
    for half in (order[:150], order[150:]):
        device.send(*(wire.publish("a", str(packet_id).encode(), 1, packet_id) for packet_id in half))
    answers = [await device.next() for _ in order]
    assert {answer.kind for answer in answers} == {wire.PUBACK}
    assert [answer.packet_id for answer in answers] == order
    assert [int(event.payload) for event in await site.events()] == order


async def test_a_retransmission_at_qos_1_is_another_event_and_acknowledged_again(site: Site) -> None:
    device = await site.connect()
    device.send(wire.publish("a", b"x", 1, 1), wire.publish("a", b"x", 1, 1, flags=8))
    assert [(await device.next()).packet_id for _ in range(2)] == [1, 1]
    assert len(await site.events()) == 2


async def test_a_message_at_qos_2_is_stored_once_until_its_id_is_released(site: Site) -> None:
    device = await site.connect()
    device.send(wire.publish("a", b"once", 2, 9), wire.publish("a", b"once", 2, 9, flags=8))
    assert [await device.next() for _ in range(2)] == [(wire.PUBREC, 0, b"\x00\x09")] * 2
    device.send(wire.ack(wire.PUBREL, 9), wire.ack(wire.PUBREL, 9))
    assert [await device.next() for _ in range(2)] == [(wire.PUBCOMP, 0, b"\x00\x09")] * 2
    device.send(wire.publish("a", b"another", 2, 9))
    assert (await device.next()).kind == wire.PUBREC
    assert [event.payload for event in await site.events()] == [b"once", b"another"]


async def test_a_release_of_an_unknown_id_is_answered(site: Site) -> None:
    device = await site.connect()
    device.send(wire.ack(wire.PUBREL, 77))
    assert await device.next() == (wire.PUBCOMP, 0, b"\x00\x4d")


@pytest.mark.parametrize("clean", [False, True])
async def test_an_open_qos_2_id_outlives_the_connection_but_not_the_session(site: Site, clean: bool) -> None:
    device = await site.connect(clean=False)
    device.send(wire.publish("a", b"once", 2, 9))
    await device.next()
    await device.close()
    again = await site.connect(clean=clean)
    again.send(wire.publish("a", b"once", 2, 9, flags=8))
    assert (await again.next()).kind == wire.PUBREC
    assert len(await site.events()) == (2 if clean else 1)


async def test_an_open_qos_2_id_is_known_after_a_restart(site_at: Callable[..., Awaitable[Site]]) -> None:
    before = await site_at()
    device = await before.connect(clean=False)
    device.send(wire.publish("a", b"once", 2, 9))
    await device.next()
    await before.close()
    after = await site_at()
    again = await after.connect(clean=False)
    again.send(wire.publish("a", b"once", 2, 9, flags=8))
    assert await again.next() == (wire.PUBREC, 0, b"\x00\x09")
    assert [event.payload for event in await after.events()] == [b"once"]


async def test_devices_in_one_commit_get_their_own_acknowledgements(site: Site) -> None:
    devices = [await site.connect(f"dev-{n}") for n in range(5)]
    with held_commits(site.data_dir):
        for n, device in enumerate(devices):
            device.send(wire.publish(f"t/{n}", b"", 1, 100 + n), wire.publish(f"t/{n}", b"", 2, 200 + n))
            await device.ping()
    for n, device in enumerate(devices):
        answers = [await device.next() for _ in range(2)]
        assert [(each.kind, each.packet_id) for each in answers] == [(wire.PUBACK, 100 + n), (wire.PUBREC, 200 + n)]
    assert {(event.client_id, event.topic) for event in await site.events()} == {
        (f"dev-{n}", f"t/{n}") for n in range(5)
    }


async def test_what_a_violation_follows_is_stored_and_only_then_is_the_connection_gone(site: Site) -> None:
    device = await site.connect()
    device.send(wire.publish("good", b"", 1, 1) + wire.publish("bad/#", b"", 1, 2) + wire.publish("late", b"", 1, 3))
    assert await device.rest() == b""
    assert [event.topic for event in await site.events()] == ["good"]
    assert site.broker.status().violations == 1


async def test_a_topic_of_the_gateway_closes_the_connection(site: Site) -> None:
    device = await site.connect()
    device.send(wire.publish("$SYS/uptime", b"forged", 1, 1))
    assert await device.rest() == b""
    assert await site.events() == []
