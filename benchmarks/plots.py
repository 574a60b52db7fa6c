"""Curves as PNG: `python -m benchmarks.plots FILE.json` draws what a command has kept there to FILE.png.

It runs in an environment of its own, which `make bench` makes, because a gateway that finds numpy beside it is larger
than one on a device. Therefore it imports nothing but matplotlib, and the commands call it as a process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.curves import Curve

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv-plots" / "bin" / "python"
_PANEL_INCHES = (6.0, 4.0)
_DPI = 80


class Panel(NamedTuple):
    """One diagram: curves by label over a common axis that begins at 0."""

    title: str
    x: str
    y: str
    curves: Mapping[str, Curve]
    limit: float | None = None
    """Of the goal, as a dashed line."""


def kept(title: str, panels: Sequence[Panel]) -> dict[str, Any]:
    """The diagrams as plain data, to be kept in a command's JSON under `plot`."""
    return {"title": title, "panels": [panel._asdict() for panel in panels]}


def draw_from(figures: Path) -> str:
    """Draw what is kept in a JSON file, in the other environment; where the curves are now, or why there are none."""
    if not PYTHON.exists():
        return "no curves: `make bench` installs what draws them"
    command = [str(PYTHON), "-m", "benchmarks.plots", str(figures.resolve())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return f"curves: {figures.with_suffix('.png').name}" if done.returncode == 0 else f"no curves:\n{done.stderr}"


def draw(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Write the panels side by side to `path`."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - not there where this is only asked to `draw_from`

    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(panels), height), layout="constrained")
    figure.suptitle(title)
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), number + 1)
        for label, curve in panel.curves.items():
            x, y = [at for at, _ in curve], [value for _, value in curve]
            axes.plot(x, y, label=label, marker=".", markersize=3, linewidth=1)
        if panel.limit is not None:
            axes.axhline(panel.limit, color="grey", linestyle="--", linewidth=1, label="goal")
        axes.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
        axes.set_ylim(bottom=0)
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize="small")
    figure.savefig(path, dpi=_DPI)


def main() -> None:
    for name in sys.argv[1:]:
        plot = json.loads(Path(name).read_text())["plot"]
        draw(Path(name).with_suffix(".png"), plot["title"], [Panel(**panel) for panel in plot["panels"]])


if __name__ == "__main__":
    main()
