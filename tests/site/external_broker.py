"""A Mosquitto that devices use already, and a gateway that takes events from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.site.mosquitto_process import MosquittoProcess


def section(port: int, lines: str = "", *, scheme: str = "mqtt") -> str:
    """TOML for the section [broker], with short waits."""
    return (
        f'mode = "external"\nurl = "{scheme}://127.0.0.1:{port}"\n'
        f"backoff_initial_s = 0.1\nbackoff_max_s = 0.5\nblocked_retry_s = 0.3\n{lines}\n"
    )


def told(broker: MosquittoProcess, what: str, client_id: str = "edge-source") -> list[str]:
    """Lines of the broker's log about a client."""
    text = broker.log_path.read_text(encoding="utf-8", errors="replace")
    return [line for line in text.splitlines() if what in line and client_id in line]


def repeats(broker: MosquittoProcess, client_id: str = "edge-source") -> int:
    """How many messages the broker has sent again, and marked so."""
    return sum("(d1, " in line for line in told(broker, "Sending PUBLISH to", client_id))
