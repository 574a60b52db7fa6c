"""How far each upstream is, and what of that is not on disk yet. Pure data."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Cursors:
    """The cursors of all upstreams, those that are configured and those that once were."""

    def __init__(self, upstreams: Collection[str], known: Mapping[str, int]) -> None:
        """Begin with what is on disk; an upstream that is not known there begins at 0."""
        self._seqs = dict.fromkeys(upstreams, 0) | dict(known)
        self._upstreams = frozenset(upstreams)
        self.moved: dict[str, int] = {}
        """Cursors that are not on disk yet."""

    def seq(self, upstream: str) -> int:
        """The last sequence number an upstream has taken; 0 before its first."""
        return self._seqs.get(upstream, 0)

    def advance(self, upstream: str, seq: int) -> bool:
        """Move a cursor on; whether it was before `seq`."""
        if seq <= self.seq(upstream):
            return False
        self._seqs[upstream] = self.moved[upstream] = seq
        return True

    def taken_by_all(self, head: int) -> int:
        """The last number that every configured upstream has taken; `head` if there is no upstream."""
        return min((self.seq(name) for name in self._upstreams), default=head)

    def take_moved(self) -> dict[str, int]:
        """What has to be stored; it counts as stored from now on."""
        moved, self.moved = self.moved, {}
        return moved

    def put_back(self, moved: Mapping[str, int]) -> None:
        """What `take_moved` gave could not be stored."""
        self.moved = dict(moved) | self.moved
