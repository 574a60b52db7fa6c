"""What goes ahead of a cursor, against a note of every event: none is passed that nobody has done, and books balance.

An upstream has a cursor, spans that went live and two lanes. Whatever is done in whatever order, and wherever a crash
sets everything back to what was stored last, each event that the cursor has passed was done by whoever it belongs to.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.eventlog import books
from gateway.eventlog.ahead import SPANS_MAX, as_text, from_text
from gateway.eventlog.cursors import Cursors
from gateway.eventlog.losses import Missing, Span, dropped_in

if TYPE_CHECKING:
    from gateway.eventlog.losses import Loss

CLOUD = "cloud"
NO_LANE = 2
FATES = ("forwarded", "filtered", "quarantined", "expired")
NOBODY = Missing([], [])


class AheadModel(RuleBasedStateMachine):
    @initialize(cursor=st.integers(0, 3))
    def begin(self, cursor: int) -> None:
        self.head = cursor
        self.oldest = cursor + 1
        self.lane_of: dict[int, int] = {}
        self.gaps: set[int] = set()
        self.done: set[int] = set()
        """Events that the upstream was given, has refused, or that are not for it or too old."""
        self.dropped: set[int] = set()
        self.terms = "first"
        self.ledger: list[Loss] = []
        self.cursors = Cursors([CLOUD], {}, NOBODY, self.oldest, 0)
        self.cursors.set_lanes(CLOUD, self.terms, 2)
        self.flush()

    # --- what comes, and what is done with it ---

    @rule(lanes=st.lists(st.integers(0, 3), min_size=1, max_size=12))
    def append(self, lanes: list[int]) -> None:
        """A lane of 3 is a number without an event."""
        for lane in lanes:
            self.head += 1
            if lane > NO_LANE:
                self.gaps.add(self.head)
            else:
                self.lane_of[self.head] = lane
        gaps = [Span(seq, seq) for seq in sorted(self.gaps)]
        self.cursors.missing = Missing(gaps, [])

    @rule(lane=st.integers(0, 1), share=st.floats(0, 1), fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=3))
    def lane_goes_on(self, lane: int, share: float, fates: list[str]) -> None:
        begin = self.cursors.lane_seq(CLOUD, lane)
        end = begin + round((self.head - begin) * share)
        theirs = [seq for seq in range(begin + 1, end + 1) if self.lane_of.get(seq) == lane]
        counts = Counter(fates[seq % len(fates)] for seq in theirs)
        counts["forwarded"] += counts.pop("filtered", 0)
        self.done.update(theirs)
        self.cursors.advance_lane(CLOUD, lane, end, **counts)

    @rule(share=st.floats(0, 1), fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=3))
    def main_goes_on(self, share: float, fates: list[str]) -> None:
        spans = self.ahead().spans
        begin = self.cursors.seq(CLOUD)
        limit = min([self.lanes(), *(span.account.started for span in spans[:1])])
        end = begin + round((limit - begin) * share)
        if end > begin:
            self.cursors.advance(CLOUD, end, 5, **self.pass_over(begin, end, fates))

    @rule(share=st.floats(0, 1), fates=st.lists(st.sampled_from(FATES), min_size=1, max_size=3))
    def live_goes_on(self, share: float, fates: list[str]) -> None:
        begin = self.cursors.live_seq(CLOUD)
        end = begin + round((self.lanes() - begin) * share)
        if end > begin:
            self.cursors.advance_live(CLOUD, end, 5, **self.pass_over(begin, end, fates))

    def pass_over(self, begin: int, end: int, fates: list[str]) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for seq in range(begin + 1, end + 1):
            lane = self.lane_of.get(seq)
            if lane == NO_LANE:
                counts[fates[seq % len(fates)]] += 1
                self.done.add(seq)
            elif lane is not None:
                counts["taken"] += 1
                assert seq in self.done, "a lane event is passed that no lane has done"
        return {what: counts[what] for what in (*FATES, "taken")}

    @rule()
    def a_span_begins(self) -> None:
        self.cursors.begin_span(CLOUD, self.head)
        assert len(self.ahead().spans) <= SPANS_MAX

    # --- what happens to it ---

    @rule(share=st.floats(0, 1))
    def retention_drops(self, share: float) -> None:
        last = self.oldest - 1 + round((self.head - self.oldest + 1) * share)
        cursor = self.cursors.seq(CLOUD)
        covered = {seq for first, last_ in self.ahead().between(cursor, last) for seq in range(first, last_ + 1)}
        self.cursors.drop(self.held(), last, "dropped", 7)
        if last > cursor:
            self.dropped |= covered & self.lane_of.keys()
        self.oldest = max(self.oldest, last + 1)
        self.flush()

    @rule()
    def lanes_mean_something_else(self) -> None:
        self.terms += "+"
        self.cursors.set_lanes(CLOUD, self.terms, 2)
        assert self.lanes() == self.cursors.seq(CLOUD)

    @rule()
    def flush(self) -> None:
        unsaved = self.cursors.take_unsaved()
        self.ledger += unsaved.lost
        ahead = {name: from_text(as_text(each)) for name, each in self.cursors.ahead.items()}
        self.stored = dict(self.cursors.accounts), ahead, self.terms

    @rule()
    def the_disk_refuses(self) -> None:
        self.cursors.put_back(self.cursors.take_unsaved())

    @rule()
    def crash(self) -> None:
        accounts, ahead, self.terms = self.stored
        self.cursors = Cursors([CLOUD], accounts, self.cursors.missing, self.oldest, 0, ahead)

    @precondition(lambda self: self.head - self.cursors.seq(CLOUD) > 0)
    @rule()
    def everything_is_done_in_the_end(self) -> None:
        for lane in range(2):
            self.lane_goes_on(lane, 1, ["forwarded"])
        while self.ahead().spans:
            end = self.ahead().spans[0].account.started
            begin = self.cursors.seq(CLOUD)
            self.cursors.advance(CLOUD, end, 5, **self.pass_over(begin, end, ["forwarded"]))
        begin = self.cursors.seq(CLOUD)
        if self.head > begin:
            self.cursors.advance(CLOUD, self.head, 5, **self.pass_over(begin, self.head, ["forwarded"]))
        assert self.line().pending == 0

    # --- what has to be true ---

    @invariant()
    def nothing_is_passed_that_nobody_has_done(self) -> None:
        passed = {seq for seq in self.lane_of if seq <= self.cursors.seq(CLOUD)}
        assert passed <= self.done | self.dropped

    @invariant()
    def the_books_balance(self) -> None:
        line = self.line()
        assert (line.difference, line.unbooked) == (0, 0), line

    @invariant()
    def spans_are_in_order_and_beyond_the_cursor(self) -> None:
        ends = [end for span in self.ahead().spans for end in (span.account.started, span.account.seq)]
        assert [self.cursors.seq(CLOUD), *ends] == sorted([self.cursors.seq(CLOUD), *ends])
        assert self.cursors.pending(CLOUD, self.head) == max(0, self.line().pending)

    def line(self) -> books.Line:
        (line,) = books.lines(
            self.cursors.accounts,
            head=self.head,
            held=self.held(),
            missing=self.cursors.missing,
            booked=dropped_in([*self.ledger, *self.cursors.lost]),
            configured=[CLOUD],
            ahead=self.cursors.ahead,
        )
        return line

    def held(self) -> list[Span]:
        return [Span(seq, seq) for seq in sorted(self.lane_of) if seq >= self.oldest]

    def ahead(self):
        return self.cursors.progress(CLOUD).ahead

    def lanes(self) -> int:
        return min(self.cursors.lane_seq(CLOUD, lane) for lane in range(2))


TestAheadModel = AheadModel.TestCase
TestAheadModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, print_blob=True)
