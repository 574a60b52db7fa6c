"""A group commit whose disk can be held, and which remembers what was stored together and told."""

from __future__ import annotations

import threading
from contextlib import closing

from gateway.eventlog.commit import GroupCommit
from gateway.eventlog.reader import LogReader
from gateway.eventlog.writer import SegmentWriter
from tests.unit.eventlog.logs import HandClock, limits, until


class SlowWriter(SegmentWriter):
    """A real writer that can be held before its transaction, and remembers how large each was."""

    def __init__(self, folder, segment_bytes_max):
        super().__init__(folder, "log id", segment_bytes_max)
        self.begun = 0
        self.transactions = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.bug = None

    def write(self, batch):
        self.begun += 1
        assert self.may_go_on.wait(10)
        if self.bug is not None:
            raise self.bug
        first_seq = super().write(batch)
        self.transactions.append([event.seq for event in batch.events])
        return first_seq


class Desk:
    """Group commit on a real segment; hands receipts out as the log does."""

    def __init__(self, folder, **changes):
        config = limits(**changes)
        self.folder = folder
        self.writer = SlowWriter(folder, config.segment_bytes_max)
        self.writer.open(1)
        self.begun = []
        self.durable = []
        self.commit = GroupCommit(self.writer, config, HandClock.boot_id, self.on_durable)

    def on_durable(self, batch, begun):
        self.durable += [event.seq for event in batch.events]
        self.begun.append(begun)
        for receiver, receipt in batch.receipts.items():
            receiver.committed(receipt)

    def put(self, payload=b"x", topic="t"):
        return self.commit.append(1, 2, "dev", topic, 1, False, payload)

    def bring(self, *devices):
        """An event of each, and each waits for its acknowledgement."""
        for device in devices:
            self.put()
            self.commit.ask_receipt(device, b"ack")

    def hold(self):
        self.writer.may_go_on.clear()

    def release(self):
        self.writer.may_go_on.set()

    async def hold_first(self):
        """Hold a commit of one event that is on its way to the disk."""
        self.hold()
        begun = self.writer.begun
        seq = self.put()
        await until(lambda: self.writer.begun > begun)
        return seq

    def stored(self):
        with closing(LogReader(self.folder)) as reader:
            return [event.seq for event in reader.scan()]

    def close(self):
        self.release()
        self.commit.thread.shutdown()
        self.writer.close()
