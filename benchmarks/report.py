"""The figures as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmarks.figures import medians, ratio, spread
from benchmarks.plots import Panel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.curves import Curve
    from benchmarks.rounds import Figures

    Rounds = dict[str, list[Figures]]


@dataclass(frozen=True)
class Goal:
    """A bound for a figure of the gateway, or for its ratio to another system's."""

    at_least_ratio: float | None = None
    below: float | None = None
    at_most: float | None = None
    at_least: float | None = None

    def text(self) -> str:
        """For the table."""
        signs = {"ratio ≥": self.at_least_ratio, "<": self.below, "≤": self.at_most, "≥": self.at_least}
        return ", ".join(f"{sign} {bound:,g}" for sign, bound in signs.items() if bound is not None)

    def met(self, ours: float | None, quotient: float | None = None) -> bool | None:
        """None if it was not measured."""
        if self.at_least_ratio is not None:
            return quotient >= self.at_least_ratio if quotient is not None else None
        if ours is None:
            return None
        not_below = self.below is not None and ours >= self.below
        too_large = self.at_most is not None and ours > self.at_most
        return not (not_below or too_large or (self.at_least is not None and ours < self.at_least))

    def verdict(self, ours: float | None, quotient: float | None = None) -> str:
        """The bound, and whether it is met."""
        words = {True: "[green]met[/]", False: "[red]missed[/]", None: "not measured"}
        return f"{self.text()} {words[self.met(ours, quotient)]}"


@dataclass(frozen=True)
class Measure:
    """A line of the table."""

    name: str
    label: str
    digits: int = 0
    goal: Goal | None = None
    ends_block: bool = False


MEASURES = (
    Measure("ingest_per_s", "ingest, upstream down: acknowledged/s", goal=Goal(at_least_ratio=0.9)),
    Measure("end_to_end_per_s", "end to end: events/s", goal=Goal(at_least_ratio=1.0)),
    Measure("live_acked_per_s", "  acknowledged/s meanwhile"),
    Measure("drain_per_s", "drain of the backlog: events/s", goal=Goal(at_least_ratio=1.3)),
    Measure("first_s", "  upstream up to first event, s", 2),
    Measure("drain_from_up_per_s", "  upstream up to last of it: events/s"),
    Measure("local_0_per_s", "one local subscriber, QoS 0: events/s", goal=Goal(at_least_ratio=0.4)),
    Measure("local_0_missing", "  not delivered (QoS 0 permits it)"),
    Measure("local_1_per_s", "one local subscriber, QoS 1: events/s", goal=Goal(at_least_ratio=0.4)),
    Measure("local_1_missing", "  not delivered", goal=Goal(below=1), ends_block=True),
    Measure("ack_p50_ms", "device to acknowledgement, p50 ms", 2),
    Measure("ack_p99_ms", "device to acknowledgement, p99 ms", 2),
    Measure("upstream_p50_ms", "device to upstream, p50 ms", 2),
    Measure("upstream_p99_ms", "device to upstream, p99 ms", 2, Goal(below=50), ends_block=True),
    Measure("idle_mb", "memory idle, MB", 1),
    Measure("backlog_peak_mb", "memory, highest during ingest, MB", 1),
    Measure("backlog_rss_mb", "memory with the backlog, MB", 1),
    Measure("drained_rss_mb", "memory after the drain, MB", 1),
    Measure("peak_mb", "memory, highest until here, MB", 1, Goal(below=80), ends_block=True),
    Measure("ingest_cpu_us", "CPU per event, ingest, µs", 1),
    Measure("end_to_end_cpu_us", "CPU per event, end to end, µs", 1),
    Measure("drain_cpu_us", "CPU per event, drain, µs", 1),
    Measure("paced_cpu_us", "CPU per event, paced, µs", 1),
    Measure("disk_bytes", "bytes on disk per event"),
    Measure("written_bytes", "bytes written per event, ingest"),
    Measure("paced_written_bytes", "bytes written per event, paced", ends_block=True),
    Measure("generator_cpu_us", "load generator's CPU per event, µs", 1),
    Measure("generator_cpu_share", "  of one core, during ingest", 2),
    Measure("upstream_cpu_us", "upstream's CPU per event, drain, µs", 1),
    Measure("upstream_cpu_share", "  of one core", 2),
    Measure("forward_upstream_cpu_share", "  of one core, end to end", 2),
    Measure("receiver_cpu_us", "receiver's CPU per event, drain, µs", 1, ends_block=True),
    Measure("lost", "acknowledged and lost (must be 0)"),
    Measure("repeated", "arrived more than once"),
)


def table(rounds: Rounds, *, judged: bool) -> Table:
    """Medians, and the smallest and the largest where there were several rounds; goals, if the run is to be judged."""
    out = Table(title="medians (smallest to largest) of the rounds")
    out.add_column("measure")
    for column in ("gateway", "mosquitto", "ratio", "goal"):
        out.add_column(column, justify="right")
    for line in summary(rounds):
        measure: Measure = line["measure"]
        out.add_row(
            measure.label,
            _figure(rounds["gateway"], measure, line["gateway"]),
            _figure(rounds["mosquitto"], measure, line["mosquitto"]),
            f"{line['ratio']:.2f}" if line["ratio"] is not None else "-",
            measure.goal.verdict(line["gateway"], line["ratio"]) if measure.goal and judged else "",
            end_section=measure.ends_block,
        )
    return out


def summary(rounds: Rounds) -> list[dict[str, Any]]:
    """For every measure the medians, the ratio of the two, and whether its goal is met."""
    ours, theirs = medians(rounds["gateway"]), medians(rounds["mosquitto"])
    lines = []
    for measure in MEASURES:
        mine, other = ours.get(measure.name), theirs.get(measure.name)
        quotient = ratio(mine, other)
        met = measure.goal.met(mine, quotient) if measure.goal else None
        lines.append({"measure": measure, "gateway": mine, "mosquitto": other, "ratio": quotient, "met": met})
    return lines


def panels(curves: dict[str, dict[str, Curve]]) -> list[Panel]:
    """Throughput and memory over the backlog, of the curves each system's last round has."""

    def of(kind: str) -> dict[str, Curve]:
        return {
            f"{system}, {phase}": each[f"{phase}_{kind}"]
            for system, each in curves.items()
            for phase in ("ingest", "drain")
            if f"{phase}_{kind}" in each
        }

    return [
        Panel("throughput", "backlog, events", "events/s", of("per_s")),
        Panel("resident memory", "backlog, events", "MB", of("mb")),
    ]


def as_json(rounds: Rounds, setting: dict[str, Any]) -> dict[str, Any]:
    """Everything that was measured, as plain data."""
    lines = {}
    for line in summary(rounds):
        measure: Measure = line.pop("measure")
        lines[measure.name] = {**line, "goal": measure.goal.text() if measure.goal else None}
    return {"setting": setting, "summary": lines, "rounds": rounds}


def _figure(rounds: Sequence[Figures], measure: Measure, value: float | None) -> str:
    if value is None:
        return "-"
    ends = spread(rounds, measure.name)
    text = f"{value:,.{measure.digits}f}"
    if ends is None or ends[0] == ends[1]:
        return text
    return f"{text} ({ends[0]:,.{measure.digits}f} to {ends[1]:,.{measure.digits}f})"
