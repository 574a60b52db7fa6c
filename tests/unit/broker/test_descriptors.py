"""A process of its own tells how many files it may open."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging, resource
from gateway.broker.descriptors import make_room
logging.basicConfig()
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
make_room({connections})
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "connections", "allowed", "warned"),
    [
        (256, 1000, 800, 928, False),
        (256, 600, 800, 600, True),
        (500, 600, 100, 500, False),
        (600, 600, 800, 600, True),
    ],
)
def test_as_many_files_may_be_open_as_connections_need_and_the_system_allows(
    soft: int, hard: int, connections: int, allowed: int, warned: bool
) -> None:
    program = PROGRAM.format(soft=soft, hard=hard, connections=connections)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert int(done.stdout) == allowed
    assert ("LimitNOFILE" in done.stderr) == warned
