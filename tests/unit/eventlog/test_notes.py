"""What is noted of events beside them: stored with them, read again, salvaged, and lost without the event."""

from __future__ import annotations

import shutil
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.event import ACCEPTED, FLAGGED, QUARANTINED
from gateway.eventlog import notes
from gateway.eventlog.batch import Batch, Release, Violated
from gateway.eventlog.damage import Damaged
from gateway.eventlog.mending import Mender
from gateway.eventlog.notes import LOST, Notes
from gateway.eventlog.reader import LogReader
from gateway.eventlog.repair import put_back, repair
from gateway.eventlog.segment import Segment, path_of
from gateway.eventlog.segment_reader import SegmentReader
from tests.unit.eventlog.logs import HandClock, event, execute, firsts, limits, opened, power_cut, put

texts = st.text(max_size=12)


def violated(seq, verdict=QUARANTINED, value="99"):
    return Violated(seq, verdict, "temperature", "v1", "dev", "celsius", "range", value)


def made(folder, events, noted=notes.NOTHING):
    segment = Segment.create(folder, events[0].seq, {"log_id": "a" * 32}, [])
    batch = Batch()
    batch.events += events
    batch.violations += noted.violations
    batch.releases += noted.releases
    segment.append(batch)
    segment.close()
    return segment.path


def read_notes(path, first=1, last=10**6, rows_max=1000):
    with closing(SegmentReader(path)) as reader:
        return reader.notes(first, last, rows_max)


@given(texts, texts, texts, texts, texts, texts)
def test_any_text_comes_back_as_it_was(contract, version, device, field, rule, value):
    told = Violated(7, FLAGGED, contract, version, device, field, rule, value)
    assert notes._violated(notes._row(told)) == told


def test_notes_are_read_in_order_and_within_limits(tmp_path):
    events = [event(seq, verdict=QUARANTINED) for seq in range(1, 6)]
    noted = Notes([violated(seq) for seq in range(1, 6)], [Release(3, 1), Release(5, 2)])
    path = made(tmp_path, events, noted)
    assert read_notes(path) == noted
    assert read_notes(path, 2, 4) == Notes([violated(seq) for seq in (2, 3, 4)], [Release(3, 1)])
    assert read_notes(path, rows_max=1) == Notes([violated(1)], [Release(3, 1)])


def test_a_segment_of_an_earlier_schema_has_none(tmp_path):
    path = made(tmp_path, [event(1)])
    execute(path, "DROP TABLE violations", "DROP TABLE releases")
    assert read_notes(path) == notes.NOTHING


def test_a_note_that_a_flipped_bit_has_changed_is_told_as_lost_and_a_release_is_none(tmp_path):
    path = made(tmp_path, [event(1, verdict=QUARANTINED)], Notes([violated(1)], [Release(1, 5)]))
    execute(path, "UPDATE violations SET found = replace(found, '99', '98')", "UPDATE releases SET original = 4")
    found = read_notes(path)
    assert (found.violations[0].rule, found.violations[0].value, found.releases) == (LOST, "", [])


def test_verdicts_are_covered_by_the_checksum_of_their_event(tmp_path):
    events = [event(seq, verdict=verdict, retain=seq % 2) for seq, verdict in enumerate((ACCEPTED, FLAGGED, 2), 1)]
    made(tmp_path, events)
    with closing(LogReader(tmp_path)) as reader:
        assert list(reader.scan()) == events
    execute(path_of(tmp_path, 1), "UPDATE events SET flags = flags - 16 WHERE seq = 3")
    with (
        closing(SegmentReader(path_of(tmp_path, 1))) as reader,
        pytest.raises(Damaged, match="checksum of event 3"),
    ):
        reader.read(1, 3, 10, 1000)


async def test_an_event_and_its_notes_are_stored_in_one_transaction(tmp_path):
    async with opened(tmp_path / "data") as log:
        seq = put(log, verdict=QUARANTINED)
        log.intake.note_violation(violated(seq))
        log.intake.note_release(seq, 0)
        await log.intake.settled()
        left = await power_cut(log, tmp_path / "left")
    assert read_notes(path_of(left / "log", 1)) == Notes([violated(1)], [Release(1, 0)])


def test_salvage_keeps_notes_and_says_which_are_lost(tmp_path):
    (tmp_path / "log").mkdir()
    events = [event(seq, verdict=QUARANTINED if seq % 3 == 0 else ACCEPTED) for seq in range(1, 2501)]
    noted = Notes([violated(seq) for seq in range(3, 2501, 3)], [Release(10, 3)])
    path = made(tmp_path / "log", events, noted)
    execute(path, "DELETE FROM violations WHERE seq = 9")
    with path.open("r+b") as file:
        file.write(bytes(2048))
    mended = Mender(tmp_path, "a" * 32, HandClock()).mend(1, 2501, 0, "a test")
    assert mended.events == 2500
    found = read_notes(path)
    assert [each.seq for each in found.violations] == [*range(3, 2501, 3)]
    assert [each for each in found.violations if each.rule == LOST] == [notes.lost(events[8])]
    assert found.releases == [Release(10, 3)]


async def test_notes_come_back_with_their_events(tmp_path):
    data_dir = tmp_path / "data"
    async with opened(data_dir) as log:
        for _ in range(12):
            log.intake.note_violation(violated(put(log, bytes(8 * 1024), verdict=QUARANTINED)))
            await log.intake.settled()
    first, following = firsts(data_dir)[1:3]
    path = path_of(data_dir / "log", first)
    whole = shutil.copy(path, tmp_path / path.name)
    path.write_bytes(b"lost" * 5000)
    repair(data_dir, limits(), HandClock())
    shutil.copy(whole, data_dir / "damaged" / path.name)
    (done,) = put_back(data_dir, [data_dir / "damaged" / path.name], limits(), HandClock())
    assert done.put_back == following - first
    assert read_notes(path).violations == [violated(seq) for seq in range(first, following)]
