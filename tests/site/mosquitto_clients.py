"""mosquitto_pub and mosquitto_sub as devices and subscribers; ask for the fixture `mosquitto_clients` to use them."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Self

from tests.site.ports import wait_for

if TYPE_CHECKING:
    from pathlib import Path


def publish(port: int, topic: str, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """Run mosquitto_pub to its end; at QoS 1 and 2 it ends when the broker has acknowledged."""
    return subprocess.run(
        ["mosquitto_pub", "-V", "mqttv311", "-h", "127.0.0.1", "-p", str(port), "-t", topic, *arguments],
        input=stdin,
        capture_output=True,
        timeout=30,
        check=False,
    )


class Subscriber:
    """A running mosquitto_sub; a context manager. Each delivery is one line `<qos> <retain> <topic> <payload>`."""

    def __init__(self, folder: Path, port: int, *arguments: str, form: str = "%q %r %t %p", version: str = "311"):
        self._path = folder / f"sub-{id(self)}.out"
        self._form = form
        # stdbuf (coreutils): what is written into a file is otherwise kept back until there are 4 KiB of it.
        self._command = [
            "stdbuf",
            "-oL",
            "mosquitto_sub",
            "-V",
            f"mqttv{version}",
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-d",
        ]
        self._command += ["-F", f"MSG {form}", *arguments]
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._path.open("wb") as out:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=out)
        try:
            wait_for(lambda: "Subscribed (mid" in self.output(), what=f"the subscription of {self._command}")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def output(self) -> str:
        return self._path.read_text(encoding="utf-8", errors="replace")

    def lines(self) -> list[str]:
        """What was delivered so far."""
        return [line[4:] for line in self.output().splitlines() if line.startswith("MSG ")]

    def wait_lines(self, count: int) -> list[str]:
        """Wait for `count` deliveries; all there are then."""
        wait_for(lambda: len(self.lines()) >= count, what=f"{count} deliveries")
        return self.lines()
