"""Every command of README.md, one after the other: `python -m benchmarks.everything`, or `make bench-all`.

What they print also goes to `results/everything.txt`, figures and curves go to `results`. It goes on where a command
fails, and exits 1 if one did.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from benchmarks.processes import ROOT
from benchmarks.setting import RESULTS

COMMANDS = {  # and what makes each of them short
    "benchmarks": "--quick",
    "benchmarks --upstream sink --rounds 1 --output benchmarks/results/sink.json": "--quick",
    "benchmarks.ceiling": "--quick",
    "benchmarks.scale": "--quick",
    "benchmarks.slow_card": "--quick",
    "benchmarks.wear": "--quick",
    "benchmarks.retention": "--quick",
    "benchmarks.damage": "--quick",
    "benchmarks.contracts": "--quick",
    "benchmarks.replay": "--quick",
    "benchmarks.guarded": "--quick",
    "benchmarks.hostile": "--quick",
    "benchmarks.connections --connections 2000": "--connections 200",
    "benchmarks.connections --connections 5000 --rate-per-device 0.1": "--connections 500 --seconds 5",
}
COMMAND_S = 1200.0  # the longest any of them may take


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.everything", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs: to see that it works")
    parser.add_argument("--folder", default=None, help="where temporary folders go: the disk that is measured")
    options = parser.parse_args()
    if options.folder:
        os.environ["TMPDIR"] = options.folder
    RESULTS.mkdir(parents=True, exist_ok=True)
    failed = []
    with (RESULTS / "everything.txt").open("w") as log:
        for usual, short in COMMANDS.items():
            command = f"{usual} {short}" if options.quick else usual
            began = time.monotonic()
            code, output = run(command.split())
            ended = f"[{time.monotonic() - began:.0f} s, exit {code}]"
            text = f"\n$ python -m {command}\n{output}{ended}"
            print(text, flush=True)
            print(text, file=log, flush=True)
            failed += [command] if code else []
    print(f"failed: {', '.join(failed)}" if failed else "every command ended well")
    return 1 if failed else 0


def run(command: list[str]) -> tuple[int, str]:
    """Exit code and output of one command; one that takes too long is ended."""
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        try:
            output, _ = child.communicate(timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            child.terminate()  # it stops what it started on the way out
            output, _ = child.communicate()
        return child.returncode, output


if __name__ == "__main__":
    sys.exit(main())
