"""A device that is well-behaved and notices how it is served, whatever the others do."""

from __future__ import annotations

import threading
import time
from typing import Self

from tests.site.raw_client import RawClient

_PAUSE_S = 0.01


class Witness(threading.Thread):
    """Sends PINGREQ and a message at QoS 1 in turn, and notes how long each answer takes; a context manager.

    Leaving it fails the test if it was not served all the while.
    """

    def __init__(self, port: int, name: str = "witness", **login: object) -> None:
        super().__init__(name=name, daemon=True)
        self._client = RawClient(port).join(name, **login)
        self._topic = f"devices/{name}/t"
        self._stopping = threading.Event()
        self._failure: BaseException | None = None
        self.pings_s: list[float] = []
        """How long each PINGRESP took."""

    def run(self) -> None:
        try:
            while not self._stopping.wait(_PAUSE_S):
                began_s = time.monotonic()
                self._client.ping()
                self.pings_s.append(time.monotonic() - began_s)
                self._client.publish(self._topic, b"x")
        except (OSError, AssertionError) as failure:
            self._failure = failure

    def median_s(self, since: int = 0) -> float:
        """Of the pings from number `since` on."""
        found = sorted(self.pings_s[since:])
        return found[len(found) // 2]

    def check(self) -> None:
        """Raises AssertionError if it is not served any more."""
        if self._failure is not None:
            raise AssertionError(f"the witness was not served: {self._failure!r}") from self._failure

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join()
        self._client.socket.close()
        self.check()
