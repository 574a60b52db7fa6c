"""How long until a gateway serves again whose files were damaged: `python -m benchmarks.damage`.

Each time a log of full-size segments is copied, one of its files is damaged at a random place, the copy is put out of
the kernel's memory, and a gateway is started on it. Measured is the time from the start of the process to the first
acknowledged event. The row `whole` is the same without damage.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.table import Table

from benchmarks.connections import Device, start
from benchmarks.figures import percentile
from benchmarks.processes import BenchmarkError
from benchmarks.setting import add_folders, begin, machine, write
from gateway.event import Event
from gateway.eventlog.segment import Segment
from gateway.eventlog.state import State
from gateway.eventlog.state import path_of as state_path_of

SEGMENTS = 3
SEGMENT_BYTES = 64 * 1024 * 1024
KINDS = ("truncated", "zero-filled", "bit-flipped", "header lost")
FILES = ("newest", "older", "state")
GOAL_S = 5.0
_BATCH = 5000


def build(data: Path, segment_bytes: int) -> None:
    """A stopped gateway's log of full segments, and its state."""
    (data / "log").mkdir(parents=True)
    state = State(state_path_of(data))
    log_id, seq = state.log_id(), 1
    payload = random.Random(1).randbytes(10_000)
    for _ in range(SEGMENTS):
        segment = Segment.create(data / "log", seq, {"log_id": log_id}, [])
        while segment.path.stat().st_size < segment_bytes:
            segment.append_runs([[_event(n, payload) for n in range(seq, seq + _BATCH)]])
            seq += _BATCH
        segment.settle()
        segment.close()
    state.set_meta("high_water", str(seq - 1))
    state.close()


def _event(seq: int, payload: bytes) -> Event:
    at = seq % 9_900
    device = f"device-{seq % 500}"
    return Event(seq, 10**18 + seq, seq, "boot", device, f"devices/{device}/m", 1, False, payload[at : at + 100])


def hurt(path: Path, kind: str, rng: random.Random) -> None:
    """Damage a file at one random place."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        if kind == "truncated":
            file.truncate(rng.randrange(size))
        elif kind == "zero-filled":
            file.seek(rng.randrange(size))
            file.write(bytes(rng.choice([4096, 65_536, 1_048_576])))
            file.truncate(size)
        elif kind == "bit-flipped":
            at = rng.randrange(size)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << rng.randrange(8)]))
        else:
            file.write(rng.randbytes(rng.choice([16, 100, 4096])))


def copied(base: Path, folder: Path, which: str) -> Path:
    """A data directory that shares what is not damaged with `base`; returns the file to be damaged."""
    to = folder / "data"
    (to / "log").mkdir(parents=True)
    segments = sorted((base / "log").glob("*.db"))
    target = {"newest": segments[-1], "older": segments[1]}.get(which, state_path_of(base))
    for path in [*segments, state_path_of(base)]:
        place = to / path.relative_to(base)
        if path in {segments[-1], state_path_of(base), target}:
            shutil.copyfile(path, place)
        else:
            os.link(path, place)
    return to / target.relative_to(base)


def forget(data: Path) -> None:
    """Put every file out of the kernel's memory, so that the start reads from the disk."""
    for path in data.rglob("*.db"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measure(base: Path, folder: Path, which: str, kind: str, rng: random.Random) -> float:
    """Seconds from the start of the process to the first acknowledgement."""
    path = copied(base, folder, which)
    if kind != "whole":
        hurt(path, kind, rng)
    forget(folder / "data")
    began = time.monotonic()
    server = start(folder)
    try:
        device = Device(1, server.port)
        device.publish(1, time.monotonic())
        device.take(time.monotonic())
        return time.monotonic() - began
    finally:
        server.stop()


def table(rows: dict[str, list[float]]) -> Table:
    """One row for each file and kind of damage."""
    out = Table(title="from the start of the process to the first acknowledged event, files not in memory")
    out.add_column("damage")
    for column in ("places", "median s", "longest s", f"over {GOAL_S:.0f} s"):
        out.add_column(column, justify="right")
    for label, times in rows.items():
        late = sum(each > GOAL_S for each in times)
        out.add_row(label, str(len(times)), f"{percentile(times, 0.5):.2f}", f"{max(times):.2f}", str(late))
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.damage", description=__doc__)
    parser.add_argument("--places", type=int, default=5, help="for each file and kind of damage")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="one place each, small segments")
    add_folders(parser, "damage")
    options = parser.parse_args()
    places = 1 if options.quick else options.places
    setting = machine(options.folder)
    console = begin(setting)
    rows: dict[str, list[float]] = {}
    try:
        with tempfile.TemporaryDirectory(dir=options.folder) as top:
            base = Path(top) / "base"
            build(base, SEGMENT_BYTES // 64 if options.quick else SEGMENT_BYTES)
            for which, kind in [("newest", "whole"), *((which, kind) for which in FILES for kind in KINDS)]:
                label = "whole" if kind == "whole" else f"{which} {kind}"
                for number in range(places):
                    folder = Path(top) / "one"
                    folder.mkdir()
                    rng = random.Random(f"{options.seed}/{label}/{number}")
                    rows.setdefault(label, []).append(measure(base, folder, which, kind, rng))
                    shutil.rmtree(folder)
    except BenchmarkError as error:
        print(f"damage: {error}", file=sys.stderr)
        return 1
    console.print(table(rows))
    write(options.output, {"setting": setting, "seconds": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
