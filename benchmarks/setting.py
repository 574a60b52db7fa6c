"""Where a command ran, and where its figures go."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from benchmarks.processes import ROOT
from benchmarks.systems import mosquitto_path

if TYPE_CHECKING:
    import argparse

RESULTS = ROOT / "benchmarks" / "results"
WIDTH = 130  # of a table where there is no terminal to ask


def machine(folder: str | None) -> dict[str, Any]:
    """What a reader must know to compare the figures with others."""
    path = mosquitto_path()
    version = subprocess.run([path, "-h"], capture_output=True, text=True, check=False).stdout if path else ""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "mosquitto": version.partition("\n")[0] or None,
        "disk": filesystem(Path(folder or tempfile.gettempdir()).resolve()),
        "load_before": os.getloadavg()[0],
    }


def filesystem(folder: Path) -> str:
    """The type of file system `folder` is on; on tmpfs an fsync costs nothing and proves nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = [(len(point), kind) for point, kind in mounts if folder.is_relative_to(point)]
    return max(inside, default=(0, "unknown"))[1]


def begin(setting: dict[str, Any]) -> Console:
    """Say where this runs, and warn where that makes figures worthless; the console to go on with.

    From here on SIGTERM ends the command in order, so that the brokers it has started are stopped.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(f"{setting['machine']}, disk {setting['disk']}, load {setting['load_before']:.1f} before")
    if setting["disk"] == "tmpfs":
        console.print("[yellow]The temporary folder is in memory; give --folder a folder on the disk.[/]")
    return console


def add_folders(parser: argparse.ArgumentParser, name: str) -> None:
    """The options every command has."""
    parser.add_argument("--folder", help="where temporary folders go: the disk that is measured")
    parser.add_argument("--output", type=Path, default=RESULTS / f"{name}.json", help="the JSON file")


def write(path: Path, figures: dict[str, Any]) -> None:
    """Keep the figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=1) + "\n")
