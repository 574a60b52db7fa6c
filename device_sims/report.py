"""Results as tables for people and as plain data for `--json`."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from device_sims.fleet import Fleet
from device_sims.fleet_run import Outcome
from device_sims.progress import Progress
from device_sims.verdict import DeviceVerdict, Verdict

COLUMNS = ("acknowledged", "received", "lost", "duplicates", "out_of_order", "extra")


def live_line(fleet: str, devices: int, progress: Progress, seconds: float) -> str:
    """One line on how a run is doing."""
    line = (
        f"{fleet}  {seconds:.0f} s  connected {progress.connected}/{devices}  sent {progress.sent:,}"
        f"  acknowledged {progress.acknowledged:,}  outstanding {progress.outstanding:,}"
        f"  reconnects {progress.reconnects:,}"
    )
    return f"{line}  skipped {progress.skipped:,}" if progress.skipped else line


def run_facts(fleet: str, devices: int, outcome: Outcome) -> dict[str, Any]:
    """The summary of a run."""
    progress = outcome.progress
    return {
        "fleet": fleet,
        "devices": devices,
        "generated": progress.generated,
        "sent": progress.sent,
        "acknowledged": progress.acknowledged,
        "unacknowledged": progress.outstanding,
        "resent": progress.resent,
        "reconnects": progress.reconnects,
        "skipped": progress.skipped,
        "seconds": round(outcome.seconds, 1),
        "sent_per_s": round(progress.sent / outcome.seconds, 1) if outcome.seconds > 0 else 0.0,
    }


def facts_table(facts: dict[str, Any]) -> Table:
    """Names on the left, numbers on the right."""
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int | float) else str(value))
    return table


def fleet_facts(name: str, path: Path, fleet: Fleet) -> dict[str, Any]:
    """A fleet file in short."""
    return {
        "name": name,
        "devices": fleet.device_count,
        "events_per_s": round(fleet.events_hz, 2),
        "profiles": sorted({group.profile for group in fleet.groups}),
        "file": str(path),
    }


def fleets_table(fleets: list[dict[str, Any]]) -> Table:
    """One row for each fleet file."""
    table = Table("fleet", "devices", "events per s", "profiles", "file")
    for facts in fleets:
        table.add_row(*("\n".join(cell) if isinstance(cell, list) else str(cell) for cell in facts.values()))
    return table


def verdict_facts(verdict: Verdict, *, every_device: bool) -> dict[str, Any]:
    """The verdict with the devices that have findings, or with all of them."""
    return {
        "ok": verdict.ok,
        "total": {name: getattr(verdict.total, name) for name in COLUMNS},
        "devices": [asdict(device) for device in _shown(verdict, every_device=every_device)],
    }


def verdict_table(verdict: Verdict, *, every_device: bool) -> Table:
    """One row for each device with findings, or for each device, and the total."""
    table = Table("device", show_footer=False)
    for name in COLUMNS:
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("lost: first n")
    for device in _shown(verdict, every_device=every_device):
        table.add_row(*_row(device), style="" if device.ok else "red")
    table.add_section()
    table.add_row(*_row(verdict.total), style="bold")
    return table


def _shown(verdict: Verdict, *, every_device: bool) -> Iterable[DeviceVerdict]:
    return [device for device in verdict.devices if every_device or not device.ok or device.duplicates]


def _row(device: DeviceVerdict) -> list[str]:
    counts = [f"{getattr(device, name):,}" for name in COLUMNS]
    return [device.device, *counts, ", ".join(map(str, device.lost_examples))]
