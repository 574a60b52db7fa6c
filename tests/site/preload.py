"""Small libraries of our own between a process and the C library, compiled when a test needs one."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def compiler() -> str | None:
    """The C compiler of this machine; None if it has none."""
    return shutil.which("cc") or shutil.which("gcc")


def build(source: Path, folder: Path) -> Path:
    """Compile a library to be named in LD_PRELOAD."""
    library = folder / f"{source.stem}.so"
    flags = ["-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    command = [compiler() or "cc", *flags, "-o", str(library), str(source), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return library
