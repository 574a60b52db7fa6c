"""Every command of README.md, one after the other: `python -m benchmarks.everything`, or `make bench-all`.

What they print also goes to `results/everything.txt`. It goes on where a command fails, and exits 1 if one did.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

from benchmarks.processes import ROOT
from benchmarks.setting import RESULTS

MODULES = ("benchmarks", "benchmarks.scale", "benchmarks.slow_card", "benchmarks.wear", "benchmarks.retention")
COMMAND_S = 1200.0  # the longest any of them may take


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.everything", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs: to see that it works")
    parser.add_argument("--folder", help="where temporary folders go: the disk that is measured")
    options = parser.parse_args()
    handed_on = [*(["--quick"] if options.quick else []), *(["--folder", options.folder] if options.folder else [])]
    RESULTS.mkdir(parents=True, exist_ok=True)
    failed = []
    with (RESULTS / "everything.txt").open("w") as log:
        for module in MODULES:
            began = time.monotonic()
            code, output = run(module, handed_on)
            ended = f"[{time.monotonic() - began:.0f} s, exit {code}]"
            text = f"\n$ python -m {module} {' '.join(handed_on)}\n{output}{ended}"
            print(text, flush=True)
            print(text, file=log, flush=True)
            failed += [module] if code else []
    print(f"failed: {', '.join(failed)}" if failed else "every command ended well")
    return 1 if failed else 0


def run(module: str, arguments: list[str]) -> tuple[int, str]:
    """Exit code and output of one command; one that takes too long is ended."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        try:
            output, _ = child.communicate(timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            child.terminate()  # it stops what it started on the way out
            output, _ = child.communicate()
        return child.returncode, output


if __name__ == "__main__":
    sys.exit(main())
