"""Errors for the person at the terminal."""

from device_sims.errors import LedgerError, LedgerMissing, SimsError, UsageError, first_error


def test_the_first_error_of_a_group_is_found_however_deep():
    inner = LedgerError("full")
    assert first_error(ExceptionGroup("a", [ExceptionGroup("b", [inner]), ValueError()])) is inner
    assert first_error(inner) is inner


def test_wrong_usage_and_failure_have_different_exit_codes():
    assert (UsageError("x").exit_code, LedgerMissing("x").exit_code, SimsError("x", hint="y").exit_code) == (2, 1, 1)
