"""The ledger file."""

import sqlite3

import pytest

from device_sims.errors import LedgerError, LedgerMissing, UsageError
from device_sims.ledger import Ledger, LedgerWriter, Totals


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger 1%.db"


@pytest.fixture
def writer(path):
    writer = LedgerWriter.create(path, fleet="it's a fleet", seed=7, started_ns=1)
    yield writer
    writer.close()


def test_a_reader_sees_what_was_written_while_the_writer_goes_on(writer, path):
    with Ledger.open_readonly(path) as ledger:
        assert ledger.totals() == Totals(0, 0, 0)
        for n in (1, 2):
            writer.sent("a")
            writer.acknowledged("a", n, "t", n)
        writer.sent("b")
        assert ledger.totals() == Totals(0, 0, 0)
        writer.write(writer.gather())
        assert ledger.totals() == Totals(sent=3, acknowledged=2, devices=2)
        writer.sent("a")
        writer.write(writer.gather())
        assert ledger.totals().sent == 4


def test_acknowledged_events_come_in_order_of_device_and_n(writer, path):
    for device, n in [("b", 2), ("a", 10), ("b", 1), ("a", 9)]:
        writer.acknowledged(device, n, "t", 0)
    writer.write(writer.gather())
    with Ledger.open_readonly(str(path)) as ledger:
        assert list(ledger.acknowledged()) == [("a", 9), ("a", 10), ("b", 1), ("b", 2)]


def test_the_ledger_is_finished_only_when_it_is_finished(writer, path):
    writer.acknowledged("a", 1, "t", 0)
    with Ledger.open_readonly(path) as ledger:
        assert not ledger.finished()
        writer.finish(5)
        assert ledger.finished()
        assert ledger.totals().acknowledged == 1


def test_a_reader_cannot_write(writer, path):
    with Ledger.open_readonly(path) as ledger, pytest.raises(sqlite3.OperationalError, match="readonly"):
        ledger._connection.execute("DELETE FROM run")


def test_a_ledger_is_readable_after_its_writer_has_gone(writer, path):
    writer.finish(5)
    writer.close()
    with Ledger.open_readonly(path) as ledger:
        assert ledger.finished()


def test_what_was_not_written_is_not_claimed(writer, path):
    writer.acknowledged("a", 1, "t", 0)
    writer.close()
    with Ledger.open_readonly(path) as ledger:
        assert list(ledger.acknowledged()) == []


def test_an_existing_file_is_never_overwritten(writer, path):
    with pytest.raises(UsageError, match="exists already"):
        LedgerWriter.create(path, fleet="x", seed=1, started_ns=1)


def test_a_ledger_in_a_missing_folder_cannot_be_created(tmp_path):
    with pytest.raises(LedgerError, match="cannot create"):
        LedgerWriter.create(tmp_path / "none" / "ledger.db", fleet="x", seed=1, started_ns=1)


@pytest.mark.parametrize("content", [None, b""])
def test_a_ledger_that_is_not_there_yet_is_told_from_a_wrong_file(tmp_path, content):
    path = tmp_path / "ledger.db"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LedgerMissing):
        Ledger.open_readonly(path)
    path.write_bytes(b"this is text and surely no database at all")
    with pytest.raises(LedgerError) as caught:
        Ledger.open_readonly(path)
    assert not isinstance(caught.value, LedgerMissing)


def test_a_ledger_that_cannot_be_written_says_so(writer):
    writer.acknowledged("a", 1, "t", 0)
    writer.close()
    with pytest.raises(LedgerError, match="cannot write"):
        writer.write(writer.gather())
    with pytest.raises(LedgerError, match="cannot write"):
        writer.finish(1)


def test_a_reader_whose_file_lost_its_tables_says_so(writer, path):
    with Ledger.open_readonly(path) as ledger:
        writer._connection.execute("DROP TABLE acknowledged")
        writer._connection.execute("DROP TABLE devices")
        with pytest.raises(LedgerError):
            ledger.totals()
        with pytest.raises(LedgerError):
            list(ledger.acknowledged())
