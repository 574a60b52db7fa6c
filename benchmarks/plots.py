"""Curves as PNG. The one place that needs matplotlib, which only `make bench` installs (extra `bench`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.curves import Curve

_PANEL_INCHES = (6.0, 4.0)
_DPI = 80


class Panel(NamedTuple):
    """One diagram: curves by label over a common axis that begins at 0 upwards."""

    title: str
    x: str
    y: str
    curves: Mapping[str, Curve]
    limit: float | None = None
    """Of the goal, as a dashed line."""


def draw(path: Path, title: str, panels: Sequence[Panel]) -> bool:
    """Write the panels side by side to `path`; False, and nothing written, where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - everything but plots works without it
    except ImportError:
        return False
    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), layout="constrained")
    figure.suptitle(title)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for label, curve in panel.curves.items():
            if curve:
                axes.plot(
                    [x for x, _ in curve], [y for _, y in curve], label=label, marker=".", markersize=3, linewidth=1
                )
        if panel.limit is not None:
            axes.axhline(panel.limit, color="grey", linestyle="--", linewidth=1, label="goal")
        axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)
    return True
