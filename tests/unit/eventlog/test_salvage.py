"""What is read of a damaged segment, page by page."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest

from gateway.eventlog import losses, pages, salvage
from gateway.eventlog.batch import Batch
from gateway.eventlog.losses import Span
from gateway.eventlog.mending import Mender, finish
from gateway.eventlog.reader import LogReader
from gateway.eventlog.segment import Segment, path_of
from gateway.eventlog.state import path_of as state_path_of
from tests.unit.eventlog.logs import HandClock, event

EVENTS = 20_000
PAGE = pages.PAGE_BYTES


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A segment of some 1,200 pages with 20,000 events, 400 topics and a tree of three levels."""
    return filled(tmp_path_factory.mktemp("whole"), pages.PAGE_BYTES)


def filled(folder, page_bytes):
    made = Segment.create(folder, 1, {"log_id": "a" * 32}, [("dev", 7, 3)], page_bytes=page_bytes)
    batch = Batch()
    batch.events += [event(n, b"%d" % n + bytes(60), topic=f"site/{n % 400}/temperature") for n in range(1, EVENTS + 1)]
    made.append(batch)
    made.close()
    return made.path


@pytest.fixture
def data_dir(tmp_path, whole):
    (tmp_path / "log").mkdir()
    shutil.copy(whole, tmp_path / "log")
    return tmp_path


def damage(data_dir, page, content=b"\xff" * PAGE):
    with path_of(data_dir / "log", 1).open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(content)


def mend(data_dir, last_seq=EVENTS):
    return Mender(data_dir, "a" * 32, HandClock()).mend(1, last_seq + 1, 0, "a test")


def stored(data_dir):
    with closing(LogReader(data_dir / "log")) as reader:
        return [each.seq for each in reader.scan()]


def kinds(path):
    """Page numbers by first byte."""
    content = path.read_bytes()
    found = {}
    for at in range(0, len(content), PAGE):
        found.setdefault(content[at], []).append(at // PAGE + 1)
    return found


@pytest.mark.parametrize("bit", [1 << 5, 1 << 3, 1 << 0])
def test_a_flipped_bit_in_a_number_costs_no_more_than_the_events_on_its_page(data_dir, whole, bit):
    """Made larger it looks like the end of what is searched for, made smaller like what was passed already."""
    leaves = [page for page in kinds(whole)[0x0D] if number_in(whole, page, 3) is not None][20::400]
    assert len(leaves) > 1
    for page in leaves:
        shutil.copy(whole, data_dir / "log")
        at = number_in(whole, page, 3)
        with path_of(data_dir / "log", 1).open("r+b") as file:
            file.seek(at)
            flipped = bytes([file.read(1)[0] ^ bit])
            file.seek(at)
            file.write(flipped)
        mended = mend(data_dir)
        assert EVENTS - mended.events <= 60, f"page {page}"


def number_in(path, page, cell):
    """Where in the file the number of an event stands that takes two bytes or more; None if the page has none."""
    content = path.read_bytes()[(page - 1) * PAGE : page * PAGE]
    if pages.leaf_of(content, page, 200, EVENTS) is None:
        return None
    pointer = int.from_bytes(content[8 + 2 * cell : 10 + 2 * cell], "big")
    _, at = pages.varint(content, pointer)
    return (page - 1) * PAGE + at


def test_no_single_lost_page_costs_more_than_a_thousandth_of_a_large_segment_or_the_events_on_it(data_dir, whole):
    found = kinds(whole)
    with closing(sqlite3.connect(whole)) as db:
        roots = [row[0] for row in db.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0")]
    pages_lost = {1, *roots, *found[0x05], *found[0x02], *found[0x0A][:8], *found[0x0D][10::291]}
    on_a_page = 60
    for page in sorted(pages_lost):
        shutil.copy(whole, data_dir / "log")
        damage(data_dir, page)
        mended = mend(data_dir)
        assert EVENTS - mended.events <= on_a_page, f"page {page}"


def test_a_segment_with_pages_of_the_size_they_had_before_is_salvaged_too(tmp_path):
    (tmp_path / "log").mkdir()
    path = filled(tmp_path / "log", pages.PAGE_BYTES_BEFORE)
    for lost in (0, 300):  # the first page tells the size of all
        with path.open("r+b") as file:
            file.seek(lost * pages.PAGE_BYTES_BEFORE)
            file.write(bytes(pages.PAGE_BYTES_BEFORE))
    mended = mend(tmp_path)
    assert 0 < EVENTS - mended.events <= 60
    assert len(stored(tmp_path)) == mended.events


def test_an_interior_page_costs_nothing(data_dir, whole):
    for page in kinds(whole)[0x05]:
        damage(data_dir, page)
    assert mend(data_dir).events == EVENTS
    assert stored(data_dir) == list(range(1, EVENTS + 1))


def test_what_is_lost_is_in_the_ledger_once_and_the_damaged_file_is_kept(data_dir, whole):
    leaf = kinds(whole)[0x0D][200]
    damage(data_dir, leaf, bytes(PAGE))
    damaged = path_of(data_dir / "log", 1).read_bytes()
    mended = mend(data_dir)
    kept = stored(data_dir)
    assert len(mended.missing) == 1
    first, last = mended.missing[0]
    assert kept == [n for n in range(1, EVENTS + 1) if not first <= n <= last]
    assert mended.aside.read_bytes() == damaged
    rows = losses.ledger(state_path_of(data_dir))
    assert [(row.first_seq, row.last_seq, row.events, row.cause) for row in rows] == [
        (first, last, last - first + 1, "damaged")
    ]
    assert mend(data_dir).missing == []
    assert len(losses.ledger(state_path_of(data_dir))) == 1


def test_a_mending_that_a_crash_interrupted_is_completed(data_dir):
    mend(data_dir)
    path = path_of(data_dir / "log", 1)
    path.rename(path.with_suffix(".salvaged"))
    finish(data_dir)
    assert len(stored(data_dir)) == EVENTS


def test_a_mending_that_a_crash_interrupted_before_the_ledger_begins_anew(data_dir):
    path = path_of(data_dir / "log", 1)
    path.with_suffix(".salvaged").write_bytes(b"complete, and not yet booked")
    before = path.read_bytes()
    finish(data_dir)
    assert [each.name for each in (data_dir / "log").iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_damaged_again_and_again_it_is_given_up_and_nothing_is_deleted(data_dir):
    mender = Mender(data_dir, "a" * 32, HandClock())
    for _ in range(3):
        path_of(data_dir / "log", 1).write_bytes(b"nothing" * 5000)
        assert mender.mend(1, 11, 0, "a test").events == 0
    assert stored(data_dir) == []
    assert len(list((data_dir / "damaged").glob("*.db.*Z"))) == 3


def test_a_file_that_was_replaced_meanwhile_is_not_mended(data_dir):
    assert Mender(data_dir, "a" * 32, HandClock()).mend(1, 11, 12345678, "a test") is None


def test_open_packet_ids_and_the_id_of_the_log_are_salvaged(data_dir):
    damage(data_dir, 200)
    mend(data_dir)
    again = Segment.open(path_of(data_dir / "log", 1))
    assert (again.inbound(), again.meta()) == ({("dev", 7): 3}, {"log_id": "a" * 32, "salvaged": "1"})
    again.close()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 16_383, 16_384, 2**28, 2**55])
def test_numbers_of_variable_length(number):
    data = pages.as_varint(number)
    assert pages.varint(data, 0) == (number, len(data))


def test_rows_around_one_that_cannot_be_read_are_found():
    class Db:
        def execute(self, _, bounds):
            for n in range(bounds[0], bounds[1] + 1):
                if n in (7, 8, 100):
                    raise sqlite3.DatabaseError
                yield (n,)

    assert [row[0] for row in salvage._rows(Db(), "", 1, 100)] == [n for n in range(1, 100) if n not in (7, 8)]


@pytest.mark.parametrize(
    ("spans", "known", "left"),
    [
        ([Span(1, 10)], [], [Span(1, 10)]),
        ([Span(1, 10)], [Span(3, 4)], [Span(1, 2), Span(5, 10)]),
        ([Span(1, 10)], [Span(1, 10)], []),
        ([Span(1, 10), Span(20, 30)], [Span(5, 25)], [Span(1, 4), Span(26, 30)]),
        ([Span(5, 5)], [Span(6, 9), Span(1, 4)], [Span(5, 5)]),
    ],
)
def test_what_is_known_is_left_out(spans, known, left):
    assert losses.without(spans, known) == left
