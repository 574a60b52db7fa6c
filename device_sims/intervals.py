"""A set of whole numbers that takes little room while they come without gaps. Pure."""

from bisect import bisect_right


class IntervalSet:
    """Holds numbers as closed intervals: memory follows the number of gaps, not of members.

    A device's `n` arrive nearly in order, so millions of them are one interval.
    """

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number <= self._ends[at]

    def add(self, number: int) -> bool:
        """Add `number`; whether it was new."""
        at = bisect_right(self._starts, number) - 1
        if at >= 0 and number <= self._ends[at]:
            return False
        self._count += 1
        touches_left = at >= 0 and self._ends[at] == number - 1
        touches_right = at + 1 < len(self._starts) and self._starts[at + 1] == number + 1
        if touches_left and touches_right:
            self._ends[at] = self._ends.pop(at + 1)
            del self._starts[at + 1]
        elif touches_left:
            self._ends[at] = number
        elif touches_right:
            self._starts[at + 1] = number
        else:
            self._starts.insert(at + 1, number)
            self._ends.insert(at + 1, number)
        return True
