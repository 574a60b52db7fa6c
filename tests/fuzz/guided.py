"""Fuzzing guided by the code that is reached: `python -m tests.fuzz.guided`, with atheris beside the gateway.

`make fuzz-guided` runs it in an environment of its own (`.venv-fuzz`), because atheris has no wheel for every Python.
Each target has its time. It begins with the kept corpus, and what it finds that reaches something new is added to it;
`--keep-not` leaves the corpus as it is. An input that a target stumbles over is kept always, for every later `make
test` to replay, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from tests.fuzz.kept import keep, kept

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "fuzz"
NAMES = ("framing", "connect", "configuration")
INSTRUMENTED = [
    "gateway.broker",
    "gateway.config",
    "gateway.contracts",
    "gateway.patterns",
    "gateway.topics",
    "gateway.upstreams",
]
INPUT_BYTES_MAX = 4096
INPUT_TIMEOUT_S = 10
MEMORY_MB_MAX = 1024
SURPLUS_S = 120
"""Time beside the fuzzing: to start, and to choose what is kept."""


def fuzz(name: str, arguments: list[str]) -> None:
    """What a child does: hand the target to atheris, which ends the process."""
    import atheris  # noqa: PLC0415 - the parent needs no atheris

    with atheris.instrument_imports(include=INSTRUMENTED):
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - after the hook that instruments
    atheris.Setup([str(_again(name)), *arguments], TARGETS[name])
    atheris.Fuzz()


def _again(name: str) -> Path:
    """A program that is this child once more: to choose what is kept, libFuzzer starts what it was started as."""
    program = WORK / name / "again"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz.guided --child {name} "$@"\n', encoding="ascii")
    program.chmod(0o755)
    return program


def run(name: str, seconds: int, *, keeps: bool) -> bool:
    """Fuzz one target; False if it stumbled."""
    found, chosen, stumbled = (WORK / name / each for each in ("found", "chosen", "stumbled"))
    shutil.rmtree(WORK / name, ignore_errors=True)
    for folder in (found, chosen, stumbled):
        folder.mkdir(parents=True)
    for number, data in enumerate(kept(name)):
        (found / f"kept-{number}").write_bytes(data)
        (chosen / f"kept-{number}").write_bytes(data)
    limits = [f"-max_len={INPUT_BYTES_MAX}", f"-timeout={INPUT_TIMEOUT_S}", f"-rss_limit_mb={MEMORY_MB_MAX}"]
    done = child(name, seconds, f"-max_total_time={seconds}", f"-artifact_prefix={stumbled}/", *limits, str(found))
    trouble = [path.read_bytes() for path in stumbled.iterdir()]
    if trouble or done != 0:
        keep(name, [*kept(name), *trouble])
        return False
    if keeps:
        child(name, seconds, "-merge=1", *limits, str(chosen), str(found))
        keep(name, [path.read_bytes() for path in chosen.iterdir()])
    return True


def child(name: str, seconds: int, *arguments: str) -> int:
    """Run atheris in a process of its own; returns its exit code."""
    command = [sys.executable, "-m", "tests.fuzz.guided", "--child", name, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=seconds + SURPLUS_S).returncode


def main() -> int:
    if sys.argv[1:2] == ["--child"]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--target", choices=NAMES, action="append", help="only this one; may be repeated")
    parser.add_argument("--keep-not", action="store_true", help="leave the corpus as it is")
    options = parser.parse_args()
    names = options.target or NAMES
    stumbled = [name for name in names if not run(name, options.seconds, keeps=not options.keep_not)]
    print(f"stumbled: {', '.join(stumbled)}; see {WORK}" if stumbled else "no target stumbled")  # noqa: T201
    return 1 if stumbled else 0


if __name__ == "__main__":
    sys.exit(main())
