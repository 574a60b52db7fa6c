"""From a message to an event: stamped, stored once, acknowledged when it is on disk."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from gateway.ingest.ingest import Ingest
from tests.unit.eventlog.logs import (
    WALL_NS,
    Device,
    HandClock,
    commit_held_back,
    fill,
    firsts,
    newest,
    opened,
    power_cut,
    read_all,
    refuse_inserts,
    turns,
    until,
)


class Connection(Device):
    """Fulfils `gateway.ingest.ingest.Source`: it can be told to stop for a while."""

    def __init__(self, ingest):
        super().__init__()
        self.ingest = ingest
        self.relieved = 0

    def relieve(self):
        self.relieved += 1

    def publish(self, packet_id, payload=b"x", client_id="dev"):
        """What a connection does with a QoS 2 PUBLISH."""
        if not self.ingest.is_repeat(client_id, packet_id):
            seq = self.ingest.append(*self.ingest.now(), client_id, "dev/t", 2, False, payload)
            self.ingest.mark(client_id, packet_id, seq)
        self.ingest.ask_receipt(self, b"rec%d." % packet_id)

    def release(self, packet_id, client_id="dev"):
        """What a connection does with a PUBREL."""
        self.ingest.release(client_id, packet_id)
        self.ingest.ask_receipt(self, b"comp%d." % packet_id)


@asynccontextmanager
async def site_at(data_dir, **changes):
    """A log, its ingest, and a connection of a device."""
    clock = HandClock()
    async with opened(data_dir, clock=clock, **changes) as log:
        ingest = Ingest(log, clock)
        yield log, ingest, Connection(ingest)


async def payloads(log):
    await log.intake.settled()
    return [event.payload for event in await read_all(log)]


# --- stamps ---


async def test_a_message_nobody_waits_for_is_stamped_and_stored(tmp_path):
    async with site_at(tmp_path) as (log, ingest, _):
        ingest._clock.now_ns = 5
        assert ingest.accept("dev", "last/will", 1, b"gone", retain=True) == 1
        await log.intake.settled()
        (event,) = await log.read(0, 10)
    assert event == (1, WALL_NS + 5, 5, HandClock.boot_id, "dev", "last/will", 1, True, b"gone", "", None, 0)


async def test_every_commit_is_told_with_its_events(tmp_path):
    async with site_at(tmp_path) as (log, ingest, _):
        told = []
        ingest.on_committed(lambda events: told.append([event.seq for event in events]))
        ingest.accept("dev", "t", 0, b"1", retain=False)
        ingest.accept("dev", "t", 0, b"2", retain=False)
        await log.intake.settled()
        ingest.accept("dev", "t", 0, b"3", retain=False)
        await log.intake.settled()
    assert told == [[1, 2], [3]]


async def test_a_receipt_waits_for_the_commit(tmp_path):
    async with site_at(tmp_path) as (log, ingest, device):
        with commit_held_back(newest(tmp_path)):
            ingest.append(*ingest.now(), "dev", "t", 1, False, b"x")
            ingest.ask_receipt(device, b"ack")
            await until(lambda: log.intake.pending_events == 0)
            await turns()
            assert device.receipts == []
        await until(lambda: device.receipts)
        assert device.receipts == [b"ack"]


# --- exactly once ---


async def test_a_repeated_message_is_stored_once_and_acknowledged_each_time(tmp_path):
    async with site_at(tmp_path) as (log, _, device):
        device.publish(7, b"first")
        device.publish(7, b"first again")
        await log.intake.settled()
        device.publish(7, b"first yet again")
        assert await payloads(log) == [b"first"]
        assert device.receipts == [b"rec7.rec7.", b"rec7."]


async def test_a_repeat_is_not_acknowledged_before_the_message_it_repeats_is_on_disk(tmp_path):
    async with site_at(tmp_path) as (log, _, device):
        again = Connection(device.ingest)
        with commit_held_back(newest(tmp_path)):
            device.publish(7)
            await until(lambda: log.intake.pending_events == 0)
            again.publish(7)
            await turns()
            assert again.receipts == []
        await until(lambda: again.receipts)
        assert await payloads(log) == [b"x"]


async def test_packet_ids_of_one_client_mean_nothing_for_another(tmp_path):
    async with site_at(tmp_path) as (log, ingest, device):
        device.publish(7, b"a's", "a")
        assert ingest.is_repeat("a", 7)
        assert not ingest.is_repeat("b", 7)
        assert not ingest.is_repeat("a", 8)
        device.publish(7, b"b's", "b")
        ingest.release("a", 7)
        assert ingest.is_repeat("b", 7)
        assert await payloads(log) == [b"a's", b"b's"]


@pytest.mark.parametrize("batch_events_max", [1, 2, 20_000])
@pytest.mark.parametrize("clean", [True, False])
async def test_a_repeat_after_a_restart_is_stored_once(tmp_path, clean, batch_events_max):
    async with site_at(tmp_path / "a", batch_events_max=batch_events_max) as (log, _, device):
        for packet_id in (7, 8, 9):
            device.publish(packet_id, b"%d" % packet_id)
        await until(lambda: b"".join(device.receipts) == b"rec7.rec8.rec9.")
        left = await power_cut(log, tmp_path / "b")
    async with site_at(tmp_path / "a" if clean else left) as (log, ingest, device):
        assert all(ingest.is_repeat("dev", packet_id) for packet_id in (7, 8, 9))
        for packet_id in (7, 8, 9):
            device.publish(packet_id, b"again")
        assert await payloads(log) == [b"7", b"8", b"9"]


async def test_a_repeat_after_a_restart_between_two_transactions_is_stored_once(tmp_path):
    """The power fails while the second of two transactions waits; what the first stored is known as a repeat."""
    async with site_at(tmp_path / "a", batch_events_max=1) as (log, _, device):
        write, cuts = log.intake._writer.write, []

        def cut_before(batch):
            cuts.append(tmp_path / f"cut {len(cuts)}")
            cuts[-1].mkdir()
            (cuts[-1] / "log").mkdir()
            for path in (log.data_dir / "log").iterdir():
                (cuts[-1] / "log" / path.name).write_bytes(path.read_bytes())
            return write(batch)

        log.intake._writer.write = cut_before
        for packet_id in (7, 8, 9):
            device.publish(packet_id, b"%d" % packet_id)
        await log.intake.settled()
    assert len(cuts) >= 3
    for left in cuts:
        async with site_at(left) as (log, _, device):
            for packet_id in (7, 8, 9):
                device.publish(packet_id, b"%d" % packet_id)
            assert await payloads(log) == [b"7", b"8", b"9"]


async def test_a_released_packet_id_is_free_for_another_message(tmp_path):
    async with site_at(tmp_path) as (log, ingest, device):
        device.publish(7, b"first")
        device.release(7)
        assert not ingest.is_repeat("dev", 7)
        device.publish(7, b"second")
        assert ingest.is_repeat("dev", 7)
        assert await payloads(log) == [b"first", b"second"]
        assert b"".join(device.receipts) == b"rec7.comp7.rec7."


@pytest.mark.parametrize("clean", [True, False])
async def test_a_released_packet_id_is_free_after_a_restart(tmp_path, clean):
    async with site_at(tmp_path / "a") as (log, _, device):
        device.publish(7, b"first")
        device.publish(8, b"kept")
        device.release(7)
        await until(lambda: b"comp7." in b"".join(device.receipts))
        left = await power_cut(log, tmp_path / "b")
    async with site_at(tmp_path / "a" if clean else left) as (log, ingest, device):
        assert not ingest.is_repeat("dev", 7)
        assert ingest.is_repeat("dev", 8)
        device.publish(7, b"second")
        assert await payloads(log) == [b"first", b"kept", b"second"]


async def test_the_receipt_of_a_release_waits_for_its_commit(tmp_path):
    async with site_at(tmp_path) as (log, _, device):
        device.publish(7)
        await log.intake.settled()
        writing = log.intake._writer.write
        begun = []

        def write(batch):
            begun.append(batch)
            return writing(batch)

        log.intake._writer.write = write
        with commit_held_back(newest(tmp_path)):
            device.release(7)
            await until(lambda: begun)
            await turns()
            assert device.receipts == [b"rec7."]
        await until(lambda: len(device.receipts) == 2)
        assert device.receipts == [b"rec7.", b"comp7."]


async def test_a_release_of_an_unknown_packet_id_costs_no_write(tmp_path):
    async with site_at(tmp_path) as (log, ingest, device):
        ingest.release("dev", 7)
        device.publish(8)
        ingest.release("dev", 7)
        ingest.release("other", 8)
        await log.intake.settled()
        assert log.intake._writer.inbound == {("dev", 8): 1}


async def test_a_discarded_session_forgets_its_packet_ids_for_good(tmp_path):
    async with site_at(tmp_path) as (log, ingest, device):
        for packet_id in (7, 8):
            device.publish(packet_id, b"dev")
        device.publish(7, b"other", "other")
        ingest.discard("dev")
        ingest.discard("unknown")
        assert not ingest.is_repeat("dev", 7)
        assert not ingest.is_repeat("dev", 8)
        assert ingest.is_repeat("other", 7)
        device.publish(8, b"new session")
        assert await payloads(log) == [b"dev", b"dev", b"other", b"new session"]
    async with site_at(tmp_path) as (_, ingest, _):
        assert not ingest.is_repeat("dev", 7)
        assert ingest.is_repeat("dev", 8)
        assert ingest.is_repeat("other", 7)


async def test_packet_ids_outlive_the_segment_of_their_message(tmp_path):
    async with site_at(tmp_path, upstreams=[], retention_bytes_max=1) as (log, _, device):
        device.publish(7)
        await fill(log, 10)
        await log.retain()
        assert len(firsts(tmp_path)) == 1
    async with site_at(tmp_path) as (_, ingest, _):
        assert ingest.is_repeat("dev", 7)


async def test_a_message_that_the_disk_refused_is_stored_once_when_it_takes_it(tmp_path):
    async with site_at(tmp_path) as (log, _, device):
        await fill(log, 1, b"before")
        refuse_inserts(newest(tmp_path))
        in_the_way = tmp_path / "log" / f"{2:020d}.new"
        in_the_way.mkdir()
        device.publish(7, b"once")
        await until(lambda: log.intake.error)
        device.publish(7, b"repeated in vain")
        await turns()
        assert device.receipts == []
        in_the_way.rmdir()
        assert await payloads(log) == [b"before", b"once"]
        assert b"".join(device.receipts) == b"rec7.rec7."
    async with site_at(tmp_path) as (_, ingest, _):
        assert ingest.is_repeat("dev", 7)


# --- room ---


async def test_those_who_wait_for_room_are_relieved_once_there_is_some(tmp_path):
    async with site_at(tmp_path, pending_bytes_max=10_000) as (log, ingest, device):
        other = Connection(ingest)
        with commit_held_back(newest(tmp_path)):
            assert not ingest.congested
            for _ in range(3):
                ingest.append(*ingest.now(), "dev", "t", 1, False, bytes(5_000))
            assert ingest.congested
            ingest.wait_for_room(device)
            ingest.wait_for_room(device)
            ingest.wait_for_room(other)
            await until(lambda: log.intake.pending_events == 0)
            await turns()
            assert (ingest.congested, device.relieved, other.relieved) == (True, 0, 0)
        await log.intake.settled()
        assert (ingest.congested, device.relieved, other.relieved) == (False, 1, 1)
        await fill(log, 2)
        assert (device.relieved, other.relieved) == (1, 1)


async def test_nobody_is_relieved_while_it_is_still_congested(tmp_path):
    async with site_at(tmp_path, pending_bytes_max=10_000, batch_events_max=1) as (log, ingest, device):
        seen = []
        log.on_committed.append(lambda _: seen.append((ingest.congested, device.relieved)))
        for _ in range(8):
            ingest.append(*ingest.now(), "dev", "t", 1, False, bytes(4_000))
        ingest.wait_for_room(device)
        await log.intake.settled()
        assert seen == [(True, 0)] * 5 + [(False, 1)] * 3


async def test_whoever_is_relieved_may_wait_again_at_once(tmp_path):
    async with site_at(tmp_path, pending_bytes_max=10_000) as (log, ingest, device):

        def relieve():
            device.relieved += 1
            if device.relieved < 4:
                for _ in range(3):
                    ingest.append(*ingest.now(), "dev", "t", 1, False, bytes(5_000))
                ingest.wait_for_room(device)

        device.relieve = relieve
        device.relieve()
        await until(lambda: log.head == 9)
        assert (device.relieved, ingest.congested) == (4, False)


async def test_whoever_is_gone_is_not_relieved(tmp_path):
    async with site_at(tmp_path, pending_bytes_max=4096) as (log, ingest, device):
        ingest.append(*ingest.now(), "dev", "t", 1, False, bytes(5_000))
        ingest.wait_for_room(device)
        ingest.forget(device)
        ingest.forget(Connection(ingest))
        await log.intake.settled()
        assert device.relieved == 0
