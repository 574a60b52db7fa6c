"""The model of the disk does what it says at the top of `images.py`."""

from __future__ import annotations

import random
from pathlib import Path

from tests.powercut.images import DROP_ALL, KEEP_ALL, POWER_CUT, SECTOR_BYTES, Disk, Fate
from tests.powercut.trace import Kind, Record

ROOT = Path("/card")
FILE = "/card/file"


def record(kind: Kind, path: str = FILE, data: bytes = b"", offset: int = 0, inode: int = 1, thread: int = 1) -> Record:
    return Record(kind, thread, offset, inode, 0, 0, path, data)


def write(data: bytes, offset: int = 0) -> Record:
    return record(Kind.WRITE, "", data, offset)


def folder_sync(path: str = "/card") -> list[Record]:
    return [record(Kind.SYNC_BEGIN, path, inode=0), record(Kind.SYNC_OK, path, inode=0)]


NEW = [record(Kind.CREATE), *folder_sync()]
SYNC = [record(Kind.SYNC_BEGIN), record(Kind.SYNC_OK)]


def image(records: list[Record], fate: Fate, folder: Path, seed: int = 0) -> dict[str, bytes]:
    disk = Disk(ROOT, {}, seed)
    disk.feed(records)
    into = folder / f"{len(list(folder.iterdir()))}"
    disk.image(into, fate, random.Random(seed))
    return {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def test_only_what_an_fsync_covered_is_promised(tmp_path: Path) -> None:
    records = [*NEW, write(b"old"), *SYNC, write(b"new")]
    assert image(records, DROP_ALL, tmp_path) == {"file": b"old"}
    assert image(records, KEEP_ALL, tmp_path) == {"file": b"new"}


def test_a_write_that_came_while_an_fsync_was_under_way_is_not_covered_by_it(tmp_path: Path) -> None:
    records = [*NEW, write(b"a"), record(Kind.SYNC_BEGIN), write(b"b", 1), record(Kind.SYNC_OK)]
    assert image(records, DROP_ALL, tmp_path) == {"file": b"a"}


def test_an_fsync_of_a_file_makes_no_name_durable(tmp_path: Path) -> None:
    records = [record(Kind.CREATE), write(b"a"), *SYNC]
    assert image(records, DROP_ALL, tmp_path) == {}
    assert image([*records, *folder_sync()], DROP_ALL, tmp_path) == {"file": b"a"}


def test_a_rename_that_is_lost_leaves_both_names_as_they_were(tmp_path: Path) -> None:
    draft = record(Kind.CREATE, "/card/draft", inode=2)
    records = [*NEW, draft, *folder_sync(), record(Kind.WRITE, "", b"2", 0, 2)]
    records += [record(Kind.SYNC_BEGIN, "/card/draft", inode=2), record(Kind.SYNC_OK, "/card/draft", inode=2)]
    records.append(record(Kind.RENAME, "/card/draft", b"/card/file"))
    assert image(records, DROP_ALL, tmp_path) == {"file": b"", "draft": b"2"}
    assert image(records, KEEP_ALL, tmp_path) == {"file": b"2"}


def test_a_removed_file_comes_back_with_what_was_durable_if_its_removal_is_lost(tmp_path: Path) -> None:
    records = [*NEW, write(b"a"), *SYNC, record(Kind.UNLINK)]
    assert image(records, DROP_ALL, tmp_path) == {"file": b"a"}
    assert image(records, KEEP_ALL, tmp_path) == {}


def test_a_new_file_with_the_inode_number_of_a_removed_one_is_another_file(tmp_path: Path) -> None:
    records = [*NEW, write(b"a"), *SYNC, record(Kind.UNLINK), record(Kind.CREATE, "/card/other")]
    assert image([*records, *folder_sync()], KEEP_ALL, tmp_path) == {"other": b""}


def test_what_a_failed_fsync_covered_is_not_brought_back_by_a_later_one(tmp_path: Path) -> None:
    records = [*NEW, write(b"a"), record(Kind.SYNC_BEGIN), record(Kind.SYNC_FAILED), *SYNC]
    outcomes = {image(records, DROP_ALL, tmp_path, seed)["file"] for seed in range(40)}
    assert outcomes == {b"", b"a"}


def test_unsynced_writes_survive_whole_or_in_sectors_in_any_combination(tmp_path: Path) -> None:
    old, new = b"o" * 4 * SECTOR_BYTES, b"n" * 4 * SECTOR_BYTES
    records = [*NEW, write(old), *SYNC, write(new), write(b"l", len(old))]
    outcomes = set()
    for seed in range(200):
        contents = image(records, POWER_CUT, tmp_path, seed)["file"]
        sectors = [contents[at : at + SECTOR_BYTES] for at in range(0, len(old), SECTOR_BYTES)]
        assert all(len(set(sector)) == 1 for sector in sectors), "part of a sector"
        outcomes.add("".join(chr(sector[0]) for sector in sectors) + contents[len(old) :].decode())
    assert {"oooo", "nnnn", "ooool", "nnnnl", "nnoo"} <= outcomes
