"""What each library costs in memory, each imported in a new process: `python -m benchmarks.imports`."""

from __future__ import annotations

import subprocess
import sys

_MODULES = (
    "amqtt.broker",
    "websockets",
    "mqtt5",
    "pydantic",
    "jiter",
    "jsonschema_rs",
    "cbor2",
    "msgpack",
    "sqlite_utils",
    "argon2",
    "cryptography.x509",
    "typer",
    "rich.table",
    "uvloop",
)
_PROBE = """
import sys
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20
before = resident()
__import__(sys.argv[1])
print(round(resident() - before, 1))
"""


def main() -> None:
    """Measure and print."""
    for module in _MODULES:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE, module], capture_output=True, text=True, check=True, timeout=60
        )
        print(f"{module:14} {float(done.stdout):5.1f} MiB")


if __name__ == "__main__":
    main()
