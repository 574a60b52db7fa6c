"""Errors that reach the person at the terminal, each with what to do next.

`SimsError` is the root. Whose move it is decides the exit code: `UsageError` (2) is mended on the command line or
in a fleet file; everything else (1) failed although it was asked for correctly.
"""


class SimsError(Exception):
    """Something asked for could not be done; `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(SimsError):
    """The command line or a fleet file is wrong; nothing was started."""

    exit_code = 2


class LedgerError(SimsError):
    """The ledger file cannot be created, read or written."""


class LedgerMissing(LedgerError):  # noqa: N818 - it says what is the case
    """There is no ledger in that place, or not yet: a reader that came first may wait for it."""


class ConnectionLost(SimsError):  # noqa: N818 - it names what happened, as the builtin ConnectionError family does
    """The broker could not be reached, refused the client, or stopped answering; trying again is in order."""


def first_error(error: BaseException) -> BaseException:
    """The first single error in a group, however deep; an error that is no group is itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
