"""What the gateway sends to an upstream of type `mqtt` for the events of the benchmark, by MQTT 5. Pure.

The gateway's own writer makes the packets, so that they are the same, byte for byte, but for ids and times.
"""

from __future__ import annotations

from benchmarks.frames import packet_id, payload, topic
from gateway.event import ACCEPTED, LOCAL, Event
from gateway.forward.envelope import RawEnvelope
from gateway.upstreams.mqtt_publish import Publisher

_LOG_ID = "0123456789abcdef" * 2
_FIRST_SEQ = 1_000_000
"""Numbers of as many digits make packets of one length."""
_RECEIVED_NS = 1_795_000_000 * 10**9


def forwarded_tape(device: int, numbers: range, payload_bytes: int) -> tuple[bytes, int]:
    """All PUBLISH packets in a row, and the bytes of each, as `frames.publish_tape` makes them."""
    publisher = Publisher(RawEnvelope(gateway_id="bench", log_id=_LOG_ID))
    frames: list[bytes] = []
    for index, number in enumerate(numbers):
        seq = _FIRST_SEQ + index
        named = f"bench-{device:02d}", topic(device), 1, False, payload(number, payload_bytes), LOCAL, None, ACCEPTED
        event = Event(seq, _RECEIVED_NS, 0, "", *named)
        frames += publisher.write_run((event,), packet_id(index), retain=False, bytes_max=1)
    return b"".join(frames), len(frames[0]) if frames else 0
