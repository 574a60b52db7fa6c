"""The processes of a benchmark: started, watched and stopped one by one, by the handle of each."""

from __future__ import annotations

import json
import os
import random
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, Self

ROOT = Path(__file__).resolve().parent.parent
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PORTS = range(15_000, 32_000)  # below the ephemeral ports: a connect to a closed one of those can meet itself


class BenchmarkError(Exception):
    """The benchmark cannot go on; the text says why and where to look."""


def free_port() -> int:
    """A port of loopback nobody listens on just now."""
    for port in random.sample(_PORTS, 50):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise BenchmarkError("no free port on loopback among 50 tried")


class Server:
    """A broker as a child process, its output in a file."""

    def __init__(self, name: str, command: list[str], port: int, log: Path, env: dict[str, str] | None = None) -> None:
        self.name, self.port, self._log = name, port, log
        self._command, self._env = command, {**os.environ, **(env or {})}
        self._run()

    def _run(self) -> None:
        with self._log.open("ab") as output:
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._env
            )
        self.pid = self._child.pid

    def start_again(self) -> None:
        """Run it once more, after `stop`: the same command on the same port."""
        self._run()

    def wait_until_listening(self, timeout_s: float = 20.0) -> None:
        """Return when the port takes connections.

        Raises:
            BenchmarkError: it ended, or did not listen in time.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self._child.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise BenchmarkError(f"{self.name} does not listen on {self.port}. Its last words:\n{self.last_words()}")

    def last_words(self) -> str:
        """The end of its output."""
        return self._log.read_text(errors="replace")[-2000:]

    def stop(self, *, gently: bool = True) -> None:
        """End the process and wait for it."""
        if gently:
            self._child.terminate()
        else:
            self._child.kill()
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(10)

    def cpu_s(self) -> float:
        """Processor time of all its threads so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def memory_bytes(self, field: str) -> float:
        """`VmRSS`, resident now, or `VmHWM`, the most it ever was."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise BenchmarkError(f"{self.name} has ended. Its last words:\n{self.last_words()}")

    def resident_bytes(self) -> int | None:
        """Resident memory now, or None while it does not run."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE_BYTES or None
        except (OSError, IndexError):
            return None

    def written_bytes(self) -> float | None:
        """What it has sent to the disk so far, or None where the kernel does not tell."""
        try:
            lines = Path(f"/proc/{self.pid}/io").read_text().splitlines()
        except OSError:
            return None
        return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), None)


class Worker:
    """A Python process of ours that takes commands and answers, a line of JSON each."""

    def __init__(self, module: str, settings: dict[str, Any]) -> None:
        self._name = module
        self._child = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        self._output = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()
        try:
            self._child.wait(2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(10)

    def tell(self, **command: object) -> None:
        """Send it a command; `answer` waits for what it has to say."""
        stdin: IO[bytes] = self._pipe(self._child.stdin)
        stdin.write(json.dumps(command).encode() + b"\n")
        stdin.flush()

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """The next line it writes.

        Raises:
            BenchmarkError: it ended, said what went wrong, or was silent for `timeout_s`.
        """
        stdout, deadline = self._pipe(self._child.stdout).fileno(), time.monotonic() + timeout_s
        while b"\n" not in self._output:
            if not select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise BenchmarkError(f"{self._name} was silent for {timeout_s:g} s")
            data = os.read(stdout, 1 << 20)
            if not data:
                raise BenchmarkError(f"{self._name} ended with {self._child.wait(10)}")
            self._output += data
        line, _, self._output = self._output.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise BenchmarkError(f"{self._name}: {reply['error']}")
        return reply

    def _pipe(self, stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None:
            raise BenchmarkError(f"{self._name} was started without its pipes")
        return stream


def reply(**answer: object) -> None:
    """The worker's side of `Worker.answer`."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
