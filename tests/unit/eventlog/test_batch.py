"""What one transaction carries."""

from __future__ import annotations

from gateway.eventlog.batch import Batch, InboundMark
from tests.unit.eventlog.logs import Device, event


def test_a_new_batch_is_worth_no_transaction():
    assert not Batch()


def test_a_batch_with_an_event_is_worth_a_transaction():
    batch = Batch()
    batch.events.append(event(1))
    assert batch


def test_a_batch_with_nothing_but_a_mark_is_worth_a_transaction():
    batch = Batch()
    batch.marks.append(InboundMark("dev", 1, 0))
    assert batch


def test_a_batch_with_nothing_but_a_receipt_is_worth_a_transaction():
    batch = Batch()
    batch.receipts[Device()] = bytearray(b"ack")
    assert batch
