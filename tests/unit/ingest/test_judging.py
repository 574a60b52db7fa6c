"""What becomes of a message is what its contract says: stored, marked, kept back, or acknowledged and not stored."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from gateway.contracts.contracts import NO_CONTRACTS
from gateway.event import ACCEPTED, FLAGGED, QUARANTINED
from gateway.eventlog.batch import Violated
from gateway.eventlog.segment_reader import SegmentReader
from gateway.ingest.ingest import Ingest
from gateway.ingest.originals import with_original
from tests.unit.contracts.contracts_of import contracts_of
from tests.unit.eventlog.logs import Device, HandClock, commit_held_back, newest, opened, power_cut, read_all
from tests.unit.ingest.stand_in import SaidByPayload, numbered, violating

LIMITS = '[temperature]\ntopic = "site/{device}/temperature"\nfields = { celsius = { type = "number", max = 85 } }\n'


@asynccontextmanager
async def site(data_dir, contracts=None, **limits):
    clock = HandClock()
    async with opened(data_dir, clock=clock, recent_bytes_max=0, **limits) as log:
        ingest = Ingest(log, clock, SaidByPayload() if contracts is None else contracts)
        ingest.catch_up()
        yield log, ingest


def take(ingest, payload, topic="dev/t", qos=1, client_id="dev", properties=None):
    return ingest.append(*ingest.now(), client_id, topic, qos, False, payload, "", properties)


async def stored(log):
    await log.intake.settled()
    return [(event.payload, event.verdict) for event in await read_all(log)]


async def ledger(log):
    await log.flush()
    return [(row.cause, row.detail, row.events) for row in await log._write(log._state.losses)]


def why(log):
    reader = SegmentReader(newest(log.data_dir))
    try:
        return reader.notes(0, 10**9, 1000).violations
    finally:
        reader.close()


async def test_without_contracts_a_message_goes_to_the_log_without_a_step_in_between(tmp_path):
    async with site(tmp_path, NO_CONTRACTS) as (log, ingest):
        assert ingest.append == log.intake.append
        assert ingest.append_run == log.intake.append_run


@pytest.mark.parametrize("policy", ["quarantine", "flag", "reject"])
async def test_messages_that_came_together_are_judged_as_they_are_one_by_one(tmp_path, policy):
    good, bad = b'{"celsius": 20}', b'{"celsius": 900}'
    messages = [
        ("site/3/temperature", at % 3 == 0, payload) if at != 4 else ("site/3/other", False, b"whatever")
        for at, payload in enumerate([good, good, bad, bad, b"", good, bad, good])
    ]
    found = []
    for together in (True, False):
        folder = tmp_path / str(together)
        async with site(folder, contracts_of(LIMITS + f'policy = "{policy}"')) as (log, ingest):
            stamp = ingest.now()
            if together:
                ingest.append_run(*stamp, "dev", messages)
            else:
                for topic, retain, payload in messages:
                    ingest.append(*stamp, "dev", topic, 1, retain, payload)
            await log.intake.settled()
            events = [event._replace(received_ns=0, mono_ns=0) for event in await read_all(log)]
            found.append((events, why(log), await ledger(log)))
    assert found[0] == found[1]
    assert len(found[0][0]) == (8 if policy != "reject" else 5)


@pytest.mark.parametrize(("policy", "verdict"), [("quarantine", QUARANTINED), ("flag", FLAGGED)])
async def test_what_violates_its_contract_is_stored_with_the_verdict_and_why(tmp_path, policy, verdict):
    contracts = contracts_of(LIMITS + f'policy = "{policy}"')
    async with site(tmp_path, contracts) as (log, ingest):
        device = Device()
        for payload in (b'{"celsius": 20}', b'{"celsius": 900}'):
            take(ingest, payload, "site/3/temperature")
        take(ingest, b"whatever", "site/3/other")
        ingest.ask_receipt(device, b"ack")
        assert await stored(log) == [(b'{"celsius": 20}', ACCEPTED), (b'{"celsius": 900}', verdict), (b"whatever", 0)]
        assert why(log) == [Violated(2, verdict, "temperature", "1", "3", "celsius", "max", "900")]
        assert device.receipts == [b"ack"]
        assert await ledger(log) == []


async def test_a_rejected_message_is_acknowledged_and_booked_and_not_stored(tmp_path):
    async with site(tmp_path, contracts_of(LIMITS + 'policy = "reject"', "refuse")) as (log, ingest):
        device = Device()
        assert take(ingest, b'{"celsius": 20}', "site/3/temperature") == 1
        assert take(ingest, b'{"celsius": 900}', "site/3/temperature") == 0
        assert take(ingest, b"[]", "site/3/temperature", qos=0) == 0
        assert ingest.accept("dev", "other", 1, b"a will", retain=False) == 0
        ingest.ask_receipt(device, b"ack")
        assert await stored(log) == [(b'{"celsius": 20}', ACCEPTED)]
        assert device.receipts == [b"ack"]
        assert await ledger(log) == [
            ("rejected", "temperature: max", 1),
            ("rejected", "temperature: type", 1),
            ("rejected", "topic without a contract: contract", 1),
        ]


async def test_a_rejected_message_of_qos_2_is_booked_once_however_often_it_is_sent(tmp_path):
    async with site(tmp_path) as (log, ingest):
        for _ in range(3):
            if not ingest.is_repeat("dev", 7):
                ingest.mark("dev", 7, take(ingest, violating(policy="reject"), qos=2))
        ingest.release("dev", 7)
        assert not ingest.is_repeat("dev", 7)
        assert await stored(log) == []
        assert await ledger(log) == [("rejected", "c: max", 1)]
    async with site(tmp_path) as (log, _):
        assert log.inbound == {}


async def test_rejected_messages_count_as_what_waits_for_the_disk(tmp_path):
    class Waiting:
        relieved = 0

        def relieve(self):
            self.relieved += 1

    async with site(tmp_path, pending_bytes_max=10_000) as (log, ingest):
        device = Waiting()
        with commit_held_back(newest(tmp_path)):
            for _ in range(100):
                take(ingest, violating(policy="reject"))
            assert ingest.congested
            ingest.wait_for_room(device)
        await log.intake.settled()
        assert (ingest.congested, device.relieved, log.intake._pending_bytes) == (False, 1, 0)


async def test_contracts_are_replaced_while_messages_come(tmp_path):
    async with site(tmp_path, NO_CONTRACTS) as (log, ingest):
        take(ingest, b"1", "site/3/temperature")
        ingest.use(contracts_of(LIMITS))
        take(ingest, b"2", "site/3/temperature")
        ingest.use(NO_CONTRACTS)
        take(ingest, b"3", "site/3/temperature")
        assert await stored(log) == [(b"1", ACCEPTED), (b"2", QUARANTINED), (b"3", ACCEPTED)]
        assert ingest.append == log.intake.append


# --- what devices number their messages with ---


async def test_missing_and_repeated_numbers_are_booked_by_contract_and_device(tmp_path):
    async with site(tmp_path) as (log, ingest):
        for number in (5, 6, 9, 9, 10):
            take(ingest, numbered(number))
        for number in (7, 8):
            take(ingest, numbered(number, "other"))
        await log.intake.settled()
        assert await ledger(log) == [("device_gap", "c: d", 2), ("device_repeat", "c: d", 1)]


async def test_where_the_contract_names_no_device_the_client_is_it(tmp_path):
    async with site(tmp_path) as (log, ingest):
        for client_id, number in (("a", 5), ("b", 9), ("a", 7), ("b", 10)):
            take(ingest, numbered(number, ""), client_id=client_id)
        await log.intake.settled()
        assert await ledger(log) == [("device_gap", "c: a", 1)]


async def test_messages_whose_number_could_not_be_read_are_not_missing(tmp_path):
    async with site(tmp_path) as (log, ingest):
        for payload in (numbered(5), violating(), violating(policy="reject"), violating(policy="flag"), numbered(9)):
            take(ingest, payload)
        await log.intake.settled()
        assert await ledger(log) == [("rejected", "c: max", 1)]


async def test_the_last_number_survives_a_stop_and_a_power_cut(tmp_path):
    async with site(tmp_path / "a") as (log, ingest):
        take(ingest, numbered(5))
        await log.intake.settled()
    async with site(tmp_path / "a") as (log, ingest):
        take(ingest, numbered(7))
        await log.intake.settled()
        await log.flush()
        for payload in (numbered(8), numbered(10), violating()):
            take(ingest, payload)
        take(ingest, numbered(1), properties=with_original(None, "log.1", "then"))  # a release says nothing
        await log.intake.settled()
        left = await power_cut(log, tmp_path / "b")
    async with site(left) as (log, ingest):
        take(ingest, numbered(12))
        await log.intake.settled()
        assert await ledger(log) == [("device_gap", "c: d", 2)]


# --- messages that come again ---


async def test_a_repeated_message_is_known_by_its_bytes_if_they_tell_its_number_or_time(tmp_path):
    async with site(tmp_path) as (_, ingest):
        for payload in (numbered(5), numbered(None, time_ns=7), b"21.5", violating()):
            take(ingest, payload)
        assert ingest.is_stored("dev", "dev/t", numbered(5))
        assert ingest.is_stored("dev", "dev/t", numbered(None, time_ns=7))
        assert not ingest.is_stored("dev", "dev/t", b"21.5")  # a second reading may be the same
        assert not ingest.is_stored("dev", "dev/t", violating())
        assert not ingest.is_stored("other", "dev/t", numbered(5))
        assert not ingest.is_stored("dev", "dev/u", numbered(5))
        assert ingest.describe() == {"repeats": 2}


async def test_a_reading_after_a_restart_of_the_device_is_no_repeat_though_its_bytes_came_before(tmp_path):
    async with site(tmp_path) as (log, ingest):
        for number in range(200):
            take(ingest, numbered(number))
        assert ingest.is_stored("dev", "dev/t", numbered(3))  # the disk has none of them yet: it waits, and so may they
        await log.intake.settled()
        assert ingest.is_stored("dev", "dev/t", numbered(150))
        assert not ingest.is_stored("dev", "dev/t", numbered(0))  # the first message of a device that began anew
        take(ingest, numbered(0))
        await log.intake.settled()
        assert ingest.is_stored("dev", "dev/t", numbered(0))
        assert not ingest.is_stored("dev", "dev/t", numbered(1))  # likewise its second one
        assert not ingest.is_stored("dev", "dev/t", numbered(150))
        assert ingest.describe() == {"repeats": 3}


async def test_a_repeat_is_known_after_a_power_cut_too(tmp_path):
    async with site(tmp_path / "a") as (log, ingest):
        for number in range(10):
            take(ingest, numbered(number))
        take(ingest, numbered(10), qos=0)
        await log.intake.settled()
        left = await power_cut(log, tmp_path / "b")
        take(ingest, numbered(11))
    async with site(left) as (_, ingest):
        assert ingest.is_stored("dev", "dev/t", numbered(9))
        assert not ingest.is_stored("dev", "dev/t", numbered(10))  # QoS 0 is never sent again
        assert not ingest.is_stored("dev", "dev/t", numbered(11))
