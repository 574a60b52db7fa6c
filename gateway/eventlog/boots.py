"""The true times of events: from what is known of the clock of the boot in which each was received. Pure.

An event keeps the wall clock as it was read and the time since boot; neither is ever changed. A boot whose clock was
set has anchors (see `gateway.clock.Anchor`): one from when it was set first, and one more for each step that was
believed. An event whose wall clock agrees with the anchor of its moment is `synced` and its wall clock stands. If it
does not agree, the event is `corrected`: its time is counted from the anchor by the time since boot. A boot without an
anchor leaves its events `unsynced`, at the wall clock they were given.

What decides is the event itself and not when anybody noticed that the clock had been set; so it is right also for
events received just before and after, in an earlier process of the same boot, and for any later replay.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.clock import Anchor
    from gateway.event import Event

AGREES_NS = 1_000_000_000
"""A wall clock so far from its anchor is taken as read: a leap second, or a small step that made no anchor."""
ANCHORS_PER_BOOT_MAX = 64
"""A clock that is stepped more often loses the second oldest: the first tells the time of all events before it."""
ANCHORS_MAX = 4096
"""Of all boots together, the newest; 1 MB of memory."""

SYNCED, CORRECTED, UNSYNCED = "synced", "corrected", "unsynced"


def _since(anchor: Anchor) -> int:
    return anchor.mono_ns


class Boots:
    """What is known of the clocks of all boots the log has events of.

    Args:
        boot_id: of the boot that is now.
        known: boot id and anchor, in the order they were made.
    """

    def __init__(self, boot_id: str, known: Iterable[tuple[str, Anchor]] = ()) -> None:
        self._boot_id = boot_id
        self._anchors: dict[str, list[Anchor]] = {}
        for of_boot, anchor in known:
            self._add(of_boot, anchor)

    def newest(self) -> Anchor | None:
        """The latest anchor of this boot; None if its clock was never set."""
        anchors = self._anchors.get(self._boot_id)
        return anchors[-1] if anchors else None

    def add(self, anchor: Anchor) -> None:
        """From now on times of this boot are told by `anchor` too; it must be on disk."""
        self._add(self._boot_id, anchor)

    def of(self, event: Event) -> tuple[int, str]:
        """The true time of an event, nanoseconds since 1970 (UTC), and `synced`, `corrected` or `unsynced`."""
        return self.time_of(event.boot_id, event.mono_ns, event.received_ns)

    def time_of(self, boot_id: str, mono_ns: int, received_ns: int) -> tuple[int, str]:
        """As `of`, by the three stamps of an event."""
        anchors = self._anchors.get(boot_id)
        if anchors is None:
            return received_ns, UNSYNCED
        anchor = anchors[-1]
        offset_ns = received_ns - mono_ns
        if mono_ns < anchor.mono_ns and len(anchors) > 1:
            at = max(1, bisect_right(anchors, mono_ns, key=_since))
            anchor, following = anchors[at - 1], anchors[at]
            if abs(offset_ns - following.offset_ns) <= AGREES_NS:  # received after the step, before it was noticed
                return received_ns, SYNCED
        if -AGREES_NS <= offset_ns - anchor.offset_ns <= AGREES_NS:
            return received_ns, SYNCED
        return mono_ns + anchor.offset_ns, CORRECTED

    def offsets_between(self, boot_id: str, first_mono_ns: int, last_mono_ns: int) -> list[int]:
        """What was true time less time since boot, whenever that was found out between two moments of a boot."""
        anchors = self._anchors.get(boot_id, ())
        return [anchor.offset_ns for anchor in anchors if first_mono_ns < anchor.mono_ns < last_mono_ns]

    def age_ns(self, now_mono_ns: int, boot_id: str, mono_ns: int, received_ns: int) -> int:
        """How old an event is at the least, `now_mono_ns` after this boot.

        No step of the wall clock makes one older that was received before it.

        An event of this boot is as old as monotonic time says. One of an earlier boot is older than this boot. How much
        older is believed if the clocks of both were set, by the earliest of the times this boot's clock was set to.
        """
        if boot_id == self._boot_id:
            return now_mono_ns - mono_ns
        ours = self._anchors.get(self._boot_id)
        if ours is None or boot_id not in self._anchors:
            return now_mono_ns
        time_ns, _ = self.time_of(boot_id, mono_ns, received_ns)
        return now_mono_ns + max(0, min(anchor.offset_ns for anchor in ours) - time_ns)

    def _add(self, boot_id: str, anchor: Anchor) -> None:
        anchors = self._anchors.setdefault(boot_id, [])
        anchors.append(anchor)
        if len(anchors) > ANCHORS_PER_BOOT_MAX:
            del anchors[1]
