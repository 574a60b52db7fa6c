"""Crash images: what a directory may look like after the power failed at a position of a trace.

The model of the disk. It is harder than ext4, whose journal keeps more order than this:

- What an fsync of a file covered is there. A write is covered if it was recorded before the fsync began.
- Each write and change of size since then is, on its own: there, not there, there in part (whole 512-byte sectors: the
  first few, or any), or there before an older one. Never part of a sector, and never anything that nobody wrote.
- The contents of a file belong to its inode, its names to folders. An fsync of a folder makes its names durable as
  they are. Of the creations, renames and removals in a folder since then the first few are there, in order; how many
  is chance. An fsync of a file makes no name durable. The watched directory itself was there before.
- After a failed fsync nothing of what it covered is promised by a later one: Linux marks such pages clean. What of them
  is on the disk is decided at that moment, once.

Chance is seeded, so an image can be made again.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tests.powercut.trace import Kind, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

SECTOR_BYTES = 512


@dataclass(slots=True)
class Inode:
    """The contents of a file: what is durable, and what was done since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Record] = field(default_factory=list)
    settled: int = 0
    """How many records have left `pending`."""


class Naming(NamedTuple):
    """A change of the names in a folder, done as a whole or not at all."""

    removed: str
    added: str
    node: Inode | Folder | None


@dataclass(slots=True)
class Folder:
    """The names in a folder: what is durable, and what was done since."""

    durable: dict[str, Inode | Folder] = field(default_factory=dict)
    pending: list[Naming] = field(default_factory=list)
    settled: int = 0

    def now(self) -> dict[str, Inode | Folder]:
        return named(self.durable, self.pending)


class Fate(NamedTuple):
    """Decides what becomes of changes that no fsync has covered."""

    contents: Callable[[Sequence[Record], random.Random], Sequence[Record]]
    names: Callable[[Sequence[Naming], random.Random], Sequence[Naming]]


def look_at(root: Path) -> dict[str, tuple[int, bytes | None]]:
    """Everything below a directory, folders first: path, and inode number and contents (None of a folder)."""
    paths = sorted(path for path in root.rglob("*") if not path.name.endswith("-shm"))
    return {str(path): (path.stat().st_ino, None if path.is_dir() else path.read_bytes()) for path in paths}


class Disk:
    """A directory as the disk has it; fed with a trace, record by record."""

    def __init__(self, root: Path, found: Mapping[str, tuple[int, bytes | None]], seed: int = 0) -> None:
        """As the recording found it; `seed` is for what failed fsyncs leave behind.

        Args:
            root: the directory that was recorded.
            found: what `look_at` told of it when the recording began.
            seed: for `random`.
        """
        self.position = 0
        """How many records have been fed."""
        self._root = str(root)
        self._top = Folder()
        self._inodes: dict[int, Inode] = {}
        for path, (number, contents) in found.items():
            node = Folder() if contents is None else Inode(bytearray(contents))
            if isinstance(node, Inode):
                self._inodes[number] = node
            folder, name = self._place(path)
            folder.durable[name] = node
        self._covered: dict[int, int] = {}
        self._chance = random.Random(seed)

    def feed(self, records: Sequence[Record]) -> None:
        """Let `records` happen."""
        for record in records:
            self._apply(record)
        self.position += len(records)

    def image(self, into: Path, fate: Fate, chance: random.Random) -> None:
        """Write what is left if the power fails now into `into`, a directory that is not there yet."""
        _write(self._top, into, fate, chance)

    def _apply(self, record: Record) -> None:
        match record.kind:
            case Kind.WRITE | Kind.RESIZE | Kind.EXTEND:
                self._inodes[record.inode].pending.append(record)
            case Kind.SYNC_BEGIN:
                node = self._node(record)
                self._covered[record.thread] = node.settled + len(node.pending)
            case Kind.SYNC_OK | Kind.SYNC_FAILED:
                self._settle(record)
            case Kind.CREATE if record.path != self._root:
                node = Folder() if record.offset else Inode()
                if isinstance(node, Inode):
                    self._inodes[record.inode] = node
                folder, name = self._place(record.path)
                folder.pending.append(Naming("", name, node))
            case Kind.UNLINK:
                folder, name = self._place(record.path)
                folder.pending.append(Naming(name, "", None))
            case Kind.RENAME:
                folder, name = self._place(record.path)
                other, new_name = self._place(record.data.decode())
                assert folder is other, "a rename across folders: the model does not know how it survives"
                folder.pending.append(Naming(name, new_name, folder.now()[name]))

    def _settle(self, record: Record) -> None:
        node = self._node(record)
        count = max(0, self._covered.pop(record.thread) - node.settled)
        failed = record.kind is Kind.SYNC_FAILED
        if isinstance(node, Folder):
            if failed:  # names stay as doubtful as they were
                return
            node.durable = named(node.durable, node.pending[:count])
        else:
            covered = node.pending[:count]
            for change in survivors(covered, self._chance) if failed else covered:
                _change(node.durable, change)
        del node.pending[:count]
        node.settled += count

    def _node(self, record: Record) -> Inode | Folder:
        return self._folder(record.path) or self._inodes[record.inode]

    def _folder(self, path: str) -> Folder | None:
        """The folder at `path`; None if something else is there, or nothing."""
        node: Inode | Folder | None = self._top
        for part in filter(None, path.removeprefix(self._root).split("/")):
            node = node.now().get(part) if isinstance(node, Folder) else None
        return node if isinstance(node, Folder) else None

    def _place(self, path: str) -> tuple[Folder, str]:
        parent, _, name = path.rpartition("/")
        folder = self._folder(parent)
        assert folder is not None, path
        return folder, name


def survivors(pending: Sequence[Record], chance: random.Random) -> list[Record]:
    """Which unsynced changes of a file reached the disk, in the order they did.

    Often all or none, for those are the ends; else in order up to a moment, or each on its own.
    """
    lot = chance.random()
    if lot < 0.2:
        return list(pending)
    if lot < 0.4:
        return []
    if lot < 0.6:
        upto = list(pending[: chance.randint(0, len(pending))])
        return upto[:-1] + [part for each in upto[-1:] for part in _torn(each, chance)]
    kept: list[Record] = []
    for each in pending:
        if chance.random() < 0.7:
            kept += _torn(each, chance) if chance.random() < 0.3 else [each]
    if chance.random() < 0.5:
        chance.shuffle(kept)
    return kept


KEEP_ALL = Fate(lambda pending, _: pending, lambda pending, _: pending)
"""As if the power had not failed: what every process sees."""
DROP_ALL = Fate(lambda _, __: [], lambda _, __: [])
"""A disk that writes nothing before it must."""
POWER_CUT = Fate(survivors, lambda pending, chance: pending[: chance.randint(0, len(pending))])
"""The model at the top."""


def named(durable: dict[str, Inode | Folder], changes: Sequence[Naming]) -> dict[str, Inode | Folder]:
    """The names after some changes."""
    names = dict(durable)
    for removed, added, node in changes:
        names.pop(removed, None)
        if node is not None:
            names[added] = node
    return names


def _write(folder: Folder, into: Path, fate: Fate, chance: random.Random) -> None:
    into.mkdir()
    for name, node in named(folder.durable, fate.names(folder.pending, chance)).items():
        if isinstance(node, Folder):
            _write(node, into / name, fate, chance)
        else:
            contents = bytearray(node.durable)
            for change in fate.contents(node.pending, chance):
                _change(contents, change)
            (into / name).write_bytes(contents)


def _torn(record: Record, chance: random.Random) -> list[Record]:
    """The first few sectors of a write, or any."""
    if record.kind is not Kind.WRITE:
        return [record]
    begin, end = record.offset, record.offset + len(record.data)
    cuts = [begin, *range(begin - begin % SECTOR_BYTES + SECTOR_BYTES, end, SECTOR_BYTES), end]
    sectors = [
        record._replace(offset=first, data=record.data[first - begin : after - begin])
        for first, after in itertools.pairwise(cuts)
    ]
    if chance.random() < 0.5:
        return sectors[: chance.randint(0, len(sectors))]
    return [sector for sector in sectors if chance.random() < 0.5]


def _change(contents: bytearray, record: Record) -> None:
    size = record.offset + len(record.data)
    if record.kind is Kind.RESIZE:
        del contents[size:]
    if len(contents) < size:
        contents.extend(bytes(size - len(contents)))
    if record.kind is Kind.WRITE:
        contents[record.offset : size] = record.data
