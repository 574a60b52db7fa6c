import re
import subprocess
import sys

import pytest

from benchmarks.card import SOURCE, Card, compiler, device_written_bytes, forget_pages


def test_the_delay_and_the_count_stand_where_the_shim_has_them():
    control = re.search(r"struct control \{(.*?)\};", SOURCE.read_text(), re.DOTALL)
    names = re.findall(r"uint64_t (\w+);", control[1])
    assert (names.index("sync_delay_us"), names.index("syncs")) == (0, 6)


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_the_fsyncs_of_a_process_below_its_data_directory_are_counted(tmp_path):
    card = Card(tmp_path)
    (tmp_path / "data").mkdir()
    code = "import os, sys\nfor name in sys.argv[1:]:\n    os.fsync(os.open(name, os.O_CREAT | os.O_RDWR))"
    files = [tmp_path / "data" / "one", tmp_path / "data" / "two", tmp_path / "beside"]
    subprocess.run([sys.executable, "-c", code, *files], env=card.env, check=True)
    assert card.syncs == 2


def test_files_are_whole_after_the_kernel_was_made_to_forget_them(tmp_path):
    (tmp_path / "a").write_bytes(b"a" * 100_000)
    forget_pages(tmp_path)
    assert (tmp_path / "a").read_bytes() == b"a" * 100_000


def test_a_disk_that_the_kernel_does_not_count_has_written_an_unknown_number_of_bytes(tmp_path):
    written = device_written_bytes(tmp_path)
    assert written is None or written >= 0
