"""One suite for every kind of upstream, against a real peer: what was logged arrives, whatever happens between."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.conformance.peers import Proxy

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conformance.conftest import Site
    from tests.conformance.peers import Peer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


def check_arrivals(peer: Peer, site: Site) -> None:
    """None lost, none altered, each device's events in order, and a duplicate is an exact one."""
    per_device: dict[str, list[int]] = defaultdict(list)
    seen: set[str] = set()
    for arrival in peer.arrivals:
        assert (arrival.topic, arrival.payload) == site.expected[arrival.event_id]
        if arrival.event_id not in seen:
            seen.add(arrival.event_id)
            per_device[arrival.topic.split("/")[1]].append(int(arrival.event_id.rpartition(".")[2]))
    assert seen == site.expected.keys()
    assert all(seqs == sorted(seqs) for seqs in per_device.values())


def all_arrived(peer: Peer, site: Site) -> bool:
    return len(peer.arrivals) >= len(site.expected) and (
        {arrival.event_id for arrival in peer.arrivals} >= site.expected.keys()
    )


async def test_everything_arrives_once_and_in_order(peer: Peer, site: Site) -> None:
    await site.record_many(5000)
    async with site.forwarding(peer, peer.port) as forwarder:
        await until(lambda: site.log.cursor("cloud") == 5000)
        await until(lambda: all_arrived(peer, site))
        assert forwarder.status().forwarded == 5000
    check_arrivals(peer, site)
    assert len(peer.arrivals) == 5000


async def test_every_byte_comes_through(peer: Peer, site: Site) -> None:
    await site.record("dev/1/bytes", bytes(range(256)))
    await site.record("dev/1/nothing", b"")
    await site.record("dev/1/höhe", "°C".encode())
    async with site.forwarding(peer, peer.port):
        await until(lambda: all_arrived(peer, site))
    check_arrivals(peer, site)


async def test_peer_that_goes_away_in_mid_window_gets_the_rest_later(peer: Peer, site: Site) -> None:
    await site.record_many(5000)
    async with Proxy(peer.port) as proxy:
        proxy.swallow_answers_after = 4000
        async with site.forwarding(peer, proxy.port) as forwarder:
            await proxy.swallowed.wait()
            await asyncio.to_thread(peer.stop)
            await until(lambda: forwarder.status().state == "unreachable")
            assert site.log.cursor("cloud") < 5000
            proxy.swallow_answers_after = None
            await asyncio.to_thread(peer.start)
            await until(lambda: site.log.cursor("cloud") == 5000)
            await until(lambda: all_arrived(peer, site))
    check_arrivals(peer, site)


async def test_connection_cut_in_mid_window_loses_nothing(peer: Peer, site: Site) -> None:
    await site.record_many(5000)
    async with Proxy(peer.port) as proxy:
        proxy.swallow_answers_after = 2000
        async with site.forwarding(peer, proxy.port) as forwarder:
            for _ in range(3):
                await proxy.swallowed.wait()
                await proxy.cut()
            proxy.swallow_answers_after = None
            await until(lambda: site.log.cursor("cloud") == 5000)
            await until(lambda: all_arrived(peer, site))
            assert forwarder.status().reconnects >= 3
    check_arrivals(peer, site)


async def test_batches_under_way_when_the_connection_is_cut_arrive_in_order(peer: Peer, site: Site) -> None:
    await site.record_many(5000)
    async with Proxy(peer.port) as proxy:
        proxy.swallow_answers_after = 2000
        async with site.forwarding(peer, proxy.port, batch_events_max=7):
            for _ in range(3):
                await proxy.swallowed.wait()
                await proxy.cut()
            proxy.swallow_answers_after = None
            await until(lambda: site.log.cursor("cloud") == 5000)
            await until(lambda: all_arrived(peer, site))
    check_arrivals(peer, site)


async def test_an_event_is_sent_while_others_are_unanswered(peer: Peer, site: Site) -> None:
    await site.record_many(30)
    async with Proxy(peer.port) as proxy:
        proxy.swallow_answers_after = 60
        async with site.forwarding(peer, proxy.port):
            await proxy.swallowed.wait()
            await site.record("dev/1/late", b"late")
            await until(lambda: all_arrived(peer, site))
            assert site.log.cursor("cloud") < 30
    check_arrivals(peer, site)


async def test_lost_acknowledgements_cause_duplicates_under_the_same_id(peer: Peer, site: Site) -> None:
    await site.record_many(1000)
    async with Proxy(peer.port) as proxy:
        proxy.swallow_answers_after = 200
        async with site.forwarding(peer, proxy.port, stall_timeout_s=0.5) as forwarder:
            await until(lambda: forwarder.status().state == "stalled")
            assert site.log.cursor("cloud") < 1000
            proxy.swallow_answers_after = None
            await until(lambda: site.log.cursor("cloud") == 1000)
            await until(lambda: all_arrived(peer, site))
            assert forwarder.status().stalls >= 1
            assert forwarder.status().quarantined == 0
    check_arrivals(peer, site)
    assert len(peer.arrivals) > 1000


async def test_one_poison_event_is_quarantined_and_the_rest_flow(peer: Peer, site: Site) -> None:
    await site.record_many(100)
    await site.record("dev/1/poison", peer.poison, expected=False)
    await site.record_many(100)
    async with site.forwarding(peer, peer.port) as forwarder:
        await until(lambda: site.log.cursor("cloud") == 201)
        await until(lambda: all_arrived(peer, site))
        assert forwarder.status().quarantined == 1
        assert forwarder.status().forwarded == 200
    check_arrivals(peer, site)


async def test_revoked_rights_keep_everything_until_they_are_restored(peer: Peer, site: Site) -> None:
    await site.record_many(10)
    async with site.forwarding(peer, peer.port) as forwarder:
        await until(lambda: all_arrived(peer, site))
        peer.revoke()
        while forwarder.status().state != "blocked":  # a peer takes a while to read its rights anew
            await site.record_many(1)
            await asyncio.sleep(0.01)
        await site.record_many(1000)
        held_at = site.log.cursor("cloud")
        tries = forwarder.status().reconnects + 3
        await until(lambda: forwarder.status().reconnects >= tries)
        assert site.log.cursor("cloud") == held_at
        assert forwarder.status().state == "blocked"
        assert forwarder.status().reason
        peer.restore()
        await until(lambda: site.log.cursor("cloud") == site.log.head)
        await until(lambda: all_arrived(peer, site))
        assert forwarder.status().quarantined == 0
        assert forwarder.status().state == "connected"
    check_arrivals(peer, site)


async def test_stop_in_mid_window_meets_its_deadline_and_a_new_start_sends_the_rest(peer: Peer, site: Site) -> None:
    await site.record_many(5000)
    async with Proxy(peer.port) as proxy:
        proxy.swallow_answers_after = 4000
        async with site.forwarding(peer, proxy.port):  # leaving it fails if the forwarder is not gone in time
            await proxy.swallowed.wait()
        assert 0 < site.log.cursor("cloud") < 5000
        proxy.swallow_answers_after = None
        async with site.forwarding(peer, proxy.port):
            await until(lambda: site.log.cursor("cloud") == 5000)
            await until(lambda: all_arrived(peer, site))
    check_arrivals(peer, site)
