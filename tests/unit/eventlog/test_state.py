"""What is known beside the events."""

from __future__ import annotations

import shutil
from contextlib import closing

import pytest

from gateway.errors import LogError
from gateway.eventlog import quarantine_rows, segment
from gateway.eventlog.books import Account
from gateway.eventlog.config import QuarantineConfig
from gateway.eventlog.damage import Damaged
from gateway.eventlog.queue import Flight, Owed, Queue, Session
from gateway.eventlog.state import Retained, State, StateReader, path_of
from tests.unit.eventlog.logs import commit_held_back, event, execute

NOW_NS = 1_700_000_000_000_000_000


@pytest.fixture
def path(tmp_path):
    return path_of(tmp_path)


@pytest.fixture
def state(path):
    with closing(State(path)) as state:
        yield state


@pytest.fixture
def reopened(path, tmp_path):
    """Open the state as a power cut at this moment would leave it."""
    made = []

    def reopen():
        folder = tmp_path / f"cut {len(made)}"
        folder.mkdir()
        for file in tmp_path.glob("state.db*"):
            shutil.copy(file, folder)
        made.append(State(path_of(folder)))
        return made[-1]

    yield reopen
    for each in made:
        each.close()


def test_a_new_state_knows_nothing(state):
    assert (state.cursors(), state.retained(), state.retained_seq(), state.sessions()) == ({}, [], 0, {})
    assert state.meta("anything") is None


def test_the_id_of_a_log_is_made_once(state, reopened):
    first = state.log_id()
    assert len(first) == 32
    assert state.log_id() == first
    assert reopened().log_id() == first


def test_single_values_are_kept_by_name(state, reopened):
    state.set_meta("key", "value")
    state.set_meta("key", "another")
    assert reopened().meta("key") == "another"


def test_moved_cursors_are_kept_and_the_others_stay(state, reopened):
    state.flush({"a": Account(3, 0), "Wolke ☁": Account(9, 0)}, [], 9, NOW_NS)
    state.flush({"a": Account(5, 0)}, [], 9, NOW_NS)
    assert reopened().cursors() == {"a": 5, "Wolke ☁": 9}


def test_retained_messages_are_kept_changed_and_withdrawn(state, reopened):
    state.flush({}, [Retained("a", 1, 1, b"1"), Retained("b", 2, 0, bytes(range(256)))], 2, NOW_NS)
    state.flush({}, [Retained("a", 3, 2, b"2"), Retained("b", 4, 0, b""), Retained("c", 5, 0, b"")], 5, NOW_NS)
    again = reopened()
    assert again.retained() == [Retained("a", 3, 2, b"2")]
    assert again.retained_seq() == 5


def test_of_a_flush_that_fails_nothing_is_kept_and_the_next_is_kept_whole(state, path, reopened):
    state.flush({"a": Account(1, 0)}, [Retained("a", 1, 1, b"1")], 1, NOW_NS)
    execute(path, "CREATE TRIGGER refusal AFTER INSERT ON retained BEGIN SELECT RAISE(FAIL, 'the disk refuses'); END")
    with pytest.raises(LogError, match=r"state\.db: the disk refuses") as caught:
        state.flush({"a": Account(2, 0)}, [Retained("a", 2, 1, b"2")], 2, NOW_NS)
    assert caught.value.hint
    assert reopened().cursors() == {"a": 1}
    execute(path, "DROP TRIGGER refusal")
    state.flush({"a": Account(2, 0)}, [Retained("a", 2, 1, b"2")], 2, NOW_NS)
    again = reopened()
    assert (again.cursors(), again.retained(), again.retained_seq()) == ({"a": 2}, [Retained("a", 2, 1, b"2")], 2)


def quarantine(state, upstream, seq):
    refusal = quarantine_rows.of_refusal(upstream, seq, event(seq), "too large", NOW_NS)
    state.transact(lambda db: quarantine_rows.add(db, [refusal], QuarantineConfig(), NOW_NS))


def test_quarantined_events_are_counted_per_upstream(state, path):
    for upstream, seq in (("a", 1), ("a", 2), ("b", 2), ("a", 2)):
        quarantine(state, upstream, seq)
    with closing(StateReader(path)) as reader:
        assert reader.quarantined() == {"a": 2, "b": 1}


def test_sessions_are_kept_and_dropped(state, reopened):
    state.begin_session("a", "Ännchen")
    state.begin_session("b", "")
    state.keep_session("a", {"x": 2, "Gerät/+": 0}, {"x": 7})
    state.keep_session("gone", {"#": 1}, {})
    state.drop_session("b")
    state.drop_session("unknown")
    assert reopened().sessions() == {"a": Session({"x": 2, "Gerät/+": 0}, {"x": 7}, owner="Ännchen")}
    state.begin_session("a", "")
    assert reopened().sessions() == {"a": Session({}, {}, owner="")}


def test_what_a_session_is_owed_is_stored_with_cursors_and_outlives_its_subscriptions(state, reopened):
    queue = Queue(3, (Flight(1, 2, 1), Flight(7, 0, 2)), (Flight(0, 9, 2, "haus/ü"),), 5, 3600)
    state.begin_session("a", "")
    assert state.sessions_seq() == 0
    state.flush({}, [], 9, NOW_NS, owed=Owed({"a": queue, "gone": queue}, 8))
    state.flush({}, [], 9, NOW_NS, owed=Owed({}, None))
    state.keep_session("a", {}, {})
    assert reopened().sessions() == {"a": Session({}, {}, queue, "")}
    assert reopened().sessions_seq() == 8


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE sessions SET queue = '[1,[],[],0'",
        "UPDATE sessions SET queue = '[1,[[1]],[],0,0]'",
        "UPDATE sessions SET queue = '[-1,[],[],0,0]'",
        'UPDATE sessions SET queue = \'[null,[[1,"2",1,""]],[],0,0]\'',
        "UPDATE sessions SET since = '{\"#\":1.5}'",
        "UPDATE sessions SET subscriptions = X'00'",
        "UPDATE sessions SET subscriptions = '3'",
        "UPDATE sessions SET owner = X'00'",
        "UPDATE meta SET value = 'x' WHERE key = 'sessions_seq'",
    ],
)
def test_a_session_that_is_not_what_was_written_is_damage(state, damage):
    state.begin_session("a", "")
    state.check()
    state._db.execute(damage)
    with pytest.raises(Damaged):
        state.check()


def test_every_change_that_the_disk_refuses_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(segment, "_BUSY_TIMEOUT_S", 0.01)
    path = path_of(tmp_path)
    with closing(State(path)) as state:
        with commit_held_back(path):
            for change in (
                lambda: state.set_meta("a", "b"),
                lambda: state.flush({"a": Account(1, 0)}, [], 1, NOW_NS),
                lambda: quarantine(state, "a", 1),
                lambda: state.keep_session("a", {}, {}),
                lambda: state.drop_session("a"),
            ):
                with pytest.raises(LogError, match="locked"):
                    change()
        state.set_meta("a", "b")
        assert state.meta("a") == "b"


def test_a_file_that_is_no_database_is_damaged(path):
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(LogError, match=r"state\.db"):
        State(path)
    with pytest.raises(LogError, match=r"state\.db cannot be read"):
        StateReader(path)


def test_a_table_that_is_gone_is_damage(state, path):
    execute(path, "DROP TABLE cursors", "DROP TABLE retained", "DROP TABLE sessions", "DROP TABLE meta")
    for look in (state.cursors, state.retained, state.sessions, state.retained_seq):
        with pytest.raises(LogError, match=r"state\.db cannot be read"):
            look()


def test_a_reader_sees_what_a_writer_keeps(state, path):
    state.flush({"a": Account(3, 0)}, [], 3, NOW_NS)
    with closing(StateReader(path)) as reader:
        assert reader.cursors() == {"a": 3}
        assert reader.log_id() == ""
        state.log_id()
        assert reader.log_id() == state.log_id()
        state.flush({"a": Account(4, 0)}, [], 4, NOW_NS)
        assert reader.cursors() == {"a": 4}


def test_a_reader_of_nothing_says_what_it_cannot_read(path):
    with pytest.raises(LogError, match=r"state\.db cannot be read"):
        StateReader(path)
