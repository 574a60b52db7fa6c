"""Fixtures for what only a user without privileges can see, and group commits that end with the test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from tests.unit.eventlog.desk import Desk

_DROP_PRIVILEGES = """
import os, sys
from pathlib import Path
# What a script needs, while the interpreter's own files can be read for sure.
import asyncio, encodings.ascii
import gateway.eventlog.config, gateway.eventlog.history, gateway.eventlog.log
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
path = Path(sys.argv[1])
"""


@pytest.fixture
def public_path():
    """A folder that every user of the machine can get at, which pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="gateway-test-", dir="/tmp" if os.getuid() == 0 else None))
    path.chmod(0o755)
    yield path
    for folder, _, _ in os.walk(path):
        Path(folder).chmod(0o755)
    shutil.rmtree(path)


@pytest.fixture
def unprivileged(public_path):
    """Run Python as a user who is not root, with `path` = `public_path`; returns what it printed."""

    def run(source: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _DROP_PRIVILEGES + textwrap.dedent(source), str(public_path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def desk_of(tmp_path):
    made = []

    def make(**changes):
        made.append(Desk(tmp_path, **changes))
        return made[-1]

    yield make
    for desk in made:
        desk.close()


@pytest.fixture
def desk(desk_of):
    return desk_of()
