"""Deliveries on file."""

from pathlib import Path

import pytest

from device_sims.errors import SimsError, UsageError
from device_sims.recording import Recording, open_recording, read_recording


def write(path, *entries):
    recording = open_recording(path)
    for device, n in entries:
        recording.append(device, n)
    recording.close()


def test_a_record_is_read_back_in_order_and_can_be_added_to(tmp_path):
    path = tmp_path / "record"
    write(path, ("a", 2), ("a", 1))
    write(path, ("ü", 3))
    assert list(read_recording(path)) == [("a", 2), ("a", 1), ("ü", 3)]


def test_a_delivery_is_in_the_file_before_append_returns(tmp_path):
    path = tmp_path / "record"
    recording = open_recording(path)
    recording.append("a", 1)
    assert list(read_recording(path)) == [("a", 1)]
    recording.close()


def test_a_line_torn_by_a_kill_is_cut_off(tmp_path):
    path = tmp_path / "record"
    write(path, ("a", 1), ("a", 2))
    path.write_bytes(path.read_bytes()[:-4])
    assert list(read_recording(path)) == [("a", 1)]
    write(path, ("a", 3))
    assert list(read_recording(path)) == [("a", 1), ("a", 3)]


def test_no_file_is_an_empty_record(tmp_path):
    assert list(read_recording(tmp_path / "none")) == []


@pytest.mark.parametrize("line", ["text", "[1, 2]", '["a"]', '["a", 0]', "5", '{"a": 1}'])
def test_another_file_is_refused_with_the_line(tmp_path, line):
    path = tmp_path / "record"
    path.write_text(f'["a", 1]\n{line}\n')
    with pytest.raises(UsageError, match="line 2"):
        list(read_recording(path))


def test_a_record_in_a_missing_folder_cannot_be_opened(tmp_path):
    with pytest.raises(UsageError, match="cannot open the record"):
        open_recording(tmp_path / "none" / "record")


def test_a_full_disk_is_told():
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(SimsError, match="No space left"):
        Recording(full, Path("/dev/full")).append("a", 1)
