"""Log lines for people and machines: a constant message, then fields as `key=value`.

Under systemd, lines carry the priority prefix of sd-daemon(3) and no time of their own: the journal has one.
"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime

from gateway.health.ration import Ration

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class FieldsFormatter(logging.Formatter):
    """`time level logger: message key=value ...`."""

    def __init__(self, *, for_journal: bool) -> None:
        super().__init__()
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it if there is one."""
        fields = "".join(f" {key}={value!r}" for key, value in vars(record).items() if key not in _STANDARD)
        line = f"{record.name}: {record.getMessage()}{fields}"
        if self._for_journal:
            line = f"<{_PRIORITIES.get(record.levelno, 5)}>{line}"
        else:
            moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
            line = f"{moment} {record.levelname:<7} {line}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def set_up(level: str) -> Ration:
    """Send log lines to stderr; returns the ration of those that devices cause, which has to be kept renewed."""
    handler = logging.StreamHandler(sys.stderr)
    ration = Ration()
    handler.addFilter(ration)
    handler.setFormatter(FieldsFormatter(for_journal="JOURNAL_STREAM" in os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    return ration
