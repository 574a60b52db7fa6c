"""One gateway per data directory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gateway.errors import ConfigError
from gateway.eventlog import lock

HOLD = """
import sys
from pathlib import Path
from gateway.eventlog import lock
held = lock.DataDirLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other_gateway(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_data_directory_is_made_with_its_log_folder(tmp_path):
    lock.prepare(tmp_path / "new" / "data")
    assert (tmp_path / "new" / "data" / "log").is_dir()
    lock.prepare(tmp_path / "new" / "data")


@pytest.mark.parametrize("path", ["file", "file/data"])
def test_a_data_directory_that_cannot_be_made_is_the_operators_to_mend(tmp_path, path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"gateway\.data_dir: .*file.* cannot be created") as caught:
        lock.prepare(tmp_path / path)
    assert "gateway.data_dir" in caught.value.hint


def test_a_data_directory_that_may_not_be_written_is_the_operators_to_mend(unprivileged, public_path):
    data_dir = public_path / "data"
    (data_dir / "log").mkdir(parents=True)
    data_dir.chmod(0o555)
    said = unprivileged(
        """
        from gateway.errors import ConfigError
        from gateway.eventlog import lock
        try:
            lock.prepare(path / "data")
        except ConfigError as error:
            print(error, "|", error.hint)
        """
    )
    assert f"gateway.data_dir: {data_dir} is not writable | Create it and give it to the user" in said


def test_a_second_lock_is_refused_and_names_the_process_that_holds_the_first(tmp_path):
    held = lock.DataDirLock(tmp_path)
    with pytest.raises(ConfigError, match=rf"in use by another gateway \(process {os.getpid()}\)") as caught:
        lock.DataDirLock(tmp_path)
    assert "Stop that one first" in caught.value.hint
    held.release()


def test_a_released_lock_can_be_taken_again(tmp_path):
    lock.DataDirLock(tmp_path).release()
    lock.DataDirLock(tmp_path).release()


def test_a_lock_of_another_process_is_refused_until_that_process_is_gone(tmp_path, other_gateway):
    with pytest.raises(ConfigError, match=rf"\(process {other_gateway.pid}\)"):
        lock.DataDirLock(tmp_path)
    other_gateway.kill()
    other_gateway.wait()
    lock.DataDirLock(tmp_path).release()


def test_the_holder_is_the_process_that_runs(tmp_path, other_gateway):
    assert lock.holder(tmp_path) == other_gateway.pid
    other_gateway.kill()
    other_gateway.wait()
    assert lock.holder(tmp_path) is None


def test_nobody_holds_a_directory_in_which_no_gateway_ever_ran(tmp_path):
    assert lock.holder(tmp_path) is None


def test_a_user_who_may_only_read_sees_the_holder(unprivileged, public_path):
    held = lock.DataDirLock(public_path)
    try:
        (public_path / "lock").chmod(0o444)
        said = unprivileged("from gateway.eventlog import lock; print(lock.holder(path))")
        assert said.strip() == str(os.getpid())
    finally:
        held.release()


def test_a_lock_file_that_cannot_be_written_is_the_operators_to_mend(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(ConfigError, match=r"lock cannot be written") as caught:
        lock.DataDirLock(tmp_path)
    assert caught.value.hint
