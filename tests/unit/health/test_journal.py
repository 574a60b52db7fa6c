"""Log lines: a message, then fields, with a time for people or a priority for the journal."""

from __future__ import annotations

import io
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from gateway.health import journal
from gateway.health.journal import FieldsFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator


def record(level: int = logging.WARNING, message: str = "login refused", **fields: object) -> logging.LogRecord:
    logger = logging.getLogger("gateway.broker")
    made = logger.makeRecord(logger.name, level, "file.py", 1, message, (), None, extra=fields)
    made.created = 1_795_435_200.25
    return made


def test_a_line_for_people_begins_with_the_time() -> None:
    line = FieldsFormatter(for_journal=False).format(record(client_id="dev", attempts=3))
    assert line == "2026-11-23T12:00:00.250+00:00 WARNING gateway.broker: login refused client_id='dev' attempts=3"


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
        (logging.INFO + 5, 5),
    ],
)
def test_a_line_for_the_journal_begins_with_its_priority_and_has_no_time(level: int, priority: int) -> None:
    line = FieldsFormatter(for_journal=True).format(record(level, reason="x"))
    assert line == f"<{priority}>gateway.broker: login refused reason='x'"


def test_what_a_device_says_stays_within_its_field_and_its_line() -> None:
    line = FieldsFormatter(for_journal=True).format(record(client_id="dev\n<2>kernel: forged \x1b[2J\x9b2J"))
    assert line == r"<4>gateway.broker: login refused client_id='dev\n<2>kernel: forged \x1b[2J\x9b2J'"


def test_arguments_are_put_into_the_message_and_are_no_fields() -> None:
    made = logging.LogRecord("amqtt", logging.ERROR, "f.py", 1, "%s of %d", ("one", 2), None)
    assert FieldsFormatter(for_journal=True).format(made) == "<3>amqtt: one of 2"


def test_a_traceback_stands_below_its_line() -> None:
    try:
        _ = 1 // 0
    except ZeroDivisionError:
        made = logging.LogRecord("gateway", logging.ERROR, "f.py", 1, "failed", (), sys.exc_info())
    lines = FieldsFormatter(for_journal=True).format(made).splitlines()
    assert (lines[0], lines[1], lines[-1]) == (
        "<3>gateway: failed",
        "Traceback (most recent call last):",
        "ZeroDivisionError: integer division or modulo by zero",
    )


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


@pytest.mark.parametrize(("stream", "begin"), [("8:1234", "<6>gateway: ready"), (None, "20")])
def test_the_environment_tells_whether_the_journal_reads(
    root: logging.Logger, monkeypatch: pytest.MonkeyPatch, stream: str | None, begin: str
) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if stream is not None:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    journal.set_up("INFO")
    logging.getLogger("gateway").info("ready")
    logging.getLogger("gateway").debug("not at this level")
    assert said.getvalue().startswith(begin)
    assert said.getvalue().count("\n") == 1
    assert len(root.handlers) == 1
